"""Servers for other people's programs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskd.testing import running_server
from tests.conftest import SECRET
from tests.support.processes import child_environ


@contextlib.contextmanager
def serving(environ: dict[str, str]) -> Iterator[str]:
    """Serve with the settings in *environ*, and give the URL."""
    with running_server(child_environ(environ)) as server:
        yield server.url
        server.stop()


@pytest.fixture
def server_url(environ: dict[str, str]) -> Iterator[str]:
    """The URL of a server on either database."""
    with serving(environ) as url:
        yield url


@pytest.fixture
def small_environ(tmp_path: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", "BETTER_AUTH_SECRET": SECRET}


@pytest.fixture
def small_server_url(small_environ: dict[str, str]) -> Iterator[str]:
    """The URL of a server, where it does not matter which database it has."""
    with serving(small_environ) as url:
        yield url
