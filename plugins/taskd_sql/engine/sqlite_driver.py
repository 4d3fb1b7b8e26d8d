"""
Open connections to SQLite files.  This module wraps `databases` and aiosqlite, which no other module uses.

It is apart from the drivers for PostgreSQL because importing either takes a while, and a server uses only one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import aiosqlite
import databases
from databases.backends.sqlite import SQLitePool
from databases.core import DatabaseURL

from taskd_sql.engine.database import Rows, silence_drivers

__all__ = ["in_transaction", "sqlite_connection"]

# How often to check whether a connection's thread is still alive.
THREAD_CHECK_S = 0.05


@contextlib.asynccontextmanager
async def sqlite_connection(file: Path, busy_timeout_s: float) -> AsyncIterator[aiosqlite.Connection]:
    """Open a connection to *file* that waits up to *busy_timeout_s* for locks, and close it at the end."""
    silence_drivers()
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
