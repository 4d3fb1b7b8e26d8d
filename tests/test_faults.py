"""What clients see when the database breaks: nothing is lost or doubled, nobody waits for ever, and all comes back."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import ssl
import struct
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import taskd_sql.postgres
from taskd import NewTask, StoreError, StoreUnavailable
from taskd_sql import retries
from taskd_sql.faults import Interrupted, Refused, SchemaUnfit, postgres_fault
from taskd_sql.plugin import taskd_storage
from tests.postgres import PostgresServer, free_port
from tests.proxy import LOOPBACK, Proxy, listening
from tests.serving import (
    ANSWER_BOUND_S,
    IMPATIENT,
    connected,
    create,
    locked,
    outcome,
    read,
    serving,
    titles,
    until,
    until_waiting,
)

pytestmark = pytest.mark.anyio

SECRET_TEXT = "what nobody may read in a log"
_FIELDS = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
FAREWELL = b"E" + struct.pack("!i", 4 + len(_FIELDS)) + _FIELDS


@pytest.fixture
async def proxy(postgres: PostgresServer) -> AsyncIterator[Proxy]:
    async with Proxy(postgres.port) as running:
        yield running


@pytest.fixture
def name() -> str:
    """The name of a database that is one test's own."""
    return f"faults_{uuid.uuid4().hex}"


@pytest.fixture
def own_url(postgres: PostgresServer, name: str) -> str:
    return postgres.create_database(name)


@pytest.fixture
def _brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once, so that refusals come soon."""
    monkeypatch.setattr(retries, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(retries, "JITTER_S", 0.01)


@pytest.fixture
async def client(proxy: Proxy, postgres_url: str, user_id: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application behind the proxy that has a single connection, and has made it."""
    async with serving(proxy.url_through(postgres_url), user_id, TASKD_SQL_POOL_SIZE="1") as served:
        # The second one comes after the look that an application takes when it starts.
        assert [200, 200] == [await read(served, "/readyz") for _ in range(2)]
        yield served


