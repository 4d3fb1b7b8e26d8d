"""Node programs, with the packages that their lock files name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.requirements import required

__all__ = ["install", "npm"]


def install(folder: Path) -> None:
    """Install what the lock file in *folder* names, without running any of the packages' install scripts."""
    npm(folder, "ci", "--ignore-scripts", "--no-audit", "--no-fund")


def npm(folder: Path, *arguments: str, **settings: str) -> str:
    """Run npm in *folder*, with *settings* in its environment, check that it succeeds, and return its output."""
    command = [required("npm"), *arguments]
    environ = {**os.environ, **settings}
    done = subprocess.run(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout
    return done.stdout
