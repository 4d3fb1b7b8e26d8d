"""What tests need beyond Python packages, where it may be missing and where not."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NoReturn

import pytest

__all__ = ["complaint_of", "missing", "permitted", "required"]


def missing(what: str) -> NoReturn:
    """End a test for want of something: it may be missing where somebody develops, but not where all tests run."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def required(program: str, path: str | None = None) -> str:
    """Find *program*, without which a test cannot run, in the folders of *path* or else of PATH."""
    found = shutil.which(program, path=path)
    if found is None:
        missing(f"{program} is not installed")
    return found


def permitted(without: str, *command: str) -> None:
    """Run *command*, without which a test cannot go on; say so in the words of *without* if it fails."""
    if complaint := complaint_of(*command):
        missing(f"{without}: {complaint}")


def complaint_of(*command: str) -> str | None:
    """Run *command* and return its complaint, if it fails."""
    finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return finished.stdout if finished.returncode else None
