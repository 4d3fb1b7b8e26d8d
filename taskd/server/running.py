"""Run the server, for `taskd serve` and `taskd dev`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import attrs
from starlette.types import ASGIApp

from taskd.logs import Logging
from taskd.server import open_files
from taskd.server.signals import exit_after
from taskd.server.sockets import Listener
from taskd.server.uvicorn import HTTPOptions, Server, config
from taskd.server.workers import Workers

__all__ = ["StopTimes", "serve", "serve_here"]

logger = logging.getLogger(__name__)


@attrs.frozen
class StopTimes:
    """
    How long a stop may take.

    Attributes:
        drain_s: For how many seconds to keep serving after SIGTERM.
        grace_s: How many seconds requests in flight may take after that.
    """

    drain_s: int = 0
    grace_s: int = 10


def serve(
    app: str,
    listen: Callable[[], Listener],
    *,
    workers: int,
    times: StopTimes,
    logs: Logging,
    http: HTTPOptions | None = None,
) -> None:
    """
    Serve in production, and exit when a signal stops the server.

    Args:
        app: Where each worker imports the application from.
        listen: Starts to listen.
        workers: How many processes serve requests.
        times: How long a stop may take.
        logs: How to log.
        http: What to know about clients and proxies.

    Raises:
        ListenError: The server cannot listen there.
    """
    configuration = config(app, times.grace_s, logs, http)
    open_files.raise_limit()
    listener = listen()
    try:
        parent = Workers(configuration, listener, workers, times.drain_s)
        announce = partial(_log_url, listener)
        if workers == 1:
            # uvicorn loads the application into its configuration, which cannot be passed to another process then.
            parent.run_here(config(app, times.grace_s, logs, http), announce)
        else:
            parent.run(announce)
    finally:
        listener.release()
    exit_after(parent.stopped_by)


def serve_here(app: ASGIApp, port: int, announce: Callable[[str], None], logs: Logging) -> None:
    """
    Serve *app* on this machine only, and call *announce* with its URL.  In other respects, it works as in production.

    Raises:
        ListenError: The server cannot listen there.
    """
    listener = Listener.open("127.0.0.1", port)

    def say() -> None:
        _log_url(listener)
        announce(listener.url)

    server = Server(config(app, logs=logs), say)
    server.run(listener.sockets)
    exit_after(server.stopped_by)


def _log_url(listener: Listener) -> None:
    logger.info("taskd is running on %s (Press CTRL+C to quit)", listener.url)
