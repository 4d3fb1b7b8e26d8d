"""
Check the distribution: the contents of the sdist, what was installed, and that the installed taskd serves a request.

Run this with the Python that taskd is installed in.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from importlib.metadata import distribution, metadata
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
NAME = "taskd-server"


def tracked(*folders: str) -> set[Path]:
    """Return the paths of the files that git tracks in *folders*, or in the whole repository if none are given."""
    command = ["git", "ls-files", *folders]
    listed = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    return {Path(line) for line in listed.stdout.splitlines()}


def check_sdist() -> None:
    """Check that the sdist has every file in the repository except git's own."""
    with tempfile.TemporaryDirectory() as folder:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", f"{folder}/tools", "build"]
        subprocess.run(install, check=True)
        # A copy, because what goes into an sdist lies beside the source for a moment: other checks would come upon it.
        for file in tracked():
            copy = Path(folder, "source", file)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / file, copy)
        build = [sys.executable, "-m", "build", "--sdist", "--outdir", folder, f"{folder}/source"]
        environ = {**os.environ, "PYTHONPATH": f"{folder}/tools"}
        subprocess.run(build, cwd=folder, env=environ, stdout=subprocess.DEVNULL, check=True)
        [archive] = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as opened:
            packed = {Path(*Path(name).parts[1:]) for name in opened.getnames()}
    assert not (missing := tracked() - packed - {Path(".gitattributes"), Path(".gitignore")}), missing


def check_files() -> None:
    """Check that the wheel has every file in the packages and nothing else: no `plugins`, no `tests`."""
    files = [Path(file) for file in distribution(NAME).files or []]
    ours = {file for file in files if file.suffix != ".pyc" and not file.parts[0].endswith((".dist-info", ".."))}
    expected = tracked("taskd") | {file.relative_to("plugins") for file in tracked("plugins")}
    assert ours == expected, ours ^ expected
    packages = {file.parts[0] for file in expected}
    typed = {file.parts[0] for file in expected if file.name == "py.typed"}
    assert typed == packages, packages - typed


def check_metadata() -> None:
    """Check that the description is the README, and that each Python that is tested has its classifier."""
    described = metadata(NAME)
    assert described.get_payload() == (REPOSITORY / "README.md").read_text()
    pythons = {line.rpartition(" :: ")[2] for line in described.get_all("Classifier", ()) if "Python :: 3." in line}
    assert pythons == {"3.11", "3.12", "3.13", "3.14"}, pythons


def check_migration() -> None:
    """Check that `taskd migrate` finds its revisions where they were installed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-m", "taskd", "migrate"]
        for expected in ("0001: ", "The schema is up to date."):
            migrated = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
            assert migrated.stdout.startswith(expected), migrated.stdout


def check_request() -> None:
    """Check that `taskd dev` serves, and that the request it prints creates a task."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-m", "taskd", "dev", "--port", "0"]
        server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            curl = next(line for line in server.stdout if line.startswith("  curl "))
            words = shlex.split(curl)
            headers = dict(words[at + 1].split(": ") for at, word in enumerate(words) if word == "-H")
            request = urllib.request.Request(words[1], words[words.index("-d") + 1].encode(), headers)
            with urllib.request.urlopen(request, timeout=10) as response:
                assert response.status == 201
                assert json.load(response)["title"] == "Try taskd"
        finally:
            server.terminate()
            server.wait()


check_sdist()
check_files()
check_metadata()
check_migration()
check_request()
print("The package is complete, and taskd serves requests.")
