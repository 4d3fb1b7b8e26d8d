"""The hook that this plugin implements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from taskd import hookimpl
from taskd.settings import load_settings
from taskd_sql.settings import SQLSettings
from taskd_sql.store import SQLTaskStore
from taskd_sql.url import PostgresURL

if TYPE_CHECKING:
    from taskd_sql.engine.postgres import PostgresDatabase
    from taskd_sql.engine.sqlite import SQLiteDatabase

__all__ = ["taskd_storage"]


@hookimpl
def taskd_storage(environ: Mapping[str, str]) -> SQLTaskStore:
    """Return the store at `DATABASE_URL`."""
    settings = load_settings(SQLSettings, environ)
    return SQLTaskStore(_database(settings), settings.migration_url())


def _database(settings: SQLSettings) -> PostgresDatabase | SQLiteDatabase:
    url = settings.url()
    # Importing the drivers is slow, and a server uses only one of them.
    if isinstance(url, PostgresURL):
        from taskd_sql.engine.postgres import PostgresDatabase  # noqa: PLC0415

        return PostgresDatabase(url, settings)
    from taskd_sql.engine.sqlite import SQLiteDatabase  # noqa: PLC0415

    return SQLiteDatabase(url, settings)
