"""The hook that this plugin implements."""

from __future__ import annotations

from collections.abc import Mapping

from taskd import hookimpl
from taskd.settings import load_settings
from taskd_sql.engine.postgres import PostgresDatabase
from taskd_sql.engine.sqlite import SQLiteDatabase
from taskd_sql.settings import SQLSettings
from taskd_sql.store import SQLTaskStore
from taskd_sql.url import PostgresURL

__all__ = ["taskd_storage"]


@hookimpl
def taskd_storage(environ: Mapping[str, str]) -> SQLTaskStore:
    """Return the store at `DATABASE_URL`."""
    settings = load_settings(SQLSettings, environ)
    return SQLTaskStore(_database(settings), settings.migration_url())


def _database(settings: SQLSettings) -> PostgresDatabase | SQLiteDatabase:
    url = settings.url()
    return PostgresDatabase(url, settings) if isinstance(url, PostgresURL) else SQLiteDatabase(url, settings)
