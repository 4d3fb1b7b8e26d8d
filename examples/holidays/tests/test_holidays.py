"""A plugin with a table, a command, routes and checks of its own."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import click
import httpx
import jwt
import pytest
from click.testing import CliRunner
from taskd_holidays.plugin import Holidays
from taskd_holidays.settings import Settings

from taskd import build_app
from taskd.checks import Check, Outcome
from taskd.commands import open_store
from taskd.settings import SettingsError, load_settings
from taskd.storage import StoreUnavailable
from taskd.testing import lifespan, undescribed

SECRET = "not a secret, but at least 32 bytes"
CSV = "\ufeff2026-12-25,Christmas Day\n\n2026-05-01,May Day\n2027-12-25,Christmas Day\n"


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    return {"BETTER_AUTH_SECRET": SECRET, "DATABASE_URL": f"sqlite:///{tmp_path}/tasks %41.db"}


@pytest.fixture
def _tasks(environ: Mapping[str, str]) -> None:
    """Create the database with the tasks."""

    async def create() -> None:
        async with open_store(environ) as store:
            await store.seq("alice")

    asyncio.run(create())


def run(environ: Mapping[str, str], *arguments: str, **options: Any) -> str:
    """Run `taskd holidays`, and return its output."""
    [command] = Holidays().taskd_commands(environ)
    assert isinstance(command, click.Group)
    result = CliRunner().invoke(command, arguments, **options)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def _imported(environ: Mapping[str, str], tmp_path: Path, _tasks: None) -> None:
    (tmp_path / "holidays.csv").write_text(CSV)
    assert "Created the table holidays_days.\n" == run(environ, "migrate")
    assert "Imported 3 holidays.\n" == run(environ, "import", f"{tmp_path}/holidays.csv")


@pytest.fixture
async def client(environ: Mapping[str, str], _imported: None) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(environ)
    token = jwt.encode({"sub": "alice", "exp": int(time.time()) + 600}, SECRET)
    async with (
        lifespan(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://taskd/api/alice",
            headers={"Authorization": f"Bearer {token}"},
        ) as client,
    ):
        yield client


@pytest.mark.anyio
class TestEndpoint:
    async def test_holidays_of_a_year_are_listed(self, client: httpx.AsyncClient) -> None:
        """They are in order, with the open tasks that are due on them."""
        task = await due(client, "2026-12-25T23:59:59Z")
        await due(client, "2026-12-26T00:00:00Z")
        await due(client, "2026-12-25T09:00:00Z", completed=True)
        await due(client, None)

        assert [
            {"day": "2026-05-01", "name": "May Day", "tasks": []},
            {"day": "2026-12-25", "name": "Christmas Day", "tasks": [task]},
        ] == (await client.get("/holidays", params={"year": 2026})).json()
        assert [] == (await client.get("/holidays", params={"year": 2025})).json()

    async def test_a_wrong_year_is_named(self, client: httpx.AsyncClient) -> None:
        """The response is a 422 that names the parameter."""
        for year in ("0", "10000", "soon"):
            response = await client.get("/holidays", params={"year": year})
            assert (422, "year") == (response.status_code, response.json()["errors"][0]["field"])

    async def test_the_route_is_protected(self, client: httpx.AsyncClient) -> None:
        """Without credentials, or with another user's path, the response is a 401."""
        assert 401 == (await client.get("http://taskd/api/bob/holidays")).status_code
        del client.headers["Authorization"]
        assert 401 == (await client.get("/holidays")).status_code

    async def test_the_route_is_described(self, client: httpx.AsyncClient) -> None:
        """Generated clients know all of it."""
        assert [] == undescribed((await client.get("http://taskd/openapi.json")).content)

    async def test_a_missing_table_is_an_outage(
        self, client: httpx.AsyncClient, environ: Mapping[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Clients get a 503, and the log says what to run."""
        connection = sqlite3.connect(environ["DATABASE_URL"].removeprefix("sqlite:///"))
        connection.execute("DROP TABLE holidays_days")
        connection.close()

        assert 503 == (await client.get("/holidays")).status_code
        assert "the holidays are not available (OperationalError): run taskd doctor" in caplog.text


async def due(client: httpx.AsyncClient, due_at: str | None, **more: object) -> str:
    """Create a task that is due at a time, and return its id."""
    created = await client.post("/tasks", json={"title": "t", "due_at": due_at, **more})
    return str(created.json()["id"])


@pytest.mark.usefixtures("_imported")
class TestCommand:
    def test_migrating_again_changes_nothing(self, environ: Mapping[str, str]) -> None:
        """The command may be run at each deployment."""
        assert "The table is up to date.\n" == run(environ, "migrate")

    def test_an_import_replaces_the_years_in_the_file(self, environ: Mapping[str, str]) -> None:
        """Holidays that are not in the file any more are gone, and those of other years stay."""
        run(environ, "import", "-", input="2026-05-01,Labour Day\n2026-05-01,May Day\n2026-06-01,Whit Monday\n")

        assert [("2026-05-01", "May Day"), ("2026-06-01", "Whit Monday"), ("2027-12-25", "Christmas Day")] == rows(
            environ
        )

    @pytest.mark.parametrize("row", ["25.12.2026,Christmas Day", "2026-12-25", "2026-12-25,Christmas,Day", "x"])
    def test_a_wrong_file_changes_nothing(self, row: str, environ: Mapping[str, str]) -> None:
        """The error names the row."""
        before = rows(environ)
        output = run(environ, "import", "-", input=f"2026-01-01,New Year\n{row}\n")

        assert "Error: row 2 is not of the form 2026-12-25,NAME\n" == output
        assert before == rows(environ)

    def test_the_command_line_has_it(self, environ: Mapping[str, str], tmp_path: Path) -> None:
        """`taskd holidays` is found beside taskd's own commands."""
        taskd = [sys.executable, "-m", "taskd", "holidays", "migrate"]
        output = subprocess.run(taskd, env=dict(environ), cwd=tmp_path, capture_output=True, text=True, check=True)

        assert "The table is up to date.\n" == output.stdout


def rows(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    connection = sqlite3.connect(environ["DATABASE_URL"].removeprefix("sqlite:///"))
    found = connection.execute("SELECT day, name FROM holidays_days ORDER BY day").fetchall()
    connection.close()
    return found


@pytest.mark.anyio
class TestChecks:
    @pytest.mark.usefixtures("_tasks")
    async def test_the_doctor_tells_of_a_missing_table(self, environ: Mapping[str, str]) -> None:
        """It says which command creates it."""
        check = await checked(environ)
        assert (Outcome.FAILED, "Run taskd holidays migrate.") == (check.outcome, check.remedy)

    async def test_the_doctor_tells_of_a_missing_database(self, environ: Mapping[str, str], tmp_path: Path) -> None:
        """It creates nothing."""
        check = await checked(environ)
        assert Outcome.FAILED is check.outcome
        assert [] == list(tmp_path.iterdir())

    @pytest.mark.usefixtures("_imported")
    async def test_the_doctor_finds_the_table(self, environ: Mapping[str, str]) -> None:
        """Once it has been created, there is nothing to do."""
        assert Outcome.OK is (await checked(environ)).outcome


async def checked(environ: Mapping[str, str]) -> Check:
    [check] = [check async for check in Holidays().taskd_checks(environ)]
    return check


def test_a_missing_database_is_not_created(environ: Mapping[str, str], tmp_path: Path) -> None:
    """The file would be readable for others, so `taskd migrate` comes first."""
    with pytest.raises(StoreUnavailable, match="run taskd migrate"):
        run(environ, "migrate")
    assert [] == list(tmp_path.iterdir())


class TestDatabaseURL:
    @pytest.mark.parametrize(
        ("url", "tls"),
        [
            ("postgres://a:p@db.example.com/x?sslmode=require&channel_binding=require", "verified"),
            ("postgresql://a:p@db.example.com/x", "verified"),
            ("postgresql+asyncpg://a:p@127.0.0.1/x", False),
            ("postgresql://a@localhost/x?sslmode=require", "require"),
            ("postgresql://a@/x?host=/run/postgresql", False),
        ],
    )
    def test_other_machines_are_reached_over_tls(self, url: str, tls: object) -> None:
        """Certificates are verified, whatever the URL says; on this machine, nobody can listen."""
        arguments = load_settings(Settings, {"DATABASE_URL": url}).engine()
        found = arguments["connect_args"]["ssl"]

        assert tls == (found if isinstance(found, str | bool) else "verified")
        assert "postgresql+asyncpg" == arguments["url"].drivername

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("postgresql://a:S3CRET@db.example.com/x?sslmode=disable", "TASKD_ALLOW_PLAINTEXT=1"),
            (
                "postgresql://a:S3CRET@db.example.com/x?ssl_mode=no",
                "parameters that the holidays do not know: ssl_mode",
            ),
            ("S3CRET", "must be a URL"),
        ],
    )
    def test_what_is_not_understood_is_refused(self, url: str, message: str) -> None:
        """The error names the variable, and never the password."""
        with pytest.raises(SettingsError, match=f"^DATABASE_URL: .*{message}") as caught:
            load_settings(Settings, {"DATABASE_URL": url}).engine()
        assert "S3CRET" not in str(caught.value)

    def test_the_migration_may_be_another_user_s(self) -> None:
        """`TASKD_MIGRATE_URL` is for what changes the schema, and for nothing else."""
        urls = {"DATABASE_URL": "postgresql://app@127.0.0.1/x", "TASKD_MIGRATE_URL": "postgresql://owner@127.0.0.1/x"}
        settings = load_settings(Settings, urls)

        assert ("app", "owner") == tuple(settings.engine(may_migrate=may)["url"].username for may in (False, True))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
