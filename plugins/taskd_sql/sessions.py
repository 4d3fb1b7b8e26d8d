"""
Connect to a database for work that takes long: migrations, exports and imports.

The work is done with SQLAlchemy, in transactions of any length, and there is a time limit for every step.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
from sqlalchemy import URL, Connection, CursorResult, Executable, Row, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from taskd.storage import StoreError, StoreUnavailable
from taskd_sql.engine.drivers import POSTGRES_ERRORS, PostgresServer, terminate
from taskd_sql.engine.errors import no_postgres, postgres_error, sqlite_error
from taskd_sql.url import PostgresURL, SQLiteURL

__all__ = [
    "RESPONSE_TIMEOUT_S",
    "WORK_TIMEOUT_S",
    "Session",
    "Watchdog",
    "driver_error",
    "postgres_engine",
    "session",
    "sqlite_engine",
]

logger = logging.getLogger(f"taskd.{__name__}")

# Neon may have to wake up first, and no client is waiting.
CONNECT_TIMEOUT_S = 15
# How long the server may take to respond to anything that is not known to take longer.
RESPONSE_TIMEOUT_S = 30
# How long a change of the schema may take, or a statement about all tasks of a user, or of everybody.
WORK_TIMEOUT_S = 600
# How long to wait for a lock.  Servers hold one only for a moment.
LOCK_TIMEOUT_S = 10
ROWS_AT_ONCE = 500

_IN_USE = "somebody is changing the same tasks: try again later"
_ADVICE = {
    "40P01": _IN_USE,
    "55P03": _IN_USE,
    "57014": "it took too long: try again when there is less to do",
    "SQLITE_BUSY": "another process is writing: try again later",
}
_STILL_IN_JOURNAL = (
    "Deleted texts are still in the journal of the database, the file that ends in -wal, because somebody reads it: run"
    " the command again, or stop all servers, which removes the file"
)
_IN_JOURNAL = "the tasks are deleted, but their texts are still in the journal of the file"
_NO_RESPONSE = "the database stopped responding: is it frozen or overloaded?"
_POSTGRES_LIMITS = (
    f"SET LOCAL statement_timeout = '{WORK_TIMEOUT_S}s'",
    # Whoever reads an export may be slow.
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'",
)


@attrs.define
class Watchdog:
    """
    Terminates a connection if the server does not respond for too long, for example because it is frozen.

    Cancelling the waiting task would not help: drivers then wait for the server to confirm the cancellation.
    """

    has_cut: bool = attrs.field(init=False, default=False)
    _cut: Callable[[], None] | None = attrs.field(init=False, default=None)
    _timer: asyncio.TimerHandle | None = attrs.field(init=False, default=None)

    def watch(self, connection: Any) -> None:
        """Start watching *connection*, an asyncpg connection."""
        self._cut = partial(terminate, connection)
        self.allow(RESPONSE_TIMEOUT_S)

    def allow(self, seconds: float) -> None:
        """Set the time limit for the next step to *seconds*, except for SQLite, where every step has its own limit."""
        if self._cut is not None:
            self.stop()
            self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Apply the time limit for long statements during the block."""
        self.allow(WORK_TIMEOUT_S)
        yield
        self.allow(RESPONSE_TIMEOUT_S)

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self.has_cut = True
        if self._cut is not None:
            self._cut()


def postgres_engine(url: PostgresURL, watchdog: Watchdog, translate: Callable[[Exception], StoreError]) -> AsyncEngine:
    """Return an engine whose connections *watchdog* watches; *translate* is for errors in connecting."""
    server = PostgresServer.at(url.host, url.port, url.tls)
    timeout_s = url.connect_timeout_s or CONNECT_TIMEOUT_S
    options = {**url.connect_arguments(), "server_settings": {"application_name": url.application_name}}

    async def connect() -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                connection = await server.connect(timeout=timeout_s, **options)
        except StoreError:
            raise
        except (*POSTGRES_ERRORS, OSError) as error:
            raise translate(error) from None
        except Exception as error:  # noqa: BLE001  a server that is not PostgreSQL makes asyncpg raise almost anything
            raise no_postgres(error, may_have_run=False) from None
        watchdog.watch(connection)
        return connection

    arguments = {
        "async_creator_fn": connect,
        # Behind a pooler, a connection may already have other clients' prepared statements.
        "prepared_statement_name_func": lambda: f"taskd_{uuid.uuid4().hex}",
        "prepared_statement_cache_size": 0,
    }
    return create_async_engine("postgresql+asyncpg://", connect_args=arguments, poolclass=NullPool)


