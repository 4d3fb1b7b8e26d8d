"""An upgrade across a migration, as docs/guides/operations/upgrade.md describes it, under load."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.conftest import PATIENT, SECRET, token_for
from tests.support.commands import run_python
from tests.support.migrating import STEPS, UP_TO_DATE
from tests.support.postgres import PostgresServer
from tests.support.processes import child_environ
from tests.support.releases import extract, older_schema
from tests.support.writers import Load, Outcome, Target, ask, load, request_bytes, target

# How many writes are acknowledged in each step of the upgrade.
WRITES = 50

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of taskd as it was before the newest revision of the schema."""
    return extract(older_schema(), tmp_path_factory.mktemp("older"))


@attrs.frozen
class Versions:
    """The settings of servers of both versions over one database, which refuse no request, however slow they are."""

    settings: dict[str, str]
    source: dict[str, str]

    @property
    def old(self) -> dict[str, str]:
        """Return the environment of the older version."""
        environ = child_environ({**self.settings, **self.source})
        # Its coverage is not measured.
        return {name: value for name, value in environ.items() if not name.startswith("COVERAGE_")}

    @property
    def new(self) -> dict[str, str]:
        """Return the environment of this version."""
        return child_environ(self.settings)


@pytest.fixture(params=["postgresql", pytest.param("sqlite", marks=pytest.mark.thorough)])
def versions(request: pytest.FixtureRequest, older: dict[str, str], tmp_path: Path) -> Versions:
    url = f"sqlite:///{tmp_path}/tasks.db"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        name = f"upgrade_{uuid.uuid4().hex}"
        server.psql("postgres", "-c", f"CREATE DATABASE {name}")
        url = server.url(name)
    patience = dict.fromkeys(["TASKD_SQL_ACQUIRE_TIMEOUT", "TASKD_SQL_STATEMENT_TIMEOUT"], "60")
    return Versions({"DATABASE_URL": url, "BETTER_AUTH_SECRET": SECRET, **PATIENT, **patience}, older)


async def migrated(environ: Mapping[str, str]) -> list[str]:
    """Run `taskd migrate`, and return the lines that it prints."""
    ended = await asyncio.to_thread(run_python, "-m", "taskd", "migrate", settings=environ)
    assert (0, "") == (ended.returncode, ended.stderr)
    return ended.stdout.splitlines()


async def replace(running: Target, environ: Mapping[str, str], working: Load) -> None:
    """Stop a server gracefully, and start another one in its place, while the others keep serving."""
    running.is_up.clear()
    await running.stop()
    running.environ = environ
    await running.start()
    assert 200 == await status(running, "/readyz")
    await working.each(Outcome.ACKNOWLEDGED)
    await working.more(WRITES)


async def status(running: Target, path: str) -> int:
    return (await ask(running.server, request_bytes("GET", path, ""))).status


async def call(running: Target, user_id: str, method: str, path: str = "", body: object = None) -> Any:
    """Send a request for the tasks of *user_id*, which must succeed, and return its response."""
    response = await ask(running.server, request_bytes(method, f"/api/{user_id}/tasks{path}", token_for(user_id), body))
    assert response.status in (200, 201)
    return response.json()


async def check_that_both_serve(old: Target, new: Target) -> None:
    """Check that each version sees what the other writes, and that the older one loses nothing."""
    user_id = uuid.uuid4().hex
    task = await call(old, user_id, "POST", body={"title": "from the older one", "tags": ["kept"]})
    before = await call(new, user_id, "GET", f"/{task['id']}")
    await call(old, user_id, "PUT", f"/{task['id']}", {"description": "by the older one"})
    after = await call(new, user_id, "GET", f"/{task['id']}")
    await call(new, user_id, "PUT", f"/{task['id']}", {"title": "by the newer one"})

    assert before["version"] < after["version"]
    assert (["kept"], "by the older one") == (after["tags"], after["description"])
    assert ["by the newer one"] == [each["title"] for each in await call(old, user_id, "GET")]


@contextlib.asynccontextmanager
async def two(environ: Mapping[str, str]) -> AsyncIterator[tuple[Target, Target]]:
    """Two servers on one database."""
    async with target(environ) as one, target(environ) as other:
        yield one, other


async def test_nothing_is_lost_in_an_upgrade_across_a_migration(versions: Versions) -> None:
    """
    Servers are migrated and replaced one after the other under load: each request succeeds, or is cut off by a stop.

    Afterwards, the older version still works with the new schema.
    """
    assert STEPS[:-1] == await migrated(versions.old)
    async with two(versions.old) as (one, other):
        async with load(one, other) as working:
            await working.each(Outcome.ACKNOWLEDGED)
            assert STEPS[-1:] == await migrated(versions.new)
            assert [200, 200] == [await status(each, "/readyz") for each in (one, other)]
            await working.more(WRITES)
            await replace(one, versions.new, working)
            await check_that_both_serve(other, one)
            await replace(other, versions.new, working)
            assert [UP_TO_DATE] == await migrated(versions.new)
            # A way back.
            await replace(one, versions.old, working)
        for each in (one, other):
            await each.stop()

    assert [] == working.faults()
    assert 0 == working.count(Outcome.REFUSED)
    assert [] == [line for line in (one.output + other.output).splitlines() if "ERROR" in line or "Traceback" in line]
