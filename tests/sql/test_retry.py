"""Lost responses, lost requests and cut connections: reads are retried, and no write is done twice."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import asyncpg
import httpx
import pytest

from taskd_sql.engine.database import Limits, now
from taskd_sql.engine.errors import Interrupted
from taskd_sql.engine.retry import Retries
from tests.support.outages import SECRET_TEXT
from tests.support.postgres import PostgresServer, free_port
from tests.support.proxy import Proxy
from tests.support.serving import BRIEF, RESPONSE_BOUND_S, connected, create, outcome, read, serving, titles, until

pytestmark = pytest.mark.anyio

_FIELDS = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
# Preceded by a setting of the session, which tells a test that both have been read.
_SETTING = b"farewell\0said\0"
FAREWELL = b"S" + struct.pack("!i", 4 + len(_SETTING)) + _SETTING + b"E" + struct.pack("!i", 4 + len(_FIELDS)) + _FIELDS


@pytest.mark.parametrize("pooler", ["yes", "no"])
async def test_a_create_whose_response_is_lost_is_not_repeated(
    proxy: Proxy, postgres_url: str, user_id: str, tasks_url: str, pooler: str
) -> None:
    """It was committed, the client gets a 503, and the task exists exactly once."""
    async with serving(proxy.url_through(postgres_url), user_id, TASKD_SQL_POOLER=pooler) as client:
        assert 201 == await create(client, tasks_url, "before")
        proxy.cut_on_next_response(holding=b"INSERT 0 1")

        assert 503 == await create(client, tasks_url, "in doubt")
        assert ["before", "in doubt"] == await titles(client, tasks_url)


async def test_a_toggle_whose_response_is_lost_is_not_repeated(
    proxied: httpx.AsyncClient, proxy: Proxy, tasks_url: str
) -> None:
    """Toggling twice would change nothing."""
    url = (await proxied.post(tasks_url, json={"title": "t"})).headers["Location"]
    proxy.cut_on_next_response(holding=b"UPDATE 1")

    assert 503 == outcome(await proxied.patch(f"{url}/complete"))
    assert (await proxied.get(url)).json()["is_completed"] is True


async def test_a_delete_whose_response_is_lost_is_not_a_404(
    proxied: httpx.AsyncClient, proxy: Proxy, tasks_url: str
) -> None:
    """A second attempt would find nothing, and report that the task never existed."""
    url = (await proxied.post(tasks_url, json={"title": "t"})).headers["Location"]
    proxy.cut_on_next_response(holding=b"DELETE 1")

    assert 503 == outcome(await proxied.delete(url))
    assert 404 == await read(proxied, url)


async def test_a_lost_create_request_has_no_effect(proxied: httpx.AsyncClient, proxy: Proxy, tasks_url: str) -> None:
    """To taskd, this looks like a lost response: the client gets a 503, and nothing happens later."""
    assert 201 == await create(proxied, tasks_url, "before")
    proxy.cut_on_next_request(holding=b"in doubt")

    assert 503 == await create(proxied, tasks_url, "in doubt")
    assert ["before"] == await titles(proxied, tasks_url)


@pytest.mark.parametrize("cut", [Proxy.cut_on_next_response, Proxy.cut_on_next_request])
@pytest.mark.parametrize("path", ["", "/{id}", "/readyz"])
async def test_an_interrupted_read_is_retried(
    proxied: httpx.AsyncClient, proxy: Proxy, tasks_url: str, cut: Callable[[Proxy], None], path: str
) -> None:
    """It uses another connection."""
    task_id = (await proxied.post(tasks_url, json={"title": "t"})).json()["id"]
    url = path if path == "/readyz" else tasks_url + path.format(id=task_id)
    before = proxy.accepted
    cut(proxy)

    assert 200 == await read(proxied, url)
    assert before + 1 == proxy.accepted


async def test_a_write_waits_until_the_database_is_back(proxy: Proxy, postgres_url: str, user_id: str) -> None:
    """Without a connection, nothing can have been done, so the write is retried, and done once."""
    # Long enough for this test to do its part in between, even on a busy machine.
    retries = Retries(max_attempts=20)
    url, target = f"/api/{user_id}/tasks", proxy.target
    proxy.target = free_port()
    async with serving(proxy.url_through(postgres_url), user_id, retries) as client:
        writing = asyncio.create_task(create(client, url))
        # The health check at the start connects, too.
        await until(lambda: proxy.accepted >= 3)
        assert not writing.done()
        proxy.target = target

        assert 201 == await writing
        assert ["t"] == await titles(client, url)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_idle_connections_that_were_cut_are_replaced(
    proxy: Proxy, postgres_url: str, user_id: str, tasks_url: str, method: str
) -> None:
    """The network or a suspended compute may have closed them."""
    async with serving(proxy.url_through(postgres_url), user_id) as client:
        await asyncio.gather(*[client.get(tasks_url) for _ in range(5)])
        await proxy.refuse()
        await proxy.accept()
        # Let this event loop notice the cuts, as it would before the next request.
        await asyncio.sleep(0.05)

        assert 300 > outcome(await client.request(method, tasks_url, json={"title": "t"}))


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_idle_connections_that_the_server_closed_are_replaced(
    postgres: PostgresServer, direct: httpx.AsyncClient, tasks_url: str, method: str
) -> None:
    """A terminated backend announces its end while nobody is listening."""
    await asyncio.gather(*[direct.get(tasks_url) for _ in range(5)])
    assert 1 <= await asyncio.to_thread(postgres.terminate_backends)
    # So far, they have only been asked to end.
    left = ["active"]
    async with asyncio.timeout(RESPONSE_BOUND_S):
        while left:
            left = await asyncio.to_thread(postgres.connections, "tests")

    assert 300 > outcome(await direct.request(method, tasks_url, json={"title": "t"}))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The connections that asyncpg opens."""
    connections = []
    connect = asyncpg.connect

    async def connect_and_remember(*args: Any, **kwargs: Any) -> Any:
        connections.append(await connect(*args, **kwargs))
        return connections[-1]

    monkeypatch.setattr(asyncpg, "connect", connect_and_remember)
    return connections


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_announced_end_is_handled(
    made: list[Any], proxied: httpx.AsyncClient, proxy: Proxy, tasks_url: str, method: str
) -> None:
    """Between the server's announcement and its end, a connection looks fine but accepts no statement."""
    before = proxy.accepted
    for end in proxy._ends:
        if end.is_client:
            assert end._transport is not None
            end._transport.write(FAREWELL)
    await until(lambda: hasattr(made[-1].get_settings(), "farewell"))

    assert 300 > outcome(await proxied.request(method, tasks_url, json={"title": "t"}))
    assert before + 1 == proxy.accepted


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("state", ["40001", "40P01", "53200", "53300", "57P03"])
async def test_a_write_that_the_database_undid_is_retried(own_url: str, user_id: str, state: str, count: int) -> None:
    """A deadlock or a lack of memory leaves nothing of the write; a later attempt does it once."""
    await fail_first(own_url, state, count)
    async with serving(own_url, user_id, BRIEF) as client:
        assert 201 == await create(client, f"/api/{user_id}/tasks")
        assert ["t"] == await titles(client, f"/api/{user_id}/tasks")
    assert count + 1 == await attempts(own_url)


