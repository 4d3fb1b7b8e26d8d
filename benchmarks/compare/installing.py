"""Install the peers, and what draws charts, beside taskd's own environment and never in it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.support.node import install

__all__ = ["ROOT", "SERVERS", "fastify", "python_with"]

ROOT = Path(__file__).parents[2]
SERVERS = ROOT / "benchmarks" / "servers"
CACHE = ROOT / ".cache" / "compare"


def python_with(requirements: Path) -> Path:
    """Return a Python of the same version as this one, with what *requirements* names."""
    folder = CACHE / f"python-{_key(requirements)}"
    python = folder / "bin" / "python"
    if not _is_complete(folder):
        print(f"Installing {requirements.relative_to(ROOT)} …", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
        _complete(folder)
    return python


def fastify() -> Path:
    """Return the folder of the server in JavaScript, installed as its lock file says."""
    source = SERVERS / "fastify"
    folder = CACHE / f"fastify-{_key(source / 'package-lock.json')}"
    if not _is_complete(folder):
        print("Installing Fastify …", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        install(folder)
        _complete(folder)
    shutil.copy(source / "server.js", folder)
    return folder


def _key(file: Path) -> str:
    return hashlib.sha256(file.read_bytes() + sys.version.encode()).hexdigest()[:12]


def _is_complete(folder: Path) -> bool:
    return (folder / "complete").exists()


def _complete(folder: Path) -> None:
    """Note that the installation was not interrupted."""
    (folder / "complete").touch()
