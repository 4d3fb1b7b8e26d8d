"""The SQL store beyond the contract of stores: clocks, event loops, files, and what PostgreSQL runs."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import os
import signal
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy

import taskd_sql.store
from taskd.queries import TaskQuery
from taskd.storage import StoreUnavailable
from taskd.tasks import NewTask, TaskChanges
from taskd_sql import statements
from taskd_sql.engine.database import Limits
from taskd_sql.engine.postgres import PostgresDatabase
from taskd_sql.engine.sqlite import SQLiteDatabase
from taskd_sql.plugin import taskd_storage
from taskd_sql.store import SQLTaskStore
from tests.conftest import SECRET
from tests.support.commands import run_python
from tests.support.postgres import PostgresServer
from tests.support.processes import descriptors
from tests.support.serving import RESPONSE_BOUND_S, held_slot, until

pytestmark = pytest.mark.anyio


# Calls that will get no response give up soon.
IMPATIENT = {"TASKD_SQL_ACQUIRE_TIMEOUT": "0.3", "TASKD_SQL_STATEMENT_TIMEOUT": "0.3"}


@contextlib.asynccontextmanager
async def opened(
    database_url: str, settings: Mapping[str, str] | None = None, limits: Limits | None = None
) -> AsyncIterator[SQLTaskStore]:
    """Yield a store, and close it."""
    store = taskd_storage({"DATABASE_URL": database_url, **(settings or {})})
    store.database.limits = limits or Limits()
    yield store
    await store.close()


async def test_times_of_changes_never_decrease(
    database_url: str, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task's times stay in order even if the clock is set back."""
    async with opened(database_url) as store:
        task = await store.create(user_id, NewTask(title="t"))
        monkeypatch.setattr(taskd_sql.store, "_now", lambda: task.created_at - dt.timedelta(hours=1))
        updated = await store.update(user_id, task.id, TaskChanges(title="u"))
        toggled = await store.toggle(user_id, task.id)

    assert task.updated_at == updated.updated_at == toggled.updated_at == toggled.completed_at


async def test_no_statement_is_compiled_twice(database_url: str, user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a store has run each statement, it no longer uses SQLAlchemy."""
    async with opened(database_url) as store:
        first = await store.create(user_id, NewTask(title="t"))
        await store.update(user_id, first.id, TaskChanges(title="u"))
        await store.toggle(user_id, first.id)
        assert [await store.get(user_id, first.id)] == (await store.list(user_id)).tasks
        await store.delete(user_id, first.id)
        monkeypatch.setattr(sqlalchemy.sql.elements.ClauseElement, "compile", None)
        monkeypatch.setattr(sqlalchemy.sql.compiler.SQLCompiler, "__init__", None)
        task = await store.create(user_id, NewTask(title="t"))
        await store.update(user_id, task.id, TaskChanges(title="u"))
        await store.toggle(user_id, task.id)
        assert [await store.get(user_id, task.id)] == (await store.list(user_id)).tasks
        await store.delete(user_id, task.id)
        monkeypatch.undo()


def test_a_store_works_in_one_event_loop_after_another(database_url: str, user_id: str) -> None:
    """Serverless adapters run each call in its own loop, without a lifespan."""
    store = taskd_storage({"DATABASE_URL": database_url})
    for number in range(3):
        asyncio.run(store.create(user_id, NewTask(title=str(number))))

    assert ["2", "1", "0"] == [task.title for task in asyncio.run(store.list(user_id)).tasks]
    asyncio.run(close_in_another_loop(store))


async def close_in_another_loop(store: SQLTaskStore) -> None:
    """Connect in this loop, so that there is something to close."""
    await store.ping()
    await store.close()


@pytest.fixture
def _nothing_old() -> Iterator[None]:
    """Let `gc.collect` look only at objects that the test itself creates, which is fast."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_nothing_old")
def test_two_loops_do_not_disturb_each_other(database_url: str, user_id: str) -> None:
    """Each loop has its own connections for as long as it exists."""
    store = taskd_storage({"DATABASE_URL": database_url})
    with asyncio.Runner() as first, asyncio.Runner() as second:
        for number in range(3):
            first.run(store.create(user_id, NewTask(title=f"{number}a")))
            gc.collect()
            second.run(store.create(user_id, NewTask(title=f"{number}b")))
        first.run(store.close())

        assert 6 == len(second.run(store.list(user_id)).tasks)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # a closed loop cannot close its sockets
