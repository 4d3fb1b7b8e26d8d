"""Connect to a database to change its schema, in one transaction and with a time limit for every step."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from functools import partial

from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from taskd.storage import StoreError
from taskd_sql.engine.errors import postgres_error, sqlite_error
from taskd_sql.engine.sqlite_file import prepare
from taskd_sql.sessions import (
    RESPONSE_TIMEOUT_S,
    WORK_TIMEOUT_S,
    Watchdog,
    driver_error,
    postgres_engine,
    sqlite_engine,
)
from taskd_sql.url import PostgresURL, SQLiteURL

__all__ = ["transaction"]

# How long to wait for another migration to end.
TURN_TIMEOUT_S = 60
# While a migration waits for an exclusive lock on a table, all other clients wait, too, so it gives up early.
LOCK_TIMEOUT_S = 10
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


@contextlib.asynccontextmanager
async def transaction(url: PostgresURL | SQLiteURL, watchdog: Watchdog) -> AsyncIterator[AsyncConnection]:
    """
    Yield a transaction that excludes all other migrations, and commit it at the end.

    Raises:
        StoreError: The database cannot be reached, or a statement in the block failed.  Nothing has changed.
    """
    engine = _engine(url, watchdog)
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


def _engine(url: PostgresURL | SQLiteURL, watchdog: Watchdog) -> AsyncEngine:
    if isinstance(url, SQLiteURL):
        return sqlite_engine(url, LOCK_TIMEOUT_S)
    return postgres_engine(url, watchdog, partial(_translate_postgres, is_connected=False))


def _translate(error: DBAPIError | OSError, url: PostgresURL | SQLiteURL) -> StoreError:
    """Translate an error from SQLAlchemy or the operating system, leaving out its message."""
    original = driver_error(error)
    return _translate_sqlite(original) if isinstance(url, SQLiteURL) else _translate_postgres(original)


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
