"""Connect to a database to change its schema, in one transaction and with a time limit for every step."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import attrs
from alembic.util import CommandError
from sqlalchemy import URL, Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from taskd.storage import StoreError
from taskd_sql.engine.drivers import POSTGRES_ERRORS, PostgresServer, terminate
from taskd_sql.engine.errors import no_postgres, postgres_error, sqlite_error
from taskd_sql.engine.sqlite_file import prepare
from taskd_sql.url import PostgresURL, SQLiteURL

__all__ = ["Watchdog", "transaction"]

# Neon may have to wake up first, and no client is waiting.
CONNECT_TIMEOUT_S = 15
# How long to wait for another migration to end.
TURN_TIMEOUT_S = 60
# While a migration waits for an exclusive lock on a table, all other clients wait, too, so it gives up early.
LOCK_TIMEOUT_S = 10
# How long the server may take to respond to anything else.
RESPONSE_TIMEOUT_S = 30
# How long the changes themselves may take, in all.
WORK_TIMEOUT_S = 600
# A number that other users of advisory locks are unlikely to use: "taskd" in ASCII.
ADVISORY_LOCK = int.from_bytes(b"taskd")

# Advice on errors, by SQLSTATE.
_ADVICE = {
    "25006": "the database is read-only: set TASKD_MIGRATE_URL to the primary",
    "3F000": "there is no schema to create tables in: check the search_path of this user",
    "42P07": "something already has the name of one of taskd's tables: give taskd a database or a schema of its own",
    "42501": "this user may not change the schema: set TASKD_MIGRATE_URL to one that may",
    "57014": "it took too long: run the output of taskd migrate --sql with psql, which has no time limit",
    "55P03": "the tables are in use, or another migration is running: try again later",
}
_NO_RESPONSE = (
    "the database stopped responding: is it frozen or overloaded? Run taskd migrate again when it responds; it"
    " only does what is still missing"
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
        """Apply the time limit for the changes themselves during the block."""
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


@contextlib.asynccontextmanager
async def transaction(url: PostgresURL | SQLiteURL, watchdog: Watchdog) -> AsyncIterator[AsyncConnection]:
    """
    Yield a transaction that excludes all other migrations, and commit it at the end.

    Raises:
        StoreError: The database cannot be reached, or a statement in the block failed.  Nothing has changed.
    """
    engine = _postgres_engine(url, watchdog) if isinstance(url, PostgresURL) else _sqlite_engine(url)
    try:
        if isinstance(url, SQLiteURL):
            prepare(url.file)
        async with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                await _wait_for_turn(connection, watchdog)
            yield connection
    except (DBAPIError, OSError) as error:
        raise StoreError(_NO_RESPONSE) if watchdog.has_cut else _translate(error, url) from None
    except CommandError as error:
        # An error about revisions or the version table, whose message quotes nothing from the database.
        raise StoreError(" ".join(str(error).split())) from None
    finally:
        watchdog.stop()
        await engine.dispose()


async def _wait_for_turn(connection: AsyncConnection, watchdog: Watchdog) -> None:
    """Wait for other migrations to end, and make later ones wait until this transaction ends."""
    # The user's own time limits are meant for other work.
    await connection.execute(text(f"SET LOCAL statement_timeout = '{WORK_TIMEOUT_S}s'"))
    await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    await connection.execute(text(f"SET LOCAL lock_timeout = '{TURN_TIMEOUT_S}s'"))
    watchdog.allow(TURN_TIMEOUT_S + RESPONSE_TIMEOUT_S)
    await connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
    watchdog.allow(RESPONSE_TIMEOUT_S)
    await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))


def _postgres_engine(url: PostgresURL, watchdog: Watchdog) -> AsyncEngine:
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
            raise _translate_postgres(error, is_connected=False) from None
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


def _sqlite_engine(url: SQLiteURL) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(url.file)),
        connect_args={"timeout": LOCK_TIMEOUT_S},
        poolclass=NullPool,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def leave_transactions_to_us(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _translate(error: DBAPIError | OSError, url: PostgresURL | SQLiteURL) -> StoreError:
    """Translate an error from SQLAlchemy or the operating system, leaving out its message."""
    original = _driver_error(error) if isinstance(error, DBAPIError) else error
    return _translate_sqlite(original) if isinstance(url, SQLiteURL) else _translate_postgres(original)


def _driver_error(error: DBAPIError) -> Exception:
    """Return the driver's own error, which SQLAlchemy's adapter for asyncpg keeps as the cause of its own."""
    adapted = error.orig if isinstance(error.orig, Exception) else error
    return adapted.__cause__ if isinstance(adapted.__cause__, Exception) else adapted


def _translate_sqlite(error: Exception) -> StoreError:
    # SQLite has no code for this.
    if isinstance(error, sqlite3.Error) and str(error).endswith("already exists"):
        return StoreError(f"SQLITE_ERROR: {_ADVICE['42P07']}")
    translated = sqlite_error(error)
    if str(translated) == "SQLITE_BUSY":
        return StoreError(f"{translated}: {_ADVICE['55P03']}")
    return translated


def _translate_postgres(error: Exception, *, is_connected: bool = True) -> StoreError:
    if isinstance(error, TimeoutError):
        return StoreError("the database did not respond in time: is it running, and can this machine reach its port?")
    state = getattr(error, "sqlstate", None)
    if state in _ADVICE:
        return StoreError(f"{type(error).__name__} {state}: {_ADVICE[state]}")
    return postgres_error(error, is_connected=is_connected)
