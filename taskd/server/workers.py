"""Run workers on the same sockets, and start, replace and stop them from their parent."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from types import FrameType

import uvicorn

from taskd.server import signals
from taskd.server.sockets import Listener
from taskd.server.worker import LocalWorker, Worker, WorkerProcess

__all__ = ["Workers"]

# How long to pause before another attempt to replace a worker, if the last one failed.
PAUSE_S = 1.0

logger = logging.getLogger(__name__)


class Workers:
    """
    The parent of *count* workers.

    They are processes; only `run_here` begins with one that is not.  SIGHUP replaces them by new processes, one after
    another.  The first SIGTERM or SIGINT stops them gracefully, and the second ends all processes at once.
    """

    def __init__(self, config: uvicorn.Config, listener: Listener, count: int, drain_s: int = 0) -> None:
        """Prepare to serve as *config* says, on the sockets of *listener*, and to drain for *drain_s* seconds."""
        self.config = config
        self.listener = listener
        self.count = count
        self.drain_s = drain_s
        self.stopped_by: int | None = None
        self._has_served = False
        self._local: LocalWorker | None = None
        self._workers: set[Worker] = set()
        # An event loop keeps only weak references to its tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, announce: Callable[[], None]) -> None:
        """
        Serve until a signal stops the workers.

        Args:
            announce: Called once signals are handled; connections wait until a worker serves them.
        """

        def start() -> None:
            announce()
            for _ in range(self.count):
                self._start()

        asyncio.run(self._serve(start))

    def run_here(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        """
        Serve in this process until a signal stops it, or SIGHUP lets another process take over.

        Args:
            config: uvicorn's configuration for this process, which uvicorn changes.
            announce: Called once requests are being served.
        """

        def start() -> None:
            sockets = [each.dup() for each in self.listener.sockets]
            self._local = LocalWorker(config, sockets, self.drain_s, announce)
            self._add(self._local)

        try:
            with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
                runner.run(self._serve(start))
        finally:
            if self._local is not None:
                self._local.close()

    async def _serve(self, start: Callable[[], None]) -> None:
        self._stopping, self._hangup = asyncio.Event(), asyncio.Event()
        self._handle_signals()
        start()
        restarting = asyncio.create_task(self._restart_at_hangup())
        await self._stopping.wait()
        restarting.cancel()
        await self._stop()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, self._hangup.set)

        def stop(number: int, _: FrameType | None) -> None:
            if self.stopped_by is not None:
                self._kill_and_end(number)
            self.stopped_by = number
            if self._local is not None:
                # At once: if a plugin blocks the event loop, only a timer can end the process.
                self._local.stop(drains=number == signal.SIGTERM)
                self._end_at_next_signal()
            loop.call_soon_threadsafe(self._stopping.set)

        # These are not the loop's handlers, because they must remain after the loop has ended.
        for number in signals.STOP_SIGNALS:
            signal.signal(number, stop)

    def _end_at_next_signal(self) -> None:
        """Let the kernel end this process at the next signal, if there is no other process to kill."""
        if self._workers <= {self._local}:
            signals.restore_default_action()

    def _start(self, *, is_wanted: bool = True) -> WorkerProcess:
        worker = WorkerProcess.start(self.config, self.listener.sockets, self.drain_s, is_wanted=is_wanted)
        self._add(worker)
        return worker

    def _add(self, worker: Worker) -> None:
        self._workers.add(worker)
        task = asyncio.create_task(self._look_after(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_after(self, worker: Worker) -> None:
        """Replace *worker* when it ends, unless it is no longer wanted."""
        if await worker.watch_start():
            self._has_served = True
        await worker.watch_end()
        self._workers.remove(worker)
        if worker.is_wanted:
            logger.error("%s has ended unexpectedly", worker)
        if not self._has_served:
            # Its replacement would fail, too.
            self._stopping.set()
        elif worker.is_wanted:
            if not worker.has_served.result():
                await asyncio.sleep(PAUSE_S)
            await self._start_another()

    async def _start_another(self) -> None:
        """Start a worker in place of one that has ended, as soon as that is possible."""
        while not self._stopping.is_set():
            try:
                self._start()
            except OSError as error:
                logger.error("A worker process could not be started: %s", error.strerror)  # noqa: TRY400
                await asyncio.sleep(PAUSE_S)
            else:
                return

    async def _restart_at_hangup(self) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            logger.info("Received SIGHUP, restarting the workers")
            if await self._restart():
                logger.info("Restarted the workers")
            else:
                logger.error("A new worker did not start; the remaining ones keep serving")

    async def _restart(self) -> bool:
        """Replace one worker after another; return False if one cannot be replaced."""
        for old in tuple(self._workers):
            try:
                new = self._start(is_wanted=False)
            except OSError:
                return False
            # Shielded, because a stop cancels this task, and other tasks need the future.
            if not await asyncio.shield(new.has_served):
                return False
            if old not in self._workers:  # it has already ended, and has been replaced
                new.retire()
                continue
            new.is_wanted = True
            old.retire()
            await old.has_ended.wait()
        return True

    async def _stop(self) -> None:
        self.listener.close()
        workers = tuple(self._workers)
        for worker in workers:
            worker.stop(drains=self.stopped_by == signal.SIGTERM)
        for worker in workers:
            await worker.has_ended.wait()

    def _kill_and_end(self, number: int) -> None:
        signals.restore_default_action()
        for worker in tuple(self._workers):
            worker.kill()
        signals.end_by(number)
