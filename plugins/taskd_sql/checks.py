"""Check a database for `taskd doctor`, from the connection to the schema, without changing anything."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import shutil
import sqlite3
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path

from taskd.checks import Check, Outcome
from taskd.storage import StoreError
from taskd_sql.engine import tls
from taskd_sql.engine.dns import Lookup
from taskd_sql.engine.errors import Refused, SchemaMismatch, remedy_for, remedy_of
from taskd_sql.engine.postgres import PostgresDatabase
from taskd_sql.engine.sqlite import SQLiteDatabase
from taskd_sql.engine.sqlite_file import is_mounted_alone
from taskd_sql.schema import COLUMNS, VERSION_TABLE, is_newer, revision_in, table_error, version_error
from taskd_sql.statements import PING, Statement

__all__ = ["check_database"]

MIN_SERVER_VERSION = 120000
ROUND_TRIPS = 5
FAR_MS = 50
# The dates in tokens may be this far ahead of this machine's clock.
MAX_CLOCK_OFFSET_S = 30
CERTIFICATE_NOTICE = dt.timedelta(days=14)
MIN_FREE_BYTES = 64 * 1024 * 1024

# Remedies that several checks share.
_VERIFY = "Set sslmode=verify-full in DATABASE_URL, and sslrootcert=FILE if the certificate is from your own authority."
_GRANT = (
    "As the owner of the tables: GRANT SELECT, INSERT, UPDATE, DELETE ON tasks, owners, idempotency_keys TO the user in"
    " DATABASE_URL; GRANT SELECT ON taskd_version TO the same user."
)

_PRIVILEGES = """
    SELECT to_regclass('tasks') IS NOT NULL, bool_and(has_table_privilege(to_regclass(name), privilege)),
        current_setting('transaction_read_only') = 'on'
    FROM unnest(ARRAY['tasks', 'owners', 'idempotency_keys']) AS name,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
