"""Check an SQLite file, and the folder and file system that it is in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from taskd.checks import Check, Outcome, hiding, long_timeouts
from taskd_sql.checks import mounts
from taskd_sql.checks.revision import REVISION, check_revision
from taskd_sql.engine.sqlite import SQLiteDatabase
from taskd_sql.engine.sqlite_file import is_mounted_alone
from taskd_sql.schema import COLUMNS, metadata, revision_in

__all__ = ["check_sqlite"]

MIN_FREE_BYTES = 64 * 1024 * 1024
# How long looking for damage may take: it reads the whole file.
INTEGRITY_S = 10.0
# How many steps SQLite makes before it asks whether the time is over.
_STEPS = 10_000

_TRIGGERS = {"tasks_inserted", "tasks_updated", "tasks_deleted", "tasks_moved"}
_OURS = ("tasks", "owners", "idempotency_keys")
_OBJECTS = "SELECT type, name FROM sqlite_master WHERE tbl_name IN ('tasks', 'owners', 'idempotency_keys')"
_UNIQUE = "SELECT name FROM pragma_index_list(?) WHERE \"unique\" AND origin <> 'pk'"
_KEY = "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk"


async def check_sqlite(database: SQLiteDatabase) -> AsyncIterator[Check]:
    """Check the file of *database*, without changing it."""
    file, settings = database.url.file, database.settings
    for check in long_timeouts(
        {
            "TASKD_SQL_ACQUIRE_TIMEOUT": settings.acquire_timeout_s,
            "TASKD_SQL_STATEMENT_TIMEOUT": settings.statement_timeout_s,
        }
    ):
        yield check
    for check in await asyncio.to_thread(lambda: list(_check_file(file))):
        yield check


def _check_file(file: Path) -> Iterator[Check]:
    yield _folder(file)
    yield _mount(file)
    if not file.exists():
        yield _relative(file) or Check("file", Outcome.OK, f"{file} is created at the first start")
        return
    yield _file(file)
    try:
        with contextlib.closing(sqlite3.connect(_read_only_uri(file.resolve()), uri=True)) as connection:
            yield _integrity(connection, file)
            columns = [row[0] for row in connection.execute(COLUMNS["sqlite"])]
            schema = check_revision(_revision(connection), columns)
            yield schema
            yield _tables(connection) if schema.outcome is Outcome.OK else _no_tables()
    except OSError as error:
        yield Check(
            "file",
            Outcome.FAILED,
            str(error.strerror or error) or type(error).__name__,
            "Run taskd doctor as taskd's user, and let that user read the file.",
        )
    except sqlite3.Error as error:
        yield _unreadable(error, file)


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
    free_bytes, found = shutil.disk_usage(folder).free, os.statvfs(folder)
    finding = f"{free_bytes // 1024**2} MiB are free"
    if free_bytes < MIN_FREE_BYTES:
        return Check("folder", Outcome.FAILED, finding, f"Free some space in {folder}.")
    # Some file systems do not count them.
    if found.f_files and not found.f_favail:
        return Check("folder", Outcome.FAILED, "no more files can be created", f"Delete some files beside {folder}.")
    if folder.stat().st_mode & 0o1002 == 0o002:
        finding = f"anyone can replace files in {folder}"
        return Check("folder", Outcome.NOTE, finding, f"chmod o-w {folder}")
    return Check("folder", Outcome.OK, finding)


def _mount(file: Path) -> Check:
    """Check the file system: whether it keeps what is written, and whether its locks can be trusted."""
    kind = mounts.kind_of(file.resolve().parent)
    elsewhere = "Keep the file on a disk of this machine: DATABASE_URL=sqlite:////var/lib/taskd/taskd.db, for example"
    if mounts.is_network(kind):
        finding = f"{kind} is on a network, where SQLite can lose writes and damage the file"
        return Check("file system", Outcome.FAILED, finding, f"{elsewhere}; or use PostgreSQL.")
    if kind in mounts.IN_MEMORY:
        finding = f"{kind} is in memory: all tasks are lost when the machine restarts"
        return Check("file system", Outcome.FAILED, finding, f"{elsewhere}.")
    if kind in mounts.OF_CONTAINERS:
        finding = f"{kind} is a container's own: all tasks are lost when the container is replaced"
        return Check("file system", Outcome.NOTE, finding, "Mount a volume at the file's folder.")
    return Check("file system", Outcome.OK, kind or "unknown")


def _relative(file: Path) -> Check | None:
    if file.is_absolute():
        return None
    finding = f"{file} is another file when taskd is started in another folder"
    return Check("file", Outcome.NOTE, finding, f"Set DATABASE_URL=sqlite:///{file.absolute()}")


def _file(file: Path) -> Check:
    """Check who may read and write the file and its journals."""
    real = file.resolve()
    beside = [each for each in (real.with_name(f"{real.name}{end}") for end in ("-wal", "-shm")) if each.exists()]
    found = real.stat()
    if found.st_nlink > 1:
        finding = f"{file} has a second name, under which SQLite would not find its journal"
        return Check("file", Outcome.FAILED, finding, f"Find it with find -samefile {file}, and delete the other name.")
    if strange := [str(each) for each in beside if each.stat().st_uid != found.st_uid]:
        finding = f"{', '.join(strange)} belongs to another user than {file.name}"
        return Check("file", Outcome.FAILED, finding, f"chown --reference={real} {' '.join(strange)}")
    if _is_stuck(found, real.parent.stat()):
        finding = f"the owner of {file} may not write to its folder, where SQLite keeps the journal"
        return Check("file", Outcome.FAILED, finding, f"chown --reference={real} {real.parent}")
    for each in (real, *beside):
        mode = each.stat().st_mode & 0o777
        if mode & 0o007:
            return Check("file", Outcome.NOTE, f"{each} can be read by anyone ({mode:04o})", hiding(each))
    return _relative(file) or Check("file", Outcome.OK, f"{file} ({found.st_mode & 0o777:04o})")


def _is_stuck(file: os.stat_result, folder: os.stat_result) -> bool:
    """Tell whether the owner of *file* may not write to *folder*; everybody else has been asked by `os.access`."""
    if os.geteuid() != 0 or file.st_uid == 0:
        return False
    if file.st_uid == folder.st_uid:
        return not folder.st_mode & 0o200
    return not folder.st_mode & (0o020 if file.st_gid == folder.st_gid else 0o002)


def _integrity(connection: sqlite3.Connection, file: Path) -> Check:
    until = time.monotonic() + INTEGRITY_S
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        [[found]] = connection.execute("PRAGMA quick_check(1)")
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            raise
        finding = f"not fully checked: it takes longer than {INTEGRITY_S:g} s"
        return Check("integrity", Outcome.NOTE, finding, f"sqlite3 {file} 'PRAGMA quick_check'")
    finally:
        connection.set_progress_handler(None, 0)
    if found == "ok":
        return Check("integrity", Outcome.OK, "ok")
    return Check("integrity", Outcome.FAILED, "the file is damaged", f"Restore {file} from a backup.")


def _tables(connection: sqlite3.Connection) -> Check:
    """Check the keys and triggers, which some tools do not copy, and look for what somebody has added."""
    objects = set(connection.execute(_OBJECTS))
    triggers = {name for kind, name in objects if kind == "trigger"}
    keyless = [name for name in _OURS if [row[0] for row in connection.execute(_KEY, (name,))] != _keys()[name]]
    missing = [*(f"the primary key of {name}" for name in keyless), *sorted(_TRIGGERS - triggers)]
    if missing:
        remedy = "Restore a backup, or copy the tasks into a file that taskd has created."
        return Check("tables", Outcome.FAILED, f"missing: {', '.join(missing)}", remedy)
    unique = {name for table in _OURS for (name,) in connection.execute(_UNIQUE, (table,))}
    others = [f"trigger {name}" for name in sorted(triggers - _TRIGGERS)]
    others += [f"unique index {name}" for name in sorted(unique)]
    if others:
        remedy = "Drop what may refuse or change tasks: DROP TRIGGER, DROP INDEX."
        return Check("tables", Outcome.NOTE, f"not taskd's: {', '.join(others)}", remedy)
    return Check("tables", Outcome.OK, "keys and triggers are complete")


def _no_tables() -> Check:
    return Check("tables", Outcome.NOT_CHECKED, "the schema is not that of this taskd")


def _keys() -> Mapping[str, list[str]]:
    return {name: [column.name for column in table.primary_key] for name, table in metadata.tables.items()}


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


def _revision(connection: sqlite3.Connection) -> str | None:
    """Return the revision in the version table, or None if the table is empty or missing."""
    try:
        rows = connection.execute(REVISION).fetchall()
    except sqlite3.OperationalError as error:
        if not str(error).startswith(("no such table", "no such column")):
            raise
        return None
    return revision_in(rows)
