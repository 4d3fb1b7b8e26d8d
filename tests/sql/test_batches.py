"""Calls that wait for a connection share round trips and transactions, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskd.limiter import FairLimiter
from taskd.queries import TaskQuery
from taskd.storage import PreconditionFailed, StoreError, StoreUnavailable, TaskNotFound
from taskd.tasks import NewTask, Priority, Task, TaskChanges
from taskd_sql import pipelines
from taskd_sql.engine import batches
from taskd_sql.engine.errors import Interrupted
from taskd_sql.plugin import taskd_storage
from taskd_sql.store import SQLTaskStore
from tests.support.postgres import PostgresServer
from tests.support.proxy import Proxy
from tests.support.serving import connected, until, until_waiting
from tests.support.wire import Wire

pytestmark = pytest.mark.anyio

OWNERS = ("alice", "alice-2", "Bob", "bob", "ünal")


@contextlib.asynccontextmanager
async def opened(url: str, **given: str) -> AsyncIterator[SQLTaskStore]:
    """Open a store, and a connection."""
    store = taskd_storage({"DATABASE_URL": url, **given})
    await store.ping()
    yield store
    await store.close()


async def tasks_of(store: SQLTaskStore, count: int, owners: Sequence[str] = ()) -> list[Task]:
    """Create *count* tasks, each of a user of its own or of one of *owners*."""
    names = owners or [f"user {uuid4().hex}" for _ in range(count)]
    return [await store.create(names[number % len(names)], NewTask(title=f"{number}")) for number in range(count)]


async def results(calls: Sequence[Awaitable[Any]]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


Call = Callable[[SQLTaskStore, Task], Awaitable[Any]]
OPERATIONS: dict[str, Call] = {
    "get": lambda store, task: store.get(task.user_id, task.id),
    "list": lambda store, task: store.list(task.user_id, TaskQuery(limit=20)),
    "create": lambda store, task: store.create(task.user_id, NewTask(title="new")),
    "update": lambda store, task: store.update(task.user_id, task.id, TaskChanges(title="changed")),
    "toggle": lambda store, task: store.toggle(task.user_id, task.id),
    "delete": lambda store, task: store.delete(task.user_id, task.id),
}


class TestCost:
    """What calls cost on the wire, which does not depend on the machine."""

    @pytest.mark.parametrize("operation", OPERATIONS)
    async def test_a_call_alone_is_one_round_trip(self, proxy: Proxy, postgres_url: str, operation: str) -> None:
        """It is one statement, which the server has parsed before."""
        async with opened(proxy.url_through(postgres_url)) as store:
            first, second = await tasks_of(store, 2)
            await OPERATIONS[operation](store, first)
            wire = Wire()
            proxy.show_requests(wire.see)
            await OPERATIONS[operation](store, second)

        # Closing sends one more message, but waits for nothing.
        assert (1, 1, 0) == (wire.round_trips, wire.statements, wire.parsed)

    @pytest.mark.parametrize(("operation", "bound"), {**dict.fromkeys(OPERATIONS, 5), "list": 10}.items())
    async def test_calls_that_wait_share_round_trips(
        self, proxy: Proxy, postgres_url: str, operation: str, bound: int
    ) -> None:
        """Sixty-four calls at once take a few round trips, some of them for preparing statements."""
        async with opened(proxy.url_through(postgres_url), TASKD_SQL_POOL_SIZE="1") as store:
            tasks = await tasks_of(store, 64)
            wire = Wire()
            proxy.show_requests(wire.see)
            done = await results([OPERATIONS[operation](store, task) for task in tasks])

        assert [] == [each for each in done if isinstance(each, Exception)]
        assert 64 <= wire.statements
        assert bound >= wire.round_trips - wire.parsed

    async def test_round_trips_are_shared_after_a_column_has_changed(self, proxy: Proxy, own_url: str) -> None:
        """The server then refuses what it has parsed before, once."""
        async with opened(proxy.url_through(own_url), TASKD_SQL_POOL_SIZE="1") as store:
            tasks = await tasks_of(store, 16)

            def toggled() -> Awaitable[Any]:
                # The first call has the connection for itself.
                return asyncio.gather(store.seq("alice"), *[store.toggle(task.user_id, task.id) for task in tasks])

            await toggled()
            async with connected(own_url) as connection:
                await connection.execute("ALTER TABLE tasks ALTER COLUMN description TYPE varchar")
            await toggled()
            wire = Wire()
            proxy.show_requests(wire.see)
            await toggled()

        assert 5 >= wire.round_trips - wire.parsed

    async def test_through_a_pooler_a_call_is_one_round_trip(
        self, proxy: Proxy, postgres_url: str, user_id: str
    ) -> None:
        """Even if statements have no names, and are parsed each time."""
        async with opened(proxy.url_through(postgres_url), TASKD_SQL_POOLER="yes") as store:
            [task] = await tasks_of(store, 1, [user_id])
            pool = await store.database._pool.get()  # type: ignore[union-attr]
            pool.connections.pool.naming = type(pool.connections.pool.naming).NONE
            await store.get(user_id, task.id)
            wire = Wire()
            proxy.show_requests(wire.see)
            assert task == await store.get(user_id, task.id)

        assert (1, 1, 1) == (wire.round_trips, wire.statements, wire.parsed)

    async def test_sqlite_writes_that_wait_share_a_commit(self, tmp_path: Path) -> None:
        """Each commit waits for the disk once; sixty-four writes at once need two."""
        file = tmp_path / "tasks.db"
        async with opened(f"sqlite:///{file}") as store:
            tasks = await tasks_of(store, 1)
            before = commits_in(file)
            await asyncio.gather(*[store.create(f"user {number}", NewTask(title="t")) for number in range(32)])
            await asyncio.gather(*[store.toggle(tasks[0].user_id, tasks[0].id) for _ in range(32)])
            after = commits_in(file)

        assert 4 == after - before


def commits_in(file: Path) -> int:
    """Return how many commits are in the write-ahead log of *file* (sqlite.org/fileformat.html, section 4.1)."""
    log = file.with_name(f"{file.name}-wal").read_bytes()
    page_size = int.from_bytes(log[8:12], "big")
    frames = range(32, len(log), 24 + page_size)
    return sum(log[start + 4 : start + 8] != bytes(4) for start in frames)


class TestIsolation:
    """Calls that share a round trip do not see, or harm, each other."""

    @settings(deadline=None, max_examples=15)
    @given(data=st.data())
    async def test_each_call_gets_its_own_result(self, database_of_batches: str, data: st.DataObject) -> None:
        """Whatever calls of different owners are waiting together, each has the result that it would have alone."""
        async with opened(database_of_batches, TASKD_SQL_POOL_SIZE="1") as store:
            prefix = uuid4().hex
            owners = [f"{name} {prefix}" for name in OWNERS]
            tasks = await tasks_of(store, 10, owners)
            missing = uuid4()
            ids = st.sampled_from([*[task.id for task in tasks], missing])
            picks = st.tuples(st.sampled_from(["get", "list", "update"]), st.sampled_from(owners), ids)
            calls = data.draw(st.lists(picks, min_size=8, max_size=40))
            found = await results([call(store, *each) for each in calls])

            for (operation, owner, task_id), result in zip(calls, found, strict=True):
                mine = {task.id for task in tasks if task.user_id == owner}
                if operation == "list":
                    assert mine == {task.id for task in result.tasks}
                    assert {owner} == {task.user_id for task in result.tasks}
                elif task_id in mine:
                    assert (owner, task_id) == (result.user_id, result.id)
                else:
                    assert isinstance(result, TaskNotFound)

    async def test_a_statement_that_fails_fails_alone(self, own_url: str) -> None:
        """The others are run again, and each has its own result or error."""
        async with opened(own_url, TASKD_SQL_POOL_SIZE="1") as store:
            await refuse_titles(own_url)
            titles = [f"{number}" if number != 7 else "refused" for number in range(20)]
            done = await results([store.create(f"user {title}", NewTask(title=title)) for title in titles])

            assert [7] == [number for number, each in enumerate(done) if isinstance(each, StoreError)]
            assert titles[:7] + titles[8:] == [each.title for each in done if isinstance(each, Task)]
            assert [[1]] * 6 == [[each.version] for each in done[:6]]

    async def test_a_sqlite_write_that_fails_fails_alone(self, tmp_path: Path) -> None:
        """The others of its transaction are committed."""
        url = f"sqlite:///{tmp_path / 'tasks.db'}"
        async with opened(url) as store:
            await store.database.write([(SQLITE_REFUSAL, ())], owner="")
            titles = [f"{number}" if number != 7 else "refused" for number in range(20)]
            done = await results([store.create("alice", NewTask(title=title)) for title in titles])

            assert [7] == [number for number, each in enumerate(done) if isinstance(each, StoreError)]
            assert {*titles} - {"refused"} == {task.title for task in (await store.list("alice")).tasks}
            assert 19 == (await store.seq("alice"))

    async def test_a_locked_task_delays_no_other(self, postgres_url: str) -> None:
        """Only the call that needs the task waits for the lock."""
        async with opened(postgres_url, TASKD_SQL_POOL_SIZE="2") as store, connected(postgres_url) as holder:
            tasks = await tasks_of(store, 12)
            async with holder.transaction():
                await holder.execute("SELECT FROM tasks WHERE id = $1 FOR UPDATE", tasks[5].id)
                calls = [asyncio.ensure_future(store.toggle(task.user_id, task.id)) for task in tasks]
                others = calls[:5] + calls[6:]
                assert {True} == {task.is_completed for task in await asyncio.gather(*others)}
                assert not calls[5].done()
            assert (await calls[5]).is_completed

    async def test_a_condition_fails_alone(self, postgres_url: str) -> None:
        """Of the calls that share a transaction, only that with the wrong version changes nothing."""
        async with opened(postgres_url, TASKD_SQL_POOL_SIZE="1") as store:
            tasks = await tasks_of(store, 12)
            versions = [task.version + (number == 3) for number, task in enumerate(tasks)]
            pairs = zip(tasks, versions, strict=True)
            done = await results([store.toggle(task.user_id, task.id, version=version) for task, version in pairs])

            assert [3] == [number for number, each in enumerate(done) if isinstance(each, PreconditionFailed)]

    async def test_a_caller_that_leaves_takes_no_other_along(self, postgres_url: str) -> None:
        """Calls may be cancelled while they wait, and while they run; the others get their results."""
        async with opened(postgres_url, TASKD_SQL_POOL_SIZE="1") as store, connected(postgres_url) as holder:
            tasks = await tasks_of(store, 9)
            async with holder.transaction():
                await holder.execute("LOCK TABLE tasks")
                calls = [asyncio.ensure_future(store.get(task.user_id, task.id)) for task in tasks]
                await until_waiting(holder, 1)
                for call in calls[::3]:
                    call.cancel()
            done = await asyncio.gather(*calls, return_exceptions=True)

        left = [number for number, each in enumerate(done) if isinstance(each, asyncio.CancelledError)]
        assert [0, 3, 6] == left
        assert [task for number, task in enumerate(tasks) if number not in left] == [
            each for each in done if isinstance(each, Task)
        ]

    async def test_a_large_batch_does_not_hold_up_others(self, postgres_url: str) -> None:
        """Its calls go on in several turns of the event loop, in which other calls can begin."""
        turn, ended = 0, Counter[int]()

        async def count_turns() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        async def read(task: Task) -> None:
            await store.get(task.user_id, task.id)
            ended[turn] += 1

        async with opened(postgres_url, TASKD_SQL_POOL_SIZE="1") as store:
            tasks = await tasks_of(store, 3 * batches.DELIVERED_AT_ONCE)
            counting = asyncio.create_task(count_turns())
            await asyncio.gather(*map(read, tasks))
            counting.cancel()

        assert batches.DELIVERED_AT_ONCE == max(ended.values())

    async def test_nobody_waits_forever_for_a_result_that_is_missing(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If a batch ends with too few results, which is a fault of the program, all of its calls fail."""
        monkeypatch.setattr(pipelines, "_split_tasks", lambda _rows, _keys: [])
        async with opened(postgres_url, TASKD_SQL_POOL_SIZE="1") as store:
            tasks = await tasks_of(store, 4)
            async with asyncio.timeout(30):
                alone, *shared = await results([store.get(task.user_id, task.id) for task in tasks])

        assert alone == tasks[0]
        assert [ValueError] * 3 == [type(each) for each in shared]

    async def test_the_time_limit_on_waiting_ends_with_the_wait(self, postgres_url: str) -> None:
        """Calls that share a round trip may run for longer than they could have waited for it."""
        limits = {"TASKD_SQL_POOL_SIZE": "1", "TASKD_SQL_ACQUIRE_TIMEOUT": "0.1"}
        async with opened(postgres_url, **limits) as store, connected(postgres_url) as holder:
            tasks = await tasks_of(store, 3)
            async with holder.transaction():
                await holder.execute("LOCK TABLE tasks")
                first = asyncio.ensure_future(store.seq(tasks[0].user_id))
                calls = [asyncio.ensure_future(store.get(task.user_id, task.id)) for task in tasks]
                await first
                await until_waiting(holder, 1)
                with pytest.raises(StoreUnavailable, match="none of 1 connections"):
                    await store.seq(tasks[0].user_id)
            done = await results(calls)

        assert tasks == done

    async def test_nobody_waits_for_company_behind_one_other_user(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A flood from one user delays the others no longer than the processors do, while there are connections."""
        monkeypatch.setattr(batches, "MOMENT_S", 60)
        async with opened(postgres_url) as store, connected(postgres_url) as holder:
            theirs, mine = await tasks_of(store, 2)
            async with holder.transaction():
                await holder.execute("SELECT FROM tasks WHERE user_id = $1 FOR UPDATE", theirs.user_id)
                calls = [asyncio.ensure_future(store.toggle(theirs.user_id, theirs.id)) for _ in range(3)]
                await until_waiting(holder, 2)
                assert mine == await store.get(mine.user_id, mine.id)
            done = await results(calls)

        assert [2, 3, 4] == sorted(each.version for each in done)

    async def test_changes_of_one_owner_share_no_transaction(self, proxy: Proxy, postgres_url: str) -> None:
        """They would hold their owner while they wait for a task: each still has its effect, in order."""
        async with opened(proxy.url_through(postgres_url), TASKD_SQL_POOL_SIZE="1") as store:
            [task] = await tasks_of(store, 1)
            wire = Wire()
            proxy.show_requests(wire.see)
            changed = await asyncio.gather(*[store.toggle(task.user_id, task.id) for _ in range(10)])

            assert 10 == wire.round_trips
            assert list(range(2, 12)) == sorted(each.version for each in changed)
            assert 11 == await store.seq(task.user_id)

    async def test_writes_that_lose_their_connection_are_not_repeated(self, proxy: Proxy, postgres_url: str) -> None:
        """Nobody knows whether they had their effect; here, all of them had it."""
        owners = [f"user {uuid4().hex}" for _ in range(8)]
        async with opened(proxy.url_through(postgres_url), TASKD_SQL_POOL_SIZE="1") as store:
            await tasks_of(store, 1)
            async with connected(postgres_url) as holder, holder.transaction():
                await holder.execute("LOCK TABLE taskd_version")
                occupying = asyncio.ensure_future(store.ping())
                await until_waiting(holder, 1)
                calls = [asyncio.ensure_future(store.create(owner, NewTask(title="t"))) for owner in owners]
                await until(lambda: len(calls) == limiter_of(store).waiting)
                proxy.cut_on_next_response(b"INSERT 0 1")
            await occupying
            assert {Interrupted} == {type(each) for each in await results(calls)}
            assert [1] * 8 == [len((await store.list(owner)).tasks) for owner in owners]

    async def test_a_sqlite_file_that_is_full_fails_only_those_that_do_not_fit(self, tmp_path: Path) -> None:
        """Whether an error ends one statement or the whole transaction, the others are committed."""
        file = tmp_path / "tasks.db"
        async with opened(f"sqlite:///{file}") as store:
            await tasks_of(store, 1)
            opened_file = await store.database._open_connections.get()  # type: ignore[union-attr]
            [writer] = opened_file.writer.idle
            [[pages]] = await writer.execute_fetchall("PRAGMA page_count")
            await writer.execute_fetchall(f"PRAGMA max_page_count = {pages + 4}")
            texts = ["short"] * 5 + ["x" * 10_000] * 5 + ["short"] * 5
            calls = [store.create(f"user {n}", NewTask(title="t", description=text)) for n, text in enumerate(texts)]
            done = await results(calls)

            assert all(isinstance(each, Task | StoreUnavailable) for each in done)
            stored = [len((await store.list(f"user {number}")).tasks) for number in range(len(texts))]
            assert [isinstance(each, Task) for each in done] == [count == 1 for count in stored]
            assert 0 < sum(stored) < len(texts)


def limiter_of(store: SQLTaskStore) -> FairLimiter:
    """Return what limits how many calls of *store* run at once; the store must be open."""
    pool = store.database._pool.current()  # type: ignore[union-attr]
    assert pool is not None
    limiter: FairLimiter = pool.batches.limiter
    return limiter


SQLITE_REFUSAL = """
    CREATE TRIGGER refuse BEFORE INSERT ON tasks WHEN NEW.title = 'refused'
    BEGIN SELECT RAISE(ABORT, 'refused'); END
"""
POSTGRES_REFUSAL = """
    ALTER TABLE tasks ADD CONSTRAINT refusal CHECK (title <> 'refused')
"""


async def refuse_titles(url: str) -> None:
    async with connected(url) as connection:
        await connection.execute(POSTGRES_REFUSAL)


@pytest.fixture(params=["sqlite", "postgresql"], scope="session")
def database_of_batches(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('batches') / 'tasks.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


async def call(store: SQLTaskStore, operation: str, owner: str, task_id: UUID) -> Any:
    if operation == "list":
        return await store.list(owner)
    if operation == "update":
        return await store.update(owner, task_id, TaskChanges(priority=Priority.HIGH))
    return await store.get(owner, task_id)


DEADLOCKS = "SELECT datname, deadlocks FROM pg_stat_database"


class TestDeadlocks:
    """All processes lock tasks and owners in the same order."""

    async def test_two_servers_that_change_the_same_tasks_never_deadlock(
        self, postgres: PostgresServer, own_url: str
    ) -> None:
        """Every change has its effect once, and PostgreSQL has to break no deadlock."""
        name = own_url.rpartition("/")[2]
        async with opened(own_url, TASKD_SQL_POOL_SIZE="3") as one, opened(own_url, TASKD_SQL_POOL_SIZE="3") as other:
            tasks = await tasks_of(one, 24, [f"user {number}" for number in range(8)])
            for step in range(6):
                calls = [
                    OPERATIONS[operation](store, task)
                    for store in (one, other)
                    for task in (tasks if step % 2 else reversed(tasks))
                    for operation in ("toggle", "update", "create")
                ]
                await asyncio.gather(*calls)
            seqs = [await one.seq(f"user {number}") for number in range(8)]

        assert [3 + 6 * 2 * 3 * 3] * 8 == seqs
        assert [f"{name}|0"] == [line for line in postgres.psql("postgres", "-c", DEADLOCKS).split() if name in line]
