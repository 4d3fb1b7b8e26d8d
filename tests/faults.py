"""Databases that fail when a test wants it: what is in between, and backends that freeze."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from taskd_sql import retries
from tests.postgres import PostgresServer
from tests.proxy import Proxy
from tests.serving import serving, until_ready

SECRET_TEXT = "what nobody may read in a log"


@pytest.fixture
async def proxy(postgres: PostgresServer) -> AsyncIterator[Proxy]:
    """A proxy in front of the PostgreSQL server, which does as it is told to connections."""
    async with Proxy(postgres.port) as running:
        yield running


@pytest.fixture
def own_database() -> str:
    """The name of a database that is one test's own."""
    return f"own_{uuid.uuid4().hex}"


@pytest.fixture
def own_url(postgres: PostgresServer, own_database: str) -> str:
    """The URL of that database."""
    return postgres.create_database(own_database)


@pytest.fixture
def _brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once, so that refusals come soon."""
    monkeypatch.setattr(retries, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(retries, "JITTER_S", 0.01)


@pytest.fixture
async def proxied(proxy: Proxy, postgres_url: str, user_id: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application behind the proxy that has a single connection, and has made it."""
    async with serving(proxy.url_through(postgres_url), user_id, TASKD_SQL_POOL_SIZE="1") as served:
        await until_ready(served)
        yield served


@pytest.fixture
async def direct(postgres_url: str, user_id: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application over the same database, which nothing disturbs."""
    async with serving(postgres_url, user_id) as served:
        await until_ready(served)
        yield served


@pytest.fixture
def frozen_backend() -> Iterator[Callable[[int], None]]:
    """Freeze the backend with a number, until the test is over."""
    frozen = []

    def freeze(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        frozen.append(pid)

    yield freeze
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)


def backend_of(postgres: PostgresServer, name: str) -> int:
    """Return the process of the one connection that taskd has to the database *name*."""
    sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'taskd'"
    return int(postgres.psql(name, "-c", sql))
