"""Run statements on SQLite, with one connection that writes and several that read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import attrs
from sqlalchemy import Dialect
from sqlalchemy.dialects.sqlite import aiosqlite as dialects

from taskd.limiter import FairLimiter, Overloaded
from taskd.storage import StoreError, StoreUnavailable
from taskd.telemetry import Measurement
from taskd_sql import schema
from taskd_sql.engine.batches import Batches, RunAlone
from taskd_sql.engine.database import (
    Database,
    Kind,
    Limits,
    LongReads,
    Pipeline,
    Rows,
    Step,
    now,
    pool_measurements,
)
from taskd_sql.engine.errors import sqlite_error
from taskd_sql.engine.loop_bound import LoopBound
from taskd_sql.engine.sqlite_driver import in_transaction, sqlite_connection
from taskd_sql.engine.sqlite_file import OpenFiles, prepare
from taskd_sql.settings import SQLSettings
from taskd_sql.url import SQLiteURL

__all__ = ["SQLiteDatabase", "translating"]

# With only one reader, a long list would block all reads.  An owner may use all readers but one, so that one is left
# for others.  More readers than processors would not be faster.
READERS = min(max(3, os.cpu_count() or 1), 8)
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
    """The connections to one file, and the writes that wait for their turn."""

    writer: _Connections
    writes: Batches[_Write]
    readers: _Connections


@contextlib.contextmanager
def translating() -> Iterator[None]:
    """Translate the errors of the block, which waits for a turn or runs statements."""
    try:
        yield
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


@attrs.define(eq=False)
class _Write:
    """
    A write that waits for its turn.

    Attributes:
        run: Runs it in an open transaction, and returns its rows, or None if the transaction is to be rolled back.
        owner: Whose write it is.
        kind: Whether it may share a transaction with others.
        task_id: Is not used here: several changes of one task may share a transaction.
    """

    run: Callable[[sqlite3.Connection], Rows | None]
    owner: str
    kind: Kind | None = None
    task_id: UUID | None = None


# Each write takes about a tenth of a millisecond, and all that share a transaction wait for the last one.
_SHARED = Kind(max_calls=64)


def _run_steps(steps: Sequence[Step], connection: sqlite3.Connection) -> Rows | None:
    """Return the rows of the last statement that returns some, or None if one that should does not."""
    rows: Rows = []
    for sql, arguments in steps:
        cursor = connection.execute(sql, arguments)
        if cursor.description is not None and not (rows := cursor.fetchall()):
            return None
    return rows


def _run_each(writes: Sequence[_Write], connection: sqlite3.Connection) -> list[Rows | Exception]:
    """Run *writes* in one transaction, each so that it leaves nothing behind if it fails."""
    return [_run_apart(write, connection) for write in writes]


def _run_apart(write: _Write, connection: sqlite3.Connection) -> Rows | Exception:
    connection.execute("SAVEPOINT one")
    rows: Rows | None = None
    failure: Exception | None = None
    try:
        rows = write.run(connection)
    except Exception as error:
        if not connection.in_transaction:
            # The error, such as a full disk, has ended the whole transaction.
            raise
        failure = sqlite_error(error) if isinstance(error, sqlite3.Error) else error
    if rows is None:
        connection.execute("ROLLBACK TO one")
    connection.execute("RELEASE one")
    return failure or rows or []


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

    async def fetch(
        self,
        sql: str,
        arguments: Sequence[Any] = (),
        *,
        owner: str = "",
        task_id: UUID | None = None,  # noqa: ARG002  reads share nothing: there is no round trip
        pipeline: Pipeline | None = None,  # noqa: ARG002
    ) -> Rows:
        """Run one statement that changes nothing when it is its turn, on a connection that reads."""

        def read(connection: Any) -> Awaitable[Rows]:
            rows: Awaitable[Rows] = connection.execute_fetchall(sql, arguments)
            return rows

        return await self._read(read, owner, now() + self.limits.call_timeout_s)

    async def write(
        self,
        steps: Sequence[Step],
        *,
        owner: str,
        task_id: UUID | None = None,  # noqa: ARG002
        pipeline: Pipeline | None = None,  # noqa: ARG002
    ) -> Rows:
        """
        Run statements in one transaction when it is their turn.  SQLite itself waits for locks.

        Writes that are waiting share a transaction, and so the time that it takes until the disk has it.
        """
        return await self._write(_Write(partial(_run_steps, steps), owner, _SHARED))

    async def write_many(self, sql: str, arguments: Sequence[Sequence[Any]], *, owner: str) -> None:
        """Run one statement with each of *arguments*, in one transaction."""

        def run(connection: sqlite3.Connection) -> Rows:
            connection.executemany(sql, arguments)
            return []

        await self._write(_Write(run, owner))

    async def _write(self, write: _Write) -> Rows:
        """Run *write* when it is its turn, in a transaction of its own or in one with others."""
        until = now() + self.limits.call_timeout_s
        acquire_until = min(until, now() + self.settings.acquire_timeout_s)
        with translating():
            opened = self._open_connections.current() or await self._open_until(acquire_until)
            try:
                rows = None
                if not opened.writes.try_begin(write.owner):
                    rows = await opened.writes.wait(write, acquire_until)
            except RunAlone:
                write.kind = None
                return await self._write(write)
            if rows is not None:
                return rows
            return await self._take_turn(opened, partial(in_transaction, write.run), write.owner, until)

    async def _take_turn(self, opened: _OpenConnections, work: Any, owner: str, until: float) -> Rows:
        """Do *work* on the connection that writes for *owner*, who holds its slot, and release the slot."""
        begun_s = now()
        rows = await self._run(opened.writer, work, owner, until)
        opened.writes.note_turn(now() - begun_s)
        return rows

    async def _write_together(
        self, opened: _OpenConnections, owner: str, writes: Sequence[_Write]
    ) -> Sequence[Rows | Exception]:
        """Run *writes* in one transaction, in the turn of *owner*; return the rows of each, or its error."""
        work: Any = partial(in_transaction, partial(_run_each, writes))
        try:
            with translating():
                until = now() + self.limits.call_timeout_s
                results: Any = await self._take_turn(opened, work, owner, until)
        except StoreError as error:
            # A full disk may be too full for only some of them.  After other errors, nobody knows what was written.
            is_full = str(error).startswith("SQLITE_FULL")
            return [RunAlone() if is_full else type(error)(str(error)) for _ in writes]
        each: Sequence[Rows | Exception] = results
        return each

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
            return await self._read(read, owner, until)

    async def _read(self, work: Callable[[Any], Awaitable[Rows]], owner: str, until: float) -> Rows:
        """Do *work* for *owner* on a connection that reads when its turn comes, before *until* by the loop's clock."""
        acquire_until = min(until, now() + self.settings.acquire_timeout_s)
        with translating():
            opened = self._open_connections.current() or await self._open_until(acquire_until)
            limiter = opened.readers.limiter
            if not limiter.try_acquire(owner):
                await limiter.acquire(owner, acquire_until)
            return await self._run(opened.readers, work, owner, until)

    async def _run(
        self, connections: _Connections, work: Callable[[Any], Awaitable[Rows]], owner: str, until: float
    ) -> Rows:
        """Do *work* for *owner*, who holds a slot, and release the slot."""
        # Nothing may be awaited before this: if the caller were cancelled meanwhile, the slot would be lost.
        statement_until = min(until, now() + self.settings.statement_timeout_s)
        async with asyncio.timeout_at(statement_until + self.limits.cancel_timeout_s):
            return await connections.lend(work, owner)

    def waited_s(self, *, is_read: bool) -> float:
        """Return how many seconds the longest-waiting statement has been waiting for its turn."""
        opened = self._open_connections.current()
        if opened is None:
            return 0.0
        return opened.readers.limiter.waited_s() if is_read else opened.writes.waited_s()

    def measurements(self) -> Iterator[Measurement]:
        """Yield the numbers about the connections of the running loop, if they are open."""
        opened = self._open_connections.current()
        if opened is not None:
            # SQLite's connections stay open.
            for pool, limiter in (("readers", opened.readers.limiter), ("writer", opened.writer.limiter)):
                yield from pool_measurements(pool, limiter.capacity, limiter)
            yield from opened.writes.measurements("writer")

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
            yield self._new_connections(
                _Connections([writer], files, FairLimiter(1)),
                _Connections(readers, files, FairLimiter(READERS, READERS - 1)),
            )

    def _new_connections(self, writer: _Connections, readers: _Connections) -> _OpenConnections:
        async def run(owner: str, writes: Sequence[_Write]) -> Sequence[Rows | Exception]:
            return await self._write_together(opened, owner, writes)

        opened = _OpenConnections(writer, Batches(writer.limiter, run), readers)
        return opened

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
