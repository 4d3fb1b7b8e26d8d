"""Logging of outages: each is logged once, with its reason and no secret."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from taskd import build_app
from taskd.storage import StoreUnavailable
from taskd.testing import lifespan
from taskd_sql.migrations import runner
from taskd_sql.plugin import taskd_storage
from taskd_sql.schema import REVISIONS
from taskd_sql.url import parse
from tests.conftest import SECRET, client_of
from tests.support.applications import build, get
from tests.support.databases import DROP_TABLES, Place
from tests.support.postgres import PostgresServer, free_port
from tests.support.proxy import LOOPBACK, Proxy
from tests.support.serving import BRIEF, IMPATIENT, ONCE, create, read, serving, until
from tests.support.third_parties import STORE, Site

pytestmark = pytest.mark.anyio


class TestLog:
    """What the log says about a database."""

    async def test_an_outage_is_logged_once_and_its_end_once(
        self, proxy: Proxy, postgres_url: str, user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """However many requests fail, each change of state is one line."""
        url = f"/api/{user_id}/tasks"
        async with serving(proxy.url_through(postgres_url), user_id, BRIEF) as client:
            assert 200 == await read(client, url)
            await proxy.refuse()
            calls = [read(client, url) for _ in range(10)] + [create(client, url) for _ in range(10)]
            assert [503] * 20 == await asyncio.gather(*calls)
            assert 503 == await read(client, "/readyz")
            await proxy.accept()
            assert [200] * 20 == await asyncio.gather(*[read(client, url) for _ in range(20)])

        service = f"PostgreSQL at {LOOPBACK}:{proxy.port}"
        assert [f"{service} is unavailable: ConnectionRefusedError", f"{service} is available again after"] == [
            re.sub(r"after .*", "after", message) for message in changes(caplog)
        ]

    async def test_a_healthy_database_is_not_logged(
        self, direct: httpx.AsyncClient, tasks_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Neither a successful start nor a successful request is logged."""
        assert 200 == await read(direct, tasks_url)

        assert [] == changes(caplog)

    async def test_a_successful_retry_is_not_logged(
        self, proxied: httpx.AsyncClient, proxy: Proxy, tasks_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A read that was interrupted and then succeeded on another connection is not an outage."""
        proxy.cut_on_next_response()
        assert 200 == await read(proxied, tasks_url)

        assert [] == changes(caplog)

    async def test_no_password_is_logged(self, user_id: str, caplog: pytest.LogCaptureFixture) -> None:
        """Neither user nor password appears if the server cannot be reached."""
        caplog.set_level(logging.DEBUG)
        url = f"postgresql://{user_id}:swordfish@{LOOPBACK}:{free_port()}/d"
        async with serving(url, user_id, BRIEF) as client:
            assert 503 == await read(client, "/readyz")

        assert 1 == len(changes(caplog))
        assert "swordfish" not in caplog.text
        assert f"{user_id}:" not in caplog.text


def changes(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log lines that say that the database is unavailable, or available again."""
    return [record.getMessage() for record in caplog.records if re.search(" is (un)?available", record.getMessage())]


async def test_a_server_that_does_not_respond_is_not_called_busy(
    postgres: PostgresServer, postgres_url: str, user_id: str, tasks_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls that wait behind those that cannot connect log the true reason."""
    settings = {**IMPATIENT, "TASKD_SQL_POOL_SIZE": "1", "TASKD_SQL_CONNECT_TIMEOUT": "0.5"}
    async with Proxy(postgres.port) as proxy:
        proxy.stall()
        async with serving(proxy.url_through(postgres_url), user_id, ONCE, **settings) as client:
            assert [503] * 3 == await asyncio.gather(*[read(client, tasks_url) for _ in range(3)])

    [message] = changes(caplog)
    assert message.endswith(" is unavailable: no connection could be opened in time")


async def test_refused_writes_are_logged_once_while_reads_work(
    postgres: PostgresServer,
    own_url: str,
    own_database: str,
    user_id: str,
    tasks_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If a database becomes read-only, as after a failover, that is one line, and its end is another."""
    postgres.psql("postgres", "-c", f"ALTER DATABASE {own_database} SET default_transaction_read_only = on")
    async with serving(own_url, user_id) as client:
        for _ in range(5):
            assert (503, 200, 200) == (
                await create(client, tasks_url),
                await read(client, tasks_url),
                await read(client, "/readyz"),
            )
        postgres.psql("postgres", "-c", f"ALTER DATABASE {own_database} RESET default_transaction_read_only")
        postgres.terminate_backends()
        while await create(client, tasks_url) != 201:  # noqa: ASYNC110  the pool finds out as it goes
            await asyncio.sleep(0.01)

    [refused, served] = [message for message in changes(caplog) if message.startswith("Writing to ")]
    assert refused.endswith("is unavailable: ReadOnlySQLTransactionError 25006: the database is read-only")
    assert "is available again" in served


# Changes to a schema that make it unusable, and what the log says.
WRONG_SCHEMAS = {
    "no version table": ("DROP TABLE taskd_version", "run taskd migrate"),
    "no tasks": ("DROP TABLE tasks", "run taskd migrate"),
    "other tasks": ("ALTER TABLE tasks RENAME COLUMN title TO name", "run taskd migrate"),
    "no version": ("DELETE FROM taskd_version", "it is at revision none, behind this taskd"),
    "ahead": ("UPDATE taskd_version SET version_num = '9999'", "it is at revision 9999, ahead of this taskd"),
    "two versions": (
        "INSERT INTO taskd_version VALUES ('9999')",
        f"it is at revision {REVISIONS[-1]} and 9999, ahead of this",
    ),
}


@pytest.mark.parametrize(("change", "said"), WRONG_SCHEMAS.values(), ids=WRONG_SCHEMAS)
async def test_a_wrong_schema_is_logged_once(
    place: Place, user_id: str, change: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However many requests arrive, /readyz returns 503 with Retry-After, and recovers once the schema is fixed."""
    await runner.upgrade(parse(place.url))
    place.run(change)
    app = build_app({"DATABASE_URL": place.url, "BETTER_AUTH_SECRET": SECRET})
    async with lifespan(app), client_of(app, user_id) as client:
        responses = [await client.get("/readyz") for _ in range(10)]
        responses += await asyncio.gather(*[client.get("/readyz") for _ in range(10)])
        livez = await client.get("/livez")
        told = [record.getMessage() for record in caplog.records]
        await asyncio.to_thread(place.run, DROP_TABLES)
        await runner.upgrade(parse(place.url))
        mended = await client.get("/readyz")

    assert [503] * 20 == [response.status_code for response in responses]
    assert all(1 <= int(response.headers["Retry-After"]) <= 60 for response in responses)
    assert 200 == livez.status_code
    [line] = told
    assert line.startswith(f"The schema of {'SQLite' if place.url.startswith('sqlite') else 'PostgreSQL'}")
    assert said in line
    assert "\n" not in line
    assert 200 == mended.status_code
    assert 1 == sum(" is available again " in record.getMessage() for record in caplog.records)


async def test_a_wrong_schema_is_logged_at_the_start(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Without any request, the log says that taskd migrate must be run."""
    await runner.upgrade(parse(place.url))
    place.run("DELETE FROM taskd_version")
    async with lifespan(build_app({"DATABASE_URL": place.url, "BETTER_AUTH_SECRET": SECRET})):
        await until(lambda: bool(caplog.records))

    [line] = changes(caplog)
    assert line.startswith("The schema of ")
    assert "it is at revision none, behind this taskd" in line


async def test_a_store_that_fails_at_the_start_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """If a third-party store raises an unexpected exception, it is logged with its traceback; the server starts."""
    site.install("odd", STORE + "async def ping(self):\n    raise RuntimeError('odd')\nStore.ping = ping\n")
    app = build(TASKD_STORAGE="odd")
    async with lifespan(app):
        await until(lambda: bool(caplog.records))
        livez = await get(app, "/livez")

    assert 200 == livez.status_code
    [record] = caplog.records
    assert "The storage plugin failed to respond to a ping" == record.getMessage()
    assert record.exc_info is not None
    assert RuntimeError is record.exc_info[0]


async def test_a_schema_that_comes_and_goes_is_logged_each_time(
    place: Place, user_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each time the table disappears or returns is one line, even if nobody requests /readyz."""
    await runner.upgrade(parse(place.url))
    app = build_app({"DATABASE_URL": place.url, "BETTER_AUTH_SECRET": SECRET})
    app.store._service.interval_s = 0
    url = f"/api/{user_id}/tasks"
    statuses = []
    async with client_of(app, user_id) as client:
        for _ in range(2):
            place.run("ALTER TABLE tasks RENAME TO others")
            statuses.append((await client.get(url)).status_code)
            place.run("ALTER TABLE others RENAME TO tasks")
            statuses.append((await client.get(url)).status_code)

    assert [503, 200] * 2 == statuses
    told = [record.getMessage() for record in caplog.records]
    assert ["is unavailable: ", "is available again "] * 2 == [
        word for line in told for word in ("is unavailable: ", "is available again ") if word in line
    ]
    assert 4 == len(told)


async def test_a_ping_that_began_before_an_outage_does_not_end_it(
    tmp_path: Path, user_id: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its success shows nothing about what has failed since."""
    store = taskd_storage({"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db"})
    await store.ping()
    fetch = store.database.fetch
    has_read, has_failed = asyncio.Event(), asyncio.Event()

    async def late(*args: Any, **options: Any) -> Any:
        rows = await fetch(*args, **options)
        has_read.set()
        await has_failed.wait()
        return rows

    monkeypatch.setattr(store.database, "fetch", late)
    ping = asyncio.create_task(store.ping())
    await has_read.wait()
    monkeypatch.setattr(store.database, "fetch", fetch)
    (tmp_path / "tasks.db").rename(tmp_path / "away.db")
    with pytest.raises(StoreUnavailable):
        await store.list(user_id)
    has_failed.set()
    await ping
    await store.close()

    assert 1 == len(changes(caplog))
