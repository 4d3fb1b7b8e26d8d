"""Check a PostgreSQL database, from the connection to the rights of its user."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial

from taskd.checks import Check, Outcome
from taskd.storage import StoreError
from taskd_sql.checks import server, tables
from taskd_sql.checks.revision import REVISION, check_revision
from taskd_sql.engine import tls
from taskd_sql.engine.dns import Lookup
from taskd_sql.engine.drivers import PostgresConnection
from taskd_sql.engine.errors import Refused, SchemaMismatch, remedy_for, remedy_of
from taskd_sql.engine.postgres import PostgresDatabase
from taskd_sql.schema import COLUMNS, revision_in
from taskd_sql.statements import PING, Statement
from taskd_sql.url import PostgresURL, SQLiteURL

__all__ = ["check_postgres"]

MIN_SERVER_VERSION = 120000
ROUND_TRIPS = 5
FAR_MS = 50
# The dates in tokens may be this far ahead of this machine's clock.
MAX_CLOCK_OFFSET_S = 30
CERTIFICATE_NOTICE = dt.timedelta(days=14)

# Remedies that several checks share.
_VERIFY = "Set sslmode=verify-full in DATABASE_URL, and sslrootcert=FILE if the certificate is from your own authority."
_GRANT = (
    "As the owner of the tables: GRANT SELECT, INSERT, UPDATE, DELETE ON tasks, owners, idempotency_keys TO the user in"
    " DATABASE_URL; GRANT SELECT ON taskd_version TO the same user."
)

_PRIVILEGES = """
    SELECT to_regclass('tasks') IS NOT NULL,
        array_agg(privilege || ' on ' || name ORDER BY privilege, name)
            FILTER (WHERE NOT has_table_privilege(to_regclass(name), privilege)),
        current_setting('transaction_read_only') = 'on', pg_is_in_recovery()
    FROM unnest(ARRAY['tasks', 'owners', 'idempotency_keys']) AS name,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
