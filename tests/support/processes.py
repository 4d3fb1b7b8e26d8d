"""taskd processes for the tests: how to start them, in which environment, and with which plugins installed."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

DEV = ("-m", "taskd", "dev", "--port", "0")
SERVE = ("-m", "taskd", "serve", "--port", "0")
SERVE_WITH_WORKERS = (*SERVE, "--workers", "2")
PLAIN_UVICORN = ("-m", "uvicorn", "taskd.asgi:app", "--port", "0")


def child_environ(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a child: this process's own, which has none of taskd's settings, plus *settings*."""
    return {**os.environ, **settings}


def make_distribution(folder: Path, name: str, source: str) -> dict[str, str]:
    """Put a distribution with one plugin, both called *name*, into *folder*; return the setting that makes it found."""
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[taskd]\n{name} = {name}_plugin\n")
    (folder / f"{name}_plugin.py").write_text(source)
    return {"PYTHONPATH": str(folder)}


def descriptors(pid: int) -> int:
    """Return how many files, including sockets, a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def until_descriptors(pid: int, count: int) -> None:
    """Wait until a process has at most *count* descriptors open."""
    until_seen(lambda: descriptors(pid) <= count, lambda: f"{descriptors(pid) - count} descriptors are left")


def until_seen(is_so: Callable[[], bool], fault: Callable[[], str] = lambda: "it does not happen") -> None:
    """Wait for something to happen in another process; *fault* says what is wrong if it does not."""
    until_s = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until_s, fault()
        time.sleep(0.01)


def resident_bytes(pid: int) -> int:
    """Return how much memory a process uses."""
    [pages] = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(pages) * 1024
