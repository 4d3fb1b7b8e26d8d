"""
Open connections.  This module wraps `databases`, asyncpg and aiosqlite, which no other module uses.

`databases` is archived, and only the part that opens and lends connections is used here: its query methods compile
every statement again on each call, and its transactions can leak a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import aiosqlite
import asyncpg
import attrs
import databases
from databases.backends.sqlite import SQLitePool
from databases.core import Connection, DatabaseURL

from taskd_sql.engine import tls
from taskd_sql.engine.database import Rows
from taskd_sql.engine.dns import Lookup
from taskd_sql.engine.errors import wrong_encoding

__all__ = [
    "POSTGRES_ERRORS",
    "PostgresPool",
    "PostgresServer",
    "in_transaction",
    "postgres_pool",
    "sqlite_connection",
    "terminate",
]

CLOSE_TIMEOUT_S = 1.0
# How often to check whether a connection's thread is still alive.
THREAD_CHECK_S = 0.05

# What asyncpg raises, besides OSError.
POSTGRES_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# At DEBUG, these log the arguments of statements, which contain the text of tasks; at INFO, they log nothing useful.
TALKATIVE_LOGGERS = ("aiosqlite", "databases")


@attrs.frozen
class PostgresServer:
    """Connects to a server, at any address at which its host accepts connections."""

    _lookup: Lookup
    _tls: ssl.SSLContext | None

    @classmethod
    def at(cls, host: str, port: int, context: ssl.SSLContext | None) -> PostgresServer:
        """Return the server at *port* on *host*; without *context*, connections to it are in plain text."""
        return cls(Lookup(host, port), context and tls.named(context, host))

    async def connect(self, *args: Any, **options: Any) -> Any:
        """
        Return a new `asyncpg.Connection`.

        Args:
            args: Positional arguments for `asyncpg.connect`.
            options: Keyword arguments for it, except that host, port and TLS are always the server's.

        Raises:
            StoreUnavailable: The database's encoding cannot represent every character.
        """
        address = host, port = await self._lookup.address()
        try:
            connection = await asyncpg.connect(
                *args, **{**options, "host": host, "port": port, "ssl": self._tls or False}
            )
        except BaseException:  # including cancellation by a time-out
            self._lookup.avoid(address)
            raise
        encoding = getattr(connection.get_settings(), "server_encoding", "UTF8")
        if encoding != "UTF8":
            await connection.close(timeout=CLOSE_TIMEOUT_S)
            raise wrong_encoding(encoding)
        return connection


@attrs.frozen
class PostgresPool:
    """A pool of asyncpg connections, which are opened when they are needed."""

    _lender: databases.Database

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Lend an `asyncpg.Connection`.  There is no time limit here on waiting for one or opening it."""
        # `databases` would keep one of these for each task, and it becomes unusable if the task is cancelled twice.
        async with Connection(self._lender, self._lender._backend) as lent:  # noqa: SLF001
            try:
                yield lent.raw_connection
            finally:
                await _end_transaction(lent.raw_connection)


@contextlib.asynccontextmanager
async def postgres_pool(**options: Any) -> AsyncIterator[PostgresPool]:
    """
    Yield a new pool, created without I/O, and close it at the end; connections that are still busy then are terminated.

    Args:
        options: The options of `asyncpg.create_pool`, including `host`, `port` and `ssl`.
    """
    _silence_drivers()
    server = PostgresServer.at(options["host"], options["port"], options["ssl"] or None)
    lender = databases.Database("postgresql://", min_size=0, connect=server.connect, reset=_skip_reset, **options)
    await lender.connect()
    try:
        yield PostgresPool(lender)
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(lender.disconnect(), CLOSE_TIMEOUT_S)


def _silence_drivers() -> None:
    for name in TALKATIVE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


async def _end_transaction(connection: Any) -> None:
    """Roll back what was not committed.  asyncpg would do so, too, but would report an error to the event loop."""
    # The pool never reuses a connection that has failed.
    with contextlib.suppress(*POSTGRES_ERRORS, OSError):
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")


async def _skip_reset(connection: Any) -> None:
    """Skip asyncpg's reset, which costs a round trip: no statement here changes anything in its session."""


def terminate(connection: Any) -> None:
    """Terminate a connection, unless it has already been returned to its pool."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


@contextlib.asynccontextmanager
async def sqlite_connection(file: Path, busy_timeout_s: float) -> AsyncIterator[aiosqlite.Connection]:
    """Open a connection to *file* that waits up to *busy_timeout_s* for locks, and close it at the end."""
    _silence_drivers()
    url = f"sqlite:///{quote(str(file))}"
    database = databases.Database(url)
    # `databases` has no public API for changing how it opens connections.
    database._backend._pool = _SQLiteConnections(DatabaseURL(url), timeout=busy_timeout_s)  # noqa: SLF001
    async with database.connection() as connection:
        yield connection.raw_connection


async def in_transaction(work: Callable[[sqlite3.Connection], Rows | None], connection: Any) -> Rows:
    """
    Do *work* in a transaction on an aiosqlite *connection*, and return its rows.

    If it returns None, the transaction is rolled back, and no rows are returned.  aiosqlite has no public method for
    running several statements in its thread at once, and handing them over one by one would take longer than running
    them.
    """
    rows: Rows = await connection._execute(_transaction, work, connection._conn)  # noqa: SLF001
    return rows


def _transaction(work: Callable[[sqlite3.Connection], Rows | None], connection: sqlite3.Connection) -> Rows:
    # Otherwise, two transactions that read first and write later could not both wait for the lock.
    connection.execute("BEGIN IMMEDIATE")
    try:
        rows = work(connection)
        connection.execute("ROLLBACK" if rows is None else "COMMIT")
    finally:
        # The error may already have ended the transaction, as a full disk does.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return rows or []


class _SQLiteConnections(SQLitePool):
    """
    Opens connections, and closes them even if their threads have died.

    aiosqlite starts a thread for each connection.  When Python exits, it waits for every thread that is not a daemon:
    it would wait forever if the event loop had been stopped and nothing had closed the connections.
    """

    async def acquire(self) -> aiosqlite.Connection:
        connection = aiosqlite.connect(self._database, isolation_level=None, check_same_thread=False, **self._options)
        _thread_of(connection).daemon = True
        return await connection

    async def release(self, connection: aiosqlite.Connection) -> None:
        """Close *connection*, even if its thread has died, as happens when a statement outlives its event loop."""
        raw, thread = connection._connection, _thread_of(connection)  # noqa: SLF001
        closing = asyncio.create_task(connection.close())
        while thread.is_alive() and not closing.done():
            await asyncio.wait([closing], timeout=THREAD_CHECK_S)
        await asyncio.wait([closing], timeout=THREAD_CHECK_S)
        while not closing.done():
            closing.cancel()
            await asyncio.sleep(0)
        if not closing.cancelled():
            closing.result()
        elif raw is not None:
            raw.close()


def _thread_of(connection: Any) -> Thread:
    # Before aiosqlite 0.22, a connection was itself a thread.
    thread: Thread = getattr(connection, "_thread", connection)
    return thread
