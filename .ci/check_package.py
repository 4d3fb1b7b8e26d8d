"""Check an installed taskd: what lies in site-packages, and that it serves a request.  Needs nothing but taskd."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import urllib.request
from importlib.metadata import distribution

PACKAGES = {"taskd", "taskd_docs", "taskd_jwt", "taskd_sql", "taskd_tasks"}


def check_files() -> None:
    """The wheel brings its packages, typed, and nothing else: no `plugins`, no `tests`."""
    files = distribution("taskd").files or []
    top = {file.parts[0] for file in files if not file.parts[0].endswith(".dist-info") and file.parts[0] != ".."}
    assert top == PACKAGES, top
    typed = {file.parts[0] for file in files if file.name == "py.typed"}
    assert typed == PACKAGES, typed


def check_migration() -> None:
    """`taskd migrate` finds its revisions where they were installed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-m", "taskd", "migrate"]
        for expected in ("0001: ", "The schema is up to date."):
            migrated = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
            assert migrated.stdout.startswith(expected), migrated.stdout


def check_request() -> None:
    """`taskd dev` serves, and the request that it prints creates a task."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-m", "taskd", "dev", "--port", "0"]
        server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            curl = next(line for line in server.stdout if line.startswith("  curl "))
            words = shlex.split(curl)
            headers = dict(words[at + 1].split(": ") for at, word in enumerate(words) if word == "-H")
            request = urllib.request.Request(words[1], words[words.index("-d") + 1].encode(), headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == 201
                assert json.load(answer)["title"] == "Try taskd"
        finally:
            server.terminate()
            server.wait()


check_files()
check_migration()
check_request()
print("the package is whole, and serves")
