"""
Bringing the schema up to date with Alembic, as `taskd migrate` does.

Serving needs nothing of this: it is imported when a schema is to be changed, or looked at.
"""

from __future__ import annotations

import contextlib
import io
import sqlite3
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from taskd import StoreError
from taskd_sql.dsn import PostgresAddress, SQLiteAddress
from taskd_sql.faults import postgres_fault, sqlite_fault
from taskd_sql.schema import VERSION_TABLE, is_newer, version_fault

__all__ = ["script", "scripts", "upgrade"]

# Neon may have to wake first; nobody waits for an answer here.
CONNECT_TIMEOUT_S = 15
# How long to wait for another migration to end.
TURN_TIMEOUT_S = 60
# Whoever waits for an exclusive lock on a table makes all others wait: rather give up, and let them try again later.
LOCK_TIMEOUT_S = 10
# Any number that other users of advisory locks will not have: "taskd" in ASCII.
_ADVISORY_LOCK = int.from_bytes(b"taskd")

# Who meets these has to know more than their names.
_ADVICE = {
    "25006": "the database takes no writes: set TASKD_MIGRATE_URL to the primary",
    "3F000": "there is no schema to make tables in: see the search_path of this user",
    "42P07": "tables of these names are there already, which taskd migrate has not made; if they are taskd's own, run"
    " the statements of schema.sql that are about taskd_version",
    "42501": "this user may not change the schema: set TASKD_MIGRATE_URL to one that may",
    "55P03": "others use the tables, or migrate them, and did not come to an end: try again later",
}


async def upgrade(address: PostgresAddress | SQLiteAddress) -> Sequence[str]:
    """
    Bring the schema at *address* to the last revision, in one transaction.

    Another that does the same waits for this one, and then finds nothing to do.

    Returns:
        The revisions that were applied, each with its title; none if the schema is up to date.

    Raises:
        StoreError: It could not be done, and nothing has changed.
    """
    async with _transaction(address) as connection:
        before = await connection.run_sync(_revision)
        _refuse_newer(before)
        await connection.run_sync(_upgrade)
        return _steps(before)


async def script(address: PostgresAddress | SQLiteAddress) -> str:
    """
    Return the SQL that `upgrade` would run at *address* now, and change nothing there.

    Raises:
        StoreError: It is not known what is there.
    """
    if isinstance(address, SQLiteAddress) and not address.file.exists():
        before, dialect = None, "sqlite"
    else:
        async with _transaction(address) as connection:
            before, dialect = await connection.run_sync(_revision), connection.dialect.name
    _refuse_newer(before)
    if not _steps(before):
        return "-- The schema is up to date.\n"
    written = io.StringIO()
    config = _config(output_buffer=written)
    config.attributes["dialect"] = dialect
    command.upgrade(config, f"{before}:head" if before else "head", sql=True)
    return written.getvalue()


def scripts() -> ScriptDirectory:
    """Return the revisions that there are."""
    return ScriptDirectory.from_config(_config())


def _config(**options: Any) -> Config:
    config = Config(**options)
    config.set_main_option("script_location", "taskd_sql:migrations")
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _refuse_newer(revision: str | None) -> None:
    if is_newer(revision):
        raise StoreError(f"the schema is not touched: {version_fault(revision)}")


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _steps(before: str | None) -> list[str]:
    """Return the revisions from *before* to the last, in the order in which they are applied."""
    revisions = scripts().iterate_revisions("head", before or "base")
    return [f"{each.revision}: {each.doc}" for each in reversed(list(revisions))]


@contextlib.asynccontextmanager
async def _transaction(address: PostgresAddress | SQLiteAddress) -> AsyncIterator[AsyncConnection]:
    """Give a transaction that no other of its kind runs beside, and commit it."""
    engine = _postgres_engine(address) if isinstance(address, PostgresAddress) else _sqlite_engine(address)
    is_connected = False
    try:
        if isinstance(address, SQLiteAddress):
            address.create()
        async with engine.begin() as connection:
            is_connected = True
            if connection.dialect.name == "postgresql":
                # Whatever the user's own are: they are for other work.
                await connection.execute(text("SET LOCAL statement_timeout = 0"))
                await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
                await connection.execute(text(f"SET LOCAL lock_timeout = '{TURN_TIMEOUT_S}s'"))
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
                await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
            yield connection
    except DBAPIError as error:
        raise _fault(_driver_error(error), is_connected) from None
    except OSError as error:
        is_file = isinstance(address, SQLiteAddress)
        raise (sqlite_fault(error) if is_file else _fault(error, is_connected)) from None
    except CommandError as error:
        # Of the revisions, and of what the version table says; not of what the database said.
        raise StoreError(" ".join(str(error).split())) from None
    finally:
        await engine.dispose()


def _postgres_engine(address: PostgresAddress) -> AsyncEngine:
    arguments = {
        **address.connect_arguments(),
        "timeout": address.connect_timeout_s or CONNECT_TIMEOUT_S,
        "server_settings": {"application_name": address.application_name},
        # Behind a pooler, a connection may have statements of others already.
        "prepared_statement_name_func": lambda: f"taskd_{uuid.uuid4().hex}",
        "prepared_statement_cache_size": 0,
    }
    return create_async_engine("postgresql+asyncpg://", connect_args=arguments, poolclass=NullPool)


def _sqlite_engine(address: SQLiteAddress) -> AsyncEngine:
    url = URL.create("sqlite+aiosqlite", database=str(address.file))
    engine = create_async_engine(url, connect_args={"timeout": LOCK_TIMEOUT_S}, poolclass=NullPool)

    @event.listens_for(engine.sync_engine, "connect")
    def leave_transactions_to_us(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _driver_error(error: DBAPIError) -> Exception:
    """Return the driver's own error, which SQLAlchemy's adapter for asyncpg keeps as the cause of its own."""
    adapted = error.orig if isinstance(error.orig, Exception) else error
    return adapted.__cause__ if isinstance(adapted.__cause__, Exception) else adapted


def _fault(error: Exception, is_connected: bool) -> StoreError:
    """Translate what a driver raised, without its message."""
    if isinstance(error, sqlite3.Error):
        # SQLite has no code for it.
        is_there = str(error).endswith("already exists")
        if is_there:
            return StoreError(f"SQLITE_ERROR: {_ADVICE['42P07']}")
        fault = sqlite_fault(error)
        return StoreError(f"{fault}: {_ADVICE['55P03']}") if str(fault) == "SQLITE_BUSY" else fault
    if isinstance(error, TimeoutError):
        return StoreError("the database did not answer in time: is it running, and may this machine reach its port?")
    state = getattr(error, "sqlstate", None)
    if state in _ADVICE:
        return StoreError(f"{type(error).__name__} {state}: {_ADVICE[state]}")
    return postgres_fault(error, is_connected=is_connected)
