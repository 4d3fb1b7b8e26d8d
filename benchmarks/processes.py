"""Run a server as a process, and end it with everything that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

__all__ = ["running_process"]


@contextlib.contextmanager
def running_process(
    command: Sequence[str | Path], environ: Mapping[str, str], folder: Path, output: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run *command* in *folder*, with nothing but *environ*; at the end, kill its whole process group."""
    process = subprocess.Popen(
        command, env=environ, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
