"""What taskd calls at start."""

from __future__ import annotations

from collections.abc import Mapping

from taskd import hookimpl, load_settings
from taskd_sql.dsn import PostgresAddress
from taskd_sql.postgres import PostgresDatabase
from taskd_sql.settings import SQLSettings
from taskd_sql.sqlite import SQLiteDatabase
from taskd_sql.store import SQLTaskStore

__all__ = ["taskd_storage"]


@hookimpl
def taskd_storage(environ: Mapping[str, str]) -> SQLTaskStore:
    """Return the store at `DATABASE_URL`."""
    settings = load_settings(SQLSettings, environ)
    return SQLTaskStore(_database(settings), settings.migration_address())


def _database(settings: SQLSettings) -> PostgresDatabase | SQLiteDatabase:
    address = settings.address()
    if isinstance(address, PostgresAddress):
        return PostgresDatabase(address, settings)
    return SQLiteDatabase(address, settings)
