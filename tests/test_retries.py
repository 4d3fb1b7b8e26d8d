"""Lost answers, lost requests and cut connections: reads are tried again, and no write is done twice."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import asyncpg
import httpx
import pytest

from taskd_sql import retries
from taskd_sql.database import CALL_TIMEOUT_S, CANCEL_TIMEOUT_S
from tests.faults import SECRET_TEXT
from tests.postgres import PostgresServer, free_port
from tests.proxy import Proxy
from tests.serving import ANSWER_BOUND_S, connected, create, outcome, read, serving, titles, until

pytestmark = pytest.mark.anyio

_FIELDS = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
# With a setting of the session before it, which a test can see there as soon as both have been read.
_SETTING = b"farewell\0said\0"
FAREWELL = b"S" + struct.pack("!i", 4 + len(_SETTING)) + _SETTING + b"E" + struct.pack("!i", 4 + len(_FIELDS)) + _FIELDS


@pytest.mark.parametrize("pooler", ["yes", "no"])
async def test_a_create_whose_answer_is_lost_is_not_done_twice(
    proxy: Proxy, postgres_url: str, user_id: str, tasks_url: str, pooler: str
) -> None:
    """It was committed, the client is told 503, and the task is there exactly once."""
    async with serving(proxy.url_through(postgres_url), user_id, TASKD_SQL_POOLER=pooler) as client:
        assert 201 == await create(client, tasks_url, "before")
        proxy.cut_on_next_answer(holding=b"INSERT 0 1")

        assert 503 == await create(client, tasks_url, "in doubt")
        assert ["before", "in doubt"] == await titles(client, tasks_url)


async def test_a_toggle_whose_answer_is_lost_is_not_done_twice(
    proxied: httpx.AsyncClient, proxy: Proxy, tasks_url: str
) -> None:
    """Twice would be not at all."""
    url = (await proxied.post(tasks_url, json={"title": "t"})).headers["Location"]
    proxy.cut_on_next_answer(holding=b"UPDATE 1")

    assert 503 == outcome(await proxied.patch(f"{url}/complete"))
    assert (await proxied.get(url)).json()["is_completed"] is True


async def test_a_delete_whose_answer_is_lost_is_not_a_404(
    proxied: httpx.AsyncClient, proxy: Proxy, tasks_url: str
) -> None:
    """Asked for again it would find nothing, and say that there never was anything."""
    url = (await proxied.post(tasks_url, json={"title": "t"})).headers["Location"]
    proxy.cut_on_next_answer(holding=b"DELETE 1")

    assert 503 == outcome(await proxied.delete(url))
    assert 404 == await read(proxied, url)


async def test_a_create_whose_request_is_lost_does_not_happen(
    proxied: httpx.AsyncClient, proxy: Proxy, tasks_url: str
) -> None:
    """From this side it looks like a lost answer: the client is told 503, and nothing is done in secret."""
    assert 201 == await create(proxied, tasks_url, "before")
    proxy.cut_on_next_request(holding=b"in doubt")

    assert 503 == await create(proxied, tasks_url, "in doubt")
    assert ["before"] == await titles(proxied, tasks_url)


@pytest.mark.parametrize("cut", [Proxy.cut_on_next_answer, Proxy.cut_on_next_request])
@pytest.mark.parametrize("path", ["", "/{id}", "/readyz"])
async def test_a_read_that_is_cut_is_answered(
    proxied: httpx.AsyncClient, proxy: Proxy, tasks_url: str, cut: Callable[[Proxy], None], path: str
) -> None:
    """It is asked for again on another connection."""
    task_id = (await proxied.post(tasks_url, json={"title": "t"})).json()["id"]
    url = path if path == "/readyz" else tasks_url + path.format(id=task_id)
    before = proxy.accepted
    cut(proxy)

    assert 200 == await read(proxied, url)
    assert before + 1 == proxy.accepted


async def test_a_write_waits_for_a_database_that_comes_back(
    proxy: Proxy, postgres_url: str, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While there is no connection nothing can have been done: the write is tried again, and done once."""
    # Enough of them for this test to do its part in between, on a machine under load too.
    monkeypatch.setattr(retries, "MAX_ATTEMPTS", 20)
    url, target = f"/api/{user_id}/tasks", proxy.target
    proxy.target = free_port()
    async with serving(proxy.url_through(postgres_url), user_id) as client:
        writing = asyncio.create_task(create(client, url))
        # The lifespan looks too.
        await until(lambda: proxy.accepted >= 3)
        assert not writing.done()
        proxy.target = target

        assert 201 == await writing
        assert ["t"] == await titles(client, url)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_idle_connections_that_were_cut_do_no_harm(
    proxy: Proxy, postgres_url: str, user_id: str, tasks_url: str, method: str
) -> None:
    """What a network or a suspended compute has cut meanwhile is replaced before it is used."""
    async with serving(proxy.url_through(postgres_url), user_id) as client:
        await asyncio.gather(*[client.get(tasks_url) for _ in range(5)])
        await proxy.refuse()
        await proxy.accept()
        # The cuts arrive in this event loop, as they would before the next request does.
        await asyncio.sleep(0.05)

        assert 300 > outcome(await client.request(method, tasks_url, json={"title": "t"}))


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_idle_connections_that_the_server_ended_do_no_harm(
    postgres: PostgresServer, direct: httpx.AsyncClient, tasks_url: str, method: str
) -> None:
    """Terminated backends say so before they go, to nobody."""
    await asyncio.gather(*[direct.get(tasks_url) for _ in range(5)])
    assert 1 <= await asyncio.to_thread(postgres.terminate_backends)
    # They are only told to end by then.
    left = ["active"]
    async with asyncio.timeout(ANSWER_BOUND_S):
        while left:
            left = await asyncio.to_thread(postgres.connections, "tests")

    assert 300 > outcome(await direct.request(method, tasks_url, json={"title": "t"}))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The connections that asyncpg has made since."""
    connections = []
    connect = asyncpg.connect

    async def connect_and_remember(*args: Any, **kwargs: Any) -> Any:
        connections.append(await connect(*args, **kwargs))
        return connections[-1]

    monkeypatch.setattr(asyncpg, "connect", connect_and_remember)
    return connections


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_farewell_does_no_harm(
    made: list[Any], proxied: httpx.AsyncClient, proxy: Proxy, tasks_url: str, method: str
) -> None:
    """A server says that it ends before it hangs up: in between, a connection looks well and takes no statement."""
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
async def test_a_write_that_the_database_took_back_is_tried_again(
    own_url: str, user_id: str, state: str, count: int
) -> None:
    """What passes, as a deadlock or a lack of memory, leaves nothing of it: it is done once, by a later attempt."""
    await fail_first(own_url, state, count)
    async with serving(own_url, user_id) as client:
        assert 201 == await create(client, f"/api/{user_id}/tasks")
        assert ["t"] == await titles(client, f"/api/{user_id}/tasks")
    assert count + 1 == await attempts(own_url)


@pytest.mark.usefixtures("_brief_pauses")
@pytest.mark.parametrize(
    ("state", "status", "expected"), [("40001", 503, retries.MAX_ATTEMPTS), ("53100", 503, 1), ("22000", 500, 1)]
)
async def test_attempts_have_an_end(
    own_url: str, user_id: str, caplog: pytest.LogCaptureFixture, state: str, status: int, expected: int
) -> None:
    """What keeps failing is given up, what cannot pass is not repeated, and no word of the database's is logged."""
    await fail_first(own_url, state, 1000)
    async with serving(own_url, user_id) as client:
        assert status == await create(client, f"/api/{user_id}/tasks")
        assert [] == await titles(client, f"/api/{user_id}/tasks")
    assert expected == await attempts(own_url)
    assert SECRET_TEXT not in caplog.text


async def fail_first(url: str, state: str, count: int) -> None:
    """Let the first *count* inserts fail; a sequence counts them, since it does not go back with a transaction."""
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


def test_clients_that_were_interrupted_together_do_not_come_back_together() -> None:
    """Their pauses differ by chance: all at once they would be too many for a database that has just come back."""
    assert retries.JITTER_S > 0


def test_a_call_and_its_end_fit_into_the_promise() -> None:
    """Clients have their 503 within ten seconds, and the cancelling of what took too long is a part of these."""
    assert CALL_TIMEOUT_S + CANCEL_TIMEOUT_S < ANSWER_BOUND_S


async def test_a_crash_in_mid_statement_is_in_doubt(own_url: str, user_id: str) -> None:
    """A backend that ends while it writes may have committed: the write is not tried again."""
    async with connected(own_url) as connection:
        await connection.execute("""
            CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
            CREATE TRIGGER crash AFTER INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION crash();
        """)
    async with serving(own_url, user_id) as client:
        assert 503 == await create(client, f"/api/{user_id}/tasks")
        assert [] == await titles(client, f"/api/{user_id}/tasks")