@pytest.mark.usefixtures("_nothing_old")
def test_a_closed_loop_s_connections_are_closed(database_url: str, user_id: str) -> None:
    """If an adapter closes each call's loop without cancelling its tasks, neither threads nor files pile up."""
    store = taskd_storage({"DATABASE_URL": database_url})

    def left_after_a_call() -> tuple[int, int]:
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            loop.run_until_complete(store.create(user_id, NewTask(title="t")))
        gc.collect()
        return threading.active_count(), descriptors(os.getpid())

    first, *_, last = [left_after_a_call() for _ in range(9)]
    asyncio.run(close_in_another_loop(store))
    gc.collect()

    # Each call would leave one more.  Threads and files from earlier tests may come and go meanwhile.
    assert max(last[0] - first[0], last[1] - first[1]) < 4


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # in aiosqlite's thread
def test_a_statement_that_outlives_its_loop_blocks_no_other(tmp_path: Path, user_id: str) -> None:
    """Its thread dies because it cannot report the result, but the connection is still closed."""
    store = taskd_storage({"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db"})
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.ping())
    with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        creating = loop.create_task(store.create(user_id, NewTask(title="t")))
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()
    creating._log_destroy_pending = False  # type: ignore[attr-defined]
    titles: list[str] = []
    with asyncio.Runner() as runner:
        while not titles:
            titles = [task.title for task in runner.run(store.list(user_id)).tasks]

    assert ["t"] == titles
    assert ["tasks.db"] == [file.name for file in tmp_path.iterdir()]


