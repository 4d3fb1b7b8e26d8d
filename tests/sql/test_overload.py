"""More requests than a store can serve: one user's flood leaves room for others, and no call waits too long."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from taskd.limiter import FairLimiter
from taskd.settings import load_settings
from taskd.storage import StoreUnavailable
from taskd_sql.engine.sqlite import SQLiteDatabase
from taskd_sql.plugin import taskd_storage
from taskd_sql.settings import SQLSettings
from tests.support.serving import (
    client_beside,
    connected,
    create,
    database_of,
    limiters_of,
    locked,
    outcome,
    read,
    serving,
    until,
    until_ready,
)
from tests.support.serving import until_waiting as until_waiting_for_lock

pytestmark = pytest.mark.anyio

# Calls wait for as long as the test takes.
PATIENT = {"TASKD_SQL_ACQUIRE_TIMEOUT": "60", "TASKD_SQL_STATEMENT_TIMEOUT": "60"}


@contextlib.asynccontextmanager
async def writes_locked(url: str) -> AsyncIterator[None]:
    """Block all writes."""
    if url.startswith("sqlite"):
        file = url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
    else:
        async with locked(url):
            yield


async def until_waiting(limiters: list[FairLimiter], count: int) -> None:
    """Wait until *count* calls are waiting for a connection."""
    await until(lambda: sum(limiter.waiting for limiter in limiters) == count)


async def patient_limiters(client: httpx.AsyncClient) -> list[FairLimiter]:
    """Return the limiters of the database behind *client*, which no longer refuse calls for waiting too long."""
    limiters = await limiters_of(database_of(client))
    for limiter in limiters:
        limiter.target_s = 60
    return limiters


class TestFlood:
    async def test_one_user_leaves_connections_to_others(self, postgres_url: str, user_id: str) -> None:
        """While twenty calls of one user hang, PostgreSQL serves others and /readyz at once."""
        url, other_id = f"/api/{user_id}/tasks", f"{user_id}-2"
        async with serving(postgres_url, user_id, TASKD_SQL_POOL_SIZE="4", **PATIENT) as client:
            limiters = await patient_limiters(client)
            task = (await client.post(url, json={"title": "t"})).json()["id"]
            other = client_beside(client, other_id)
            async with connected(postgres_url) as holder, holder.transaction():
                await holder.execute("SELECT FROM tasks WHERE user_id = $1 FOR UPDATE", user_id)
                flood = [asyncio.create_task(client.patch(f"{url}/{task}/complete")) for _ in range(20)]
                await until_waiting(limiters, 17)
                await until_waiting_for_lock(holder, 3)

                assert 201 == await create(other, f"/api/{other_id}/tasks")
                assert [200] * 5 == [await read(other, f"/api/{other_id}/tasks") for _ in range(5)]
                assert 200 == await read(client, "/readyz")
                assert not any(call.done() for call in flood)

            assert [200] * 20 == [outcome(response) for response in await asyncio.gather(*flood)]

    async def test_writers_to_a_file_take_turns(self, tmp_path: Path, user_id: str) -> None:
        """A write to SQLite is in the first transaction after its arrival, however many of another user's wait."""
        database_url, other_id = f"sqlite:///{tmp_path}/tasks.db", f"{user_id}-2"
        done: list[str] = []

        async with serving(database_url, user_id, **PATIENT) as client:
            await until_ready(client)
            limiters = await patient_limiters(client)
            clients = {user_id: client, other_id: client_beside(client, other_id)}

            async def write(user: str) -> None:
                assert 201 == await create(clients[user], f"/api/{user}/tasks")
                done.append(user)

            async with writes_locked(database_url):
                flood = [asyncio.create_task(write(user_id)) for _ in range(150)]
                await until_waiting(limiters, 149)
                other = asyncio.create_task(write(other_id))
                await until_waiting(limiters, 150)
            await asyncio.gather(*flood, other)

        # One write was running; up to 64 share a transaction.
        assert 65 > done.index(other_id)

    async def test_one_user_leaves_a_connection_to_other_readers(self, tmp_path: Path, user_id: str) -> None:
        """Two slow statements do not block other users' reads, and a third one waits for them."""
        go_on = threading.Event()
        store = taskd_storage({"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", **PATIENT})
        database = store.database
        assert isinstance(database, SQLiteDatabase)
        readers = (await database._open_connections.get()).readers
        for connection in readers.idle:
            await connection.create_function("wait", 0, lambda: go_on.wait(60))
        flood = [asyncio.create_task(database.fetch("SELECT wait()", owner=user_id)) for _ in range(3)]
        await until(lambda: readers.limiter.waiting == 1)

        assert [] == (await store.list("other")).tasks
        await store.ping()
        assert 1 == readers.limiter.waiting
        go_on.set()
        assert [[(1,)]] * 3 == await asyncio.gather(*flood)
        await store.close()

    async def test_a_reader_is_reused_when_its_statement_ends(self, tmp_path: Path, user_id: str) -> None:
        """If the caller leaves, its statement still occupies one of the caller's slots."""
        go_on = threading.Event()
        store = taskd_storage({"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db"})
        database = store.database
        assert isinstance(database, SQLiteDatabase)
        readers = (await database._open_connections.get()).readers
        for connection in readers.idle:
            await connection.create_function("wait", 0, lambda: go_on.wait(60))
        calls = [asyncio.create_task(database.fetch("SELECT wait()", owner=user_id)) for _ in range(2)]
        await until(lambda: len(readers.idle) == 1)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert [] == (await store.list("other")).tasks
        assert (2, 1) == (readers.limiter.in_use, len(readers.idle))
        go_on.set()
        await until(lambda: not readers.limiter.in_use)

        assert 3 == len(readers.idle)
        assert [] == (await store.list(user_id)).tasks
        await store.close()


