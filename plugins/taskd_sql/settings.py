"""The settings of the SQL plugin."""

from __future__ import annotations

import environ as environ_config

from taskd_sql.dsn import PostgresAddress, SQLiteAddress, parse

__all__ = ["SQLSettings"]


@environ_config.config(prefix="", frozen=True)
class SQLSettings:
    """
    Where the tasks are.

    Attributes:
        address: A PostgreSQL server's, or an SQLite file's.
    """

    address: PostgresAddress | SQLiteAddress = environ_config.var(
        "sqlite:///taskd.db", name="DATABASE_URL", converter=parse
    )
