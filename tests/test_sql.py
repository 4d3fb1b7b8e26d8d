"""What the SQL store does beyond the contract: the schema, the clock, the event loops and the files."""

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
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy

import taskd_sql.postgres
import taskd_sql.sqlite
import taskd_sql.store
from taskd import NewTask, StoreUnavailable, TaskChanges
from taskd_sql.plugin import taskd_storage
from taskd_sql.postgres import PostgresDatabase
from taskd_sql.sqlite import SQLiteDatabase
from taskd_sql.store import SQLTaskStore
from tests.postgres import PostgresServer
from tests.serving import ANSWER_BOUND_S, until

pytestmark = pytest.mark.anyio


# Calls that are sure to get no answer give up soon.
IMPATIENT = {"TASKD_SQL_ACQUIRE_TIMEOUT": "0.5", "TASKD_SQL_STATEMENT_TIMEOUT": "0.5"}


@contextlib.asynccontextmanager
async def opened(database_url: str, settings: Mapping[str, str] | None = None) -> AsyncIterator[SQLTaskStore]:
    """Give a store, and close it."""
    store = taskd_storage({"DATABASE_URL": database_url, **(settings or {})})
    yield store
    await store.close()


async def test_the_time_of_a_change_never_goes_back(
    database_url: str, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the clock is set back, a task's times stay in order."""
    async with opened(database_url) as store:
        task = await store.create(user_id, NewTask(title="t"))
        monkeypatch.setattr(taskd_sql.store, "_now", lambda: task.created_at - dt.timedelta(hours=1))
        updated = await store.update(user_id, task.id, TaskChanges(title="u"))
        toggled = await store.toggle(user_id, task.id)

    assert task.updated_at == updated.updated_at == toggled.updated_at == toggled.completed_at


async def test_no_statement_is_compiled_for_a_request(
    database_url: str, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a store is connected, SQLAlchemy has nothing to do any more."""
    async with opened(database_url) as store:
        await store.ping()
        monkeypatch.setattr(sqlalchemy.sql.elements.ClauseElement, "compile", None)
        monkeypatch.setattr(sqlalchemy.sql.compiler.SQLCompiler, "__init__", None)
        task = await store.create(user_id, NewTask(title="t"))
        await store.update(user_id, task.id, TaskChanges(title="u"))
        await store.toggle(user_id, task.id)
        assert [await store.get(user_id, task.id)] == await store.list(user_id)
        await store.delete(user_id, task.id)
        monkeypatch.undo()


def test_a_store_serves_one_event_loop_after_the_other(database_url: str, user_id: str) -> None:
    """Serverless adapters run each call in a loop of its own, without a lifespan."""
    store = taskd_storage({"DATABASE_URL": database_url})
    for number in range(3):
        asyncio.run(store.create(user_id, NewTask(title=str(number))))

    assert ["2", "1", "0"] == [task.title for task in asyncio.run(store.list(user_id))]
    asyncio.run(close_in_another_loop(store))


async def close_in_another_loop(store: SQLTaskStore) -> None:
    """Connect in this loop, so that closing has something to close."""
    await store.ping()
    await store.close()


def test_two_loops_do_not_disturb_each_other(database_url: str, user_id: str) -> None:
    """Every loop has connections of its own, for as long as it is there."""
    store = taskd_storage({"DATABASE_URL": database_url})
    with asyncio.Runner() as first, asyncio.Runner() as second:
        for number in range(3):
            first.run(store.create(user_id, NewTask(title=f"{number}a")))
            gc.collect()
            second.run(store.create(user_id, NewTask(title=f"{number}b")))
        first.run(store.close())

        assert 6 == len(second.run(store.list(user_id)))


async def test_a_loop_that_was_closed_is_forgotten(tmp_path: Path) -> None:
    """What was opened in a loop that ended without a word is not kept for ever."""
    async with opened(f"sqlite:///{tmp_path}/tasks.db") as store:
        database = store.database
        assert isinstance(database, SQLiteDatabase)
        loop = asyncio.new_event_loop()
        database._held._held[loop] = (asyncio.create_task(asyncio.sleep(0)), loop.create_future())
        loop.close()
        await store.ping()

        assert [asyncio.get_running_loop()] == list(database._held._held)


async def test_a_store_that_is_closed_while_it_opens_serves_who_waits(tmp_path: Path, user_id: str) -> None:
    """What is half open is opened before it is closed, and opened again for the next call."""
    async with opened(f"sqlite:///{tmp_path}/tasks.db") as store:
        first = asyncio.create_task(store.list(user_id))
        await asyncio.sleep(0)
        await store.close()

        assert [] == await first == await store.list(user_id)


async def test_a_closed_store_opens_again(database_url: str, user_id: str) -> None:
    """Closing forgets nothing."""
    async with opened(database_url) as store:
        task = await store.create(user_id, NewTask(title="t"))
        await store.close()

        assert [task] == await store.list(user_id)


async def test_first_calls_at_once_share_one_connection(tmp_path: Path, user_id: str) -> None:
    """A cold start under load opens the file once."""
    async with opened(f"sqlite:///{tmp_path}/tasks.db") as store:
        await asyncio.gather(*[store.create(user_id, NewTask(title="t")) for _ in range(20)])

        assert 20 == len(await store.list(user_id))


async def test_sqlite_is_durable_and_private(tmp_path: Path, user_id: str) -> None:
    """The journal is a WAL, commits are synced, and others may not read the files."""
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
    """The name in the URL is the name of the file, to the letter."""
    async with opened(f"sqlite:///{tmp_path}/{name}") as store:
        await store.create(user_id, NewTask(title="t"))

        assert name in [file.name for file in tmp_path.iterdir()]


async def test_sqlite_keeps_what_a_person_can_read(tmp_path: Path, user_id: str) -> None:
    """Times are in ISO 8601 and in UTC, so that they sort."""
    due_at = dt.datetime(2030, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    async with opened(f"sqlite:///{tmp_path}/tasks.db") as store:
        await store.create(user_id, NewTask(title="t", due_at=due_at))
    with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db")) as connection:
        assert [("2029-12-31T22:00:00.000000+00:00", "pending")] == connection.execute(
            "SELECT due_at, status FROM tasks"
        ).fetchall()


@pytest.mark.parametrize("change", [lambda file: file.unlink(), lambda file: file.parent.chmod(0o700)])
async def test_a_file_that_cannot_be_opened_is_tried_again(
    tmp_path: Path, user_id: str, change: Callable[[Path], None]
) -> None:
    """The first call fails while a folder stands in the file's place, and the next one after that works."""
    file = tmp_path / "folder" / "tasks.db"
    file.parent.mkdir()
    async with opened(f"sqlite:///{file}") as store:
        file.mkdir()
        with pytest.raises(StoreUnavailable):
            await store.list(user_id)
        file.rmdir()
        file.touch()
        change(file)

        assert [] == await store.list(user_id)


async def test_a_call_that_waited_for_one_that_was_given_up_is_not_run_afterwards(tmp_path: Path, user_id: str) -> None:
    """A statement that goes on after its time is up holds up those behind it, and they too give up for good."""
    go_on = threading.Event()
    async with opened(f"sqlite:///{tmp_path}/tasks.db", IMPATIENT) as store:
        database = store.database
        assert isinstance(database, SQLiteDatabase)
        held = await database._held.get()
        await held.writer.raw.create_function("wait", 0, lambda: go_on.wait(60))
        with pytest.raises(StoreUnavailable):
            await database.fetch("SELECT wait()", is_read=False)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.create(user_id, NewTask(title="t"))
        go_on.set()
        await until(lambda: not held.writer.turn.locked())

        created = await store.create(user_id, NewTask(title="u"))
        assert [created] == await store.list(user_id)


async def test_what_is_said_to_read_an_sqlite_file_cannot_change_it(tmp_path: Path, user_id: str) -> None:
    """A statement that changes something and is taken for one that does not is refused."""
    async with opened(f"sqlite:///{tmp_path}/tasks.db") as store:
        task = await store.create(user_id, NewTask(title="t"))
        with pytest.raises(StoreUnavailable, match="SQLITE_READONLY"):
            await store.database.fetch("DELETE FROM tasks")

        assert [task] == await store.list(user_id)


async def test_a_call_that_gave_up_waiting_is_not_run_afterwards(tmp_path: Path, user_id: str) -> None:
    """A create that was answered 503 because others were before it does not happen behind the client's back."""
    async with opened(f"sqlite:///{tmp_path}/tasks.db", IMPATIENT) as store:
        database = store.database
        assert isinstance(database, SQLiteDatabase)
        held = await database._held.get()
        async with held.writer.turn:
            with pytest.raises(StoreUnavailable):
                await store.create(user_id, NewTask(title="t"))

        assert [] == await store.list(user_id)


async def test_all_time_outs_together_keep_the_promise_of_sqlite(
    tmp_path: Path, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the single time-outs are, waiting for a turn, waiting for a lock and running end within a call's."""
    monkeypatch.setattr(taskd_sql.sqlite, "CALL_TIMEOUT_S", 0.2)
    settings = {f"TASKD_SQL_{name}_TIMEOUT": "600" for name in ("CONNECT", "ACQUIRE", "STATEMENT")}
    go_on = threading.Event()
    async with opened(f"sqlite:///{tmp_path}/tasks.db", settings) as store, asyncio.timeout(ANSWER_BOUND_S):
        database = store.database
        assert isinstance(database, SQLiteDatabase)
        held = await database._held.get()
        async with held.writer.turn:
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                await store.create(user_id, NewTask(title="t"))
        with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
                await store.create(user_id, NewTask(title="t"))
        await held.writer.raw.create_function("wait", 0, lambda: go_on.wait(60))
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            await database.fetch("SELECT wait()", is_read=False)
        go_on.set()

        assert [] == await store.list(user_id)


async def test_a_session_is_left_as_it_was_found(postgres_url: str) -> None:
    """A connection that comes back in the middle of a transaction is reset before it is lent again."""
    async with opened(postgres_url) as store:
        database = store.database
        assert isinstance(database, PostgresDatabase)
        await database.fetch("BEGIN", [])
        [[first]] = await database.fetch("SELECT now()", [])
        [[second]] = await database.fetch("SELECT now()", [])

    # In one transaction, now() stands still.
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

    # The server may write of its own affairs, too.
    [line] = [line for line in said.splitlines() if "LOG:" in line and "checkpoint" not in line]
    assert "execute __asyncpg_" in line


async def test_a_frozen_server_holds_nobody(postgres_url: str, user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose server stops in mid-conversation, and does not even answer a cancellation, is given up."""
    monkeypatch.setattr(taskd_sql.postgres, "CANCEL_TIMEOUT_S", 0.1)
    async with opened(postgres_url, IMPATIENT) as store:
        [[pid]] = await store.database.fetch("SELECT pg_backend_pid()")
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable):
                await store.create(user_id, NewTask(title="t"))
        finally:
            os.kill(pid, signal.SIGCONT)

        assert [] == await store.list(user_id)


async def test_a_call_that_gave_up_waiting_for_a_lock_is_not_run_afterwards(postgres_url: str, user_id: str) -> None:
    """A create that was answered 503 because the table was locked does not happen when the lock is gone."""
    async with opened(postgres_url, IMPATIENT) as store:
        await store.ping()
        connection = await asyncpg.connect(postgres_url)
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks")
            with pytest.raises(StoreUnavailable):
                await store.create(user_id, NewTask(title="t"))
        await connection.close()

        assert [] == await store.list(user_id)
