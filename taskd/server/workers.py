"""Run several worker processes on the same sockets, and start, replace and stop them from their parent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from socket import socket
from types import FrameType

import attrs
import uvicorn

from taskd.server import signals
from taskd.server.sockets import Listener
from taskd.server.uvicorn import Server

__all__ = ["Workers"]

# How long to pause before another attempt to replace a worker, if the last one failed.
PAUSE_S = 1.0
# Tells a worker that others serve in its place.  Windows has no such signal, and runs no workers.
RETIRE = getattr(signal, "SIGUSR1", signal.SIGTERM)

_spawn = multiprocessing.get_context("spawn")

logger = logging.getLogger(__name__)


class Workers:
    """
    The parent of *count* worker processes.

    SIGHUP replaces them, one after another.  The first SIGTERM or SIGINT stops them gracefully, and the second ends all
    processes at once.
    """

    def __init__(self, config: uvicorn.Config, listener: Listener, count: int, drain_s: int = 0) -> None:
        """Prepare to serve as *config* says, on the sockets of *listener*, and to drain for *drain_s* seconds."""
        self.config = config
        self.listener = listener
        self.count = count
        self.drain_s = drain_s
        self.stopped_by: int | None = None
        self._has_served = False
        self._workers: set[_Worker] = set()
        # An event loop keeps only weak references to its tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self) -> None:
        """Serve until a signal stops the workers."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._stopping, self._hangup = asyncio.Event(), asyncio.Event()
        self._handle_signals()
        with signals.blocked():
            # multiprocessing would otherwise start its helper along with the first worker, and unblock signals then.
            resource_tracker.ensure_running()
        for _ in range(self.count):
            self._start()
        restarting = asyncio.create_task(self._restart_at_hangup())
        await self._stopping.wait()
        restarting.cancel()
        await self._stop()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)

        def stop(number: int, _: FrameType | None) -> None:
            if self.stopped_by is not None:
                self._kill_and_end(number)
            self.stopped_by = number
            loop.call_soon_threadsafe(self._stopping.set)

        # These are not the loop's handlers, because they must remain after the loop has ended.
        for number in signals.STOP_SIGNALS:
            signal.signal(number, stop)

    def _start(self, *, is_wanted: bool = True) -> _Worker:
        worker = _Worker.start(self.config, self.listener.sockets, self.drain_s, is_wanted=is_wanted)
        self._workers.add(worker)
        task = asyncio.create_task(self._look_after(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return worker

    async def _look_after(self, worker: _Worker) -> None:
        """Replace *worker* when it ends, unless it is no longer wanted."""
        if await worker.watch_start():
            self._has_served = True
        await worker.watch_end()
        self._workers.remove(worker)
        if not worker.is_wanted:
            return
        logger.error("Worker process [%d] has ended unexpectedly", worker.pid)
        if not self._has_served:
            # Its replacement would fail, too.
            self._stopping.set()
            return
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
                new.stop(drains=False)
                continue
            new.is_wanted = True
            old.stop(drains=False)
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
            worker.process.kill()
        for worker in tuple(self._workers):
            worker.process.join()
        signals.end_by(number)


@attrs.define(eq=False)
class _Worker:
    """
    A worker process, as its parent sees it.

    Attributes:
        is_wanted: Whether another worker takes its place when it ends.
        has_served: Whether it has started serving; known once it has, or once it has ended.
    """

    process: SpawnProcess
    is_wanted: bool
    _ready: Connection
    has_served: asyncio.Future[bool] = attrs.field(init=False)
    has_ended: asyncio.Event = attrs.field(init=False, factory=asyncio.Event)

    @has_served.default
    def _unknown(self) -> asyncio.Future[bool]:
        return asyncio.get_running_loop().create_future()

    @classmethod
    def start(cls, config: uvicorn.Config, sockets: list[socket], drain_s: int, *, is_wanted: bool) -> _Worker:
        """Start a process that serves on *sockets*."""
        ready, announcement = multiprocessing.Pipe(duplex=False)
        process = _spawn.Process(target=_work, args=(config, sockets, drain_s, announcement))
        with announcement, signals.blocked():
            process.start()
        return cls(process, is_wanted, ready)

    @property
    def pid(self) -> int | None:
        """Return the process id."""
        return self.process.pid

    async def watch_start(self) -> bool:
        """Wait until the worker is serving, and return True, or until it has ended, and return False."""
        with self._ready:
            await _until_readable(self._ready.fileno())
            try:
                self._ready.recv_bytes()
            except EOFError:
                self.has_served.set_result(False)
            else:
                self.has_served.set_result(True)
        return self.has_served.result()

    async def watch_end(self) -> None:
        """Wait until the worker has ended."""
        await _until_readable(self.process.sentinel)
        self.process.join()
        self.has_ended.set()

    def stop(self, *, drains: bool) -> None:
        """Stop the worker gracefully and for good; *drains* says whether load balancers must hear of it first."""
        self.is_wanted = False
        if drains:
            self.process.terminate()
        elif self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, RETIRE)


async def _until_readable(descriptor: int) -> None:
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


def _work(config: uvicorn.Config, sockets: list[socket], drain_s: int, announcement: Connection) -> None:
    """Run a worker in this process."""
    signals.ignore_terminal()
    config.configure_logging()

    def announce() -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent has ended
            announcement.send_bytes(b"serving")

    _WorkerServer(config, announce, drain_s=drain_s).run(sockets)


class _WorkerServer(Server):
    """
    The server of one worker.

    It drains and stops gracefully on a SIGTERM from its parent, even if a supervisor sends more of them to all
    processes.  It stops without draining on `RETIRE`, because others keep serving, and when its parent has ended.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals, and watch the parent."""
        for number in (signal.SIGTERM, RETIRE):
            signal.signal(number, self.handle_exit)
        if parent := multiprocessing.parent_process():
            asyncio.get_running_loop().add_reader(parent.sentinel, self._stop_as_orphan, parent.sentinel)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin the graceful stop."""
        self.begin_stop(drains=sig != RETIRE)

    def _stop_as_orphan(self, sentinel: int) -> None:
        """Release the port for a new parent, and stop gracefully."""
        asyncio.get_running_loop().remove_reader(sentinel)
        for server in self.servers:
            server.close()
        self.begin_stop(drains=False)
        logger.error("The parent process has ended, stopping this worker")
