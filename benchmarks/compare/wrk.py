"""Generate load with wrk, which costs less CPU time than any of the servers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import attrs
import msgspec

__all__ = ["Outcome", "run", "write"]

SCRIPT = Path(__file__).parent / "load.lua"


@attrs.frozen
class Outcome:
    """
    What wrk saw.

    Attributes:
        failed: How many responses had a status of 400 or above.
        broken: How many connections could not be opened or broke.
        timed_out: How many responses took longer than two seconds.
    """

    requests: int
    duration_us: int
    p50_us: float
    p99_us: float
    failed: int
    broken: int
    timed_out: int


def write(file: Path, requests: Iterable[bytes]) -> None:
    """Write requests to a file that `run` sends."""
    file.write_bytes(b"\0".join(requests))


def run(port: int, file: Path, connections: int, duration_s: int) -> Outcome:
    """Send the requests in *file* over and over, and return what came of it."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{duration_s}s", "-s", str(SCRIPT), f"http://127.0.0.1:{port}"]
    said = subprocess.run([*command, "--", str(file)], stdout=subprocess.PIPE, text=True, check=True).stdout
    outcome = msgspec.json.decode(said.splitlines()[-1], type=Outcome)
    if outcome.failed or outcome.broken or not outcome.requests:
        raise RuntimeError(f"{file.name}, {connections} connections: {outcome}")
    return outcome
