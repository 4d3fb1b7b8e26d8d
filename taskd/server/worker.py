"""Workers: processes that serve requests, and the server in the parent's own process, as their parent sees them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from socket import socket
from types import FrameType
from typing import Protocol

import attrs
import uvicorn

from taskd.server import signals
from taskd.server.uvicorn import Server

__all__ = ["LocalWorker", "Worker", "WorkerProcess"]

# Tells a worker that others serve in its place.  Windows has no such signal, and runs no workers.
RETIRE = getattr(signal, "SIGUSR1", signal.SIGTERM)

_spawn = multiprocessing.get_context("spawn")

logger = logging.getLogger(__name__)


class Worker(Protocol):
    """
    What serves requests, as its parent sees it.

    Attributes:
        is_wanted: Whether another worker takes its place when it ends.
        has_served: Whether it has started serving; known once it has, or once it has ended.
        has_ended: Set when it has ended.
    """

    is_wanted: bool
    has_served: asyncio.Future[bool]
    has_ended: asyncio.Event

    async def watch_start(self) -> bool:
        """Wait until the worker is serving, and return True, or until it has ended, and return False."""
        ...

    async def watch_end(self) -> None:
        """Wait until the worker has ended."""
        ...

    def retire(self) -> None:
        """Stop the worker gracefully and for good, while others keep serving."""
        ...

    def stop(self, *, drains: bool) -> None:
        """Stop the worker gracefully and for good; *drains* says whether load balancers must hear of it first."""
        ...

    def kill(self) -> None:
        """End the worker at once, unless it is in this process."""
        ...


@attrs.define(eq=False)
class WorkerProcess:
    """A worker in a process of its own."""

    process: SpawnProcess
    is_wanted: bool
    _ready: Connection
    has_served: asyncio.Future[bool] = attrs.field(init=False)
    has_ended: asyncio.Event = attrs.field(init=False, factory=asyncio.Event)

    @has_served.default
    def _unknown(self) -> asyncio.Future[bool]:
        return asyncio.get_running_loop().create_future()

    @classmethod
    def start(cls, config: uvicorn.Config, sockets: list[socket], drain_s: int, *, is_wanted: bool) -> WorkerProcess:
        """Start a process that serves on *sockets*."""
        ready, announcement = multiprocessing.Pipe(duplex=False)
        process = _spawn.Process(target=_work, args=(config, sockets, drain_s, announcement))
        with announcement, signals.blocked():
            # multiprocessing would otherwise start its helper along with the process, and unblock signals then.
            resource_tracker.ensure_running()
            process.start()
        return cls(process, is_wanted, ready)

    def __str__(self) -> str:
        """Return the worker's name for the log."""
        return f"Worker process [{self.process.pid}]"

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

    def retire(self) -> None:
        """Stop the worker gracefully and for good, while others keep serving."""
        self.is_wanted = False
        self._send(RETIRE)

    def stop(self, *, drains: bool) -> None:
        """Stop the worker gracefully and for good."""
        self.is_wanted = False
        self._send(signal.SIGTERM if drains else RETIRE)

    def _send(self, number: int) -> None:
        if self.process.pid is not None and not self.has_ended.is_set():
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End the worker at once."""
        self.process.kill()
        self.process.join()


class LocalWorker:
    """
    The server in this process, which is the only worker until another one takes its place.

    Args:
        config: uvicorn's configuration.
        sockets: Where to listen; they are closed when it stops.
        drain_s: For how many seconds to keep serving after SIGTERM.
        announce: Called once requests are being served.
    """

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket], drain_s: int, announce: Callable[[], None]
    ) -> None:
        self.is_wanted = True
        self.has_served: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.has_ended = asyncio.Event()
        self._announce = announce
        self._server = _LocalServer(config, self._on_start, drain_s=drain_s)
        self._serving = asyncio.create_task(self._serve(sockets))

    def __str__(self) -> str:
        """Return the worker's name for the log."""
        return f"Server process [{os.getpid()}]"

    def _on_start(self) -> None:
        self.has_served.set_result(True)
        self._announce()

    async def _serve(self, sockets: list[socket]) -> None:
        try:
            await self._server.serve(sockets)
        except SystemExit:
            # The application did not start, and has said why.
            self.is_wanted = False
        finally:
            if not self.has_served.done():
                self.has_served.set_result(False)
            self.has_ended.set()

    async def watch_start(self) -> bool:
        """Wait until the server is serving, and return True, or until it has ended, and return False."""
        return await asyncio.shield(self.has_served)

    async def watch_end(self) -> None:
        """Wait until the server has ended."""
        try:
            await asyncio.shield(self._serving)
        except Exception:
            logger.exception("The server failed")

    def retire(self) -> None:
        """Stop serving gracefully and for good.  The process stays, so nothing ends it if that takes long."""
        self.is_wanted = False
        self._server.should_exit = True

    def stop(self, *, drains: bool) -> None:
        """Stop the server gracefully and for good.  A signal handler may call this."""
        self.is_wanted = False
        if not self.has_ended.is_set():
            self._server.begin_stop(drains=drains)

    def kill(self) -> None:
        """Do nothing: the parent ends its own process."""

    def close(self) -> None:
        """Note that the process has stopped in time."""
        self._server.has_stopped()


class _LocalServer(Server):
    """The server of a `LocalWorker`, whose parent handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle no signals."""
        yield


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
    The server of a worker process.

    It drains and stops gracefully on a SIGTERM from its parent, even if a supervisor sends more of them to all
    processes.  It stops without draining on `RETIRE`, because others keep serving, and when its parent has ended.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals, and watch the parent."""
        for number in (signal.SIGTERM, RETIRE):
            signal.signal(number, self.handle_exit)
        if parent := multiprocessing.parent_process():
            # A thread, because a plugin may be blocking the event loop.
            watching = (parent, asyncio.get_running_loop())
            threading.Thread(target=self._watch, args=watching, name="taskd: parent", daemon=True).start()
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin the graceful stop."""
        self.begin_stop(drains=sig != RETIRE)

    def _watch(self, parent: BaseProcess, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until *parent* has ended, and see to it that this process ends, too."""
        parent.join()
        self.limit_stop()
        with contextlib.suppress(RuntimeError):  # the loop is already closed
            loop.call_soon_threadsafe(self._stop_as_orphan)

    def _stop_as_orphan(self) -> None:
        """Release the port for a new parent, and stop gracefully."""
        for server in self.servers:
            server.close()
        self.begin_stop(drains=False)
        logger.error("The parent process has ended, stopping this worker")
