"""What tests need beyond Python packages: it may be missing on a developer's machine, but not in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NoReturn

import pytest

__all__ = ["complaint_of", "missing", "permitted", "required"]


def missing(what: str) -> NoReturn:
    """End a test that lacks something: skip it on a developer's machine, but fail it where all tests must run."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def required(program: str, path: str | None = None) -> str:
    """Find *program*, without which a test cannot run, in the folders of *path* or, by default, of PATH."""
    found = shutil.which(program, path=path)
    if found is None:
        missing(f"{program} is not installed")
    return found


def permitted(without: str, *command: str) -> None:
    """Run *command*, which a test depends on; if it fails, end the test with *without* as the reason."""
    if complaint := complaint_of(*command):
        missing(f"{without}: {complaint}")


def complaint_of(*command: str) -> str | None:
    """Run *command*, and return its output if it fails."""
    finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return finished.stdout if finished.returncode else None
