"""
Measure what sharing transactions is worth on SQLite: creations by 64 clients, and a plain loop of one-row transactions.

Both write to the same disk, and wait until each transaction is on it (`synchronous=FULL`).  They take turns, so that a
disk that is slow for a while is slow for both.  Meanwhile, other clients read one task each: their 99th percentile is
compared with the one while nobody writes.

Virtual disks often say that data is safe sooner than any disk could write it.  With `--sync-ms 5`, each sync takes five
milliseconds longer, for both, as on a disk that is connected over a network.

Run it as a module: `python -m benchmarks.sqlite_writes`.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import attrs

from benchmarks import load
from benchmarks.load import Retry, percentile
from benchmarks.overload import USERS, Subject, serving

CLIENTS = 64
ROW = ("user-1", "019ab7d4-5c00-7b2a-9d3e-4f5061728394", "Water the plants", "All of them, and the one at the office.")


@attrs.frozen
class Round:
    """
    What was measured in one round.

    Attributes:
        shared_per_s: How many tasks the server created in a second.
        alone_per_s: How many rows the plain loop inserted in a second.
        busy_p99_s: The 99th percentile of reads while tasks were created.
        quiet_p99_s: The 99th percentile of reads while nobody wrote.
    """

    shared_per_s: float
    alone_per_s: float
    busy_p99_s: float
    quiet_p99_s: float


def alone_per_s(folder: Path, duration_s: float) -> float:
    """Return how many rows a plain loop inserts in a second, each in a transaction of its own."""
    with temporary(folder) as file, closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE tasks (user_id TEXT, id TEXT, title TEXT, description TEXT)")
        rows, begun_s = 0, time.perf_counter()
        while time.perf_counter() - begun_s < duration_s:
            connection.execute("INSERT INTO tasks VALUES (?, ?, ?, ?)", ROW)
            rows += 1
        return rows / (time.perf_counter() - begun_s)


@contextmanager
def temporary(folder: Path) -> Iterator[Path]:
    """Yield the path of a file that is removed afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as inner:
        yield Path(inner) / "plain.db"


def measured(subject: Subject, folder: Path, duration_s: float) -> Round:
    """Measure both ways to write, and the reads of others."""
    quiet = load.run(attrs.evolve(subject.neighbours, duration_s=duration_s))
    posts = subject.posts([f"user-{number}" for number in range(USERS)])
    with load.running(subject.neighbours) as others:
        flood = load.run(subject.plan(posts, CLIENTS, duration_s, Retry.AT_ONCE))
        busy = others.stop()
    reads = busy.latencies_s(flood.begun_s, flood.ended_s)
    rates = (flood.good_per_s, alone_per_s(folder, duration_s))
    return Round(*rates, percentile(reads, 99), percentile(quiet.latencies_s(), 99))


def slow_down(sync_ms: float) -> None:
    """Start this program again, and make each sync of its processes take *sync_ms* milliseconds longer."""
    library = Path(tempfile.mkdtemp()) / "slow_sync.so"
    source = Path(__file__).with_name("slow_sync.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)  # noqa: S607  whichever compiler the system has
    environ = {**os.environ, "LD_PRELOAD": str(library), "SYNC_MS": str(sync_ms)}
    os.execve(sys.executable, [sys.executable, "-m", "benchmarks.sqlite_writes", *sys.argv[1:]], environ)  # noqa: S606  the same program, with other variables


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", type=float, default=3.0, metavar="SECONDS")
    parser.add_argument("--folder", type=Path, default=Path(), help="a folder on the disk to measure")
    parser.add_argument("--sync-ms", type=float, default=0.0, help="how much longer each sync takes")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure as many rounds as the options say, and print them and the ratios."""
    given = parsed(sys.argv[1:])
    if given.sync_ms and "SYNC_MS" not in os.environ:
        slow_down(given.sync_ms)
    with serving("sqlite", given.folder) as subject:
        rounds = [measured(subject, given.folder, given.duration) for _ in range(given.rounds)]
    print("| creations/s, 64 clients | plain loop, rows/s | reads p99 (ms) | quiet (ms) |")
    print("| ---: | ---: | ---: | ---: |")
    for each in rounds:
        p99s = f"{each.busy_p99_s * 1e3:.1f} | {each.quiet_p99_s * 1e3:.1f}"
        print(f"| {each.shared_per_s:,.0f} | {each.alone_per_s:,.0f} | {p99s} |")
    writes = statistics.median(each.shared_per_s / each.alone_per_s for each in rounds)
    reads = statistics.median(each.busy_p99_s / each.quiet_p99_s for each in rounds)
    print(f"\nMedians: {writes:.2f} times as many writes, and reads take {reads:.1f} times as long.")


if __name__ == "__main__":
    main()
