"""Run statements on SQLite, with one connection that writes and several that read."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import attrs
from sqlalchemy import Dialect
from sqlalchemy.dialects.sqlite import aiosqlite as dialects

from taskd.limiter import FairLimiter, Overloaded
from taskd.storage import StoreUnavailable
from taskd_sql import schema
from taskd_sql.engine.database import Database, Limits, LongReads, Rows, Step, now
from taskd_sql.engine.errors import sqlite_error
from taskd_sql.engine.loop_bound import LoopBound
from taskd_sql.engine.sqlite_driver import in_transaction, sqlite_connection
from taskd_sql.engine.sqlite_file import OpenFiles, prepare
from taskd_sql.settings import SQLSettings
from taskd_sql.url import SQLiteURL

__all__ = ["SQLiteDatabase"]

# With only one reader, a long list would block all reads.  An owner may use all readers but one, so that one is left
# for others.  More readers would not be faster, because they share this process's processors.
READERS = 3
# The bounds of the pause between two attempts to lock the whole file.
PAUSES_S = (0.005, 0.05)

_ANY_TABLE = f"SELECT 1 FROM sqlite_master WHERE name IN {tuple(schema.metadata.tables)}"  # noqa: S608  our own names


@attrs.define(eq=False)
class _Connections:
    """
    A set of aiosqlite connections, each of which runs one statement at a time.

    Attributes:
        idle: The connections that are not running a statement.
        files: The files that the connections have open.
        limiter: Has a slot for each connection, so the holder of a slot always finds an idle one.
    """

    idle: list[Any]
    files: OpenFiles
    limiter: FairLimiter
    # Kept here because a loop has only weak references to its tasks.
    _releasing: set[asyncio.Task[None]] = attrs.field(init=False, factory=set)

    async def lend(self, work: Callable[[Any], Awaitable[Rows]], owner: str) -> Rows:
        """
        Do *work* on a connection for *owner*, who holds a slot, and release the slot afterwards.

        If the caller is cancelled, the statement continues in aiosqlite's thread.  Other statements for that thread
        would run after it, even if their callers had been cancelled by then, so the slot is released only when the
        statement has ended.
        """
        connection = self.idle.pop()
        try:
            self.files.check()
            rows = await work(connection)
        except asyncio.CancelledError:
            releasing = asyncio.create_task(self._release_when_idle(connection, owner))
            self._releasing.add(releasing)
            releasing.add_done_callback(self._releasing.discard)
            raise
        except BaseException:
            self._release(connection, owner)
            raise
        self._release(connection, owner)
        return rows

    async def _release_when_idle(self, connection: Any, owner: str) -> None:
        # The thread runs one statement at a time, so this one waits for the other to end.
        with contextlib.suppress(sqlite3.Error, ValueError):
            await connection.execute_fetchall("SELECT 1")
        self._release(connection, owner)

    def _release(self, connection: Any, owner: str) -> None:
        self.idle.append(connection)
        self.limiter.release(owner)


@attrs.frozen
class _OpenConnections:
    """The connections to one file."""

    writer: _Connections
    readers: _Connections


async def _enable_write_ahead_log(connection: Any, within_s: float) -> None:
    """
    Switch the file to write-ahead logging, for which SQLite must lock the whole file for a moment.

    Unlike with other locks, SQLite does not wait for this one if another connection is using the file: it raises an
    error.
    """
    until = now() + within_s
    while True:
        try:
            await connection.execute_fetchall("PRAGMA journal_mode = WAL")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY or now() >= until:
                raise
        else:
            return
        await asyncio.sleep(random.uniform(*PAUSES_S))  # noqa: S311  not used for security


def _run_steps(steps: Sequence[Step], connection: sqlite3.Connection) -> Rows | None:
    """Return the rows of the last statement that returns some, or None if one that should does not."""
    rows: Rows = []
    for sql, arguments in steps:
        cursor = connection.execute(sql, arguments)
        if cursor.description is not None and not (rows := cursor.fetchall()):
            return None
    return rows


@attrs.define(eq=False)
class SQLiteDatabase(Database):
    """
    An SQLite file, accessed through aiosqlite connections that are kept open: one that writes, and `READERS` that read.

    With write-ahead logging, reads never wait for writes: neither for the disk nor for the lock of another process.
    """

    url: SQLiteURL
    settings: SQLSettings
    limits: Limits = attrs.field(factory=Limits)
    dialect: Dialect = attrs.field(init=False, factory=dialects.dialect)
    _open_connections: LoopBound[_OpenConnections] = attrs.field(init=False)
    _long_reads: LongReads = attrs.field(init=False, factory=LongReads)

    @_open_connections.default
    def _open_at_first_use(self) -> LoopBound[_OpenConnections]:
        return LoopBound(self._open)

    @property
    def name(self) -> str:
        """Return the name of the database for the log."""
        return f"SQLite file {self.url.file.name}"

    @property
    def location(self) -> str:
        """Describe where the tasks are."""
        return f"SQLite file {self.url.file}"

    @property
    def is_local(self) -> bool:
        """Whether the tasks are on this machine: always true for SQLite."""
        return True

    async def fetch(self, sql: str, arguments: Sequence[Any] = (), *, owner: str = "") -> Rows:
        """Run one statement that changes nothing when it is its turn, on a connection that reads."""

        def read(connection: Any) -> Awaitable[Rows]:
            rows: Awaitable[Rows] = connection.execute_fetchall(sql, arguments)
            return rows

        return await self._lend(read, owner, now() + self.limits.call_timeout_s, is_read=True)

    async def write(self, steps: Sequence[Step], *, owner: str) -> Rows:
        """Run statements in one transaction when it is its turn.  SQLite itself waits for locks."""
        until = now() + self.limits.call_timeout_s
        return await self._lend(partial(in_transaction, partial(_run_steps, steps)), owner, until, is_read=False)

    async def write_many(self, sql: str, arguments: Sequence[Sequence[Any]], *, owner: str) -> None:
        """Run one statement with each of *arguments*, in one transaction."""

        def run(connection: sqlite3.Connection) -> Rows:
            connection.executemany(sql, arguments)
            return []

        await self._lend(partial(in_transaction, run), owner, now() + self.limits.call_timeout_s, is_read=False)

    async def fetch_many(self, sql: str, arguments: Sequence[Any], *, owner: str) -> Rows:
        """Run one statement that returns many rows, on a connection that reads."""

        async def read(connection: Any) -> Rows:
            rows: Rows = []
            async with connection.execute(sql, arguments) as cursor:
                while some := await cursor.fetchmany(self.limits.rows_at_once):
                    rows += some
            return rows

        until = now() + self.limits.call_timeout_s
        async with self._long_reads.turn(owner, min(until, now() + self.settings.acquire_timeout_s)):
            return await self._lend(read, owner, until, is_read=True)

    async def _lend(self, work: Callable[[Any], Awaitable[Rows]], owner: str, until: float, *, is_read: bool) -> Rows:
        """Do *work* for *owner* on a connection when its turn comes, before *until* by the loop's clock."""
        acquire_until = min(until, now() + self.settings.acquire_timeout_s)
        try:
            opened = self._open_connections.current() or await self._open_until(acquire_until)
            connections = opened.readers if is_read else opened.writer
            if not connections.limiter.try_acquire(owner):
                await connections.limiter.acquire(owner, acquire_until)
            # Nothing may be awaited here: if the caller were cancelled meanwhile, the slot would be lost.
            statement_until = min(until, now() + self.settings.statement_timeout_s)
            async with asyncio.timeout_at(statement_until + self.limits.cancel_timeout_s):
                return await connections.lend(work, owner)
        except Overloaded:
            raise StoreUnavailable("too many requests are waiting for their turn") from None
        except TimeoutError:
            raise StoreUnavailable("no response in time") from None
        except (sqlite3.Error, OSError) as error:
            raise sqlite_error(error) from None
        except UnicodeError:  # from an argument: not an outage
            raise
        except ValueError:  # aiosqlite's "Connection closed" or "no active connection"
            raise StoreUnavailable("the connection is being closed") from None

    def waited_s(self, *, is_read: bool) -> float:
        """Return how many seconds the longest-waiting statement has been waiting for its turn."""
        opened = self._open_connections.current()
        if opened is None:
            return 0.0
        return (opened.readers if is_read else opened.writer).limiter.waited_s()

    async def close(self) -> None:
        """Close the connections when their running statements have ended."""
        await self._open_connections.close()

    async def _open_until(self, until: float) -> _OpenConnections:
        async with asyncio.timeout_at(until):
            return await self._open_connections.get()

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[_OpenConnections]:
        """Open the file, create its tables unless they exist, and close it at the end."""
        prepare(self.url.file)
        busy_timeout_s = min(self.settings.statement_timeout_s, self.limits.call_timeout_s)
        async with contextlib.AsyncExitStack() as stack:
            writer = await stack.enter_async_context(sqlite_connection(self.url.file, busy_timeout_s))
            await _enable_write_ahead_log(writer, busy_timeout_s)
            # An acknowledged write must survive a power failure; NORMAL could lose the most recent ones.
            await writer.execute_fetchall("PRAGMA synchronous = FULL")
            await self._create_tables(writer)
            files = OpenFiles.of(self.url.file)
            readers = []
            for _ in range(READERS):
                reader = await stack.enter_async_context(sqlite_connection(self.url.file, busy_timeout_s))
                await reader.execute_fetchall("PRAGMA query_only = ON")
                readers.append(reader)
            yield _OpenConnections(
                writer=_Connections([writer], files, FairLimiter(1)),
                readers=_Connections(readers, files, FairLimiter(READERS, READERS - 1)),
            )

    async def _create_tables(self, connection: Any) -> None:
        """Create the tables in one transaction, unless there are any: others may open a new file at the same time."""
        if await connection.execute_fetchall(_ANY_TABLE):
            return
        await connection.execute_fetchall("BEGIN IMMEDIATE")
        try:
            if not await connection.execute_fetchall(_ANY_TABLE):
                for statement in schema.creation(self.dialect):
                    await connection.execute_fetchall(statement)
            await connection.execute_fetchall("COMMIT")
        except BaseException:
            # The error may already have ended the transaction, as a full disk does.
            if connection.in_transaction:
                await connection.execute_fetchall("ROLLBACK")
            raise
