"""Find programs, run a server as a process, and end it with everything that it has started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

__all__ = ["installed", "running_process"]


def installed(program: str, package: str) -> str:
    """Return the path of *program*, or end this process if Debian's *package*, which contains it, is missing."""
    found = shutil.which(program)
    if found is None:
        sys.exit(f"{program} is not installed: apt-get install {package}")
    return found


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
