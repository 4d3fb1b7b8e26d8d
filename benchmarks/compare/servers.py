"""The servers that are compared: how each is started with one worker, as in production, and without an access log."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from benchmarks.compare.installing import SERVERS, fastify, python_with
from benchmarks.processes import running_process
from benchmarks.tokens import SECRET
from tests.support.postgres import free_port

__all__ = ["ALL", "Running", "Server", "started"]

START_TIMEOUT_S = 60
POLL_S = 0.002
Command = Callable[[int], Sequence[str | Path]]


@attrs.frozen
class Server:
    """
    A server to compare.

    Attributes:
        title: Its name in tables.
        command: Returns the command that starts it on a port.
        environ: What it needs in its environment, in addition to the URL of the database.
        kind: The kind of its database: `taskd`, `peers` or `sqlite`.
        by_key: Whether its tokens are signed with a published key; otherwise, with the secret.
        is_pooled: Whether it uses the database through PgBouncer.
    """

    name: str
    title: str
    command: Command
    environ: Mapping[str, str]
    kind: str = "peers"
    by_key: bool = False
    is_pooled: bool = False


def _taskd(port: int) -> Sequence[str | Path]:
    return [sys.executable, "-m", "taskd", "serve", "--port", str(port)]


def _uvicorn(app: str, *more: str) -> Command:
    options = ["--app-dir", str(SERVERS), "--no-access-log", "--loop", "uvloop", "--http", "httptools", *more]

    def command(port: int) -> Sequence[str | Path]:
        python = python_with(SERVERS / "requirements.txt")
        return [python, "-m", "uvicorn", *options, "--port", str(port), f"{app}:app"]

    return command


def _fastify(_: int) -> Sequence[str | Path]:
    return ["node", fastify() / "server.js"]


HS256, JWT = {"BETTER_AUTH_SECRET": SECRET}, {"JWT_SECRET": SECRET, "NODE_ENV": "production"}
POOLED = {"TASKD_SQL_POOLER": "yes"}
ALL = {
    server.name: server
    for server in (
        Server("taskd", "taskd", _taskd, HS256, "taskd"),
        # `started` says where the keys are.
        Server("taskd-eddsa", "taskd, EdDSA", _taskd, {}, "taskd", by_key=True),
        Server("taskd-sqlite", "taskd, SQLite", _taskd, HS256, "sqlite"),
        Server("taskd-pgbouncer", "taskd, PgBouncer", _taskd, {**HS256, **POOLED}, "taskd", is_pooled=True),
        Server("fastapi", "FastAPI", _uvicorn("fastapi_app"), JWT),
        Server("litestar", "Litestar", _uvicorn("litestar_app"), JWT),
        Server("fastify", "Fastify", _fastify, JWT),
        Server("fastify-pgbouncer", "Fastify, PgBouncer", _fastify, {**JWT, "STATEMENTS": "unnamed"}, is_pooled=True),
        Server("floor", "floor", _uvicorn("floor_app", "--no-proxy-headers", "--no-server-header"), JWT),
    )
}


@attrs.frozen
class Running:
    """A server that is running, its port, and how long it took from its start to its first 200."""

    pid: int
    port: int
    cold_start_s: float


@contextlib.contextmanager
def started(server: Server, database_url: str, origin: str, request: bytes, folder: Path) -> Iterator[Running]:
    """
    Run a server for the duration of the block.

    Args:
        server: Which one.
        database_url: The URL of its database.
        origin: The origin that publishes the keys.
        request: What the server responds to with a 200 as soon as it has started.
        folder: Its working directory, where it also writes its log.
    """
    port = free_port()
    command = server.command(port)
    environ = _environ(server, port, database_url, origin)
    log = folder / f"{server.name}.log"
    begun_s = time.perf_counter()
    with log.open("wb") as output, running_process(command, environ, folder, output) as process:
        while not _responds(port, request):
            if process.poll() is not None or time.perf_counter() > begun_s + START_TIMEOUT_S:
                raise RuntimeError(f"{server.name} did not start: {log.read_text()}")
            time.sleep(POLL_S)
        yield Running(process.pid, port, time.perf_counter() - begun_s)


def _environ(server: Server, port: int, database_url: str, origin: str) -> dict[str, str]:
    """Return the server's whole environment: nothing but what it needs."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    keys = {"BETTER_AUTH_URL": origin} if server.by_key else {}
    return {**kept, **server.environ, **keys, "PORT": str(port), "DATABASE_URL": database_url}


def _responds(port: int, request: bytes) -> bool:
    """Send *request* on a connection of its own, and tell whether the response is a 200."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(65536).startswith(b"HTTP/1.1 200")
    return False
