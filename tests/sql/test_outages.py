"""PostgreSQL is down, full, frozen or a different server: clients get a 503 in time, and taskd recovers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from taskd_sql.engine.database import Limits
from taskd_sql.engine.postgres import PostgresDatabase
from taskd_sql.engine.retry import Retries
from tests.support.outages import backend_of
from tests.support.postgres import PostgresServer
from tests.support.proxy import FOREIGN_DATA, LOOPBACK, Proxy, listening, sending
from tests.support.serving import (
    BRIEF,
    IMPATIENT,
    connected,
    create,
    database_of,
    limiters_of,
    read,
    serving,
    titles,
    until_ready,
)

pytestmark = pytest.mark.anyio


def set_retries(client: httpx.AsyncClient, retries: Retries) -> None:
    """Let the application of *client* retry as *retries* says."""
    database = database_of(client)
    assert isinstance(database, PostgresDatabase)
    database.retries = retries


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_is_survived(
    postgres: PostgresServer, direct: httpx.AsyncClient, tasks_url: str, mode: str
) -> None:
    """While PostgreSQL is down, writes are refused; afterwards everything works again without restarting taskd."""
    set_retries(direct, BRIEF)
    assert 201 == await create(direct, tasks_url, "before")
    await asyncio.to_thread(postgres.stop, mode)
    down = await create(direct, tasks_url, "during")
    await asyncio.to_thread(postgres.start)

    assert (503, 201) == (down, await create(direct, tasks_url, "after"))
    assert ["after", "before"] == await titles(direct, tasks_url)


async def test_readers_do_not_notice_a_brief_restart(
    postgres: PostgresServer, direct: httpx.AsyncClient, tasks_url: str
) -> None:
    """A read that arrives while PostgreSQL is starting waits for it."""
    # A busy machine takes its time to start it.
    set_retries(direct, Retries(max_attempts=20))
    assert 200 == await read(direct, tasks_url)
    await asyncio.to_thread(postgres.stop)
    reading = [asyncio.create_task(read(direct, tasks_url)) for _ in range(5)]
    await asyncio.to_thread(postgres.start)

    assert [200] * 5 == await asyncio.gather(*reading)


async def test_taskd_starts_while_the_database_is_down(proxy: Proxy, postgres_url: str, user_id: str) -> None:
    """/readyz says so, /livez responds, and taskd becomes ready with the database."""
    await proxy.refuse()
    async with serving(proxy.url_through(postgres_url), user_id, BRIEF) as client:
        down = [await read(client, path) for path in ("/readyz", "/livez", f"/api/{user_id}/tasks")]
        await proxy.accept()

        assert [503, 200, 503] == down
        assert 200 == await read(client, "/readyz")


async def test_terminated_backends_neither_duplicate_nor_lose_anything(
    postgres: PostgresServer, direct: httpx.AsyncClient, tasks_url: str
) -> None:
    """Whenever it happens, an acknowledged task exists exactly once, and readers do not notice."""
    # Even on a busy machine, no request is refused for waiting too long.
    for limiter in await limiters_of(database_of(direct)):
        limiter.target_s = 60
    writes = [asyncio.create_task(create(direct, tasks_url, f"{number:03}")) for number in range(100)]
    reads = [asyncio.create_task(read(direct, tasks_url)) for _ in range(20)]
    for _ in range(3):
        await asyncio.to_thread(postgres.terminate_backends)
    outcomes = await asyncio.gather(*writes)
    found = await titles(direct, tasks_url)

    assert {200} == set(await asyncio.gather(*reads))
    assert set(outcomes) <= {201, 503}
    assert len(found) == len(set(found))
    assert {f"{number:03}" for number, status in enumerate(outcomes) if status == 201} <= set(found)


async def test_too_many_connections_lead_to_a_503(
    postgres: PostgresServer, own_url: str, own_database: str, user_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log gives the reason, and taskd recovers with the first free connection."""
    postgres.psql("postgres", "-c", f"ALTER DATABASE {own_database} CONNECTION LIMIT 0")
    async with serving(limited(postgres, own_database), user_id, BRIEF) as client:
        assert 503 == await create(client, f"/api/{user_id}/tasks")
        postgres.psql("postgres", "-c", f"ALTER DATABASE {own_database} CONNECTION LIMIT -1")

        assert 201 == await create(client, f"/api/{user_id}/tasks")
    assert "is unavailable: TooManyConnectionsError 53300: the server has no connections left" in caplog.text
    async with connected(own_url) as connection:
        assert 1 == await connection.fetchval("SELECT count(*) FROM tasks")


