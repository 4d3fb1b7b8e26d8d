"""Fixtures for HTTP: one application over SQLite per module, because HTTP works the same with every store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.types import ASGIApp

from taskd import build_app
from taskd.testing import lifespan
from tests.conftest import ORIGIN, PATIENT, SECRET


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('http')}/tasks.db"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def each_database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a `database_url` for modules whose tests concern the stores, too."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('http')}/tasks.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(scope="module")
def environ(database_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN, **PATIENT}


@pytest.fixture(scope="module")
async def app(environ: dict[str, str]) -> AsyncIterator[ASGIApp]:
    application = build_app(environ)
    async with lifespan(application):
        yield application
