"""What docs/guides/data.md shows of the commands for data is what they print."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from taskd.cli.main import main
from taskd.storage import CreationKey
from taskd.tasks import NewTask
from taskd_sql.plugin import taskd_storage
from tests.support.databases import PostgresPlace
from tests.support.documentation import blocks

PAGE = "docs/guides/data.md"
REMOTE = "postgresql://taskd@db.example.com/taskd"


async def fill() -> None:
    """Make the tasks that the page is about."""
    store = taskd_storage({"DATABASE_URL": "sqlite:///taskd.db"})
    for user, count in (("alice", 2), ("bob", 2), ("carol", 1)):
        tasks = [await store.create(user, NewTask(title="t")) for _ in range(count)]
    await store.create("alice", NewTask(title="t"), key=CreationKey("k", b""))
    await store.delete("carol", tasks[0].id)
    await store.close()


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command on the page with its output."""
    for block in blocks(PAGE, "console"):
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def test_the_commands_print_what_the_page_shows(postgres_place: PostgresPlace) -> None:
    """They are run in their order, over a file, and then over a server."""
    asyncio.run(fill())
    settings: dict[str, str | None] = {}
    for command, output in commands():
        program, *arguments = shlex.split(command)
        if program == "taskd":
            result = CliRunner().invoke(main, arguments, input="y\n", env=settings)
            assert (0, output) == (result.exit_code, neutral(result.output, postgres_place)), command
        elif program == "export":
            assert [f"DATABASE_URL={REMOTE}"] == arguments
            settings["DATABASE_URL"] = postgres_place.url
        elif program == "mv":
            Path(arguments[0]).rename(Path(arguments[1], arguments[0]))
        else:
            assert "mkdir" == program
            Path(arguments[0]).mkdir()


def neutral(output: str, place: PostgresPlace) -> str:
    """Return *output* with the server of the page in the place of the tests'."""
    there = re.sub(r"127\.0\.0\.1:\d+", "db.example.com:5432", output).replace(place.name, "taskd")
    return re.sub(r"(size +)[\d.]+ MiB", r"\g<1>0.2 MiB", there)


@pytest.mark.parametrize("name", ["backup", "restore", "export", "import", "erase", "stats"])
def test_the_page_shows_each_command(name: str) -> None:
    """Each of them is run."""
    assert name in {command.split()[1] for command, _ in commands() if command.startswith("taskd ")}
