"""PostgreSQL databases whose encoding cannot represent every character."""

from __future__ import annotations

import uuid

import pytest

from tests.support.databases import DROP_TABLES, PostgresPlace
from tests.support.doctor import examined
from tests.support.migrating import complaint
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres import SCHEMA, PostgresServer
from tests.support.serving import assert_unavailable, serving

SAID = "the database's encoding is LATIN1, but must be UTF8"


@pytest.fixture
def latin1(postgres: PostgresServer) -> PostgresPlace:
    """A database in LATIN1, as in old clusters, with taskd's tables."""
    place = PostgresPlace(postgres, f"latin1_{uuid.uuid4().hex}")
    how = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    postgres.psql("postgres", "-c", f"CREATE DATABASE {place.name} {how}")
    place.run(SCHEMA.read_text())
    return place


@pytest.mark.anyio
async def test_it_is_unavailable(
    latin1: PostgresPlace, user_id: str, tasks_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise it would work until somebody writes an emoji; the log says why, once."""
    async with serving(latin1.url, user_id) as client:
        await assert_unavailable(client, tasks_url)
        assert [503, 503] == [
            (await client.get("/readyz")).status_code,
            (await client.post(tasks_url, json={"title": "\N{PARTY POPPER}"})).status_code,
        ]
    [line] = [record.getMessage() for record in caplog.records]

    assert line.endswith(f"is unavailable: {SAID}")


@pytest.mark.anyio
async def test_it_is_unavailable_behind_a_pooler(
    latin1: PostgresPlace, pooler: PgBouncer, user_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """PgBouncer passes on the server's encoding."""
    async with serving(pooler.url(latin1.name), user_id, TASKD_SQL_POOLER="yes") as client:
        assert 503 == (await client.get("/readyz")).status_code

    assert SAID in caplog.text


@pytest.mark.parametrize("options", [(), ("--sql",)], ids=["migrate", "sql"])
def test_it_is_not_migrated(latin1: PostgresPlace, options: tuple[str, ...]) -> None:
    """One line says which encoding is needed."""
    latin1.run(DROP_TABLES)

    assert SAID == complaint(*options, DATABASE_URL=latin1.url)
    assert ["0"] == latin1.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")


def test_doctor_reports_it(latin1: PostgresPlace) -> None:
    """The remedy says how to create a database with the right encoding."""
    report = examined(latin1.url)

    assert ["connection"] == report.failed()
    assert report.findings["connection"].endswith(SAID)
    assert "ENCODING 'UTF8' TEMPLATE template0" in report.remedies["connection"]
