"""Examples of plugins, where they need more than their own tests have: a PostgreSQL server."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.support.documentation import ROOT
from tests.support.postgres import PostgresServer


@pytest.fixture
def _importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the example importable, as if it were installed."""
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "holidays"))
    yield
    for name in [name for name in sys.modules if name.startswith("taskd_holidays")]:
        del sys.modules[name]


@pytest.fixture(params=[False, True], ids=["without TLS", "over TLS"])
def database_url(request: pytest.FixtureRequest, postgres: PostgresServer) -> str:
    name = f"holidays_{uuid.uuid4().hex}"
    url = postgres.create_database(name)
    postgres.psql(name, "-c", "GRANT CREATE ON SCHEMA public TO PUBLIC")
    return postgres.secured_url(name, sslmode="verify-full", sslrootcert=str(postgres.ca)) if request.param else url


@pytest.mark.usefixtures("_importable")
def test_holidays_are_kept_in_postgresql(database_url: str, tmp_path: Path) -> None:
    """The example's table is created, filled and read as in SQLite."""
    from taskd_holidays.database import Database, year_of  # noqa: PLC0415  importable only here
    from taskd_holidays.plugin import Holidays  # noqa: PLC0415
    from taskd_holidays.settings import Settings  # noqa: PLC0415

    from taskd.settings import load_settings  # noqa: PLC0415

    environ = {"DATABASE_URL": database_url}
    file = tmp_path / "holidays.csv"
    file.write_text("2026-12-25,Christmas Day\n2026-05-01,May Day\n")
    [command] = Holidays().taskd_commands(environ)
    for arguments in (["migrate"], ["migrate"], ["import", str(file)], ["import", str(file)]):
        run(command, arguments)

    async def read() -> list[str]:
        async with Database.of(load_settings(Settings, environ)).closing() as database:
            assert await database.has_table()
            return [each.name for each in await database.between(*year_of(2026))]

    assert ["May Day", "Christmas Day"] == asyncio.run(read())


def run(command: click.Command, arguments: list[str]) -> None:
    result: Any = CliRunner().invoke(command, arguments)
    assert 0 == result.exit_code, result.output
