"""Run commands of taskd until they end, in this process or in one of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from click.testing import CliRunner, Result

from taskd.cli.main import main
from tests.support.processes import child_environ

TIMEOUT_S = 60


def run_python(
    *arguments: str, settings: Mapping[str, str], stdout: IO[str] | int = subprocess.PIPE, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with *arguments* until it ends."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=child_environ(settings),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=cwd,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def invoke(*arguments: str, settings: Mapping[str, str]) -> Result:
    """Run `taskd` with *arguments* in this process."""
    return CliRunner().invoke(main, arguments, env=settings)
