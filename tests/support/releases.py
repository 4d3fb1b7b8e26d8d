"""Earlier versions of taskd, from the history of this repository."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from taskd_sql.migrations.runner import scripts
from tests.support.documentation import ROOT

__all__ = ["extract", "older_schema"]


def older_schema() -> str:
    """
    Return the commit before the newest revision of the schema was added, which stands for the last release.

    The test is skipped, with the reason, where the commits before it are not there, as in a shallow clone.
    """
    newest = scripts().get_revision("head").path
    added = _git("log", "--diff-filter=A", "--format=%H", "--", os.fspath(newest)).split()
    if not added or not _has_parent(added[-1]):
        pytest.skip("this needs the repository's history: run git fetch --unshallow")
    return _git("rev-parse", f"{added[-1]}^").strip()


def extract(commit: str, folder: Path) -> dict[str, str]:
    """
    Put taskd at *commit* into *folder*, and return the environment with which Python imports it from there.

    It is not installed: it shares its dependencies and its entry points with the version that is tested.
    """
    archive = subprocess.run(["git", "archive", commit, "taskd", "plugins"], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(folder / "plugins")])}


def _has_parent(commit: str) -> bool:
    return len(_git("rev-list", "--parents", "-n", "1", commit).split()) > 1


def _git(*arguments: str) -> str:
    ended = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.fail(f"git {arguments[0]} failed: {ended.stderr}")
    return ended.stdout
