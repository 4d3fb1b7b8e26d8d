"""Applications over databases that fail, and what their clients can expect."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx

from taskd import build_app
from taskd.application import EARLY_PING, Application
from taskd.limiter import FairLimiter
from taskd.testing import lifespan
from taskd_sql.engine.database import Limits
from taskd_sql.engine.postgres import PostgresDatabase
from taskd_sql.engine.retry import Retries
from taskd_sql.engine.sqlite import SQLiteDatabase
from tests.conftest import ORIGIN, PATIENT, SECRET, client_of, token_for

# The time within which clients are promised a response.
RESPONSE_BOUND_S = 10
# For calls that will certainly get no response, so that they give up soon.
IMPATIENT = {
    "TASKD_SQL_CONNECT_TIMEOUT": "0.3",
    "TASKD_SQL_ACQUIRE_TIMEOUT": "0.3",
    "TASKD_SQL_STATEMENT_TIMEOUT": "0.3",
}
# For servers that stay down, so that refusals come soon.
BRIEF = Retries(first_pause_s=0.01, jitter_s=0.01)
ONCE = Retries(max_attempts=1)


@contextlib.asynccontextmanager
async def serving(
    database_url: str, user_id: str, bounds: Limits | Retries | None = None, /, **settings: str
) -> AsyncIterator[httpx.AsyncClient]:
    """Start an application whose database keeps to *bounds*, and yield a client of it with a valid token."""
    given = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN, **PATIENT, **settings}
    app = build_app(given)
    async with client_of(app, user_id) as client:
        database = database_of(client)
        if isinstance(bounds, Limits):
            database.limits = bounds
        elif bounds is not None and isinstance(database, PostgresDatabase):
            database.retries = bounds
        async with lifespan(app):
            yield client


def application_of(client: httpx.AsyncClient) -> Application:
    """Return the application that *client* calls."""
    transport: Any = client._transport
    assert isinstance(transport.app, Application)
    return transport.app


def database_of(client: httpx.AsyncClient) -> PostgresDatabase | SQLiteDatabase:
    """Return the database of the application that *client* calls."""
    database: PostgresDatabase | SQLiteDatabase = application_of(client).store.database
    return database


def client_beside(client: httpx.AsyncClient, user_id: str) -> httpx.AsyncClient:
    """Return a client of the same application as *client*, with a valid token for another user."""
    headers = {"Authorization": f"Bearer {token_for(user_id)}"}
    return httpx.AsyncClient(transport=client._transport, base_url=client.base_url, headers=headers)


async def limiters_of(database: PostgresDatabase | SQLiteDatabase) -> list[FairLimiter]:
    """Open *database*, unless it is open, and return what limits how many of its calls run at once."""
    if isinstance(database, PostgresDatabase):
        return [(await database._pool.get()).batches.limiter]
    opened = await database._open_connections.get()
    return [opened.writer.limiter, opened.readers.limiter]


@contextlib.asynccontextmanager
async def held_slot(limiter: FairLimiter, owner: str = "another") -> AsyncIterator[None]:
    """Hold a slot of *limiter*."""
    await limiter.acquire(owner)
    yield
    limiter.release(owner)


def outcome(response: httpx.Response) -> int:
    """Return the status of a response; a 503 must have `Retry-After`, and a body like any error."""
    if response.status_code == 503:
        assert 1 <= int(response.headers["Retry-After"]) <= 60
        assert "unavailable" == response.json()["code"]
    return response.status_code


async def assert_unavailable(client: httpx.AsyncClient, tasks_url: str) -> None:
    """Check that every endpoint and /readyz respond with 503 and `Retry-After`, but /livez with 200."""
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
    for response in await asyncio.gather(*requests):
        assert 503 == response.status_code, response.text
        assert 1 <= int(response.headers["Retry-After"]) <= 60
        assert "unavailable" == response.json()["code"]
    assert 200 == (await client.get("/livez")).status_code


async def until_ready(client: httpx.AsyncClient) -> None:
    """Wait for a 200 from /readyz, and until the health check at start-up no longer occupies a connection."""
    assert 200 == await read(client, "/readyz")
    await until_ended(EARLY_PING)


async def until_ended(name: str) -> None:
    """Wait for the tasks of this event loop that are called *name*."""
    await asyncio.gather(*[task for task in asyncio.all_tasks() if task.get_name() == name])


async def create(client: httpx.AsyncClient, tasks_url: str, title: str = "t") -> int:
    return outcome(await client.post(tasks_url, json={"title": title}))


async def read(client: httpx.AsyncClient, url: str) -> int:
    return outcome(await client.get(url))


async def titles(client: httpx.AsyncClient, tasks_url: str) -> list[str]:
    """Return the titles of all tasks, sorted."""
    response = await client.get(tasks_url)
    assert 200 == response.status_code
    return sorted(task["title"] for task in response.json())


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition that this event loop brings about."""
    async with asyncio.timeout(RESPONSE_BOUND_S):
        while not is_so():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """Yield a connection to the database that bypasses taskd."""
    connection = await asyncpg.connect(url, ssl=False, timeout=RESPONSE_BOUND_S)
    yield connection
    await connection.close()


@contextlib.asynccontextmanager
async def locked(url: str) -> AsyncIterator[Any]:
    """Lock the table of tasks, and yield the connection that holds the lock."""
    async with connected(url) as connection, connection.transaction():
        await connection.execute("LOCK TABLE tasks")
        yield connection


async def until_waiting(holder: Any, count: int) -> None:
    """Wait until *count* statements of taskd are waiting for a lock; *holder* is any connection."""
    sql = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'taskd'"
        " AND datname = current_database()"
    )
    async with asyncio.timeout(RESPONSE_BOUND_S):
        while await holder.fetchval(sql) != count:
            await holder.execute("SELECT pg_stat_clear_snapshot()")
            await asyncio.sleep(0.005)