def sqlite_engine(url: SQLiteURL, lock_timeout_s: float, *, begin: str = "BEGIN IMMEDIATE") -> AsyncEngine:
    """Return an engine whose transactions start with the statement *begin*."""
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(url.file)),
        connect_args={"timeout": lock_timeout_s},
        poolclass=NullPool,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def leave_transactions_to_us(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def driver_error(error: DBAPIError | OSError) -> Exception:
    """Return the driver's own error, which SQLAlchemy's adapter for asyncpg keeps as the cause of its own."""
    if not isinstance(error, DBAPIError):
        return error
    adapted = error.orig if isinstance(error.orig, Exception) else error
    return adapted.__cause__ if isinstance(adapted.__cause__, Exception) else adapted


@attrs.frozen(eq=False)
class Session:
    """A connection for work that takes long."""

    connection: AsyncConnection
    _watchdog: Watchdog

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is an SQLite file."""
        return self.connection.dialect.name == "sqlite"

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Do the block in a transaction, and commit it at the end."""
        self._watchdog.allow(RESPONSE_TIMEOUT_S)
        async with self.connection.begin():
            if not self.is_sqlite:
                for limit in _POSTGRES_LIMITS:
                    await self.connection.execute(text(limit))
            yield
            self._watchdog.allow(WORK_TIMEOUT_S)
        self._watchdog.stop()

    async def run(
        self, statement: Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> CursorResult[Any]:
        """Run *statement*; with several sets of *values*, run it with each of them."""
        with self._watchdog.working():
            result: CursorResult[Any] = await self.connection.execute(statement, values)
        return result

    async def forget_journal(self) -> None:
        """Empty the journal of an SQLite file, which still has deleted texts; log it if somebody is reading it."""
        if self.is_sqlite:
            raw: Any = (await self.connection.get_raw_connection()).driver_connection
            try:
                [(is_busy, _, _)] = await raw.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                raise StoreError(f"{_IN_JOURNAL} ({error.sqlite_errorname}): make room, and try again") from None
            if is_busy:
                logger.warning(_STILL_IN_JOURNAL)

    async def stream(self, statement: Executable) -> AsyncGenerator[Sequence[Row[Any]], None]:
        """Run *statement*, and yield its rows, some at a time."""
        with self._watchdog.working():
            result = await self.connection.stream(statement)
        partitions = result.partitions(ROWS_AT_ONCE)
        with contextlib.suppress(StopAsyncIteration):
            while True:
                with self._watchdog.working():
                    rows = await anext(partitions)
                # The rows may be used slowly.
                self._watchdog.stop()
                yield rows


@contextlib.asynccontextmanager
async def session(url: PostgresURL | SQLiteURL, *, writes: bool) -> AsyncIterator[Session]:
    """
    Connect to the database at *url*, which must exist, for transactions that read or that write.

    A transaction that reads sees the database as it is at one moment.

    Raises:
        StoreError: The database cannot be reached, or a statement in the block failed.
    """
    watchdog = Watchdog()
    engine = _engine(url, watchdog, writes=writes)
    try:
        async with engine.connect() as connection:
            if isinstance(url, PostgresURL) and not writes:
                await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield Session(connection, watchdog)
    except (DBAPIError, OSError) as error:
        raise StoreUnavailable(_NO_RESPONSE) if watchdog.has_cut else _translated(error, url) from None
    finally:
        watchdog.stop()
        await engine.dispose()


def _engine(url: PostgresURL | SQLiteURL, watchdog: Watchdog, *, writes: bool) -> AsyncEngine:
    if isinstance(url, PostgresURL):
        return postgres_engine(url, watchdog, partial(postgres_error, is_connected=False))
    if not url.file.is_file():
        raise StoreError(f"there is no file {url.file}: check DATABASE_URL")
    engine = sqlite_engine(url, LOCK_TIMEOUT_S, begin="BEGIN IMMEDIATE" if writes else "BEGIN")

    @event.listens_for(engine.sync_engine, "connect")
    def overwrite_deleted(connection: Any, _: Any) -> None:
        # Otherwise, deleted texts could still be read in the file.
        connection.execute("PRAGMA secure_delete = ON")

    return engine


def _translated(error: DBAPIError | OSError, url: PostgresURL | SQLiteURL) -> StoreError:
    """Translate an error from SQLAlchemy or the operating system, leaving out its message."""
    original = driver_error(error)
    state = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None)
    if state in _ADVICE:
        return StoreUnavailable(f"{type(original).__name__} {state}: {_ADVICE[state]}")
    if isinstance(url, SQLiteURL):
        return sqlite_error(original)
    return postgres_error(original, is_connected=True)
