"""docs/explanation/performance.md says what the benchmark does."""

from __future__ import annotations

import shlex

import pytest

from benchmarks.compare.__main__ import parsed
from benchmarks.compare.population import Group
from benchmarks.compare.servers import ALL
from tests.support.databases import PostgresPlace
from tests.support.documentation import blocks, table

PAGE = "docs/explanation/performance.md"
COMMANDS = [line for block in blocks(PAGE, "sh") for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str) -> None:
    """The benchmark accepts the options of each command on the page."""
    python, option, module, *arguments = shlex.split(command)
    assert ("python", "-m", "benchmarks.compare") == (python, option, module)
    parsed(arguments)


def test_servers() -> None:
    """The page describes each server that the benchmark compares, and no other."""
    described = table(PAGE, "## The servers")
    assert [server.title for server in ALL.values()] == described


def test_population(postgres_place: PostgresPlace) -> None:
    """The benchmark's requests name the tasks that are in its databases."""
    group = Group("read", users=3, each=5, first=1000)
    query = f"SELECT string_agg(user_id || ' ' || id, ',' ORDER BY user_id, id) FROM ({group.sql()}) AS made"  # noqa: S608
    assert [",".join(sorted(f"{user} {task}" for user, task in group.tasks()))] == postgres_place.run(query)
