"""What a server costs: the CPU time and the memory of a process and everything that it has started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tests.support.postgres import children_of
from tests.support.processes import resident_bytes

__all__ = ["cpu_s", "memory_bytes"]

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(root: int) -> float:
    """Return the CPU time, user and system, of a process, its descendants, and its children that have ended."""
    return TICK_S * (sum(_ticks(root)) + sum(sum(_ticks(pid)[:2]) for pid in _descendants(root)))


def memory_bytes(root: int) -> int:
    """Return how much memory a process and its descendants use."""
    return sum(resident_bytes(pid) for pid in [root, *_descendants(root)])


def _descendants(root: int) -> Iterator[int]:
    for child in children_of(root):
        yield child
        yield from _descendants(child)


def _ticks(pid: int) -> tuple[int, ...]:
    """Return utime, stime, cutime and cstime; see proc_pid_stat(5)."""
    with contextlib.suppress(FileNotFoundError):
        return tuple(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return (0, 0, 0, 0)