class TestQueue:
    async def test_a_full_queue_refuses_at_once(self, database_url: str, user_id: str, tasks_url: str) -> None:
        """If the maximum number of calls is waiting, the next one is refused without waiting."""
        async with serving(database_url, user_id, TASKD_SQL_POOL_SIZE="1", **PATIENT) as client:
            await until_ready(client)
            for limiter in await limiters_of(database_of(client)):
                limiter.max_waiting = 1
            async with writes_locked(database_url):
                calls = [asyncio.create_task(create(client, tasks_url)) for _ in range(5)]
                await until(lambda: sum(call.done() for call in calls) == 3)
            outcomes = await asyncio.gather(*calls)

        assert [201, 201, 503, 503, 503] == sorted(outcomes)

    @pytest.mark.parametrize(
        ("interval_s", "expected"), [(0, [201, 503, 503, 503]), (60, [201] * 4)], ids=["standing", "burst"]
    )
    async def test_a_standing_queue_is_shed_and_a_burst_is_served(
        self,
        database_url: str,
        user_id: str,
        tasks_url: str,
        caplog: pytest.LogCaptureFixture,
        interval_s: float,
        expected: list[int],
    ) -> None:
        """Calls get a 503 only if all have waited too long for some time; a burst after a short outage is served."""
        async with serving(database_url, user_id, TASKD_SQL_POOL_SIZE="1", **PATIENT) as client:
            await until_ready(client)
            limiters = await limiters_of(database_of(client))
            for limiter in limiters:
                # Any wait is too long.
                limiter.target_s, limiter.interval_s = -1, interval_s
            async with writes_locked(database_url):
                calls = [asyncio.create_task(create(client, tasks_url)) for _ in range(4)]
                await until_waiting(limiters, 3)
            assert expected == await asyncio.gather(*calls)

        assert ("is unavailable: too many requests are waiting for" in caplog.text) == (503 in expected)

    async def test_the_store_reports_how_long_calls_wait(self, database_url: str, user_id: str) -> None:
        """It is 0 before the first call and while none is waiting; otherwise it grows."""
        store = taskd_storage({"DATABASE_URL": database_url, "TASKD_SQL_POOL_SIZE": "1"})
        assert 0.0 == store.waited_s(is_read=True)
        await store.ping()
        assert 0.0 == store.waited_s(is_read=True)
        limiters = await limiters_of(store.database)
        for limiter in limiters:
            limiter.capacity = 0
        call = asyncio.create_task(store.list(user_id))
        await until_waiting(limiters, 1)
        first = store.waited_s(is_read=True)
        await asyncio.sleep(0.01)

        assert 0.0 <= first < store.waited_s(is_read=True)
        for limiter in limiters:
            limiter.capacity = 1
        assert [] == (await call).tasks
        assert 0.0 == store.waited_s(is_read=True)
        await store.close()

    async def test_a_call_waits_no_longer_than_the_acquire_timeout(self, database_url: str, user_id: str) -> None:
        """On both databases, a call that gets no connection is refused."""
        store = taskd_storage({"DATABASE_URL": database_url})
        await store.ping()
        database = store.database
        # Only now: a busy machine takes longer to open a database.
        environ = {"DATABASE_URL": database_url, "TASKD_SQL_ACQUIRE_TIMEOUT": "0.1"}
        database.settings = load_settings(SQLSettings, environ)
        [*_, limiter] = await limiters_of(database)
        limiter.capacity = 0
        with pytest.raises(StoreUnavailable):
            await store.list(user_id)

        assert (0, 0) == (limiter.waiting, limiter.in_use)
        await store.close()
