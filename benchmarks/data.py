"""
Measure how long the commands for data take, and how much memory, over an SQLite file with many tasks.

Run it as `python -m benchmarks.data [TASKS]`, by default with a million tasks.  Half of them belong to one user, and
the others to users with 500 each.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import attrs

from taskd_sql.plugin import taskd_storage

__all__ = ["Measured", "commands", "fill", "measure"]

TASKS_OF_A_USER = 500
TEXT = "Water the plants, and then all the others. " * 5

_FILL = """
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
    INSERT INTO tasks (user_id, id, title, description, status, priority, created_at, updated_at, tags, version,
        title_folded, description_folded)
    SELECT CASE WHEN n * 2 > :count THEN 'largest' ELSE printf('user%06d', n / :each) END,
        printf('019ab7d4%04x7000%016x', n % 65536, n | (1 << 63)),
        'Task ' || n, :text, 'pending', 'medium', :now, :now, '["home","garden"]', n, 'task ' || n, lower(:text)
    FROM numbers
"""
_COUNT = "INSERT INTO owners (user_id, seq, is_folded) SELECT user_id, max(version), 1 FROM tasks GROUP BY user_id"


@attrs.frozen
class Measured:
    """How many *seconds* a command took, and how many *mebibytes* of memory at most."""

    seconds: float
    mebibytes: float


def fill(file: Path, count: int) -> None:
    """Make an SQLite file with *count* tasks."""
    asyncio.run(_create(file))
    with closing(sqlite3.connect(file)) as connection, connection:
        values = {"count": count, "each": TASKS_OF_A_USER, "text": TEXT, "now": "2026-11-25T00:00:00.000000+00:00"}
        connection.execute(_FILL, values)
        connection.execute(_COUNT)


async def _create(file: Path) -> None:
    store = taskd_storage({"DATABASE_URL": f"sqlite:///{file}"})
    await store.ping()
    await store.close()


def commands(folder: Path) -> Iterator[tuple[Path, Sequence[str]]]:
    """Yield commands of taskd, each with the database to run it with; they rely on those that come before them."""
    original, copy = folder / "tasks.db", folder / "copy.db"
    yield original, ("backup", str(folder / "backup.db"))
    yield original, ("export", str(folder / "all.ndjson"))
    yield copy, ("import", str(folder / "all.ndjson"))
    yield copy, ("import", str(folder / "all.ndjson"))
    yield original, ("export", "--format", "ics", "--user", "largest", str(folder / "largest.ics"))
    yield copy, ("stats", "--json")
    yield copy, ("erase", "--yes", "largest")


def measure(file: Path, arguments: Sequence[str]) -> Measured:
    """Run `taskd` with *arguments* over *file*."""
    environ = {**os.environ, "DATABASE_URL": f"sqlite:///{file}"}
    begun_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "taskd", *arguments], env=environ, cwd=file.parent, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"taskd {' '.join(arguments)} failed")
    return Measured(time.monotonic() - begun_s, usage.ru_maxrss / 1024)


def main() -> None:
    """Print a table of all commands."""
    count = int(sys.argv[1]) if sys.argv[1:] else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder / "tasks.db", count)
        size = (folder / "tasks.db").stat().st_size / 2**20
        print(f"{count:,} tasks, {size:,.0f} MiB")
        for file, arguments in commands(folder):
            measured = measure(file, arguments)
            shown = " ".join(each.removeprefix(f"{folder}/") for each in arguments)
            print(f"taskd {shown:50} {measured.seconds:8.1f} s {measured.mebibytes:8.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
