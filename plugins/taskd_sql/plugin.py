"""What taskd calls at start."""

from __future__ import annotations

from collections.abc import Mapping

from taskd import hookimpl, load_settings
from taskd_sql.database import PostgresDatabase, SQLiteDatabase
from taskd_sql.dsn import PostgresAddress
from taskd_sql.settings import SQLSettings
from taskd_sql.store import SQLTaskStore

__all__ = ["taskd_storage"]


@hookimpl
def taskd_storage(environ: Mapping[str, str]) -> SQLTaskStore:
    """Return the store at `DATABASE_URL`."""
    address = load_settings(SQLSettings, environ).address
    if isinstance(address, PostgresAddress):
        return SQLTaskStore(PostgresDatabase(address))
    return SQLTaskStore(SQLiteDatabase(address))