"""
_REVISION = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  our own name


def check_database(database: PostgresDatabase | SQLiteDatabase) -> AsyncIterator[Check]:
    """Check *database*; each check depends on the ones before it."""
    return _check_postgres(database) if isinstance(database, PostgresDatabase) else _check_sqlite(database)


async def _check_postgres(database: PostgresDatabase) -> AsyncIterator[Check]:
    yield await _tls(database)
    checks = {
        "pooler": _pooler,
        "server": _server,
        "round trip": _round_trip,
        "clock": _clock,
        "schema": _schema,
        "writing": _writing,
    }
    try:
        await database.fetch("SELECT 1")
    except StoreError as error:
        yield Check("connection", Outcome.FAILED, f"{database.name}: {error}", remedy_of(error))
        for name in checks:
            yield Check(name, Outcome.NOT_CHECKED, "there is no connection")
        return
    yield Check("connection", Outcome.OK, f"{database.name}, database {database.url.database}")
    for name, check in checks.items():
        try:
            yield await check(database)
        except StoreError as error:
            yield Check(name, Outcome.FAILED, str(error), remedy_of(error))


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
    if database.is_pooled:
        return Check("pooler", Outcome.OK, "PgBouncer, in transaction mode")
    # Neon's proxy hides the process ids even if it does not pool connections.
    if is_direct or database.url.is_neon:
        return Check("pooler", Outcome.OK, "none: prepared statements are kept")
    remedy = "If it is a PgBouncer in transaction mode, set TASKD_SQL_POOLER=yes."
    return Check("pooler", Outcome.NOTE, "there is an unconfigured pooler or proxy", remedy)


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
        return _check_revision(await _postgres_revision(database), columns)
    except Refused as error:
        return Check("schema", Outcome.FAILED, str(error), _GRANT)


async def _postgres_revision(database: PostgresDatabase) -> str | None:
    """Return the revision in the version table, or None if the table is empty or missing."""
    try:
        return revision_in(await database.fetch(_REVISION))
    except SchemaMismatch:
        return None


async def _writing(database: PostgresDatabase) -> Check:
    [[has_table, is_permitted, is_read_only]] = await database.fetch(_PRIVILEGES)
    if is_read_only:
        remedy = "Connect to the primary, or check where default_transaction_read_only is set."
        return Check("writing", Outcome.FAILED, "the database is read-only", remedy)
    if not has_table:
        return Check("writing", Outcome.NOT_CHECKED, "there is no table")
    if not is_permitted:
        return Check("writing", Outcome.FAILED, "this user may not change tasks", _GRANT)
    return Check("writing", Outcome.OK, "this user may change tasks")


def _check_revision(revision: str | None, columns: Collection[str]) -> Check:
    wrong_version = version_error(revision)
    if wrong_version and is_newer(revision):
        return Check("schema", Outcome.FAILED, wrong_version, "Update taskd.")
    if wrong_tables := table_error(revision, columns):
        return Check("schema", Outcome.FAILED, *wrong_tables)
    if wrong_version:
        return Check("schema", Outcome.FAILED, wrong_version, "Run taskd migrate.")
    ahead = ", ahead of this taskd, but compatible with it" if is_newer(revision) else ""
    return Check("schema", Outcome.OK, f"revision {revision}{ahead}")


async def _check_sqlite(database: SQLiteDatabase) -> AsyncIterator[Check]:
    file = database.url.file
    for check in await asyncio.to_thread(lambda: list(_check_file(file))):
        yield check


def _check_file(file: Path) -> Iterator[Check]:
    yield _folder(file)
    if not file.exists():
        yield Check("file", Outcome.OK, f"{file} is created at the first start")
        return
    yield _mode(file)
    try:
        with contextlib.closing(sqlite3.connect(_read_only_uri(file.resolve()), uri=True)) as connection:
            yield _integrity(connection, file)
            columns = [row[0] for row in connection.execute(COLUMNS["sqlite"])]
            yield _check_revision(_sqlite_revision(connection), columns)
    except OSError as error:
        yield Check(
            "file",
            Outcome.FAILED,
            _describe(error),
            "Run taskd doctor as taskd's user, and let that user read the file.",
        )
    except sqlite3.Error as error:
        yield _unreadable(error, file)


def _integrity(connection: sqlite3.Connection, file: Path) -> Check:
    [[found]] = connection.execute("PRAGMA quick_check(1)")
    if found == "ok":
        return Check("integrity", Outcome.OK, "ok")
    return Check("integrity", Outcome.FAILED, "the file is damaged", f"Restore {file} from a backup.")


def _unreadable(error: sqlite3.Error, file: Path) -> Check:
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CANTOPEN")):
        return Check("integrity", Outcome.FAILED, name, "Try again when no other process has locked the file.")
    return Check("integrity", Outcome.FAILED, name, f"Restore {file} from a backup.")


# The offset of the "write version", and its value for a file with a WAL (SQLite, "Database File Format", 1.3).
_WRITE_VERSION, _WAL = 18, b"\2"


def _read_only_uri(file: Path) -> str:
    """Return a URI that opens *file* without creating or changing it."""
    with file.open("rb") as opened:
        has_wal = opened.read(_WRITE_VERSION + 1)[_WRITE_VERSION:] == _WAL
    # If no process has the file open, SQLite would create a WAL even to read it, and leave the WAL behind.
    is_idle = has_wal and not file.with_name(f"{file.name}-wal").exists()
    return f"{file.as_uri()}?mode=ro" + ("&immutable=1" if is_idle else "")


def _sqlite_revision(connection: sqlite3.Connection) -> str | None:
    """Return the revision in the version table, or None if the table is empty or missing."""
    try:
        rows = connection.execute(_REVISION).fetchall()
    except sqlite3.OperationalError as error:
        if not str(error).startswith(("no such table", "no such column")):
            raise
        return None
    return revision_in(rows)


def _folder(file: Path) -> Check:
    folder = file.resolve().parent
    # SQLite puts its journal beside the file.
    if not os.access(folder, os.W_OK) or (file.exists() and not os.access(file, os.W_OK)):
        return Check(
            "folder", Outcome.FAILED, f"{file} cannot be written", "Let taskd's user write to the file and its folder."
        )
    if file.exists() and is_mounted_alone(file):
        finding = f"{file} is mounted without its folder, so SQLite's journal would be lost"
        return Check("folder", Outcome.FAILED, finding, f"Mount the folder {folder} instead of the file.")
    free_bytes = shutil.disk_usage(folder).free
    finding = f"{free_bytes // 1024**2} MiB are free"
    if free_bytes < MIN_FREE_BYTES:
        return Check("folder", Outcome.FAILED, finding, f"Free some space in {folder}.")
    return Check("folder", Outcome.OK, finding)


def _mode(file: Path) -> Check:
    mode = file.stat().st_mode & 0o777
    if mode & 0o007:
        return Check("file", Outcome.NOTE, f"{file} can be read by anyone ({mode:04o})", f"chmod 640 {file}")
    return Check("file", Outcome.OK, f"{file} ({mode:04o})")
