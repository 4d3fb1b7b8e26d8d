"""Cancelled calls: no connection is lost, and nobody waits for a caller that has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from taskd.storage import StoreUnavailable
from taskd.tasks import NewTask
from taskd_sql.engine.database import Limits
from taskd_sql.engine.postgres import PostgresDatabase
from taskd_sql.engine.retry import Retries
from taskd_sql.plugin import taskd_storage
from tests.support.outages import backend_of
from tests.support.postgres import PostgresServer, free_port
from tests.support.proxy import LOOPBACK, Proxy
from tests.support.serving import locked, read, serving, titles, until, until_ready, until_waiting

pytestmark = pytest.mark.anyio


class TestCancellation:
    """The caller has left."""

    @pytest.mark.parametrize("times", [1, 2, 3])
    async def test_no_connection_or_slot_is_lost_during_a_statement(
        self, postgres_url: str, user_id: str, times: int
    ) -> None:
        """With one connection in the pool, the next call gets it, however often the last one was cancelled."""
        url = f"/api/{user_id}/tasks"
        async with serving(postgres_url, user_id, TASKD_SQL_POOL_SIZE="1") as client:
            await until_ready(client)
            for _ in range(3):
                async with locked(postgres_url) as holder:
                    call = asyncio.create_task(client.post(url, json={"title": "t"}))
                    await until_waiting(holder, 1)
                    await cancel(call, times)

                assert 200 == await read(client, url)
            assert [] == await titles(client, url)

    async def test_no_connection_is_lost_with_a_frozen_backend(
        self,
        postgres: PostgresServer,
        own_url: str,
        own_database: str,
        user_id: str,
        frozen_backend: Callable[[int], None],
    ) -> None:
        """A connection that does not recover is terminated, even if nobody is waiting for it any more."""
        url, limits = f"/api/{user_id}/tasks", Limits(cancel_timeout_s=0.1)
        async with serving(own_url, user_id, limits, TASKD_SQL_POOL_SIZE="1") as client:
            await until_ready(client)
            frozen_backend(backend_of(postgres, own_database))
            call = asyncio.create_task(client.get(url))
            await asyncio.sleep(0.05)
            await cancel(call, 2)

            assert 200 == await read(client, url)

    async def test_a_cancelled_task_can_call_again(self, postgres_url: str, user_id: str) -> None:
        """Only the call is cancelled: the task that made it can make others."""
        store = taskd_storage({"DATABASE_URL": postgres_url})

        async def call_twice() -> object:
            with pytest.raises(asyncio.CancelledError):
                await store.create(user_id, NewTask(title="t"))
            waiting.set()
            await free.wait()
            return (await store.list(user_id)).tasks

        waiting, free = asyncio.Event(), asyncio.Event()
        async with locked(postgres_url) as holder:
            caller = asyncio.create_task(call_twice())
            await until_waiting(holder, 1)
            await cancel_step_by_step(caller, 1)
            await waiting.wait()
        free.set()

        assert [] == await caller
        await store.close()

    async def test_a_waiting_call_can_be_cancelled(self, postgres_url: str, user_id: str) -> None:
        """It leaves the queue, and the calls behind it move up."""
        url = f"/api/{user_id}/tasks"
        async with serving(postgres_url, user_id, TASKD_SQL_POOL_SIZE="1") as client:
            await until_ready(client)
            async with locked(postgres_url) as holder:
                calls = [asyncio.create_task(read(client, url)) for _ in range(6)]
                await until_waiting(holder, 1)
                for call in calls[::2]:
                    await cancel(call, 2)

            assert [200] * 3 == await asyncio.gather(*calls[1::2])
            assert 200 == await read(client, url)

    async def test_a_long_list_that_is_cancelled_as_it_begins_leaves_no_transaction(
        self, proxy: Proxy, postgres_url: str, user_id: str
    ) -> None:
        """Its transaction is read-only, and the server may have begun it by then."""

        def stall_after(_: object, data: bytes) -> None:
            if b"BEGIN" in data:
                asyncio.get_running_loop().call_soon(proxy.stall)

        store = taskd_storage({"DATABASE_URL": proxy.url_through(postgres_url), "TASKD_SQL_POOL_SIZE": "1"})
        await store.ping()
        proxy.show_requests(stall_after)
        call = asyncio.create_task(store.database.fetch_many("SELECT 1", [], owner=user_id))
        await until(lambda: proxy._is_stalled)
        await cancel(call, 1)
        proxy.resume()

        assert "t" == (await store.create(user_id, NewTask(title="t"))).title
        await store.close()

    async def test_a_call_that_cannot_be_sent_ends(
        self, postgres: PostgresServer, own_url: str, own_database: str, frozen_backend: Callable[[int], None]
    ) -> None:
        """asyncpg ignores a cancellation while it waits until it can send more."""
        store = taskd_storage({"DATABASE_URL": own_url, "TASKD_SQL_POOL_SIZE": "1"})
        assert isinstance(store.database, PostgresDatabase)
        store.database.limits = Limits(call_timeout_s=0.5, cancel_timeout_s=0.1)
        await store.ping()
        await store.database.write_many("SELECT $1::text", [["t"]], owner="alice")
        frozen_backend(backend_of(postgres, own_database))
        async with asyncio.timeout(5):
            with pytest.raises(StoreUnavailable):
                await store.database.write_many("SELECT $1::text", [["t" * 2**20]] * 40, owner="alice")
        await store.close()

    async def test_a_pause_between_attempts_can_be_cancelled(self, user_id: str) -> None:
        """Nobody has to wait until the next attempt."""
        async with Proxy(free_port()) as proxy:
            store = taskd_storage({"DATABASE_URL": f"postgresql://u@{LOOPBACK}:{proxy.port}/d"})
            assert isinstance(store.database, PostgresDatabase)
            store.database.retries = Retries(first_pause_s=5, max_pause_s=5)
            call = asyncio.create_task(store.create(user_id, NewTask(title="t")))
            await until(lambda: proxy.accepted == 1 and proxy.connections == 0)
            await asyncio.sleep(0.05)
            assert not call.done()
            async with asyncio.timeout(2):
                await cancel(call, 1)
            await store.close()

    async def test_a_cancelled_connect_leaves_no_connection(
        self, proxy: Proxy, postgres_url: str, user_id: str
    ) -> None:
        """If the caller leaves while a connection is being opened, it is closed and its slot is released."""
        url = f"/api/{user_id}/tasks"
        proxy.stall()
        async with serving(proxy.url_through(postgres_url), user_id, TASKD_SQL_POOL_SIZE="3") as client:
            calls = [asyncio.create_task(read(client, url)) for _ in range(2)]
            # The third connection is for the health check at the start.
            await until(lambda: proxy.connections == 3)
            for call in calls:
                await cancel(call, 2)
            proxy.resume()

            assert [200] * 10 == await asyncio.gather(*[read(client, url) for _ in range(10)])
            await until(lambda: proxy.connections == 3)


async def cancel(call: asyncio.Task[Any], times: int) -> None:
    """Cancel *call* this many times, and wait until it has ended."""
    await cancel_step_by_step(call, times)
    await asyncio.wait([call])
    assert call.cancelled()


async def cancel_step_by_step(call: asyncio.Task[Any], times: int) -> None:
    """Cancel *call* this many times, each time while it handles the last cancellation."""
    for _ in range(times):
        call.cancel()
        await asyncio.sleep(0)
