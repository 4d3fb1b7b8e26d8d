"""Run `taskd doctor`, read its report, and provide databases in which it finds nothing wrong."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from pathlib import Path

import attrs
import pytest
from click.testing import Result

import taskd_sql.checks.mounts
import taskd_sql.checks.postgres
import taskd_sql.checks.server
import taskd_sql.engine.postgres
import taskd_sql.engine.postgres_rehearsal  # before its base class is replaced
from taskd_sql.engine.postgres import PostgresDatabase
from taskd_sql.migrations import runner
from taskd_sql.plugin import taskd_storage
from taskd_sql.url import parse
from tests.conftest import ORIGIN
from tests.support.commands import invoke
from tests.support.databases import PostgresPlace, SQLitePlace
from tests.support.postgres import SECURED_PASSWORD, PostgresServer
from tests.support.serving import ONCE

STRONG_SECRET = "8f1c0e5ad9b74263a1f09e3c7d5b2864f0a9c3e1d7b58642"
PASSWORD = "hunter2"


@attrs.frozen
class Report:
    """What `taskd doctor` printed: how each check ended, what it found, and what to do."""

    exit_code: int
    text: str
    outcomes: dict[str, str]
    findings: dict[str, str]
    remedies: dict[str, str]

    @classmethod
    def read(cls, result: Result) -> Report:
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        table, *remedies = result.output.strip().split("\n\n")
        rows = [line.split(maxsplit=1) for line in table.splitlines()]
        cells = [(outcome, *(cell.strip() for cell in rest.split("  ", 1))) for outcome, rest in rows]
        return cls(
            result.exit_code,
            result.output,
            {name: outcome for outcome, name, _ in cells},
            {name: finding for _, name, finding in cells},
            dict(remedy.split(": ", 1) for remedy in remedies),
        )

    def failed(self) -> list[str]:
        return [name for name, outcome in self.outcomes.items() if outcome == "FAILED"]


def examined(database_url: str, *options: str, **others: str) -> Report:
    """
    Run `taskd doctor` on a deployment in which nothing but the database may be wrong.

    The tests' own server and folders need not survive a crash of the machine, unless *options* contain `--strict`.
    """
    given = {"BETTER_AUTH_SECRET": STRONG_SECRET, "FRONTEND_URL": ORIGIN, "DATABASE_URL": database_url}
    with pytest.MonkeyPatch.context() as monkeypatch:
        if "--strict" not in options:
            monkeypatch.setattr(taskd_sql.checks.server, "UNSAFE", ("full_page_writes", "synchronous_commit"))
            monkeypatch.setattr(taskd_sql.checks.mounts, "kind_of", lambda _: "ext4")
        report = Report.read(invoke("doctor", *options, settings={**given, **others}))
    # Whatever else it says, the exit status follows from the table, and each failure comes with advice.
    notes = "note" in report.outcomes.values() and "--strict" in options
    assert int(bool(report.failed()) or notes) == report.exit_code
    assert set(report.failed()) <= set(report.remedies)
    assert not [name for name in report.remedies if report.outcomes[name] == "ok"]
    assert not [secret for secret in (STRONG_SECRET, PASSWORD, SECURED_PASSWORD) if secret in report.text]
    return report


@pytest.fixture
def _once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not try again what is down.  A command makes its store itself."""
    monkeypatch.setattr(taskd_sql.engine.postgres, "PostgresDatabase", partial(PostgresDatabase, retries=ONCE))


@pytest.fixture
def _near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never report a database as far away, however busy the machine is."""
    monkeypatch.setattr(taskd_sql.checks.postgres, "FAR_MS", math.inf)


@pytest.fixture
def served(tmp_path: Path) -> SQLitePlace:
    """An SQLite file that a server made, in a folder of its own."""
    (tmp_path / "folder").mkdir()
    made = SQLitePlace(tmp_path / "folder" / "tasks.db")

    async def serve_once() -> None:
        store = taskd_storage({"DATABASE_URL": made.url})
        await store.ping()
        await store.close()

    asyncio.run(serve_once())
    return made


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> PostgresPlace:
    """A migrated PostgreSQL database that no test changes."""
    made = PostgresPlace.make(postgres)
    asyncio.run(runner.upgrade(parse(made.url)))
    return made


@pytest.fixture
def own_migrated(postgres: PostgresServer, own_url: str, own_database: str) -> PostgresPlace:
    """A PostgreSQL database with taskd's tables, for a test that changes it."""
    del own_url
    return PostgresPlace(postgres, own_database)
