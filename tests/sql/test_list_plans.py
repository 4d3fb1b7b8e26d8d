"""The databases' plans for lists, without running the statements."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
import uuid
from collections.abc import AsyncIterator

import asyncpg
import attrs
import pytest

from taskd.queries import Order, Position, Sort, TaskQuery
from taskd.tasks import Priority, Status
from taskd_sql import lists, statements
from taskd_sql.plugin import taskd_storage
from taskd_sql.store import SQLTaskStore
from tests.support.databases import PostgresPlace, SQLitePlace
from tests.support.postgres import SCHEMA

pytestmark = pytest.mark.anyio

NOW = dt.datetime(2026, 11, 30, tzinfo=dt.timezone.utc)
KEYS = {Sort.CREATED_AT: None, Sort.UPDATED_AT: NOW, Sort.DUE_AT: NOW, Sort.PRIORITY: 2, Sort.TITLE: "t"}
FILTERS = {
    "all": TaskQuery(),
    "search": TaskQuery(search="straße"),
    "status": TaskQuery(statuses=frozenset({Status.PENDING})),
    "everything": TaskQuery(
        statuses=frozenset({Status.PENDING}),
        priorities=frozenset({Priority.HIGH}),
        tags=("a",),
        due_after=NOW,
        due_before=NOW,
        search="t",
        count=True,
    ),
}


def queries() -> list[TaskQuery]:
    """Return queries of every kind: each has its own statement or other arguments."""
    return [
        attrs.evolve(given, sort=sort, order=order, after=after, limit=50)
        for sort, key in KEYS.items()
        for order in Order
        for after in (None, Position(key, uuid.UUID(int=7)))
        for given in FILTERS.values()
    ]


def statement(store: SQLTaskStore, query: TaskQuery) -> tuple[str, list[object]]:
    compiled = store._lists.get(query)
    return compiled.sql, compiled.arguments(lists.arguments("user 7", query, 51))


@pytest.fixture
async def postgres_store(postgres_place: PostgresPlace) -> AsyncIterator[SQLTaskStore]:
    """A store with 200 owners."""
    postgres_place.run(SCHEMA.read_text())
    postgres_place.run(
        "INSERT INTO tasks (user_id, id, title, status, priority, created_at, updated_at, version, title_folded)"
        " SELECT 'user ' || n % 200, gen_random_uuid(), 't', 'pending', 'low', now(), now(), n, 't'"
        " FROM generate_series(1, 20000) AS n;"
        "INSERT INTO owners SELECT user_id, 20000, true FROM tasks GROUP BY user_id; ANALYZE"
    )
    store = taskd_storage({"DATABASE_URL": postgres_place.url})
    yield store
    await store.close()


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_postgresql_does_not_read_other_owners_tasks(
    postgres_store: SQLTaskStore, postgres_place: PostgresPlace, mode: str
) -> None:
    """Every list uses the index for the owner's tasks, including lists with a count."""
    connection = await asyncpg.connect(postgres_place.url)
    await connection.execute(f"SET plan_cache_mode = {mode}")
    for query in queries():
        sql, arguments = statement(postgres_store, query)
        rows = await connection.fetch(f"EXPLAIN (COSTS OFF) {sql}", *arguments)
        plan = "\n".join(row[0] for row in rows)

        assert "Seq Scan on tasks" not in plan, plan
    await connection.close()


async def test_sqlite_does_not_read_other_owners_tasks(sqlite_place: SQLitePlace) -> None:
    """Every list uses the primary key for the owner's tasks, and the default order needs no sorting."""
    store = taskd_storage({"DATABASE_URL": sqlite_place.url})
    await store.ping()
    with contextlib.closing(sqlite3.connect(sqlite_place.file)) as connection:
        for query in queries():
            sql, arguments = statement(store, query)
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments)]

            assert any(step.startswith("SEARCH tasks USING PRIMARY KEY (user_id=?") for step in plan), plan
            assert "SCAN tasks" not in plan
            assert (query.sort is Sort.CREATED_AT) is ("USE TEMP B-TREE FOR ORDER BY" not in plan), plan
    await store.close()


async def test_sqlite_continues_where_it_stopped_folding(sqlite_place: SQLitePlace) -> None:
    """Otherwise, folding many tasks would read the first ones over and over."""
    store = taskd_storage({"DATABASE_URL": sqlite_place.url})
    await store.ping()
    unfolded = store._compiled[statements.UNFOLDED]
    arguments = unfolded.arguments({"owner": "user 7", "last_id": uuid.UUID(int=7)})
    with contextlib.closing(sqlite3.connect(sqlite_place.file)) as connection:
        [plan] = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {unfolded.sql}", arguments)]
    await store.close()

    assert "SEARCH tasks USING PRIMARY KEY (user_id=? AND id>?)" == plan


async def test_a_list_is_one_statement(postgres_store: SQLTaskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks, counter and count come in one round trip, and are therefore consistent."""
    fetched = []
    fetch = postgres_store.database.fetch

    async def counting(sql: str, *args: object, **options: object) -> object:
        fetched.append(sql)
        return await fetch(sql, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(postgres_store.database, "fetch", counting)
    for query in queries():
        await postgres_store.list("user 2", query)

    assert len(queries()) == len(fetched)