@pytest.mark.parametrize(
    ("state", "status", "expected"),
    [("40001", 503, BRIEF.max_attempts), ("40003", 503, 1), ("53100", 503, 1), ("22000", 500, 1)],
)
async def test_attempts_are_limited(
    own_url: str, user_id: str, caplog: pytest.LogCaptureFixture, state: str, status: int, expected: int
) -> None:
    """
    Only an error that may be temporary, and that left nothing of the write, is retried; a repeated one is given up.

    With 40003, nobody knows whether the statement completed.  The log quotes nothing from the database.
    """
    await fail_first(own_url, state, 1000)
    async with serving(own_url, user_id, BRIEF) as client:
        assert status == await create(client, f"/api/{user_id}/tasks")
        assert [] == await titles(client, f"/api/{user_id}/tasks")
    assert expected == await attempts(own_url)
    assert SECRET_TEXT not in caplog.text


async def fail_first(url: str, state: str, count: int) -> None:
    """Let the first *count* inserts fail, counted by a sequence, as transactions do not undo that."""
    async with connected(url) as connection:
        await connection.execute(f"""
            CREATE SEQUENCE attempts;
            CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('attempts') <= {count} THEN
                    RAISE EXCEPTION '{SECRET_TEXT}' USING ERRCODE = '{state}';
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER fail AFTER INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION fail();
        """)


async def attempts(url: str) -> int:
    async with connected(url) as connection:
        counted: int = await connection.fetchval("SELECT last_value FROM attempts")
        return counted


async def test_no_attempt_starts_after_the_deadline() -> None:
    """A pause that would end too late is skipped: the caller gets the error at once."""
    made, retries = [], Retries(first_pause_s=1)

    async def attempt(_: object) -> None:
        made.append(now())
        raise Interrupted("no response in time", may_have_run=False)

    until = now() + 0.5
    with pytest.raises(Interrupted):
        await retries.run(attempt, SimpleNamespace(is_read=True, until=until))

    assert 1 == len(made)
    assert now() < until


def test_pauses_are_random() -> None:
    """Clients that were interrupted together must not overwhelm a database that has just come back."""
    assert Retries().jitter_s > 0


def test_a_call_and_its_cancellation_stay_within_the_limit() -> None:
    """Clients get their 503 within ten seconds, including the cancellation of a call that took too long."""
    limits = Limits()

    assert limits.call_timeout_s + limits.cancel_timeout_s < RESPONSE_BOUND_S


async def test_a_crash_during_a_statement_is_not_retried(own_url: str, user_id: str) -> None:
    """A backend that ends while it is writing may have committed."""
    async with connected(own_url) as connection:
        await connection.execute("""
            CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
            CREATE TRIGGER crash AFTER INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION crash();
        """)
    async with serving(own_url, user_id) as client:
        assert 503 == await create(client, f"/api/{user_id}/tasks")
        assert [] == await titles(client, f"/api/{user_id}/tasks")
