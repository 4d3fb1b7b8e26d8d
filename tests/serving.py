"""Applications over databases that fail, and what their clients may expect."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx

from taskd import build_app
from taskd.app import LOOK
from taskd.testing import lifespan
from tests.conftest import ORIGIN, SECRET, client_of

# Clients are promised an answer within this time.
ANSWER_BOUND_S = 10
# Calls that are sure to get no answer give up soon.
IMPATIENT = {
    "TASKD_SQL_CONNECT_TIMEOUT": "0.3",
    "TASKD_SQL_ACQUIRE_TIMEOUT": "0.3",
    "TASKD_SQL_STATEMENT_TIMEOUT": "0.3",
}


@contextlib.asynccontextmanager
async def serving(database_url: str, user_id: str, **settings: str) -> AsyncIterator[httpx.AsyncClient]:
    """Start an application and give a client of it, which has a good token."""
    app = build_app({"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN, **settings})
    async with lifespan(app), client_of(app, user_id) as client:
        yield client


def outcome(answer: httpx.Response) -> int:
    """Return the status of an answer; a refusal must say when to come again, and be as short as any error."""
    if answer.status_code == 503:
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert {"detail"} == set(answer.json())
    return answer.status_code


async def assert_unavailable(client: httpx.AsyncClient, tasks_url: str) -> None:
    """Every endpoint and /readyz say 503 and when to come again, while /livez is well."""
    one = f"{tasks_url}/01a202b8-f11b-754f-a9d2-4d7b6419c012"
    requests = [
        client.get(tasks_url, headers={"Origin": ORIGIN}),
        client.post(tasks_url, json={"title": "t"}),
        client.get(one),
        client.put(one, json={}),
        client.delete(one),
        client.patch(f"{one}/complete"),
        client.get("/readyz"),
    ]
    for answer in await asyncio.gather(*requests):
        assert 503 == answer.status_code, answer.text
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert {"detail"} == set(answer.json())
    assert 200 == (await client.get("/livez")).status_code


async def until_ready(client: httpx.AsyncClient) -> None:
    """Wait for the look that an application takes when it starts, which occupies a connection; /readyz is well."""
    assert 200 == await read(client, "/readyz")
    await until_ended(LOOK)


async def until_ended(name: str) -> None:
    """Wait for those tasks of this event loop that have that name."""
    await asyncio.gather(*[task for task in asyncio.all_tasks() if task.get_name() == name])


async def create(client: httpx.AsyncClient, tasks_url: str, title: str = "t") -> int:
    return outcome(await client.post(tasks_url, json={"title": title}))


async def read(client: httpx.AsyncClient, url: str) -> int:
    return outcome(await client.get(url))


async def titles(client: httpx.AsyncClient, tasks_url: str) -> list[str]:
    """Return the titles of all tasks, in order."""
    answer = await client.get(tasks_url)
    assert 200 == answer.status_code
    return sorted(task["title"] for task in answer.json())


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what happens in this event loop."""
    async with asyncio.timeout(ANSWER_BOUND_S):
        while not is_so():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """Give a connection that is not taskd's."""
    connection = await asyncpg.connect(url, ssl=False, timeout=ANSWER_BOUND_S)
    yield connection
    await connection.close()


@contextlib.asynccontextmanager
async def locked(url: str) -> AsyncIterator[Any]:
    """Keep everybody else from the tasks; give the connection that holds the lock."""
    async with connected(url) as connection, connection.transaction():
        await connection.execute("LOCK TABLE tasks")
        yield connection


async def until_waiting(holder: Any, count: int) -> None:
    """Wait until *count* statements of taskd wait for the lock of *holder*."""
    sql = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'taskd'"
        " AND datname = current_database()"
    )
    async with asyncio.timeout(ANSWER_BOUND_S):
        while await holder.fetchval(sql) != count:
            await holder.execute("SELECT pg_stat_clear_snapshot()")
            await asyncio.sleep(0.005)
