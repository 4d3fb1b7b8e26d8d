"""The settings of the SQL plugin."""

from __future__ import annotations

import re

import environ as environ_config

from taskd.settings import Secret, SettingsError, one_of, plaintext_setting, seconds
from taskd_sql.url import PostgresURL, SQLiteURL, parse

__all__ = ["SQLSettings"]

MAX_POOL_SIZE = 1000


def _pool_size(text: str) -> int:
    if not (re.fullmatch("[0-9]{1,9}", text) and 1 <= int(text) <= MAX_POOL_SIZE):
        raise SettingsError("TASKD_SQL_POOL_SIZE", f"must be a number from 1 to {MAX_POOL_SIZE}")
    return int(text)


def _timeout(variable: str, default: str, description: str) -> float:
    declared: float = environ_config.var(default, name=variable, converter=seconds(variable), help=description)
    return declared


@environ_config.config(prefix="", frozen=True)
class SQLSettings:
    """
    Which database to use, and how long to wait for it.

    Attributes:
        database_url: The URL of a PostgreSQL server or an SQLite file.
        migrate_url: The URL for changing the schema of the same database; None derives it from *database_url*.
        allow_plaintext: Whether connections to other machines may be made without TLS.
        pooler: Whether connections go through a PgBouncer in transaction mode; None recognizes Neon's
            poolers by their host names.
        pool_size: How many connections this process may have.
        connect_timeout_s: How long opening a connection may take.
        acquire_timeout_s: How long a call waits for a free connection or for the SQLite file.
        statement_timeout_s: How long a statement may take, including waiting for locks.
        idle_timeout_s: How long an unused connection stays open.
    """

    database_url: Secret = environ_config.var(
        "sqlite:///taskd.db",
        name="DATABASE_URL",
        converter=Secret,
        help="Where the tasks are stored: `sqlite:///FILE`, or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE` (also"
        " `postgres://` and `postgresql+asyncpg://`), where USER and HOST are required.",
    )
    migrate_url: Secret | None = environ_config.var(
        None,
        name="TASKD_MIGRATE_URL",
        converter=lambda text: Secret(text) if text else None,
        help="The same database, for `taskd migrate`: without the pooler, or as a user that may change the schema. If"
        " it is not set, it is `DATABASE_URL`, on Neon without `-pooler` in the host.",
    )
    allow_plaintext: bool = plaintext_setting()
    pooler: bool | None = environ_config.var(
        "auto",
        name="TASKD_SQL_POOLER",
        converter=one_of("TASKD_SQL_POOLER", {"auto": None, "yes": True, "no": False}),
        help="`yes` if the connection goes through a PgBouncer in transaction mode, `no` if not. `auto` recognizes"
        " Neon's poolers by their host names.",
    )
    pool_size: int = environ_config.var(
        "10",
        name="TASKD_SQL_POOL_SIZE",
        converter=_pool_size,
        help="How many connections each process opens at most, 1 to 1000. One user gets at most three quarters.",
    )
    connect_timeout_s: float = _timeout(
        "TASKD_SQL_CONNECT_TIMEOUT",
        "5",
        "How many seconds opening a connection may take. `connect_timeout` in the URL overrides it.",
    )
    acquire_timeout_s: float = _timeout(
        "TASKD_SQL_ACQUIRE_TIMEOUT",
        "3",
        "The most seconds that a request waits for a free connection, or for its turn at the SQLite file. Under load"
        " some are refused sooner.",
    )
    statement_timeout_s: float = _timeout(
        "TASKD_SQL_STATEMENT_TIMEOUT", "5", "How many seconds a statement may take, including waiting for locks."
    )
    # Neon suspends a compute after five minutes without queries, and cuts its connections: close them before it does.
    idle_timeout_s: float = _timeout(
        "TASKD_SQL_IDLE_TIMEOUT", "60", "How many seconds an unused connection stays open."
    )

    def url(self) -> PostgresURL | SQLiteURL:
        """Return the database's URL, or raise `SettingsError`."""
        return parse(self.database_url.value, allow_plaintext=self.allow_plaintext)

    def migration_url(self) -> PostgresURL | SQLiteURL:
        """Return the URL for migrations, which fail behind Neon's pooler, or raise `SettingsError`."""
        url = self.url()
        if self.migrate_url is None:
            return url.direct() if isinstance(url, PostgresURL) else url
        migrate_url = parse(self.migrate_url.value, allow_plaintext=self.allow_plaintext, variable="TASKD_MIGRATE_URL")
        if type(migrate_url) is not type(url):
            raise SettingsError("TASKD_MIGRATE_URL", "must lead to the same database as DATABASE_URL")
        return migrate_url
