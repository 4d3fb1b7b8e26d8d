"""
The connections, and the only module that knows `databases`, asyncpg and aiosqlite.

`databases` is archived; of it, this uses the part that opens and lends connections, and runs statements that are
compiled already on the driver's own connection.  Its query methods compile anew at each call, and its transactions can
lose a connection for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import aiosqlite
import asyncpg
import attrs
import databases
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql import asyncpg as postgres_dialect
from sqlalchemy.dialects.sqlite import aiosqlite as sqlite_dialect
from sqlalchemy.schema import CreateTable

from taskd import StoreError, StoreUnavailable
from taskd_sql.dsn import PostgresAddress, SQLiteAddress
from taskd_sql.lifetime import LoopBound
from taskd_sql.schema import metadata

__all__ = ["Database", "PostgresDatabase", "SQLiteDatabase"]

# The whole of a call, connecting and waiting for a turn included: with what comes on top under load, less than the ten
# seconds that clients are promised.
CALL_TIMEOUT_S = 6
CANCEL_TIMEOUT_S = 1
CLOSE_TIMEOUT_S = 2
SQLITE_BUSY_TIMEOUT_S = 4
POOL_MAX_SIZE = 10
# Neon suspends a compute that is idle for five minutes; a connection kept open beyond that would keep it awake.
POOL_IDLE_S = 60

# At DEBUG these log the arguments of statements, which are the tasks' texts, and at INFO nothing of use.
for _name in ("aiosqlite", "databases"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Database(Protocol):
    """A database that takes compiled statements.  It connects at the first use, in the event loop of that moment."""

    @property
    def dialect(self) -> Dialect:
        """Return the dialect for which statements are to be compiled."""
        ...

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """
        Run one statement and return its rows.  What it changed is durable by then.

        Raises:
            StoreUnavailable: It could not be run, or did not answer, in `CALL_TIMEOUT_S`.
            StoreError: The database refuses the statement.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


@attrs.define(eq=False)
class PostgresDatabase:
    """A pool of connections to a PostgreSQL server, by asyncpg."""

    address: PostgresAddress
    dialect: Dialect = attrs.field(init=False, factory=postgres_dialect.dialect)
    _pool: LoopBound[databases.Database] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Open nothing yet."""
        self._pool = LoopBound(self._open)

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Run one statement on a connection of the pool."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        cut: asyncio.TimerHandle | None = None
        try:
            async with asyncio.timeout_at(started + CALL_TIMEOUT_S):
                pool = await self._pool.get()
                async with pool.connection() as connection:
                    raw = connection.raw_connection
                    # When the time is up, asyncpg asks the server to cancel the statement, so that it is not run after
                    # all, and waits without end for the answer; a server that is frozen gives none.
                    cut = loop.call_at(started + CALL_TIMEOUT_S + CANCEL_TIMEOUT_S, raw.terminate)
                    rows: list[asyncpg.Record] = await raw.fetch(sql, *arguments)
                    return rows
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            raise _postgres_fault(error) from None
        finally:
            if cut is not None:
                cut.cancel()

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[databases.Database]:
        """Make a pool, which takes no I/O, and close it; connections that are still busy then are cut."""
        pool = databases.Database("postgresql://", **self._options())
        await pool.connect()
        try:
            yield pool
        finally:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(pool.disconnect(), CLOSE_TIMEOUT_S)

    def _options(self) -> dict[str, Any]:
        address = self.address
        return {
            "host": address.host,
            "port": address.port,
            "user": address.user,
            "password": address.password.value if address.password else None,
            "database": address.database,
            "ssl": address.tls,
            "min_size": 0,
            "max_size": POOL_MAX_SIZE,
            "timeout": CALL_TIMEOUT_S,
            "max_inactive_connection_lifetime": POOL_IDLE_S,
            "statement_cache_size": 0 if address.is_pooled else 100,
            "server_settings": {"application_name": "taskd"},
            "reset": _reset,
        }


async def _reset(connection: Any) -> None:
    """
    Make a connection ready for its next user.

    No statement here leaves anything behind in a session, so the round trip that asyncpg would make is saved.
    """
    if connection.is_in_transaction():
        await connection.reset()


# Classes of SQLSTATE (PostgreSQL manual, appendix A) that say that a statement, not the server, is at fault.
_STATEMENT_FAULTS = ("0A", "21", "22", "23", "42")
# ... and among them what is seen when `schema.sql` has not been run, or not by the right user.
_SCHEMA_FAULTS = ("42P01", "42501", "42703")


def _postgres_fault(error: Exception) -> StoreError:
    """Translate *error*, without its message: PostgreSQL quotes the values that it refuses."""
    state = getattr(error, "sqlstate", None) or ""
    name = f"{type(error).__name__} {state}".rstrip()
    if state in _SCHEMA_FAULTS:
        return StoreUnavailable(f"PostgreSQL: {name}: has schema.sql been run?")
    if state.startswith(_STATEMENT_FAULTS):
        return StoreError(f"PostgreSQL: {name}")
    return StoreUnavailable(f"PostgreSQL: {name}")


@attrs.define(eq=False)
class SQLiteDatabase:
    """One held connection to an SQLite file, by aiosqlite."""

    address: SQLiteAddress
    dialect: Dialect = attrs.field(init=False, factory=sqlite_dialect.dialect)
    _held: LoopBound[tuple[aiosqlite.Connection, asyncio.Lock]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Open nothing yet."""
        self._held = LoopBound(self._open)

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Run one statement on the held connection, when it is its turn."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                connection, turn = await self._held.get()
                # One at a time: a call that gives up while it waits must not be run afterwards.
                async with turn:
                    return list(await connection.execute_fetchall(sql, arguments))
        except (sqlite3.Error, OSError) as error:
            raise _sqlite_fault(error) from None

    async def close(self) -> None:
        """Close the connection, after the statement that is running."""
        await self._held.close()

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[tuple[aiosqlite.Connection, asyncio.Lock]]:
        """Open the file, make its tables if they are not there, and close it."""
        file = self.address.file
        # Others must not read the tasks; the files that SQLite puts beside this one get the same mode.
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o640))
        database = databases.Database(f"sqlite:///{quote(str(file))}", timeout=SQLITE_BUSY_TIMEOUT_S)
        async with database.connection() as connection:
            raw: aiosqlite.Connection = connection.raw_connection
            await raw.execute_fetchall("PRAGMA journal_mode = WAL")
            # An acknowledged write survives a power failure; NORMAL would lose the last ones.
            await raw.execute_fetchall("PRAGMA synchronous = FULL")
            for table in metadata.sorted_tables:
                await raw.execute_fetchall(str(CreateTable(table, if_not_exists=True).compile(dialect=self.dialect)))
            yield raw, asyncio.Lock()


def _sqlite_fault(error: Exception) -> StoreError:
    """Translate *error*, without its message: it may hold what was in the statement."""
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    is_refused = isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError) or name == "SQLITE_ERROR"
    return StoreError(f"SQLite: {name}") if is_refused else StoreUnavailable(f"SQLite: {name}")
