"""The settings of the SQL plugin."""

from __future__ import annotations

import re
from collections.abc import Callable

import environ as environ_config

from taskd import Secret, SettingsError, one_of
from taskd_sql.dsn import PostgresAddress, SQLiteAddress, parse

__all__ = ["SQLSettings"]

MAX_POOL_SIZE = 1000
MIN_TIMEOUT_S, MAX_TIMEOUT_S = 0.1, 600.0
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


def _pool_size(text: str) -> int:
    if not (_NUMBER.fullmatch(text) and text.isdecimal() and 1 <= int(text) <= MAX_POOL_SIZE):
        raise SettingsError("TASKD_SQL_POOL_SIZE", f"must be a number from 1 to {MAX_POOL_SIZE}")
    return int(text)


def _seconds(variable: str) -> Callable[[str], float]:
    """Return the converter of *variable*, a time-out."""

    def convert(text: str) -> float:
        if not (_NUMBER.fullmatch(text) and MIN_TIMEOUT_S <= float(text) <= MAX_TIMEOUT_S):
            raise SettingsError(variable, f"must be a number of seconds from {MIN_TIMEOUT_S:g} to {MAX_TIMEOUT_S:g}")
        return float(text)

    return convert


def _timeout(variable: str, default: str) -> float:
    seconds: float = environ_config.var(default, name=variable, converter=_seconds(variable))
    return seconds


@environ_config.config(prefix="", frozen=True)
class SQLSettings:
    """
    Where the tasks are, and how long to wait for them.

    Attributes:
        database_url: A PostgreSQL server's, or an SQLite file's.
        migrate_url: The same database over the connection by which its schema may be changed; None derives it.
        allow_plaintext: Whether a host that is not this machine may be reached without TLS.
        pooler: Whether a PgBouncer that pools by transactions is in between; None goes by Neon's names.
        pool_size: How many connections this process has at most.
        connect_timeout_s: How long a connection may take to be made.
        acquire_timeout_s: How long a call waits for its turn: for a connection that is free, or the SQLite file.
        statement_timeout_s: How long a statement may take, waiting for locks included.
        idle_timeout_s: After how long a connection that nobody needs is closed.
    """

    database_url: Secret = environ_config.var("sqlite:///taskd.db", name="DATABASE_URL", converter=Secret)
    migrate_url: Secret | None = environ_config.var(
        None, name="TASKD_MIGRATE_URL", converter=lambda text: Secret(text) if text else None
    )
    allow_plaintext: bool = environ_config.var(
        "0", name="TASKD_ALLOW_PLAINTEXT", converter=one_of("TASKD_ALLOW_PLAINTEXT", {"0": False, "1": True})
    )
    pooler: bool | None = environ_config.var(
        "auto",
        name="TASKD_SQL_POOLER",
        converter=one_of("TASKD_SQL_POOLER", {"auto": None, "yes": True, "no": False}),
    )
    pool_size: int = environ_config.var("10", name="TASKD_SQL_POOL_SIZE", converter=_pool_size)
    connect_timeout_s: float = _timeout("TASKD_SQL_CONNECT_TIMEOUT", "5")
    acquire_timeout_s: float = _timeout("TASKD_SQL_ACQUIRE_TIMEOUT", "3")
    statement_timeout_s: float = _timeout("TASKD_SQL_STATEMENT_TIMEOUT", "5")
    # Neon suspends a compute that is idle for five minutes; a connection kept open beyond that would keep it awake.
    idle_timeout_s: float = _timeout("TASKD_SQL_IDLE_TIMEOUT", "60")

    def address(self) -> PostgresAddress | SQLiteAddress:
        """Return where the tasks are; raises `SettingsError`."""
        return parse(self.database_url.value, allow_plaintext=self.allow_plaintext)

    def migration_address(self) -> PostgresAddress | SQLiteAddress:
        """Return where to change the schema: past Neon's pooler, on which that fails; raises `SettingsError`."""
        address = self.address()
        if self.migrate_url is None:
            return address.direct() if isinstance(address, PostgresAddress) else address
        other = parse(self.migrate_url.value, allow_plaintext=self.allow_plaintext, variable="TASKD_MIGRATE_URL")
        if type(other) is not type(address):
            raise SettingsError("TASKD_MIGRATE_URL", "must be of the same database as DATABASE_URL")
        return other
