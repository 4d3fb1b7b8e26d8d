"""taskd behind PgBouncer, as examples/deploy configures it."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest

from tests.support.pgbouncer import PREPARING, deployed_pgbouncer
from tests.support.postgres import SECURED_PASSWORD, SECURED_USER, PostgresServer
from tests.support.recipes import DEPLOY
from tests.support.serving import create, serving, titles

pytestmark = pytest.mark.anyio

CONFIGURATION = (DEPLOY / "pgbouncer" / "pgbouncer.ini").read_text()
OF_NEWER_VERSIONS = "max_prepared_statements = 200\n"


@pytest.mark.parametrize("name", [PREPARING, "pgbouncer"])
async def test_taskd_works_through_the_pooler(
    postgres: PostgresServer, user_id: str, tasks_url: str, name: str
) -> None:
    """Both with versions that have prepared statements and, without that line, with those that do not."""
    url = postgres.create_database(f"pooled_{name.replace('-', '_')}")
    database = url.rpartition("/")[2]
    verifier = postgres.psql("postgres", "-c", "SELECT rolpassword FROM pg_authid WHERE rolname = 'secured'")
    text = CONFIGURATION.replace("dbname=taskd", f"dbname={database}")
    if name != PREPARING:
        assert OF_NEWER_VERSIONS in text
        text = text.replace(OF_NEWER_VERSIONS, "")
    with deployed_pgbouncer(postgres, text, f'"{SECURED_USER}" "{verifier.strip()}"\n', name) as pooler:
        through = f"postgresql://{SECURED_USER}:{quote(SECURED_PASSWORD)}@127.0.0.1:{pooler.port}/taskd"
        async with serving(through, user_id, TASKD_SQL_POOLER="yes") as client:
            statuses = await asyncio.gather(*[create(client, tasks_url, f"{number:02}") for number in range(40)])
            kept = await titles(client, tasks_url)

    assert {201} == set(statuses)
    assert [f"{number:02}" for number in range(40)] == kept
