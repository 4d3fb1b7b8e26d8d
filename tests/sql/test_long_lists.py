"""Long lists are complete snapshots, are read one at a time, and do not block anything else."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import pytest

from taskd.queries import TaskQuery
from taskd.storage import StoreUnavailable
from taskd.tasks import NewTask
from taskd_sql.engine.database import Database, Limits
from taskd_sql.engine.sqlite import SQLiteDatabase
from taskd_sql.plugin import taskd_storage
from taskd_sql.store import SHORT_LIST, SQLTaskStore
from tests.support.databases import Place, PostgresPlace
from tests.support.filling import multiply
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres import SCHEMA, PostgresServer
from tests.support.serving import connected, until
from tests.support.serving import until_waiting as until_waiting_for_lock

pytestmark = pytest.mark.anyio

OWNER = "owner"
ROWS_AT_ONCE = Limits().rows_at_once
TWO_ROWS = Limits(rows_at_once=2)


@asynccontextmanager
async def opened(url: str, limits: Limits | None = None, /, **settings: str) -> AsyncIterator[SQLTaskStore]:
    store = taskd_storage({"DATABASE_URL": url, **settings})
    store.database.limits = limits or Limits()
    await store.ping()
    yield store
    await store.close()


async def fill(place: Place, store: SQLTaskStore, count: int) -> None:
    """Create *count* tasks with the titles 1, 2, … and rising ids."""
    await store.create(OWNER, NewTask(title="1"))
    multiply(place, count)


@pytest.mark.parametrize("count", [SHORT_LIST, SHORT_LIST + 1, 2 * ROWS_AT_ONCE, 2 * ROWS_AT_ONCE + 1])
async def test_it_is_complete_and_in_order(place: Place, count: int) -> None:
    """It has every task once, newest first, whether it is read at once or in parts."""
    if isinstance(place, PostgresPlace):
        place.run(SCHEMA.read_text())
    async with opened(place.url) as store:
        await fill(place, store, count)
        tasks = (await store.list(OWNER)).tasks

    assert [str(number) for number in range(count, 0, -1)] == [task.title for task in tasks]


async def test_one_connection_reads_every_kind(place: Place) -> None:
    """A plain list, one that counts, and a plain one again: their rows have different columns."""
    if isinstance(place, PostgresPlace):
        place.run(SCHEMA.read_text())
    async with opened(place.url, TASKD_SQL_POOL_SIZE="1") as store:
        await fill(place, store, SHORT_LIST + 1)
        plain, counted = TaskQuery(), TaskQuery(count=True)
        pages = [await store.list(OWNER, query) for query in (plain, counted, plain)]

    assert pages[0] == attrs.evolve(pages[1], total=None) == pages[2]
    assert SHORT_LIST + 1 == len(pages[0].tasks)


async def test_pgbouncer_may_switch_connections(postgres_place: PostgresPlace, pooler: PgBouncer) -> None:
    """Lists that are read concurrently over shared connections are not mixed up."""
    postgres_place.run(SCHEMA.read_text())
    settings = {"TASKD_SQL_POOLER": "yes", "TASKD_SQL_POOL_SIZE": "3"}
    url = pooler.url(postgres_place.name)
    async with opened(url, **settings) as store, opened(url, **settings) as other:
        await fill(postgres_place, store, 1200)
        lists = await asyncio.gather(*[each.list(OWNER) for each in (store, other) for _ in range(4)])

    assert 1 == len({tuple(page.tasks) for page in lists})
    assert 1200 == len(lists[0].tasks)


class Gated(abc.ABC):
    """
    A store, and a statement that pauses in its third batch of rows until a gate opens.

    It returns the titles of twelve tasks in batches of two.
    """

    place: Place

    @abc.abstractmethod
    def sql(self) -> tuple[str, Sequence[str]]:
        """Return the statement and its arguments."""

    @abc.abstractmethod
    def closed(self, store: SQLTaskStore) -> AbstractAsyncContextManager[Any]:
        """Keep the gate closed."""

    @abc.abstractmethod
    async def until_reached(self, count: int = 1) -> None:
        """Wait until *count* statements have reached the gate."""


@attrs.define
class GatedSQLite(Gated):
    place: Place
    gate: threading.Event = attrs.field(factory=threading.Event)
    reached: int = 0

    def sql(self) -> tuple[str, Sequence[str]]:
        gate = "CASE WHEN title = '5' THEN gate() END"
        return f"SELECT title, {gate} FROM tasks WHERE user_id = ? ORDER BY id", [OWNER]  # noqa: S608

    @asynccontextmanager
    async def closed(self, store: SQLTaskStore) -> AsyncIterator[None]:
        assert isinstance(store.database, SQLiteDatabase)

        def wait() -> None:
            self.reached += 1
            self.gate.wait(60)

        for connection in (await store.database._open_connections.get()).readers.idle:
            await connection.create_function("gate", 0, wait)
        yield
        self.gate.set()

    async def until_reached(self, count: int = 1) -> None:
        await until(lambda: self.reached == count)


@attrs.define
class GatedPostgres(Gated):
    place: Place
    holder: Any = None

    def sql(self) -> tuple[str, Sequence[str]]:
        gate = "CASE WHEN title = '5' THEN pg_advisory_xact_lock_shared(1)::text END"
        return f"SELECT title, {gate} FROM tasks WHERE user_id = $1 ORDER BY id", [OWNER]  # noqa: S608

    @asynccontextmanager
    async def closed(self, store: SQLTaskStore) -> AsyncIterator[None]:  # noqa: ARG002
        async with connected(self.place.url) as self.holder:
            await self.holder.execute("SELECT pg_advisory_lock(1)")
            yield

    async def until_reached(self, count: int = 1) -> None:
        await until_waiting_for_lock(self.holder, count)


@pytest.fixture
def gated(place: Place) -> Iterator[Gated]:
    """A database of each kind, with a way to pause reading."""
    if isinstance(place, PostgresPlace):
        place.run(SCHEMA.read_text())
        yield GatedPostgres(place)
    else:
        yield GatedSQLite(place)


async def titles(database: Database, gated: Gated) -> list[str]:
    sql, arguments = gated.sql()
    return [row[0] for row in await database.fetch_many(sql, arguments, owner=OWNER)]


async def test_it_is_a_snapshot(gated: Gated) -> None:
    """Changes made while it is read do not appear in it."""
    async with opened(gated.place.url, TWO_ROWS) as store:
        await fill(gated.place, store, 12)
        async with gated.closed(store):
            listing = asyncio.create_task(titles(store.database, gated))
            await gated.until_reached()
            await asyncio.to_thread(gated.place.run, "DELETE FROM tasks WHERE title IN ('1', '12')")

        assert [str(number) for number in range(1, 13)] == await listing
        assert 10 == len((await store.list(OWNER)).tasks)


async def test_only_one_is_read_at_a_time(gated: Gated) -> None:
    """A second one waits until it times out; a short list, a write and the health check do not wait."""
    async with opened(gated.place.url, TWO_ROWS, TASKD_SQL_ACQUIRE_TIMEOUT="0.5") as store:
        await fill(gated.place, store, 12)
        async with gated.closed(store):
            listing = asyncio.create_task(titles(store.database, gated))
            await gated.until_reached()
            with pytest.raises(StoreUnavailable, match="long lists"):
                await titles(store.database, gated)
            assert [] == (await store.list("other")).tasks
            assert 12 == len((await store.list(OWNER)).tasks)
            await store.create("other", NewTask(title="t"))
            await store.ping()
            assert not listing.done()

        assert 12 == len(await listing)
        assert 12 == len(await titles(store.database, gated))


async def test_a_cancelled_one_leaves_nothing_behind(gated: Gated, caplog: pytest.LogCaptureFixture) -> None:
    """Its turn, its connection and its transaction end, and nothing is logged."""
    async with opened(gated.place.url, TWO_ROWS, TASKD_SQL_POOL_SIZE="1") as store:
        await fill(gated.place, store, 12)
        async with gated.closed(store):
            listing = asyncio.create_task(titles(store.database, gated))
            await gated.until_reached()
            listing.cancel()
            if isinstance(gated, GatedPostgres):
                # PostgreSQL itself is asked to cancel the statement.
                with contextlib.suppress(asyncio.CancelledError):
                    await listing
        with contextlib.suppress(asyncio.CancelledError):
            await listing

        assert 12 == len(await titles(store.database, gated))
        await store.create(OWNER, NewTask(title="13"))
        assert 13 == len(await titles(store.database, gated))
    assert "" == caplog.text


async def test_a_lost_connection_is_replaced(postgres_place: PostgresPlace, postgres: PostgresServer) -> None:
    """The list is read again from the start, and has no row twice."""
    postgres_place.run(SCHEMA.read_text())
    gated = GatedPostgres(postgres_place)
    async with opened(postgres_place.url, TWO_ROWS) as store:
        await fill(postgres_place, store, 12)
        async with gated.closed(store):
            listing = asyncio.create_task(titles(store.database, gated))
            await gated.until_reached()
            terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'advisory'"
            assert ["t"] == [line.strip() for line in postgres.psql(postgres_place.name, "-Atc", terminate).split()]
        assert [str(number) for number in range(1, 13)] == await listing


async def test_an_unreadable_row_is_not_an_outage(sqlite_place: Place) -> None:
    """A damaged file causes an error that says so, however long the list is."""
    async with opened(sqlite_place.url) as store:
        await fill(sqlite_place, store, SHORT_LIST + 1)
        sqlite_place.run("UPDATE tasks SET created_at = 'never' WHERE title = '1'")
        with pytest.raises(ValueError, match="never"):
            await store.list(OWNER)
