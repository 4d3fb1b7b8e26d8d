"""Describe the machine, the command and the versions, without which no figure means anything."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare.installing import ROOT, SERVERS

__all__ = ["described"]


def described(arguments: Sequence[str], postgres: str) -> dict[str, str]:
    """Return a description, by name, of a run with these command-line arguments."""
    return {
        "command": f"`{shlex.join(['python', '-m', 'benchmarks.compare', *arguments])}`",
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "machine": _machine(),
        "taskd": f"{importlib.metadata.version('taskd-server')}, {_said('git', 'describe', '--always', '--dirty')}",
        "software": f"CPython {platform.python_version()}, {postgres}, wrk {_wrk()}",
        "peers in Python": ", ".join(_pins()),
        "Fastify": ", ".join([f"Node {_said('node', '--version').removeprefix('v')}", *_packages()]),
    }


def _machine() -> str:
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    gib = int(memory[1]) / 1024**2 if memory else 0
    cores = f"{os.cpu_count()} cores ({model[1] if model else platform.machine()})"
    # What follows the second number names a build, and perhaps a provider.
    release = ".".join(platform.release().split(".")[:2])
    return f"{cores}, {gib:.0f} GiB, {platform.system()} {release}"


def _wrk() -> str:
    found = re.search(r"wrk (?:debian/)?([\d.]+)", _said("wrk", "--version"))
    return found[1] if found else "of an unknown version"


def _pins() -> list[str]:
    pins = re.findall(r"(?m)^([\w-]+)(?:\[\w+\])?==([\d.]+)$", (SERVERS / "requirements.txt").read_text())
    return [f"{name} {version}" for name, version in pins]


def _packages() -> list[str]:
    dependencies = json.loads((SERVERS / "fastify" / "package.json").read_text())["dependencies"]
    return [f"{name} {version}" for name, version in dependencies.items()]


def _said(*command: str) -> str:
    """Return what a command prints; wrk exits with 1 after printing its version."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.strip()
