"""While PostgreSQL is down, full, frozen or no PostgreSQL: clients are told in time, and all comes back."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import httpx
import pytest

import taskd_sql.postgres
from taskd_sql import retries
from tests.faults import backend_of
from tests.postgres import PostgresServer
from tests.proxy import LOOPBACK, Proxy, listening
from tests.serving import IMPATIENT, connected, create, locked, read, serving, titles, until, until_ready, until_waiting

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_is_survived(
    postgres: PostgresServer, direct: httpx.AsyncClient, tasks_url: str, mode: str
) -> None:
    """While PostgreSQL is down writes are refused, and afterwards all is as before, without a restart of taskd."""
    assert 201 == await create(direct, tasks_url, "before")
    await asyncio.to_thread(postgres.stop, mode)
    down = await create(direct, tasks_url, "during")
    await asyncio.to_thread(postgres.start)

    assert (503, 201) == (down, await create(direct, tasks_url, "after"))
    assert ["after", "before"] == await titles(direct, tasks_url)


async def test_a_brief_restart_is_not_noticed_by_readers(
    postgres: PostgresServer, direct: httpx.AsyncClient, tasks_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads while PostgreSQL starts waits for it."""
    # A machine under load needs its time to start it.
    monkeypatch.setattr(retries, "MAX_ATTEMPTS", 20)
    assert 200 == await read(direct, tasks_url)
    await asyncio.to_thread(postgres.stop)
    reading = [asyncio.create_task(read(direct, tasks_url)) for _ in range(5)]
    await asyncio.to_thread(postgres.start)

    assert [200] * 5 == await asyncio.gather(*reading)


@pytest.mark.usefixtures("_brief_pauses")
async def test_it_starts_while_the_database_is_down(proxy: Proxy, postgres_url: str, user_id: str) -> None:
    """It says so on /readyz, lives, and is ready as soon as the database is there."""
    await proxy.refuse()
    async with serving(proxy.url_through(postgres_url), user_id) as client:
        down = [await read(client, path) for path in ("/readyz", "/livez", f"/api/{user_id}/tasks")]
        await proxy.accept()

        assert [503, 200, 503] == down
        assert 200 == await read(client, "/readyz")


async def test_terminated_backends_double_and_lose_nothing(
    postgres: PostgresServer, direct: httpx.AsyncClient, tasks_url: str
) -> None:
    """Whatever the moment, a create that was acknowledged is there once, and readers notice nothing."""
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


@pytest.mark.usefixtures("_brief_pauses")
async def test_a_database_without_a_connection_left_is_a_503_that_says_so(
    postgres: PostgresServer, own_url: str, own_database: str, user_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the reason, and service begins again with the first connection that is free."""
    postgres.psql("postgres", "-c", f"ALTER DATABASE {own_database} CONNECTION LIMIT 0")
    async with serving(limited(postgres, own_database), user_id) as client:
        assert 503 == await create(client, f"/api/{user_id}/tasks")
        postgres.psql("postgres", "-c", f"ALTER DATABASE {own_database} CONNECTION LIMIT -1")

        assert 201 == await create(client, f"/api/{user_id}/tasks")
    assert "does not serve: TooManyConnectionsError 53300: no connection is left" in caplog.text
    async with connected(own_url) as connection:
        assert 1 == await connection.fetchval("SELECT count(*) FROM tasks")


async def test_fewer_connections_than_the_pool_may_have_serve_all(
    postgres: PostgresServer, own_url: str, own_database: str, user_id: str
) -> None:
    """Who gets none tries again, and takes one that another has given back; nobody gets anything but a 503."""
    del own_url
    postgres.psql("postgres", "-c", f"ALTER DATABASE {own_database} CONNECTION LIMIT 2")
    async with serving(limited(postgres, own_database), user_id) as client:
        outcomes = await asyncio.gather(*[create(client, f"/api/{user_id}/tasks") for _ in range(30)])

        assert {201, 503} >= set(outcomes)
        assert outcomes.count(201) == len(await titles(client, f"/api/{user_id}/tasks")) >= 2


def limited(postgres: PostgresServer, name: str) -> str:
    """The URL for a role to which limits apply, which they do not to a superuser."""
    return postgres.secured_url(name, sslmode="require")


@pytest.mark.parametrize("pooler", ["yes", "no"])
async def test_a_read_on_a_frozen_backend_is_answered_by_another(  # noqa: PLR0917
    postgres: PostgresServer,
    own_url: str,
    own_database: str,
    user_id: str,
    monkeypatch: pytest.MonkeyPatch,
    frozen_backend: Callable[[int], None],
    pooler: str,
) -> None:
    """When no answer comes in time the connection is given up, and the read is tried on a new one."""
    monkeypatch.setattr(taskd_sql.postgres, "CANCEL_TIMEOUT_S", 0.1)
    settings = {"TASKD_SQL_STATEMENT_TIMEOUT": "0.5", "TASKD_SQL_POOL_SIZE": "1", "TASKD_SQL_POOLER": pooler}
    async with serving(own_url, user_id, **settings) as client:
        await until_ready(client)
        frozen_backend(backend_of(postgres, own_database))

        assert 200 == await read(client, f"/api/{user_id}/tasks")


async def test_a_frozen_server_stops_nobody_but_itself(
    postgres: PostgresServer, direct: httpx.AsyncClient, tasks_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls are refused in time, the event loop goes on, and with the server the service is back."""
    monkeypatch.setattr(taskd_sql.postgres, "CALL_TIMEOUT_S", 0.5)
    monkeypatch.setattr(taskd_sql.postgres, "CANCEL_TIMEOUT_S", 0.2)
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
    monkeypatch.undo()

    assert [503] * 40 == [call.result() for call in calls]
    assert lives > 5
    assert [200] * 20 == await asyncio.gather(*[read(direct, tasks_url) for _ in range(20)])


@pytest.mark.usefixtures("_brief_pauses")
@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"R" + struct.pack("!i", 4),
        b"E" + struct.pack("!i", 9) + b"SFATA",
        b"R" + struct.pack("!ii", 8, 99),
        b"Z" + struct.pack("!i", -5),
        bytes(range(256)),
    ],
)
async def test_what_is_no_postgresql_is_a_503(user_id: str, words: bytes) -> None:
    """Whatever another server at that port says, clients are told to come again."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(words)

    url = f"postgresql://u:p@{LOOPBACK}:{{}}/d"
    async with listening(say) as port, serving(url.format(port), user_id, **IMPATIENT) as client:
        assert 503 == await create(client, f"/api/{user_id}/tasks")
        assert 503 == await read(client, "/readyz")


async def test_more_than_can_wait_are_refused_at_once(
    own_url: str, user_id: str, tasks_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where hundreds wait for a connection already, the next one need not wait to be refused."""
    monkeypatch.setattr(taskd_sql.postgres, "MAX_WAITING_PER_CONNECTION", 1)
    async with serving(own_url, user_id, TASKD_SQL_POOL_SIZE="1") as client:
        await until_ready(client)
        async with locked(own_url) as holder:
            calls = [asyncio.create_task(create(client, tasks_url)) for _ in range(5)]
            await until_waiting(holder, 1)
            await until(lambda: sum(call.done() for call in calls) == 3)
        outcomes = await asyncio.gather(*calls)

    assert [201, 201, 503, 503, 503] == sorted(outcomes)
