"""
Run migrations with Alembic, for `taskd migrate`.

A server does not import this module, which is only needed to change a schema or to show what would change.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from taskd.storage import StoreError
from taskd_sql.migrations.connection import transaction
from taskd_sql.schema import COLUMNS, VERSION_TABLE, is_newer, table_error, version_error
from taskd_sql.sessions import Watchdog
from taskd_sql.url import PostgresURL, SQLiteURL

__all__ = ["script", "scripts", "upgrade"]

_NO_COLUMNS: Sequence[str] = ()


async def upgrade(url: PostgresURL | SQLiteURL) -> Sequence[str]:
    """
    Upgrade the schema at *url* to the latest revision, in one transaction.

    If several processes do so at once, one of them upgrades the schema; the others wait, and then have nothing to do.

    Returns:
        The revisions that were applied, each with its title; none if the schema was up to date.

    Raises:
        StoreError: The upgrade failed, and nothing has changed.
    """
    watchdog = Watchdog()
    async with transaction(url, watchdog) as connection:
        before = await connection.run_sync(_revision)
        _refuse_foreign(before, await connection.run_sync(_columns))
        steps = _steps(before)
        if steps:
            with watchdog.working():
                await connection.run_sync(_upgrade)
        return steps


async def script(url: PostgresURL | SQLiteURL) -> str:
    """
    Return the SQL that `upgrade` would run at *url* now, without changing anything there.

    Raises:
        StoreError: The database could not be read.
    """
    if isinstance(url, SQLiteURL) and not url.file.exists():
        before, columns, dialect = None, _NO_COLUMNS, "sqlite"
    else:
        async with transaction(url, Watchdog()) as connection:
            before, columns = await connection.run_sync(_revision), await connection.run_sync(_columns)
            dialect = connection.dialect.name
    _refuse_foreign(before, columns)
    if not _steps(before):
        return "-- The schema is up to date.\n"
    written = io.StringIO()
    config = _config(output_buffer=written)
    config.attributes["dialect"] = dialect
    command.upgrade(config, f"{before}:head" if before else "head", sql=True)
    return written.getvalue()


def scripts() -> ScriptDirectory:
    """Return all revisions."""
    return ScriptDirectory.from_config(_config())


def _config(**options: Any) -> Config:
    config = Config(**options)
    config.set_main_option("script_location", "taskd_sql:migrations")
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _columns(connection: Connection) -> Sequence[str]:
    return connection.exec_driver_sql(COLUMNS[connection.dialect.name]).scalars().all()


def _refuse_foreign(revision: str | None, columns: Sequence[str]) -> None:
    """Raise `StoreError` if the tables are from a later version of taskd, or are not taskd's."""
    if is_newer(revision) and (reason := version_error(revision)):
        raise StoreError(f"the schema was not changed: {reason}")
    if found := table_error(revision, columns):
        reason, remedy = found
        raise StoreError(f"the schema was not changed: {reason}. {remedy}")


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _steps(before: str | None) -> list[str]:
    """Return the revisions after *before*, in the order in which they are applied."""
    if is_newer(before):
        return []
    revisions = scripts().iterate_revisions("head", before or "base")
    return [f"{each.revision}: {each.doc}" for each in reversed(list(revisions))]