async def test_fewer_connections_than_the_pool_size_serve_everyone(
    postgres: PostgresServer, own_url: str, own_database: str, user_id: str
) -> None:
    """A call that gets no connection is retried with one that another call has released, or leads to a 503."""
    del own_url
    postgres.psql("postgres", "-c", f"ALTER DATABASE {own_database} CONNECTION LIMIT 2")
    async with serving(limited(postgres, own_database), user_id) as client:
        outcomes = await asyncio.gather(*[create(client, f"/api/{user_id}/tasks") for _ in range(30)])

        assert {201, 503} >= set(outcomes)
        assert outcomes.count(201) == len(await titles(client, f"/api/{user_id}/tasks")) >= 2


def limited(postgres: PostgresServer, name: str) -> str:
    """Return the URL for a role to which limits apply, unlike to a superuser."""
    return postgres.secured_url(name, sslmode="require")


@pytest.mark.parametrize("pooler", ["yes", "no"])
async def test_a_read_on_a_frozen_backend_is_retried_on_another(
    postgres: PostgresServer,
    own_url: str,
    own_database: str,
    user_id: str,
    frozen_backend: Callable[[int], None],
    pooler: str,
) -> None:
    """If no response arrives in time, the connection is given up, and the read uses a new one."""
    limits = Limits(cancel_timeout_s=0.1)
    settings = {"TASKD_SQL_STATEMENT_TIMEOUT": "0.5", "TASKD_SQL_POOL_SIZE": "1", "TASKD_SQL_POOLER": pooler}
    async with serving(own_url, user_id, limits, **settings) as client:
        await until_ready(client)
        frozen_backend(backend_of(postgres, own_database))

        assert 200 == await read(client, f"/api/{user_id}/tasks")


async def test_a_frozen_server_blocks_nothing_else(
    postgres: PostgresServer, direct: httpx.AsyncClient, tasks_url: str
) -> None:
    """Calls are refused in time, the event loop continues, and taskd recovers with the server."""
    database = database_of(direct)
    database.limits = Limits(call_timeout_s=0.5, cancel_timeout_s=0.2)
    await asyncio.gather(*[read(direct, tasks_url) for _ in range(10)])
    postgres.freeze()
    try:
        calls = [asyncio.create_task(create(direct, tasks_url)) for _ in range(20)]
        calls += [asyncio.create_task(read(direct, tasks_url)) for _ in range(20)]
        lives = 0
        while not all(call.done() for call in calls):
            lives += await read(direct, "/livez") == 200
            await asyncio.sleep(0.01)
    finally:
        postgres.thaw()
    database.limits = Limits()

    assert [503] * 40 == [call.result() for call in calls]
    assert lives > 5
    assert [200] * 20 == await asyncio.gather(*[read(direct, tasks_url) for _ in range(20)])


@pytest.mark.parametrize("data", FOREIGN_DATA)
async def test_a_server_that_is_not_postgresql_leads_to_a_503(user_id: str, data: bytes) -> None:
    """Whatever it sends, clients are asked to try again later."""
    async with listening(sending(data)) as port:
        url = f"postgresql://u:p@{LOOPBACK}:{port}/d"
        async with serving(url, user_id, BRIEF, **IMPATIENT) as client:
            assert 503 == await create(client, f"/api/{user_id}/tasks")
            assert 503 == await read(client, "/readyz")