ENDS = {
    "exit": "sys.exit()",
    "thread": "threading.Thread(target=loop.run_forever, daemon=True).start()",
    "SIGTERM": """
loop.add_signal_handler(signal.SIGTERM, loop.stop)
loop.call_soon(signal.raise_signal, signal.SIGTERM)
loop.run_forever()
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_no_process_hangs_at_exit(tmp_path: Path, end: str) -> None:
    """A server without a lifespan may just stop its loop: the process ends, and the file is closed."""
    script = f"""
import asyncio, signal, sys, threading
from taskd.asgi import app

async def receive():
    return {{"type": "http.request"}}

async def send(message):
    print(message.get("status", ""), end="")

scope = {{"type": "http", "method": "GET", "path": "/readyz", "headers": []}}
loop = asyncio.new_event_loop()
loop.run_until_complete(app(scope, receive, send))
{ENDS[end]}
"""
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", "BETTER_AUTH_SECRET": SECRET}
    ended = run_python("-c", script, settings=settings)

    assert (0, "200", "") == (ended.returncode, ended.stdout, ended.stderr)
    assert ["tasks.db"] == [file.name for file in tmp_path.iterdir()]


async def test_a_store_may_be_closed_while_it_opens(tmp_path: Path, user_id: str) -> None:
    """It is opened completely before it is closed, and opened again for the next call."""
    async with opened(f"sqlite:///{tmp_path}/tasks.db") as store:
        first = asyncio.create_task(store.list(user_id))
        await asyncio.sleep(0)
        await store.close()

        assert [] == (await first).tasks == (await store.list(user_id)).tasks


async def test_a_closed_store_opens_again(database_url: str, user_id: str) -> None:
    """Closing loses nothing."""
    async with opened(database_url) as store:
        task = await store.create(user_id, NewTask(title="t"))
        await store.close()

        assert [task] == (await store.list(user_id)).tasks


async def test_concurrent_first_calls_share_one_connection(tmp_path: Path, user_id: str) -> None:
    """A cold start under load opens the file only once."""
    async with opened(f"sqlite:///{tmp_path}/tasks.db") as store:
        await asyncio.gather(*[store.create(user_id, NewTask(title="t")) for _ in range(20)])

        assert 20 == len((await store.list(user_id)).tasks)


async def test_sqlite_is_durable_and_private(tmp_path: Path, user_id: str) -> None:
    """There is a WAL, commits are synced, and others cannot read the files."""
    async with opened(f"sqlite:///{tmp_path}/tasks.db") as store:
        await store.create(user_id, NewTask(title="t"))
        [[mode]] = await store.database.fetch("PRAGMA journal_mode", [])
        [[synchronous]] = await store.database.fetch("PRAGMA synchronous", [])
        files = sorted(tmp_path.iterdir())

        assert ("wal", 2) == (mode, synchronous)
        assert ["tasks.db", "tasks.db-shm", "tasks.db-wal"] == [file.name for file in files]
        assert not any(stat.S_IMODE(file.stat().st_mode) & 0o027 for file in files)


@pytest.mark.parametrize("name", ["a b%20c.db", "ünï.db", "semi;colon&.db", "100%.db"])
async def test_an_sqlite_file_may_have_any_name(tmp_path: Path, user_id: str, name: str) -> None:
    """The name in the URL is exactly the name of the file."""
    async with opened(f"sqlite:///{tmp_path}/{name}") as store:
        await store.create(user_id, NewTask(title="t"))

        assert name in [file.name for file in tmp_path.iterdir()]


async def test_sqlite_stores_readable_times(tmp_path: Path, user_id: str) -> None:
    """Times are in ISO 8601 and UTC, so they sort as text."""
    due_at = dt.datetime(2030, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    async with opened(f"sqlite:///{tmp_path}/tasks.db") as store:
        await store.create(user_id, NewTask(title="t", due_at=due_at))
    with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db")) as connection:
        assert [("2029-12-31T22:00:00.000000+00:00", "pending")] == connection.execute(
            "SELECT due_at, status FROM tasks"
        ).fetchall()


@pytest.mark.parametrize("change", [lambda file: file.unlink(), lambda file: file.parent.chmod(0o700)])
async def test_opening_a_file_is_retried(tmp_path: Path, user_id: str, change: Callable[[Path], None]) -> None:
    """The first call fails because the path is a folder, and later calls work."""
    file = tmp_path / "folder" / "tasks.db"
    file.parent.mkdir()
    async with opened(f"sqlite:///{file}") as store:
        file.mkdir()
        with pytest.raises(StoreUnavailable):
            await store.list(user_id)
        file.rmdir()
        file.touch()
        change(file)

        assert [] == (await store.list(user_id)).tasks


async def test_a_call_behind_a_slow_statement_is_not_run_afterwards(tmp_path: Path, user_id: str) -> None:
    """A statement that continues after its time-out blocks those behind it, which then time out for good."""
    go_on = threading.Event()
    async with opened(f"sqlite:///{tmp_path}/tasks.db", IMPATIENT, Limits(cancel_timeout_s=0.1)) as store:
        database = store.database
        assert isinstance(database, SQLiteDatabase)
        held = await database._open_connections.get()
        await held.writer.idle[0].create_function("wait", 0, lambda: go_on.wait(60))
        with pytest.raises(StoreUnavailable):
            await database.write([("SELECT wait()", ())], owner="")
        calls = [store.create(user_id, NewTask(title="t")) for _ in range(3)]
        refused = await asyncio.gather(*calls, return_exceptions=True)
        assert [StoreUnavailable] * 3 == [type(each) for each in refused]
        go_on.set()
        await until(lambda: not held.writer.limiter.in_use)

        created = await store.create(user_id, NewTask(title="u"))
        assert [created] == (await store.list(user_id)).tasks


async def test_a_read_cannot_change_an_sqlite_file(tmp_path: Path, user_id: str) -> None:
    """A statement that is wrongly declared to be a read is refused."""
    async with opened(f"sqlite:///{tmp_path}/tasks.db") as store:
        task = await store.create(user_id, NewTask(title="t"))
        with pytest.raises(StoreUnavailable, match="SQLITE_READONLY"):
            await store.database.fetch("DELETE FROM tasks")

        assert [task] == (await store.list(user_id)).tasks


async def test_a_call_that_timed_out_in_the_queue_is_not_run_afterwards(tmp_path: Path, user_id: str) -> None:
    """A create that got a 503 because others came first does not happen later."""
    async with opened(f"sqlite:///{tmp_path}/tasks.db", IMPATIENT) as store:
        database = store.database
        assert isinstance(database, SQLiteDatabase)
        held = await database._open_connections.get()
        async with held_slot(held.writer.limiter):
            with pytest.raises(StoreUnavailable):
                await store.create(user_id, NewTask(title="t"))

        assert [] == (await store.list(user_id)).tasks


async def test_all_time_outs_together_keep_the_limit_on_sqlite(tmp_path: Path, user_id: str) -> None:
    """However long the single time-outs are, waiting and running together stay within a call's limit."""
    limits = Limits(call_timeout_s=0.2, cancel_timeout_s=0.1)
    settings = {f"TASKD_SQL_{name}_TIMEOUT": "600" for name in ("CONNECT", "ACQUIRE", "STATEMENT")}
    go_on = threading.Event()
    async with opened(f"sqlite:///{tmp_path}/tasks.db", settings, limits) as store, asyncio.timeout(RESPONSE_BOUND_S):
        database = store.database
        assert isinstance(database, SQLiteDatabase)
        held = await database._open_connections.get()
        async with held_slot(held.writer.limiter):
            with pytest.raises(StoreUnavailable, match="no response in time"):
                await store.create(user_id, NewTask(title="t"))
        with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
                await store.create(user_id, NewTask(title="t"))
        await held.writer.idle[0].create_function("wait", 0, lambda: go_on.wait(60))
        with pytest.raises(StoreUnavailable, match="no response in time"):
            await database.write([("SELECT wait()", ())], owner="")
        go_on.set()

        assert [] == (await store.list(user_id)).tasks


async def test_a_transaction_left_open_is_rolled_back(postgres_url: str) -> None:
    """A connection is reset before it is lent again."""
    async with opened(postgres_url) as store:
        database = store.database
        assert isinstance(database, PostgresDatabase)
        await database.fetch("BEGIN", [])
        [[first]] = await database.fetch("SELECT now()", [])
        [[second]] = await database.fetch("SELECT now()", [])

    # Within a transaction, now() does not change.
    assert first != second


async def test_a_call_is_one_round_trip(postgres: PostgresServer, user_id: str) -> None:
    """PostgreSQL gets the statement and nothing else: no BEGIN, and no reset of the session."""
    url = postgres.create_database("round_trips")
    postgres.psql("postgres", "-c", "ALTER DATABASE round_trips SET log_statement = 'all'")
    log = postgres.data.parent / "log"
    async with opened(url) as store:
        task = await store.create(user_id, NewTask(title="t"))
        await store.get(user_id, task.id)
        before = log.read_text()
        await store.get(user_id, task.id)
        said = log.read_text().removeprefix(before)

    # The server logs other things, too.
    [line] = [line for line in said.splitlines() if "LOG:" in line and "checkpoint" not in line]
    assert "execute __asyncpg_" in line


async def test_a_second_search_writes_nothing(database_url: str, user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first search, nothing has to be prepared, even if the user never had a task."""
    async with opened(database_url) as store:
        assert [] == (await store.list(user_id, TaskQuery(search="t"))).tasks
        monkeypatch.setattr(type(store.database), "write", None)
        assert [] == (await store.list(user_id, TaskQuery(search="t"))).tasks
        monkeypatch.undo()
        task = await store.create(user_id, NewTask(title="T"))

        assert [task] == (await store.list(user_id, TaskQuery(search="t"))).tasks


async def test_the_health_check_reads_no_row(postgres_url: str) -> None:
    """It takes no longer after millions of deletions: the server does not scan the tasks."""
    async with opened(postgres_url) as store:
        ping = store._compiled[statements.PING]
        plan = await store.database.fetch(f"EXPLAIN {ping.sql}", ping.arguments({}))

    text = "\n".join(row[0] for row in plan)
    assert "on taskd_version" in text
    assert "on tasks" not in text


async def test_a_frozen_server_blocks_nobody(postgres_url: str, user_id: str) -> None:
    """A connection is given up if its server freezes and does not even respond to a cancellation."""
    async with opened(postgres_url, IMPATIENT, Limits(cancel_timeout_s=0.1)) as store:
        [[pid]] = await store.database.fetch("SELECT pg_backend_pid()")
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable):
                await store.create(user_id, NewTask(title="t"))
        finally:
            os.kill(pid, signal.SIGCONT)

        assert [] == (await store.list(user_id)).tasks


async def test_a_call_that_timed_out_on_a_lock_is_not_run_afterwards(postgres_url: str, user_id: str) -> None:
    """A create that got a 503 because the table was locked does not happen later."""
    async with opened(postgres_url, IMPATIENT) as store:
        await store.ping()
        connection = await asyncpg.connect(postgres_url)
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks")
            with pytest.raises(StoreUnavailable):
                await store.create(user_id, NewTask(title="t"))
        await connection.close()

        assert [] == (await store.list(user_id)).tasks
