"""Make databases fail, with a proxy in between or by freezing backends."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from tests.support.postgres import PostgresServer
from tests.support.proxy import Proxy
from tests.support.serving import serving, until_ready

SECRET_TEXT = "what must not appear in a log"


@pytest.fixture
async def proxy(postgres: PostgresServer) -> AsyncIterator[Proxy]:
    """A proxy in front of the PostgreSQL server that can cut and stall connections."""
    async with Proxy(postgres.port) as running:
        yield running


@pytest.fixture
def own_database() -> str:
    """The name of a database that belongs to one test."""
    return f"own_{uuid.uuid4().hex}"


@pytest.fixture
def own_url(postgres: PostgresServer, own_database: str) -> str:
    """The URL of that database."""
    return postgres.create_database(own_database)


@pytest.fixture
async def proxied(proxy: Proxy, postgres_url: str, user_id: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application whose single database connection, through the proxy, is open."""
    async with serving(proxy.url_through(postgres_url), user_id, TASKD_SQL_POOL_SIZE="1") as served:
        await until_ready(served)
        yield served


@pytest.fixture
async def direct(postgres_url: str, user_id: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application with a direct connection to the same database."""
    async with serving(postgres_url, user_id) as served:
        await until_ready(served)
        yield served


@pytest.fixture
def frozen_backend() -> Iterator[Callable[[int], None]]:
    """Yield a function that freezes a backend until the test ends."""
    frozen = []

    def freeze(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        frozen.append(pid)

    yield freeze
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)


def backend_of(postgres: PostgresServer, name: str) -> int:
    """Return the process id of taskd's only connection to the database *name*."""
    sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'taskd'"
    return int(postgres.psql(name, "-c", sql))