@pytest.fixture
async def direct(postgres_url: str, user_id: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application over the same database, which nothing disturbs."""
    async with serving(postgres_url, user_id) as served:
        yield served


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
    client: httpx.AsyncClient, proxy: Proxy, tasks_url: str
) -> None:
    """Twice would be not at all."""
    url = (await client.post(tasks_url, json={"title": "t"})).headers["Location"]
    proxy.cut_on_next_answer(holding=b"UPDATE 1")

    assert 503 == outcome(await client.patch(f"{url}/complete"))
    assert (await client.get(url)).json()["is_completed"] is True


async def test_a_delete_whose_answer_is_lost_is_not_a_404(
    client: httpx.AsyncClient, proxy: Proxy, tasks_url: str
) -> None:
    """Asked for again it would find nothing, and say that there never was anything."""
    url = (await client.post(tasks_url, json={"title": "t"})).headers["Location"]
    proxy.cut_on_next_answer(holding=b"DELETE 1")

    assert 503 == outcome(await client.delete(url))
    assert 404 == await read(client, url)


async def test_a_create_whose_request_is_lost_does_not_happen(
    client: httpx.AsyncClient, proxy: Proxy, tasks_url: str
) -> None:
    """From this side it looks like a lost answer: the client is told 503, and nothing is done in secret."""
    assert 201 == await create(client, tasks_url, "before")
    proxy.cut_on_next_request(holding=b"in doubt")

    assert 503 == await create(client, tasks_url, "in doubt")
    assert ["before"] == await titles(client, tasks_url)


@pytest.mark.parametrize("cut", [Proxy.cut_on_next_answer, Proxy.cut_on_next_request])
@pytest.mark.parametrize("path", ["", "/{id}", "/readyz"])
async def test_a_read_that_is_cut_is_answered(
    client: httpx.AsyncClient, proxy: Proxy, tasks_url: str, cut: Callable[[Proxy], None], path: str
) -> None:
    """It is asked for again on another connection."""
    task_id = (await client.post(tasks_url, json={"title": "t"})).json()["id"]
    url = path if path == "/readyz" else tasks_url + path.format(id=task_id)
    before = proxy.accepted
    cut(proxy)

    assert 200 == await read(client, url)
    assert before + 1 == proxy.accepted


async def test_a_write_waits_for_a_database_that_comes_back(proxy: Proxy, postgres_url: str, user_id: str) -> None:
    """While there is no connection nothing can have been done: the write is tried again, and done once."""
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


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_farewell_does_no_harm(client: httpx.AsyncClient, proxy: Proxy, tasks_url: str, method: str) -> None:
    """A server says that it ends before it hangs up: in between, a connection looks well and takes no statement."""
    before = proxy.accepted
    for end in proxy._ends:
        if end.is_client:
            assert end._transport is not None
            end._transport.write(FAREWELL)
    # It arrives in this event loop.
    await asyncio.sleep(0.05)

    assert 300 > outcome(await client.request(method, tasks_url, json={"title": "t"}))
    assert before + 1 == proxy.accepted


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
    postgres: PostgresServer, own_url: str, name: str, user_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the reason, and service begins again with the first connection that is free."""
    postgres.psql("postgres", "-c", f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    async with serving(limited(postgres, name), user_id) as client:
        assert 503 == await create(client, f"/api/{user_id}/tasks")
        postgres.psql("postgres", "-c", f"ALTER DATABASE {name} CONNECTION LIMIT -1")

        assert 201 == await create(client, f"/api/{user_id}/tasks")
    assert "does not serve: TooManyConnectionsError 53300: no connection is left" in caplog.text
    async with connected(own_url) as connection:
        assert 1 == await connection.fetchval("SELECT count(*) FROM tasks")


async def test_fewer_connections_than_the_pool_may_have_serve_all(
    postgres: PostgresServer, own_url: str, name: str, user_id: str
) -> None:
    """Who gets none tries again, and takes one that another has given back; nobody gets anything but a 503."""
    del own_url
    postgres.psql("postgres", "-c", f"ALTER DATABASE {name} CONNECTION LIMIT 2")
    async with serving(limited(postgres, name), user_id) as client:
        outcomes = await asyncio.gather(*[create(client, f"/api/{user_id}/tasks") for _ in range(30)])

        assert {201, 503} >= set(outcomes)
        assert outcomes.count(201) == len(await titles(client, f"/api/{user_id}/tasks")) >= 2


def limited(postgres: PostgresServer, name: str) -> str:
    """The URL for a role to which limits apply, which they do not to a superuser."""
    return postgres.secured_url(name, sslmode="require")


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


@pytest.mark.parametrize("pooler", ["yes", "no"])
async def test_a_read_on_a_frozen_backend_is_answered_by_another(  # noqa: PLR0917
    postgres: PostgresServer,
    own_url: str,
    name: str,
    user_id: str,
    monkeypatch: pytest.MonkeyPatch,
    frozen_backend: Callable[[int], None],
    pooler: str,
) -> None:
    """When no answer comes in time the connection is given up, and the read is tried on a new one."""
    monkeypatch.setattr(taskd_sql.postgres, "CANCEL_TIMEOUT_S", 0.1)
    settings = {"TASKD_SQL_STATEMENT_TIMEOUT": "0.5", "TASKD_SQL_POOL_SIZE": "1", "TASKD_SQL_POOLER": pooler}
    async with serving(own_url, user_id, **settings) as client:
        assert 200 == await read(client, "/readyz")
        frozen_backend(backend_of(postgres, name))

        assert 200 == await read(client, f"/api/{user_id}/tasks")


def backend_of(postgres: PostgresServer, name: str) -> int:
    """Return the process of the one connection that taskd has to the database *name*."""
    sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'taskd'"
    return int(postgres.psql(name, "-c", sql))


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


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("state", ["40001", "40P01", "53200"])
async def test_a_write_that_the_database_took_back_is_tried_again(
    own_url: str, user_id: str, state: str, count: int
) -> None:
    """After a deadlock or a serialisation failure nothing of it stays: it is done once, by a later attempt."""
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


class TestCancellation:
    """Whoever asked has gone."""

    @pytest.mark.parametrize("times", [1, 2, 3])
    async def test_no_connection_or_slot_is_lost_in_mid_statement(self, own_url: str, user_id: str, times: int) -> None:
        """With one connection in the pool, the next call gets it, however often the last one was cancelled."""
        url = f"/api/{user_id}/tasks"
        async with serving(own_url, user_id, TASKD_SQL_POOL_SIZE="1") as client:
            for _ in range(3):
                async with locked(own_url) as holder:
                    call = asyncio.create_task(client.post(url, json={"title": "t"}))
                    await until_waiting(holder, 1)
                    await cancel(call, times)

                assert 200 == await read(client, url)
            assert [] == await titles(client, url)

    async def test_no_connection_is_lost_with_a_frozen_backend(
        self,
        postgres: PostgresServer,
        own_url: str,
        name: str,
        user_id: str,
        monkeypatch: pytest.MonkeyPatch,
        frozen_backend: Callable[[int], None],
    ) -> None:
        """A connection that is not coming back is cut, even when nobody waits for it any more."""
        monkeypatch.setattr(taskd_sql.postgres, "CANCEL_TIMEOUT_S", 0.1)
        url = f"/api/{user_id}/tasks"
        async with serving(own_url, user_id, TASKD_SQL_POOL_SIZE="1") as client:
            assert 200 == await read(client, "/readyz")
            frozen_backend(backend_of(postgres, name))
            call = asyncio.create_task(client.get(url))
            await asyncio.sleep(0.05)
            await cancel(call, 2)

            assert 200 == await read(client, url)

    async def test_a_task_that_was_cancelled_may_call_again(self, postgres_url: str, user_id: str) -> None:
        """What is cancelled is one call: the task that made it is as good as any other."""
        store = taskd_storage({"DATABASE_URL": postgres_url})

        async def call_twice() -> object:
            with pytest.raises(asyncio.CancelledError):
                await store.create(user_id, NewTask(title="t"))
            waiting.set()
            await free.wait()
            return await store.list(user_id)

        waiting, free = asyncio.Event(), asyncio.Event()
        async with locked(postgres_url) as holder:
            caller = asyncio.create_task(call_twice())
            await until_waiting(holder, 1)
            await cancel_step_by_step(caller, 2)
            await waiting.wait()
        free.set()

        assert [] == await caller
        await store.close()

    async def test_a_call_that_waits_for_its_turn_can_be_cancelled(self, own_url: str, user_id: str) -> None:
        """It leaves the queue, and those behind it move up."""
        url = f"/api/{user_id}/tasks"
        async with serving(own_url, user_id, TASKD_SQL_POOL_SIZE="1") as client:
            async with locked(own_url) as holder:
                calls = [asyncio.create_task(read(client, url)) for _ in range(6)]
                await until_waiting(holder, 1)
                for call in calls[::2]:
                    await cancel(call, 2)

            assert [200] * 3 == await asyncio.gather(*calls[1::2])
            assert 200 == await read(client, url)

    async def test_a_pause_between_attempts_ends_at_once(self, user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody is kept until the next attempt."""
        monkeypatch.setattr(retries, "FIRST_PAUSE_S", 5)
        monkeypatch.setattr(retries, "MAX_PAUSE_S", 5)
        async with Proxy(free_port()) as proxy:
            store = taskd_storage({"DATABASE_URL": f"postgresql://u@{LOOPBACK}:{proxy.port}/d"})
            call = asyncio.create_task(store.create(user_id, NewTask(title="t")))
            await until(lambda: proxy.accepted == 1 and proxy.connections == 0)
            await asyncio.sleep(0.05)
            assert not call.done()
            async with asyncio.timeout(2):
                await cancel(call, 1)
            await store.close()

    async def test_a_cancelled_connect_leaves_no_connection(self, proxy: Proxy, own_url: str, user_id: str) -> None:
        """A connection that is being made for somebody who has gone is closed, and its place is free."""
        url = f"/api/{user_id}/tasks"
        proxy.stall()
        async with serving(proxy.url_through(own_url), user_id, TASKD_SQL_POOL_SIZE="2") as client:
            calls = [asyncio.create_task(read(client, url)) for _ in range(2)]
            await until(lambda: proxy.connections == 2)
            for call in calls:
                await cancel(call, 2)
            proxy.resume()

            assert [200] * 10 == await asyncio.gather(*[read(client, url) for _ in range(10)])
            await until(lambda: proxy.connections <= 2)


async def cancel(call: asyncio.Task[Any], times: int) -> None:
    """Cancel *call*, as often as *times* says, and wait for its end."""
    await cancel_step_by_step(call, times)
    await asyncio.wait([call])
    # The application answers even so: under a real server there may still be somebody to read it.
    assert call.cancelled() or not call.exception()


async def cancel_step_by_step(call: asyncio.Task[Any], times: int) -> None:
    """Cancel *call*; the second time while it is busy with the first."""
    for _ in range(times):
        call.cancel()
        await asyncio.sleep(0)


@pytest.mark.usefixtures("_brief_pauses")
class TestLog:
    """What is said to whoever runs the server."""

    async def test_an_outage_is_told_once_and_its_end_once(
        self, proxy: Proxy, postgres_url: str, user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """However many requests fail, there is one line for each change."""
        url = f"/api/{user_id}/tasks"
        async with serving(proxy.url_through(postgres_url), user_id) as client:
            assert 200 == await read(client, url)
            await proxy.refuse()
            calls = [read(client, url) for _ in range(10)] + [create(client, url) for _ in range(10)]
            assert [503] * 20 == await asyncio.gather(*calls)
            assert 503 == await read(client, "/readyz")
            await proxy.accept()
            assert [200] * 20 == await asyncio.gather(*[read(client, url) for _ in range(20)])

        service = f"PostgreSQL at {LOOPBACK}:{proxy.port}"
        assert [f"{service} does not serve: ConnectionRefusedError", f"{service} serves again, after"] == [
            re.sub(r"after .*", "after", message) for message in changes(caplog)
        ]

    async def test_a_database_that_is_well_is_not_told_of(
        self, direct: httpx.AsyncClient, tasks_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """There is nothing to say of a fault that an attempt has mended, nor of a good start."""
        assert 200 == await read(direct, tasks_url)

        assert [] == changes(caplog)

    async def test_a_mended_fault_is_not_told_of(
        self, client: httpx.AsyncClient, proxy: Proxy, tasks_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A read that was cut and answered by another connection was no outage."""
        proxy.cut_on_next_answer()
        assert 200 == await read(client, tasks_url)

        assert [] == changes(caplog)

    async def test_a_password_is_not_told(self, user_id: str, caplog: pytest.LogCaptureFixture) -> None:
        """Neither the password nor the user is in what is said of a server that cannot be reached."""
        caplog.set_level(logging.DEBUG)
        url = f"postgresql://{user_id}:swordfish@{LOOPBACK}:{free_port()}/d"
        async with serving(url, user_id) as client:
            assert 503 == await read(client, "/readyz")

        assert 1 == len(changes(caplog))
        assert "swordfish" not in caplog.text
        assert f"{user_id}:" not in caplog.text


def changes(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of the database: that it does not serve, or serves again."""
    return [record.getMessage() for record in caplog.records if " serve" in record.getMessage()]


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


CLASSES = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=5, max_size=5)
STATES = st.sampled_from(["00000", "08003", "08P01", "26000", "40001", "40P01", "42P05", "53300", "57P01", "XX000"])
SEVERITIES = st.sampled_from([None, "DEBUG", "ERROR", "FATAL", "PANIC", "WARNING"])


class TestFault:
    """`postgres_fault`, for whatever asyncpg may raise."""

    @given(state=CLASSES | STATES, severity=SEVERITIES, is_connected=st.booleans())
    def test_only_what_certainly_was_not_run_is_said_to_be_so(
        self, state: str, severity: str | None, is_connected: bool
    ) -> None:
        """Without a connection nothing can have been run, and with one only an ERROR takes everything back."""
        error = asyncpg.PostgresError(SECRET_TEXT)
        error.sqlstate, error.severity_en = state, severity
        error.detail = error.hint = SECRET_TEXT
        fault = postgres_fault(error, is_connected=is_connected)

        if isinstance(fault, Interrupted):
            assert not is_connected or severity == "ERROR" or fault.may_have_run
        assert SECRET_TEXT not in str(fault)
        assert is_connected or isinstance(fault, StoreUnavailable)

    @given(state=CLASSES | STATES, is_connected=st.booleans())
    def test_whatever_ends_the_connection_is_not_the_client_s_fault(self, state: str, is_connected: bool) -> None:
        """The outcome of a connection that ends is in doubt; it is no statement that was refused."""
        error = asyncpg.PostgresError(SECRET_TEXT)
        error.sqlstate, error.severity_en = f"57{state[2:]}", "FATAL"

        assert isinstance(postgres_fault(error, is_connected=is_connected), StoreUnavailable)

    @pytest.mark.parametrize(
        "error",
        [
            ConnectionResetError(SECRET_TEXT),
            BrokenPipeError(SECRET_TEXT),
            OSError(SECRET_TEXT),
            ssl.SSLError(SECRET_TEXT),
            asyncpg.InterfaceError(SECRET_TEXT),
            asyncpg.InternalClientError(SECRET_TEXT),
            asyncpg.ConnectionDoesNotExistError(SECRET_TEXT),
        ],
    )
    @pytest.mark.parametrize("is_connected", [True, False])
    def test_a_lost_connection_leaves_a_statement_in_doubt(self, error: Exception, is_connected: bool) -> None:
        """If there was a connection, the statement may have been run; a read is tried again in either case."""
        fault = postgres_fault(error, is_connected=is_connected)

        assert isinstance(fault, Interrupted)
        assert is_connected == fault.may_have_run
        assert SECRET_TEXT not in str(fault)

    @pytest.mark.parametrize(("state", "may_have_run"), [(None, False), ("57P01", True)])
    def test_what_asyncpg_did_not_send_was_not_run(self, state: str | None, may_have_run: bool) -> None:
        """asyncpg's own words are believed, and the same ones from a server are not."""
        error = asyncpg.PostgresError("cannot switch to state 11; another operation (2) is in progress")
        error.sqlstate = state
        fault = postgres_fault(error, is_connected=True)

        assert isinstance(fault, Interrupted)
        assert may_have_run == fault.may_have_run

    @pytest.mark.parametrize("state", ["26000", "42P05", "08P01"])
    @pytest.mark.parametrize("is_connected", [True, False])
    def test_a_pooler_is_pointed_at(self, state: str, is_connected: bool) -> None:
        """What a PgBouncer makes of named statements says which setting is missing, and is never a 500."""
        fault = postgres_fault(made(state), is_connected=is_connected)

        assert isinstance(fault, StoreUnavailable)
        assert "with a PgBouncer in between, set TASKD_SQL_POOLER=yes" in str(fault)

    @pytest.mark.parametrize("state", ["28P01", "28000", "3D000"])
    def test_what_somebody_must_mend_is_not_tried_again(self, state: str) -> None:
        """A wrong password does not become right: repeating it would lock the account where there are such rules."""
        fault = postgres_fault(made(state, "FATAL"), is_connected=False)

        assert isinstance(fault, StoreUnavailable)
        assert not isinstance(fault, Interrupted)

    @pytest.mark.parametrize(
        ("state", "kind"),
        [
            ("42P01", SchemaUnfit),
            ("42501", Refused),
            ("42703", SchemaUnfit),
            ("23505", StoreError),
            ("42601", StoreError),
        ],
    )
    def test_a_refused_statement_is_the_schema_s_fault_or_ours(self, state: str, kind: type[StoreError]) -> None:
        """A schema that is missing can be mended, while the server serves; another refusal is a defect."""
        assert kind is type(postgres_fault(made(state), is_connected=True))

    def test_an_argument_that_asyncpg_refuses_is_our_fault(self) -> None:
        """It was not sent: the server is well."""
        assert StoreError is type(postgres_fault(asyncpg.DataError(SECRET_TEXT), is_connected=True))


def made(state: str, severity: str = "ERROR") -> asyncpg.PostgresError:
    error = asyncpg.PostgresError(SECRET_TEXT)
    error.sqlstate, error.severity_en = state, severity
    return error


async def test_more_than_can_wait_are_refused_at_once(
    own_url: str, user_id: str, tasks_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where hundreds wait for a connection already, the next one need not wait to be refused."""
    monkeypatch.setattr(taskd_sql.postgres, "MAX_WAITING_PER_CONNECTION", 1)
    async with serving(own_url, user_id, TASKD_SQL_POOL_SIZE="1") as client:
        assert 200 == await read(client, "/readyz")
        async with locked(own_url) as holder:
            calls = [asyncio.create_task(create(client, tasks_url)) for _ in range(5)]
            await until_waiting(holder, 1)
            await until(lambda: sum(call.done() for call in calls) == 3)
        outcomes = await asyncio.gather(*calls)

    assert [201, 201, 503, 503, 503] == sorted(outcomes)


async def test_a_server_that_answers_nobody_is_not_called_busy(
    postgres: PostgresServer, own_url: str, user_id: str, tasks_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits behind those who cannot connect gives the true reason."""
    settings = {**IMPATIENT, "TASKD_SQL_POOL_SIZE": "1", "TASKD_SQL_CONNECT_TIMEOUT": "0.5"}
    async with Proxy(postgres.port) as proxy:
        proxy.stall()
        async with serving(proxy.url_through(own_url), user_id, **settings) as client:
            assert [503] * 3 == await asyncio.gather(*[read(client, tasks_url) for _ in range(3)])

    [message] = changes(caplog)
    assert message.endswith(" does not serve: no connection could be made in time")


async def test_refused_writes_are_told_once_while_reads_go_on(
    postgres: PostgresServer, own_url: str, name: str, user_id: str, tasks_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that takes no writes, as after a failover, is told of in one line, and its end in another."""
    postgres.psql("postgres", "-c", f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with serving(own_url, user_id) as client:
        for _ in range(5):
            assert (503, 200, 200) == (
                await create(client, tasks_url),
                await read(client, tasks_url),
                await read(client, "/readyz"),
            )
        postgres.psql("postgres", "-c", f"ALTER DATABASE {name} RESET default_transaction_read_only")
        postgres.terminate_backends()
        while await create(client, tasks_url) != 201:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    [refused, served] = [message for message in changes(caplog) if message.startswith("Writing to ")]
    assert refused.endswith("does not serve: ReadOnlySQLTransactionError 25006: it takes no writes")
    assert "serves again" in served
