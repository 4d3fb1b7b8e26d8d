"""Run uvicorn with taskd's settings and signal handling."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from socket import socket
from types import FrameType

import attrs
import uvicorn
from starlette.types import ASGIApp

from taskd.health import IS_STOPPING
from taskd.logs import Logging
from taskd.server import garbage
from taskd.server.forwarded import THIS_MACHINE
from taskd.server.protocol import HTTPProtocol
from taskd.server.signals import STOP_SIGNALS, restore_default_action
from taskd.server.sockets import BACKLOG

__all__ = ["HTTPOptions", "Server", "config"]

# Much longer than a request from a busy client takes to arrive.
LAST_REQUESTS_S = 0.5
# How long the process may take to end after that, and after the time for requests in flight.  Each plugin has a few
# seconds to close what it has open.
END_TIMEOUT_S = 10.0
# Python's default is 250 times as long, and each step of a store's thread waits that long while the event loop is busy.
SWITCH_INTERVAL_S = 0.00002
CLOSE = (b"connection", b"close")

logger = logging.getLogger(__name__)


@attrs.frozen
class HTTPOptions:
    """
    What a server needs to know about its clients, and about proxies in front of it.

    Attributes:
        root_path: The prefix of all paths, as clients of a proxy see them; without a slash at the end.
        keep_alive_s: For how many seconds an idle connection stays open.
        trusted_proxies: Whose `X-Forwarded-For` and `X-Forwarded-Proto` count, as `TrustedProxies.parse` reads it.
    """

    root_path: str = ""
    keep_alive_s: int = 5
    trusted_proxies: str = THIS_MACHINE


def config(
    app: ASGIApp | str, grace_s: int = 10, logs: Logging | None = None, http: HTTPOptions | None = None
) -> uvicorn.Config:
    """
    Return uvicorn's configuration, and set up logging.

    Args:
        app: The application or, for several processes, where it can be imported from.
        grace_s: How many seconds requests in flight may take after SIGTERM.
        logs: How to log.
        http: What to know about clients and proxies.
    """
    http = http or HTTPOptions()
    return uvicorn.Config(
        app,
        http=HTTPProtocol,
        # taskd has no WebSocket endpoints, but if a library for them is installed, uvicorn would respond to such
        # requests itself.
        ws="none",
        timeout_graceful_shutdown=grace_s,
        timeout_keep_alive=http.keep_alive_s,
        root_path=http.root_path,
        # The protocol reads what proxies say, because it knows who is connected.
        proxy_headers=False,
        forwarded_allow_ips=http.trusted_proxies,
        backlog=BACKLOG,
        server_header=False,
        # uvicorn's would contain the query of every request, which may contain tokens.
        access_log=False,
        log_config=(logs or Logging()).config(),
    )


class Server(uvicorn.Server):
    """
    The server of one process.

    The first SIGTERM or SIGINT stops it gracefully, and the second ends the process at once.  The process also ends,
    after a while, if a plugin keeps it from stopping.

    After SIGTERM, it may first drain: it keeps serving, but `/readyz` says that it is stopping, and each response tells
    its client to open another connection for the next request, which a load balancer sends elsewhere.

    Attributes:
        stopped_by: The first of these signals that was received; None until then.
    """

    stopped_by: int | None = None

    def __init__(
        self,
        config: uvicorn.Config,
        announce: Callable[[], None],
        *,
        drain_s: int = 0,
        end_timeout_s: float = END_TIMEOUT_S,
    ) -> None:
        """
        Prepare to serve as *config* says.

        Args:
            config: uvicorn's configuration.
            announce: Called once requests are being served.
            drain_s: For how many seconds to keep serving after SIGTERM.
            end_timeout_s: How long the process may take to end, after the time for requests in flight.
        """
        super().__init__(config)
        self.servers = []
        self.announce = announce
        self._drain_s = drain_s
        self._drains_until_s = float("-inf")
        self._is_draining = False
        self._end_timeout_s = end_timeout_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_resort: threading.Timer | None = None

    def run(self, sockets: list[socket] | None = None) -> None:
        """Serve until a signal stops the server."""
        try:
            super().run(sockets)
        finally:
            self.has_stopped()

    def has_stopped(self) -> None:
        """Note that the event loop has ended in time."""
        if self._last_resort is not None:
            self._last_resort.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals from now on, even after the event loop has ended: threads may keep the process alive."""
        for number in STOP_SIGNALS:
            signal.signal(number, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Start the graceful stop; the next signal ends the process."""
        restore_default_action()
        self.stopped_by = sig
        # Whoever presses Ctrl+C is waiting.
        self.begin_stop(drains=sig == signal.SIGTERM)

    def begin_stop(self, *, drains: bool) -> None:
        """
        Start the graceful stop, from a signal handler or the event loop; it may be called again.

        Args:
            drains: Whether to drain first; if not, a drain ends, too.
        """
        if not drains:
            self._drains_until_s = float("-inf")
        elif self.started and not self.should_exit:
            # At once, and not at the next tick.
            self.lifespan.state[IS_STOPPING] = True
            self._drains_until_s = time.monotonic() + self._drain_s
        self.should_exit = True
        self.limit_stop()

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop serving: a while after `begin_stop` if the server drains."""
        if not await super().on_tick(counter):
            return False
        if time.monotonic() >= self._drains_until_s:
            return True
        if not self._is_draining:
            self._is_draining = True
            logger.info("Draining for %d s: /readyz responds with 503, and everything else is served", self._drain_s)
        self._close_after_responses()
        return False

    def _close_after_responses(self) -> None:
        """Let each response tell its client to open another connection for its next request."""
        headers = self.server_state.default_headers
        if CLOSE not in headers:
            self.server_state.default_headers = [*headers, CLOSE]

    def limit_stop(self) -> None:
        """
        Arrange for the process to be killed if it does not stop in time.

        asyncio waits forever for tasks that ignore cancellation, and Python for threads.  If a plugin blocks the event
        loop, nothing else would notice the signal.
        """
        if self._last_resort is None:
            drain_s = max(0.0, self._drains_until_s - time.monotonic())
            grace_s = self.config.timeout_graceful_shutdown or 0
            timeout_s = drain_s + LAST_REQUESTS_S + grace_s + self._end_timeout_s
            self._last_resort = threading.Timer(timeout_s, self._kill, (timeout_s,))
            self._last_resort.daemon = True
            self._last_resort.start()

    def _kill(self, timeout_s: float) -> None:
        tasks = asyncio.all_tasks(self._loop) if self._loop is not None else ()
        running = ", ".join(sorted(str(task.get_coro()) for task in tasks)) or "no task"
        logger.error("Not stopped after %d s, killing the process; still running: %s", timeout_s, running)
        faulthandler.dump_traceback(sys.__stderr__ or 2)
        os.kill(os.getpid(), signal.SIGKILL)
        # The first process of a container survives that.
        os._exit(128 + signal.SIGKILL)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start serving, and announce it."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.announce()
        garbage.collect_rarely()
        # This is how long the event loop waits while another thread, such as a store's, holds the GIL.
        sys.setswitchinterval(SWITCH_INTERVAL_S)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """
        Drain, stop listening, serve the last requests, and then stop as uvicorn does.

        uvicorn would close idle connections at once, although their clients may be sending a request.  For
        `LAST_REQUESTS_S` seconds, each response tells its client to open another connection for the next request.
        """
        if time.monotonic() < self._drains_until_s:
            # A signal at the end of the start has kept uvicorn from entering its main loop.
            await self.main_loop()
        for server in self.servers:
            server.close()
        if self.server_state.connections:
            self._close_after_responses()
            await asyncio.sleep(LAST_REQUESTS_S)
        await super().shutdown(sockets)
