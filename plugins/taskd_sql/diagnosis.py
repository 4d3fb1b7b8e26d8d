"""What `taskd doctor` checks of a database, from the way to it up to the schema, without changing anything."""

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
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from taskd import Check, Outcome, StoreError
from taskd_sql import tls
from taskd_sql.faults import Refused, SchemaUnfit
from taskd_sql.postgres import PostgresDatabase
from taskd_sql.schema import VERSION_TABLE, is_newer, revision_in, version_fault
from taskd_sql.sqlite import SQLiteDatabase
from taskd_sql.statements import PING, Statement

__all__ = ["of"]

MIN_SERVER_VERSION = 120000
ROUND_TRIPS = 5
FAR_MS = 50
# As much as a token's times may be ahead of this machine's.
MAX_CLOCK_OFFSET_S = 30
CERTIFICATE_NOTICE = dt.timedelta(days=14)
MIN_FREE_BYTES = 64 * 1024 * 1024

# Remedies that several checks have.
_REACH_IT = (
    "Compare DATABASE_URL with what the console shows, see whether the database is running, and whether this machine"
    " may reach its port."
)
_VERIFY = "Say sslmode=verify-full; if the certificate is of an authority of your own, also sslrootcert=FILE."
_GRANT = (
    "As the owner of the tables: GRANT SELECT, INSERT, UPDATE, DELETE ON tasks TO it;"
    " GRANT SELECT ON taskd_version TO it."
)

_RIGHTS = """
    SELECT to_regclass('tasks') IS NOT NULL, bool_and(has_table_privilege(to_regclass('tasks'), privilege)),
        current_setting('transaction_read_only') = 'on'
    FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
"""
_REVISION = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  our own name


def of(database: PostgresDatabase | SQLiteDatabase) -> AsyncIterator[Check]:
    """Check *database*, the first thing that others depend on first."""
    return _of_postgres(database) if isinstance(database, PostgresDatabase) else _of_sqlite(database)


async def _of_postgres(database: PostgresDatabase) -> AsyncIterator[Check]:
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
        yield Check("connection", Outcome.FAILED, f"{database.name}: {error}", _REACH_IT)
        for name in checks:
            yield Check(name, Outcome.NOT_CHECKED, "there is no connection")
        return
    yield Check("connection", Outcome.OK, f"{database.name}, database {database.address.database or '(default)'}")
    for name, check in checks.items():
        try:
            yield await check(database)
        except StoreError as error:
            yield Check(name, Outcome.FAILED, str(error), _REACH_IT)


async def _tls(database: PostgresDatabase) -> Check:
    address = database.address
    if address.tls is None:
        if database.address.is_local:
            return Check("tls", Outcome.OK, "none, on this machine")
        return Check("tls", Outcome.NOTE, "none: password and tasks are readable on the way", "Leave sslmode out.")
    try:
        async with asyncio.timeout(database.connect_timeout_s):
            done = await tls.shake_hands(address.host, address.port, address.tls)
    except OSError as error:
        return Check("tls", Outcome.FAILED, *_handshake_fault(error))
    if done.expires is None:
        return Check("tls", Outcome.NOTE, f"{done.protocol}, the server's certificate is not verified", _VERIFY)
    remaining = done.expires - dt.datetime.now(dt.timezone.utc)
    finding = f"{done.protocol}, the certificate is good for {remaining.days} days"
    if remaining < CERTIFICATE_NOTICE:
        return Check("tls", Outcome.NOTE, finding, "See that the server gets a new certificate.")
    return Check("tls", Outcome.OK, finding)


