"""SQLite: a connection to write and one to read, both held, and a file that must stay where it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import attrs
from sqlalchemy import Dialect
from sqlalchemy.dialects.sqlite import aiosqlite as dialects
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random

from taskd import StoreUnavailable
from taskd_sql import schema
from taskd_sql.database import CALL_TIMEOUT_S, CANCEL_TIMEOUT_S
from taskd_sql.drivers import sqlite_connection
from taskd_sql.dsn import SQLiteAddress
from taskd_sql.faults import sqlite_fault
from taskd_sql.lifetime import LoopBound
from taskd_sql.settings import SQLSettings

__all__ = ["SQLiteDatabase"]

# Between two attempts to have the file alone.
PAUSES_S = (0.005, 0.05)

_ANY_TABLE = f"SELECT 1 FROM sqlite_master WHERE name IN {tuple(schema.metadata.tables)}"  # noqa: S608  our own names


@attrs.frozen
class _OpenFiles:
    """
    The files that a connection holds open, as they were called then.

    SQLite goes on to write to what was moved or deleted under it, and the next start would not find that.
    """

    inodes: dict[Path, tuple[int, int] | None]

    @classmethod
    def of(cls, file: Path) -> _OpenFiles:
        # SQLite keeps its journal, and the index of it that all processes share, beside the file, not beside a link.
        # Without the same index, two processes would write over each other in the journal.
        real = file.resolve()
        return cls({each: _inode(each) for each in (real.with_name(real.name + end) for end in ("", "-wal", "-shm"))})

    def check(self) -> None:
        """Raise `StoreUnavailable` unless their names still lead to them."""
        if not all(inode is None or inode == _inode(file) for file, inode in self.inodes.items()):
            raise StoreUnavailable("it was moved or replaced while in use: put it back, or restart taskd")


def _inode(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116  for every statement: pathlib takes twice as long
    except OSError:  # not there, or not to be reached
        return None
    return found.st_dev, found.st_ino


@attrs.define(eq=False)
class _Connection:
    """
    A connection of aiosqlite's.

    Attributes:
        files: What it has open.
        turn: Held by the one statement that is being run.
    """

    raw: Any
    files: _OpenFiles
    turn: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    # A loop holds its tasks only weakly.
    _releasing: asyncio.Task[None] | None = attrs.field(init=False, default=None)

    async def run(self, sql: str, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """
        Run one statement for a caller that holds the turn, and release that when the statement is over.

        If the caller is cancelled, the statement goes on in the thread of aiosqlite.  Others that were sent there
        meanwhile would be run after it, even if their callers had given up by then: so they wait for the turn.
        """
        try:
            self.files.check()
            rows = list(await self.raw.execute_fetchall(sql, arguments))
        except asyncio.CancelledError:
            self._releasing = asyncio.create_task(self._release_when_idle())
            raise
        except BaseException:
            self.turn.release()
            raise
        self.turn.release()
        return rows

    async def _release_when_idle(self) -> None:
        # The thread does one thing after the other.
        with contextlib.suppress(sqlite3.Error, ValueError):
            await self.raw.execute_fetchall("SELECT 1")
        self.turn.release()


@attrs.frozen
class _Held:
    """The connections to one file."""

    writer: _Connection
    reader: _Connection


async def _log_ahead(connection: Any, within_s: float) -> None:
    """
    Switch the file to write-ahead logging, for which SQLite needs it alone for a moment.

    Where another connection uses the file just then, SQLite does not wait, as it does for all other locks, but is busy.
    """
    attempts = AsyncRetrying(
        retry=retry_if_exception(lambda error: getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY),
        stop=stop_after_delay(within_s),
        wait=wait_random(*PAUSES_S),
        reraise=True,
    )
    async for attempt in attempts:
        with attempt:
            await connection.execute_fetchall("PRAGMA journal_mode = WAL")


@attrs.define(eq=False)
class SQLiteDatabase:
    """
    Two held connections to an SQLite file, by aiosqlite.

    With write-ahead logging who reads waits for nobody who writes: not for the disk, nor for a lock of another process.
    """

    address: SQLiteAddress
    settings: SQLSettings
    dialect: Dialect = attrs.field(init=False, factory=dialects.dialect)
    _held: LoopBound[_Held] = attrs.field(init=False)

    @_held.default
    def _open_at_first_use(self) -> LoopBound[_Held]:
        return LoopBound(self._open)

    @property
    def name(self) -> str:
        """Return what to call it in the log."""
        return f"SQLite file {self.address.file.name}"

    async def fetch(self, sql: str, arguments: Sequence[Any] = (), *, is_read: bool = True) -> Sequence[Sequence[Any]]:
        """Run one statement on one of the connections, when it is its turn.  SQLite itself waits for locks."""
        now = asyncio.get_running_loop().time
        until, limits = now() + CALL_TIMEOUT_S, self.settings
        try:
            async with asyncio.timeout_at(min(until, now() + limits.acquire_timeout_s)) as timeout:
                held = await self._held.get()
                connection = held.reader if is_read else held.writer
                await connection.turn.acquire()
                timeout.reschedule(min(until, now() + limits.statement_timeout_s) + CANCEL_TIMEOUT_S)
                return await connection.run(sql, arguments)
        except TimeoutError:
            raise StoreUnavailable("no answer in time") from None
        except (sqlite3.Error, OSError) as error:
            raise sqlite_fault(error) from None
        except UnicodeError:  # of an argument, which is for the core to look at
            raise
        except ValueError:  # "Connection closed", or "no active connection", says aiosqlite
            raise StoreUnavailable("the connection is being closed") from None

    async def close(self) -> None:
        """Close the connections, after the statements that are running."""
        await self._held.close()

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[_Held]:
        """Open the file, make its tables if they are not there, and close it."""
        self.address.create()
        busy_timeout_s = min(self.settings.statement_timeout_s, CALL_TIMEOUT_S)
        async with sqlite_connection(self.address.file, busy_timeout_s) as writer:
            await _log_ahead(writer, busy_timeout_s)
            # An acknowledged write survives a power failure; NORMAL would lose the last ones.
            await writer.execute_fetchall("PRAGMA synchronous = FULL")
            await self._make_tables(writer)
            files = _OpenFiles.of(self.address.file)
            async with sqlite_connection(self.address.file, busy_timeout_s) as reader:
                await reader.execute_fetchall("PRAGMA query_only = ON")
                yield _Held(_Connection(writer, files), _Connection(reader, files))

    async def _make_tables(self, connection: Any) -> None:
        """Make the tables where there are none, in one transaction: two that open a new file at once agree."""
        if await connection.execute_fetchall(_ANY_TABLE):
            return
        await connection.execute_fetchall("BEGIN IMMEDIATE")
        try:
            if not await connection.execute_fetchall(_ANY_TABLE):
                for statement in schema.creation(self.dialect):
                    await connection.execute_fetchall(statement)
            await connection.execute_fetchall("COMMIT")
        except BaseException:
            # A full disk, for one, has ended the transaction already.
            if connection.in_transaction:
                await connection.execute_fetchall("ROLLBACK")
            raise
