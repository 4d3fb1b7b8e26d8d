"""Check the settings of a PostgreSQL server, as they are in a session of taskd's user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple

from taskd.checks import Check, Outcome, long_timeouts
from taskd.storage import StoreError
from taskd_sql.engine.errors import remedy_of
from taskd_sql.engine.postgres import PostgresDatabase
from taskd_sql.url import PostgresURL, SQLiteURL

__all__ = ["CHECKS", "check_migrations"]

# Settings that lose acknowledged writes when the server or its machine crashes.
UNSAFE = ("fsync", "full_page_writes", "synchronous_commit")
# Those of them that do not matter where the server's log is kept on other machines, as Neon and Aurora do.
_OF_LOCAL_DISKS = ("fsync", "full_page_writes")
_IS_AURORA = "SELECT to_regproc('aurora_version') IS NOT NULL"

_SETTINGS = "SELECT name, setting, source FROM pg_settings WHERE name = ANY($1::text[])"
# Superusers may use reserved connections, and limits of their role or database do not apply to them.
_CAPACITY = """
    SELECT current_setting('max_connections')::int, least(
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - coalesce(nullif(current_setting('reserved_connections', true), '')::int, 0),
        CASE WHEN rolconnlimit >= 0 AND NOT rolsuper THEN rolconnlimit END,
        CASE WHEN datconnlimit >= 0 AND NOT rolsuper THEN datconnlimit END)
    FROM pg_roles, pg_database WHERE rolname = session_user AND datname = current_database()
"""
# The owners of the tables whom this user cannot act as.
_FOREIGN = """
    SELECT DISTINCT pg_get_userbyid(relowner)::text FROM pg_class
    WHERE oid IN (to_regclass('tasks'), to_regclass('owners'), to_regclass('idempotency_keys'))
        AND NOT pg_has_role(relowner, 'USAGE')
"""
# The same database has the same id in the same server.
_IDENTITY = """
    SELECT oid::text, datname::text, pg_postmaster_start_time()::text
    FROM pg_database WHERE datname = current_database()
"""


class _Setting(NamedTuple):
    """A setting of the server: its name, its value in the server's units, and where the value comes from."""

    name: str
    value: str
    source: str

    def remedy(self, value: str, user: str, database: str) -> str:
        """Return how to change the setting to *value*, where it was set."""
        change = f"SET {self.name} = {value}"
        if self.source in ("user", "database user"):
            return f'ALTER ROLE "{user}" {change};'
        if self.source == "database":
            return f'ALTER DATABASE "{database}" {change};'
        return f"{self.name} = {value} in postgresql.conf, or ALTER SYSTEM {change}; then reload the server."


async def _settings(database: PostgresDatabase, *names: str) -> dict[str, _Setting]:
    return {row[0]: _Setting(*row) for row in await database.fetch(_SETTINGS, [list(names)])}


async def _durability(database: PostgresDatabase) -> Check:
    [[is_aurora]] = await database.fetch(_IS_AURORA)
    has_disk = not (is_aurora or database.url.is_neon)
    names = [name for name in UNSAFE if has_disk or name not in _OF_LOCAL_DISKS]
    found = await _settings(database, *names)
    if off := [each for each in found.values() if each.value == "off"]:
        finding = f"{' and '.join(each.name for each in off)} is off: a crash loses acknowledged writes"
        return Check("durability", Outcome.FAILED, finding, _remedies(off, "on", database))
    return Check("durability", Outcome.OK, "acknowledged writes survive a crash of the server")


async def _session(database: PostgresDatabase) -> Check:
    """Check what would make statements behave differently from what taskd expects."""
    wanted = {"default_transaction_isolation": "read committed", "session_replication_role": "origin"}
    found = await _settings(database, *wanted)
    for name, value in wanted.items():
        if name in found and found[name].value != value:
            finding = f"{name} is {found[name].value}: {_CONSEQUENCES[name]}"
            return Check("session", Outcome.FAILED, finding, _remedies([found[name]], f"'{value}'", database))
    return Check("session", Outcome.OK, "read committed, with triggers")


_CONSEQUENCES = {
    "default_transaction_isolation": "simultaneous writes of one user are refused",
    "session_replication_role": "triggers do not run, and older servers' changes go unnoticed",
}


async def _timeouts(database: PostgresDatabase) -> Check:
    for check in long_timeouts(_own_timeouts(database)):
        return check
    limits = dict(_needed_ms(database))
    found = await _settings(database, *limits)
    if short := [each for name, each in found.items() if 0 < int(each.value) < limits[name]]:
        finding = ", ".join(f"{each.name} is {each.value} ms, and should be {limits[each.name]}" for each in short)
        remedy = " ".join(_remedies([each], f"'{limits[each.name]} ms'", database) for each in short)
        return Check("time-outs", Outcome.NOTE, finding, f"{remedy} Or lower {_COUNTERPARTS[short[0].name]}.")
    return Check("time-outs", Outcome.OK, "the server's are longer than taskd's")