"""

_Checks = Mapping[str, Callable[[PostgresDatabase], Awaitable[Check]]]


async def check_postgres(database: PostgresDatabase, migration_url: PostgresURL | SQLiteURL) -> AsyncIterator[Check]:
    """Check *database*, whose schema is changed at *migration_url*; each check depends on the ones before it."""
    yield await _tls(database)
    checks: _Checks = {
        "pooler": _pooler,
        "server": _server,
        "round trip": _round_trip,
        "clock": _clock,
        **server.CHECKS,
        "migrations": partial(server.check_migrations, migration_url=migration_url),
        "schema": _schema,
        "writing": _writing,
    }
    try:
        await database.fetch("SELECT 1")
    except StoreError as error:
        yield Check("connection", Outcome.FAILED, f"{database.name}: {error}", remedy_of(error))
        for name in (*checks, *tables.CHECKS):
            yield Check(name, Outcome.NOT_CHECKED, "there is no connection")
        return
    yield Check("connection", Outcome.OK, f"{database.name}, database {database.url.database}")
    has_schema = True
    for name, check in checks.items():
        made = await _made(name, check, database)
        has_schema = has_schema and (name != "schema" or made.outcome is Outcome.OK)
        yield made
    for name, check in tables.CHECKS.items():
        yield await _made(name, check, database) if has_schema else tables.without_schema(name)


async def _made(name: str, check: Callable[[PostgresDatabase], Awaitable[Check]], database: PostgresDatabase) -> Check:
    try:
        return await check(database)
    except StoreError as error:
        return Check(name, Outcome.FAILED, str(error), remedy_of(error))


async def _tls(database: PostgresDatabase) -> Check:
    url = database.url
    if url.tls is None:
        if url.is_local:
            return Check("tls", Outcome.OK, "none, on this machine")
        return Check(
            "tls", Outcome.NOTE, "none: others on the network can read the password and the tasks", "Leave out sslmode."
        )
    try:
        async with asyncio.timeout(database.connect_timeout_s):
            address = await Lookup(url.host, url.port).address()
            handshake = await tls.shake_hands(address, url.host, url.tls)
    except OSError as error:
        return Check("tls", Outcome.FAILED, _describe(error), remedy_for(error))
    if handshake.expires is None:
        return Check("tls", Outcome.NOTE, f"{handshake.protocol}, the server's certificate is not verified", _VERIFY)
    remaining = handshake.expires - dt.datetime.now(dt.timezone.utc)
    finding = f"{handshake.protocol}, the certificate is valid for {remaining.days} days"
    if remaining < CERTIFICATE_NOTICE:
        return Check("tls", Outcome.NOTE, finding, "Renew the server's certificate.")
    return Check("tls", Outcome.OK, finding)


def _describe(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, TimeoutError):
        return "no response in time"
    return str(error.strerror or error) or type(error).__name__


async def _pooler(database: PostgresDatabase) -> Check:
    is_direct = await database.is_direct()
    if database.is_pooled and is_direct:
        remedy = "Set TASKD_SQL_POOLER=no: without a pooler, connections can keep the statements that they prepare."
        return Check("pooler", Outcome.NOTE, "there is none, but TASKD_SQL_POOLER says so", remedy)
    if not await _has_transactions(database):
        remedy = "Set pool_mode = transaction in the PgBouncer's configuration."
        return Check("pooler", Outcome.FAILED, "it is in statement mode, and refuses transactions", remedy)
    if database.is_pooled:
        return Check("pooler", Outcome.OK, "PgBouncer, in transaction mode")
    # Neon's proxy hides the process ids even if it does not pool connections.
    if is_direct or database.url.is_neon:
        return Check("pooler", Outcome.OK, "none: prepared statements are kept")
    remedy = "If it is a PgBouncer in transaction mode, set TASKD_SQL_POOLER=yes."
    return Check("pooler", Outcome.NOTE, "there is an unconfigured pooler or proxy", remedy)


async def _has_transactions(database: PostgresDatabase) -> bool:
    async def begin(connection: PostgresConnection) -> None:
        await connection.raw.execute("BEGIN")
        await connection.raw.execute("ROLLBACK")

    try:
        await database.with_connection(begin)
    except StoreError:
        return False
    return True


async def _server(database: PostgresDatabase) -> Check:
    [[number, text]] = await database.fetch(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version')"
    )
    finding = f"PostgreSQL {text}"
    if number < MIN_SERVER_VERSION:
        return Check("server", Outcome.FAILED, finding, "Upgrade to PostgreSQL 12 or later.")
    return Check("server", Outcome.OK, finding)


async def _round_trip(database: PostgresDatabase) -> Check:
    times_ms = []
    for _ in range(ROUND_TRIPS):
        begun_s = time.perf_counter()
        await database.fetch("SELECT 1")
        times_ms.append((time.perf_counter() - begun_s) * 1000)
    median_ms = statistics.median(times_ms)
    finding = f"{median_ms:.1f} ms (the median of {ROUND_TRIPS})"
    if median_ms > FAR_MS:
        return Check("round trip", Outcome.NOTE, finding, "Run taskd in the same region as the database.")
    return Check("round trip", Outcome.OK, finding)


async def _clock(database: PostgresDatabase) -> Check:
    before_s = time.time()
    [[theirs]] = await database.fetch("SELECT clock_timestamp()")
    offset_s = theirs.timestamp() - (before_s + time.time()) / 2
    finding = f"the database's clock is {abs(offset_s):.1f} s {'ahead' if offset_s > 0 else 'behind'}"
    if abs(offset_s) > MAX_CLOCK_OFFSET_S:
        return Check(
            "clock", Outcome.FAILED, finding, "Set this machine's clock with NTP: the expiry of tokens depends on it."
        )
    return Check("clock", Outcome.OK, finding)


async def _schema(database: PostgresDatabase) -> Check:
    ping = Statement.compile(PING, database.dialect)
    columns = [row[0] for row in await database.fetch(COLUMNS["postgresql"])]
    try:
        with contextlib.suppress(SchemaMismatch):
            await database.fetch(ping.sql, ping.arguments({}))
        return check_revision(await _postgres_revision(database), columns)
    except Refused as error:
        return Check("schema", Outcome.FAILED, str(error), _GRANT)


async def _postgres_revision(database: PostgresDatabase) -> str | None:
    """Return the revision in the version table, or None if the table is empty or missing."""
    try:
        return revision_in(await database.fetch(REVISION))
    except SchemaMismatch:
        return None


async def _writing(database: PostgresDatabase) -> Check:
    [[has_table, missing, is_read_only, is_standby]] = await database.fetch(_PRIVILEGES)
    if is_standby:
        remedy = "Set the host in DATABASE_URL to that of the primary."
        return Check("writing", Outcome.FAILED, "this server is a standby, which is read-only", remedy)
    if is_read_only:
        remedy = (
            "Find where default_transaction_read_only is set: ALTER DATABASE … RESET default_transaction_read_only, or"
            " ALTER ROLE …."
        )
        return Check("writing", Outcome.FAILED, "the database is read-only", remedy)
    if not has_table:
        return Check("writing", Outcome.NOT_CHECKED, "there is no table")
    if missing:
        return Check("writing", Outcome.FAILED, f"this user has no right to {', '.join(missing)}", _GRANT)
    return Check("writing", Outcome.OK, "this user may change tasks")
