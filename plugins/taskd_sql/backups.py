"""Copy SQLite files, while servers use them and back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from taskd.new_files import new_file
from taskd.storage import StoreError
from taskd_sql.engine.errors import sqlite_error
from taskd_sql.schema import VERSION_TABLE, is_newer, owners, tasks, version_error

__all__ = ["back_up", "restore"]

T = TypeVar("T")

# How many pages to copy before checking whether the command was interrupted.
PAGES_AT_ONCE = 4096
LOCK_TIMEOUT_S = 10
# By how much `seq` is raised: by more than any user has written since the backup.
RAISE = 1_000_000


async def back_up(source: Path, target: Path) -> str:
    """Copy the database *source* to the empty file *target*, and verify it; return what it contains, in words."""
    return await _in_thread(lambda stop: _copy(source, target, stop))


async def restore(source: Path, target: Path) -> str:
    """Copy the backup *source* to *target*, which must not exist, and raise all counters; return what it contains."""
    return await _in_thread(lambda stop: _restore(source, target, stop))


async def _in_thread(work: Callable[[threading.Event], T]) -> T:
    """Do *work* in a thread, which ends early if the event is set."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(work, stop)
    finally:
        stop.set()


def _copy(source: Path, target: Path, stop: threading.Event) -> str:
    if not source.is_file():
        raise StoreError(f"there is no file {source}: check DATABASE_URL")

    def check(*_: int) -> None:
        if stop.is_set():
            raise InterruptedError

    with _translating(), _alone(target), _connected(source, "rw") as original, _connected(target, "rw") as copy:
        # Within a transaction, other connections may write without making the copy begin again.
        original.execute("BEGIN")
        original.execute("SELECT 1 FROM sqlite_master").fetchone()
        original.backup(copy, pages=PAGES_AT_ONCE, progress=check, sleep=0)
        original.execute("ROLLBACK")
        # So that the file is complete in itself, and can be read where nothing can be written.
        copy.execute("PRAGMA journal_mode = DELETE")
        return _verified(copy)


def _restore(source: Path, target: Path, stop: threading.Event) -> str:
    for file in (target, *_journals(target)):
        if os.path.lexists(file):
            raise StoreError(f"{file} exists: stop all servers, and move it away")
    with new_file(target) as part:
        contents = _copy(source, part, stop)
        with _translating(), _alone(part), _connected(part, "rw") as connection:
            _raise_counters(connection)
        # As for a new database: see `sqlite_file`.
        part.chmod(0o640)
    return contents


def _journals(file: Path) -> list[Path]:
    return [file.with_name(file.name + end) for end in ("-wal", "-shm", "-journal")]


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Remove what SQLite has left beside *file*, which is of no use if the block has failed."""
    try:
        yield
    finally:
        for journal in _journals(file):
            journal.unlink(missing_ok=True)


@contextlib.contextmanager
def _connected(file: Path, mode: str) -> Iterator[sqlite3.Connection]:
    url = f"file:{quote(str(file))}?mode={mode}"
    with contextlib.closing(sqlite3.connect(url, timeout=LOCK_TIMEOUT_S, isolation_level=None, uri=True)) as connection:
        yield connection


@contextlib.contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"the copy failed: {sqlite_error(error)}") from None


def _verified(connection: sqlite3.Connection) -> str:
    """Return what the database contains, in words, or raise `StoreError` if it is damaged."""
    if connection.execute("PRAGMA integrity_check(1)").fetchall() != [("ok",)]:
        raise StoreError("the copy is damaged, and so may be the original: run PRAGMA integrity_check in it")
    revision = " and ".join(row[0] for row in connection.execute(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608  our own names
    if is_newer(revision) and (reason := version_error(revision)):
        raise StoreError(reason)
    count, users = connection.execute(f"SELECT count(*), count(DISTINCT user_id) FROM {tasks.name}").fetchone()  # noqa: S608  our own names
    return f"tasks: {count:,}; users with tasks: {users:,}; revision of the schema: {revision or 'none'}"


def _raise_counters(connection: sqlite3.Connection) -> None:
    """Raise `seq` of all users, if this revision of the schema has it, beyond what clients may have seen."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [owners.name]).fetchone():
        connection.execute(f"UPDATE {owners.name} SET seq = seq + {RAISE}")  # noqa: S608  our own names