_COUNTERPARTS = {
    "statement_timeout": "TASKD_SQL_STATEMENT_TIMEOUT",
    "lock_timeout": "TASKD_SQL_STATEMENT_TIMEOUT",
    "idle_session_timeout": "TASKD_SQL_IDLE_TIMEOUT",
    "idle_in_transaction_session_timeout": "TASKD_SQL_STATEMENT_TIMEOUT",
    "transaction_timeout": "TASKD_SQL_STATEMENT_TIMEOUT",
}


def _own_timeouts(database: PostgresDatabase) -> Mapping[str, float]:
    settings = database.settings
    return {
        "TASKD_SQL_CONNECT_TIMEOUT": settings.connect_timeout_s,
        "TASKD_SQL_ACQUIRE_TIMEOUT": settings.acquire_timeout_s,
        "TASKD_SQL_STATEMENT_TIMEOUT": settings.statement_timeout_s,
    }


def _needed_ms(database: PostgresDatabase) -> Iterator[tuple[str, int]]:
    """Yield the shortest time-outs that the server may have, in milliseconds."""
    statement_ms = round(database.settings.statement_timeout_s * 1000)
    yield from [("statement_timeout", statement_ms), ("lock_timeout", statement_ms)]
    # Long lists are read in a transaction.
    call_ms = round(database.limits.call_timeout_s * 1000)
    yield from [("idle_in_transaction_session_timeout", statement_ms), ("transaction_timeout", call_ms)]
    if not database.is_pooled:
        yield "idle_session_timeout", round(database.settings.idle_timeout_s * 1000)


async def _connections(database: PostgresDatabase) -> Check:
    if database.is_pooled:
        return Check("connections", Outcome.OK, "shared by the pooler")
    size = database.settings.pool_size
    [[_, most]] = await database.fetch(_CAPACITY)
    finding = f"the server allows {most}, and each process opens up to {size}"
    remedy = f"Set TASKD_SQL_POOL_SIZE to less than {max(most // 2, 2)}, or raise max_connections or CONNECTION LIMIT."
    if most < size:
        return Check("connections", Outcome.FAILED, finding, remedy)
    if most < 2 * size:
        return Check("connections", Outcome.NOTE, f"{finding}: a second process would be refused some", remedy)
    return Check("connections", Outcome.OK, f"{finding}: enough for {most // size} processes")


async def check_migrations(database: PostgresDatabase, migration_url: PostgresURL | SQLiteURL) -> Check:
    """Check that `taskd migrate` can change the schema of *database*, and not that of another one."""
    if not isinstance(migration_url, PostgresURL) or database.settings.migrate_url is None:
        return await _ownership(database, "DATABASE_URL")
    other = PostgresDatabase(migration_url, database.settings, database.limits, database.retries)
    try:
        [theirs], [ours] = await other.fetch(_IDENTITY), await database.fetch(_IDENTITY)
        if list(ours) != list(theirs):
            finding = "TASKD_MIGRATE_URL leads to another database than DATABASE_URL"
            return Check("migrations", Outcome.FAILED, finding, "Correct TASKD_MIGRATE_URL, or remove it.")
        return await _ownership(other, "TASKD_MIGRATE_URL")
    except StoreError as error:
        remedy = remedy_of(error).replace("DATABASE_URL", "TASKD_MIGRATE_URL")
        return Check("migrations", Outcome.NOTE, f"TASKD_MIGRATE_URL cannot be used: {error}", remedy)
    finally:
        await other.close()


async def _ownership(database: PostgresDatabase, variable: str) -> Check:
    """Check that the user in *variable* owns the tables."""
    if foreign := [row[0] for row in await database.fetch(_FOREIGN)]:
        finding = f"the tables belong to {', '.join(foreign)}, so the user in {variable} cannot upgrade them"
        return Check("migrations", Outcome.NOTE, finding, f"Set TASKD_MIGRATE_URL to a URL with the user {foreign[0]}.")
    return Check("migrations", Outcome.OK, f"as the user in {variable}")


def _remedies(settings: list[_Setting], value: str, database: PostgresDatabase) -> str:
    url = database.url
    return " ".join(each.remedy(value, url.user, url.database) for each in settings)


CHECKS: Mapping[str, Callable[[PostgresDatabase], Awaitable[Check]]] = {
    "durability": _durability,
    "session": _session,
    "time-outs": _timeouts,
    "connections": _connections,
}
