"""Node programs, with the packages that their lock files name."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.requirements import required

__all__ = ["install", "npm"]


def install(folder: Path) -> None:
    """Install what the lock file in *folder* names, without running any of the packages' install scripts."""
    npm(folder, "ci", "--ignore-scripts", "--no-audit", "--no-fund")


def npm(folder: Path, *arguments: str) -> str:
    """Run npm in *folder*, check that it succeeds, and return its output."""
    command = [required("npm"), *arguments]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert 0 == done.returncode, done.stdout
    return done.stdout
