"""Check a database for `taskd doctor`, from the connection to the schema, without changing anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from taskd.checks import Check
from taskd_sql.url import PostgresURL, SQLiteURL

if TYPE_CHECKING:  # a server uses only one of them
    from taskd_sql.engine.postgres import PostgresDatabase
    from taskd_sql.engine.sqlite import SQLiteDatabase

__all__ = ["check_database"]


def check_database(
    database: PostgresDatabase | SQLiteDatabase, migration_url: PostgresURL | SQLiteURL
) -> AsyncIterator[Check]:
    """Check *database*, whose schema is changed at *migration_url*; each check depends on the ones before it."""
    if isinstance(database.url, SQLiteURL):
        from taskd_sql.checks.sqlite import check_sqlite  # noqa: PLC0415  only one is needed

        return check_sqlite(database)
    from taskd_sql.checks.postgres import check_postgres  # noqa: PLC0415  only one is needed

    return check_postgres(database, migration_url)