def _handshake_fault(error: OSError) -> tuple[str, str]:
    """Return what went wrong, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = "See who signed the server's certificate, and for which host; sslrootcert=FILE trusts others."
        return error.verify_message, remedy
    return _words(error), _REACH_IT


def _words(error: OSError) -> str:
    return (
        "no answer in time" if isinstance(error, TimeoutError) else str(error.strerror or error) or type(error).__name__
    )


async def _pooler(database: PostgresDatabase) -> Check:
    is_direct = await database.is_direct()
    if database.is_pooled:
        return Check("pooler", Outcome.OK, "PgBouncer: no prepared statement is kept")
    # Neon's proxy hides the numbers of processes also where it does not pool.
    if is_direct or database.address.is_neon:
        return Check("pooler", Outcome.OK, "none: prepared statements are kept")
    remedy = "If it is a PgBouncer that pools by transactions, set TASKD_SQL_POOLER=yes."
    return Check("pooler", Outcome.NOTE, "none is expected, and something is in between", remedy)


async def _server(database: PostgresDatabase) -> Check:
    [[number, words]] = await database.fetch(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version')"
    )
    finding = f"PostgreSQL {words}"
    if number < MIN_SERVER_VERSION:
        return Check("server", Outcome.FAILED, finding, "Upgrade it to PostgreSQL 12 or later.")
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
        return Check("round trip", Outcome.NOTE, finding, "Run taskd in the region of the database.")
    return Check("round trip", Outcome.OK, finding)


async def _clock(database: PostgresDatabase) -> Check:
    before_s = time.time()
    [[theirs]] = await database.fetch("SELECT clock_timestamp()")
    offset_s = theirs.timestamp() - (before_s + time.time()) / 2
    finding = f"the database's is {abs(offset_s):.1f} s {'ahead' if offset_s > 0 else 'behind'}"
    if abs(offset_s) > MAX_CLOCK_OFFSET_S:
        return Check("clock", Outcome.FAILED, finding, "Set this machine's clock, by NTP: tokens are judged by it.")
    return Check("clock", Outcome.OK, finding)


async def _schema(database: PostgresDatabase) -> Check:
    ping = Statement.compile(PING, database.dialect)
    try:
        rows = await database.fetch(ping.sql, ping.arguments({}))
    except SchemaUnfit:
        rows = []
    except Refused as error:
        return Check("schema", Outcome.FAILED, str(error), _GRANT)
    return _of_revision(revision_in(rows))


async def _writing(database: PostgresDatabase) -> Check:
    [[is_there, may, is_read_only]] = await database.fetch(_RIGHTS)
    if is_read_only:
        remedy = "Connect to the primary, or see where default_transaction_read_only is set."
        return Check("writing", Outcome.FAILED, "the database takes no writes", remedy)
    if not is_there:
        return Check("writing", Outcome.NOT_CHECKED, "there is no table")
    if not may:
        return Check("writing", Outcome.FAILED, "this user may not change tasks", _GRANT)
    return Check("writing", Outcome.OK, "this user may change tasks")


def _of_revision(revision: str | None) -> Check:
    if fault := version_fault(revision):
        remedy = "Update taskd." if is_newer(revision) else "Run taskd migrate."
        return Check("schema", Outcome.FAILED, fault, remedy)
    return Check("schema", Outcome.OK, f"revision {revision}")


async def _of_sqlite(database: SQLiteDatabase) -> AsyncIterator[Check]:
    file = database.address.file
    for check in await asyncio.to_thread(lambda: list(_of_file(file))):
        yield check


def _of_file(file: Path) -> Iterator[Check]:
    yield _folder(file)
    if not file.exists():
        yield Check("file", Outcome.OK, f"{file} is made at the first start")
        return
    yield _mode(file)
    try:
        with contextlib.closing(sqlite3.connect(_to_look_at(file.resolve()), uri=True)) as connection:
            yield _integrity(connection, file)
            yield _of_revision(_revision_in(connection))
    except OSError as error:
        yield Check("file", Outcome.FAILED, _words(error), "Run it as taskd's user, who must be able to read the file.")
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
        return Check("integrity", Outcome.FAILED, name, "Try again when no other process holds the file.")
    return Check("integrity", Outcome.FAILED, name, f"Restore {file} from a backup.")


# By which version of the format the file is to be written; 2 is with a WAL (SQLite, "Database File Format", 1.3).
_WRITE_VERSION, _WAL = 18, b"\2"


def _to_look_at(file: Path) -> str:
    """Return a URI by which looking makes, and changes, nothing."""
    with file.open("rb") as opened:
        has_wal = opened.read(_WRITE_VERSION + 1)[_WRITE_VERSION:] == _WAL
    # Even to read it, SQLite would make the WAL of a file that nobody has open, and leave it there.
    is_idle = has_wal and not file.with_name(f"{file.name}-wal").exists()
    return f"{file.as_uri()}?mode=ro" + ("&immutable=1" if is_idle else "")


def _revision_in(connection: sqlite3.Connection) -> str | None:
    """Return the revision of the schema; None if the tables are not those of any."""
    try:
        connection.execute("SELECT 1 FROM tasks LIMIT 1")
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
        return Check("folder", Outcome.FAILED, f"{file} cannot be written", "Give taskd's user the right to write it.")
    free_bytes = shutil.disk_usage(folder).free
    finding = f"{free_bytes // 1024**2} MiB are free"
    if free_bytes < MIN_FREE_BYTES:
        return Check("folder", Outcome.FAILED, finding, f"Make room in {folder}.")
    return Check("folder", Outcome.OK, finding)


def _mode(file: Path) -> Check:
    mode = file.stat().st_mode & 0o777
    if mode & 0o007:
        return Check("file", Outcome.NOTE, f"{file} may be read by anybody ({mode:04o})", f"chmod 640 {file}")
    return Check("file", Outcome.OK, f"{file} ({mode:04o})")
