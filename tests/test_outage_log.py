"""What the log says of a database that fails: each outage once, with its reason and no secret."""

from __future__ import annotations

import asyncio
import logging
import re

import httpx
import pytest

from taskd import build_app
from taskd.testing import lifespan
from taskd_sql import migration
from taskd_sql.dsn import parse
from tests.applications import build, get
from tests.conftest import SECRET, client_of
from tests.databases import Place
from tests.postgres import PostgresServer, free_port
from tests.proxy import LOOPBACK, Proxy
from tests.serving import IMPATIENT, create, read, serving, until
from tests.third_parties import STORE, Site

pytestmark = pytest.mark.anyio


@pytest.mark.usefixtures("_brief_pauses")
class TestLog:
    """What is said to whoever runs the server."""

    async def test_an_outage_is_told_once_and_its_end_once(
        self, proxy: Proxy, postgres_url: str, user_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """However many requests fail, there is one line for each change."""
        url = f"/api/{user_id}/tasks"
        async with serving(proxy.url_through(postgres_url), user_id) as client:
            assert 200 == await read(client, url)
            await proxy.refuse()
            calls = [read(client, url) for _ in range(10)] + [create(client, url) for _ in range(10)]
            assert [503] * 20 == await asyncio.gather(*calls)
            assert 503 == await read(client, "/readyz")
            await proxy.accept()
            assert [200] * 20 == await asyncio.gather(*[read(client, url) for _ in range(20)])

        service = f"PostgreSQL at {LOOPBACK}:{proxy.port}"
        assert [f"{service} does not serve: ConnectionRefusedError", f"{service} serves again, after"] == [
            re.sub(r"after .*", "after", message) for message in changes(caplog)
        ]

    async def test_a_database_that_is_well_is_not_told_of(
        self, direct: httpx.AsyncClient, tasks_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """There is nothing to say of a fault that an attempt has mended, nor of a good start."""
        assert 200 == await read(direct, tasks_url)

        assert [] == changes(caplog)

    async def test_a_mended_fault_is_not_told_of(
        self, proxied: httpx.AsyncClient, proxy: Proxy, tasks_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A read that was cut and answered by another connection was no outage."""
        proxy.cut_on_next_answer()
        assert 200 == await read(proxied, tasks_url)

        assert [] == changes(caplog)

    async def test_a_password_is_not_told(self, user_id: str, caplog: pytest.LogCaptureFixture) -> None:
        """Neither the password nor the user is in what is said of a server that cannot be reached."""
        caplog.set_level(logging.DEBUG)
        url = f"postgresql://{user_id}:swordfish@{LOOPBACK}:{free_port()}/d"
        async with serving(url, user_id) as client:
            assert 503 == await read(client, "/readyz")

        assert 1 == len(changes(caplog))
        assert "swordfish" not in caplog.text
        assert f"{user_id}:" not in caplog.text


def changes(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of the database: that it does not serve, or serves again."""
    return [record.getMessage() for record in caplog.records if " serve" in record.getMessage()]


async def test_a_server_that_answers_nobody_is_not_called_busy(
    postgres: PostgresServer, own_url: str, user_id: str, tasks_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits behind those who cannot connect gives the true reason."""
    settings = {**IMPATIENT, "TASKD_SQL_POOL_SIZE": "1", "TASKD_SQL_CONNECT_TIMEOUT": "0.5"}
    async with Proxy(postgres.port) as proxy:
        proxy.stall()
        async with serving(proxy.url_through(own_url), user_id, **settings) as client:
            assert [503] * 3 == await asyncio.gather(*[read(client, tasks_url) for _ in range(3)])

    [message] = changes(caplog)
    assert message.endswith(" does not serve: no connection could be made in time")


async def test_refused_writes_are_told_once_while_reads_go_on(
    postgres: PostgresServer,
    own_url: str,
    own_database: str,
    user_id: str,
    tasks_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A database that takes no writes, as after a failover, is told of in one line, and its end in another."""
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
    assert refused.endswith("does not serve: ReadOnlySQLTransactionError 25006: it takes no writes")
    assert "serves again" in served


# What a database is like in which taskd does not find the schema that it needs, and what of that it says.
UNFIT = {
    "no version table": ("DROP TABLE taskd_version", "run taskd migrate"),
    "no tasks": ("DROP TABLE tasks", "run taskd migrate"),
    "no version": ("DELETE FROM taskd_version", "it is at revision none, behind this taskd"),
    "ahead": ("UPDATE taskd_version SET version_num = '9999'", "it is at revision 9999, ahead of this taskd"),
    "two versions": (
        "INSERT INTO taskd_version VALUES ('9999')",
        "it is at revision 0001 and 9999, ahead of this",
    ),
}


@pytest.mark.parametrize(("change", "said"), UNFIT.values(), ids=UNFIT)
async def test_a_schema_that_does_not_fit_is_said_once(
    place: Place, user_id: str, change: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However many ask, /readyz is a 503 with Retry-After and the log has one line; mended, it serves again."""
    await migration.upgrade(parse(place.url))
    place.run(change)
    app = build_app({"DATABASE_URL": place.url, "BETTER_AUTH_SECRET": SECRET})
    async with lifespan(app), client_of(app, user_id) as client:
        answers = [await client.get("/readyz") for _ in range(10)]
        answers += await asyncio.gather(*[client.get("/readyz") for _ in range(10)])
        livez = await client.get("/livez")
        told = [record.getMessage() for record in caplog.records]
        place.run("DROP TABLE IF EXISTS tasks; DROP TABLE IF EXISTS taskd_version;")
        await migration.upgrade(parse(place.url))
        mended = await client.get("/readyz")

    assert [503] * 20 == [answer.status_code for answer in answers]
    assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in answers)
    assert 200 == livez.status_code
    [line] = told
    assert line.startswith(f"The schema of {'SQLite' if place.url.startswith('sqlite') else 'PostgreSQL'}")
    assert said in line
    assert "\n" not in line
    assert 200 == mended.status_code
    assert 1 == sum(" serves again, " in record.getMessage() for record in caplog.records)


async def test_a_schema_that_does_not_fit_is_said_at_the_start(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody has to ask for anything before the log says that taskd migrate is to be run."""
    await migration.upgrade(parse(place.url))
    place.run("DELETE FROM taskd_version")
    async with lifespan(build_app({"DATABASE_URL": place.url, "BETTER_AUTH_SECRET": SECRET})):
        await until(lambda: bool(caplog.records))

    [line] = changes(caplog)
    assert line.startswith("The schema of ")
    assert "it is at revision none, behind this taskd" in line


async def test_a_store_that_breaks_down_at_the_start_is_told_of(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What a third party's store raises beyond its contract is logged with its traceback, and the server starts."""
    site.install("odd", STORE + "async def ping(self):\n    raise RuntimeError('odd')\nStore.ping = ping\n")
    app = build(TASKD_STORAGE="odd")
    async with lifespan(app):
        await until(lambda: bool(caplog.records))
        livez = await get(app, "/livez")

    assert 200 == livez.status_code
    [record] = caplog.records
    assert "The storage plugin failed when it was asked whether it answers" == record.getMessage()
    assert record.exc_info is not None
    assert RuntimeError is record.exc_info[0]


async def test_a_schema_that_goes_and_comes_is_said_each_time(
    place: Place, user_id: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has a line when tasks cannot be read and one when they can be again, though nobody asks for /readyz."""
    monkeypatch.setattr("taskd.availability.MIN_INTERVAL_S", 0)
    await migration.upgrade(parse(place.url))
    app = build_app({"DATABASE_URL": place.url, "BETTER_AUTH_SECRET": SECRET})
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
    assert ["does not serve: ", "serves again, "] * 2 == [
        word for line in told for word in ("does not serve: ", "serves again, ") if word in line
    ]
    assert 4 == len(told)
