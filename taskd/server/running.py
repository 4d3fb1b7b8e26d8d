"""Run the server, for `taskd serve` and `taskd dev`."""

from __future__ import annotations

import logging
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from taskd.logs import Logging
from taskd.server import open_files
from taskd.server.signals import exit_after
from taskd.server.sockets import Listener
from taskd.server.uvicorn import HTTPOptions, Server, config
from taskd.server.workers import Workers

__all__ = ["serve", "serve_here"]

logger = logging.getLogger(__name__)


def serve(
    app: str,
    listen: Callable[[], Listener],
    *,
    workers: int,
    grace_s: int,
    logs: Logging,
    http: HTTPOptions | None = None,
) -> None:
    """
    Serve in production, and exit when a signal stops the server.

    Args:
        app: Where each worker imports the application from.
        listen: Starts to listen.
        workers: How many processes serve requests.
        grace_s: How many seconds requests in flight may take after SIGTERM.
        logs: How to log.
        http: What to know about clients and proxies.

    Raises:
        ListenError: The server cannot listen there.
    """
    open_files.raise_limit()
    listener = listen()
    try:
        configuration = config(app, grace_s, logs, http)
        parent = (
            _serve_alone(configuration, listener) if workers == 1 else _serve_with(workers, configuration, listener)
        )
    finally:
        listener.release()
    exit_after(parent.stopped_by)


def _serve_alone(configuration: uvicorn.Config, listener: Listener) -> Server:
    server = Server(configuration, lambda: _log_url(listener), ignores_hangup=True)
    server.run(listener.sockets)
    return server


def _serve_with(workers: int, configuration: uvicorn.Config, listener: Listener) -> Workers:
    _log_url(listener)
    parent = Workers(configuration, listener, workers)
    parent.run()
    return parent


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
