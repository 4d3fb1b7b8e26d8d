"""Processes of taskd for the tests: how they are started, in which environment, and with which plugins installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

DEV = ("-m", "taskd", "dev", "--port", "0")
SERVE = ("-m", "taskd", "serve", "--port", "0")
SERVE_WITH_WORKERS = (*SERVE, "--workers", "2")
PLAIN_UVICORN = ("-m", "uvicorn", "taskd.asgi:app", "--port", "0")


def child_environ(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: this process's own, which has no setting of taskd, and *settings*."""
    return {**os.environ, **settings}


def make_distribution(folder: Path, name: str, source: str) -> dict[str, str]:
    """Put a distribution with one plugin, both called *name*, into *folder*; return by which setting it is found."""
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[taskd]\n{name} = {name}_plugin\n")
    (folder / f"{name}_plugin.py").write_text(source)
    return {"PYTHONPATH": str(folder)}
