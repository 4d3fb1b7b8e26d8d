"""docs/explanation/performance.md says what the benchmark does."""

from __future__ import annotations

import shlex

import pytest

from benchmarks import instructions, sqlite_writes
from benchmarks.compare.__main__ import parsed
from benchmarks.compare.population import Group
from benchmarks.compare.results import Results, Sample, Turn
from benchmarks.compare.servers import ALL
from benchmarks.compare.tables import sections
from tests.support.databases import PostgresPlace
from tests.support.documentation import blocks, table

PAGE = "docs/explanation/performance.md"
PARSERS = {
    "benchmarks.compare": parsed,
    "benchmarks.instructions": instructions.parsed,
    "benchmarks.sqlite_writes": sqlite_writes.parsed,
}
COMMANDS = [line for block in blocks(PAGE, "sh") for line in block.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str) -> None:
    """The benchmarks accept the options of each command on the page."""
    python, option, module, *arguments = shlex.split(command)
    assert ("python", "-m") == (python, option)
    PARSERS[module](arguments)


def test_servers() -> None:
    """The page describes each server that the benchmark compares, and no other."""
    described = table(PAGE, "## The servers")
    assert [server.title for server in ALL.values()] == described


def test_population(postgres_place: PostgresPlace) -> None:
    """The benchmark's requests name the tasks that are in its databases."""
    group = Group("read", users=3, each=5, first=1000)
    query = f"SELECT string_agg(user_id || ' ' || id, ',' ORDER BY user_id, id) FROM ({group.sql()}) AS made"  # noqa: S608
    assert [",".join(sorted(f"{user} {task}" for user, task in group.tasks()))] == postgres_place.run(query)


def run(delay_ms: float, *, machine: str = "a machine") -> Results:
    """Return a run of one operation of one server."""
    sample = Sample("taskd", delay_ms, "get", 16, 100, 1.0, 0.01, 0.001, 2.0, 3.0)
    turn = Turn("taskd", delay_ms, [0.5], 2**20)
    about = {"machine": machine, "command": f"`measure {delay_ms:g}`", "date": "2026-12-01"}
    return Results(about, {"taskd": "taskd"}, {"get": "GET"}, [16], [delay_ms], [sample], [turn])


class TestJoined:
    """Runs with different distances to the database can be shown together."""

    def test_figures(self) -> None:
        """The tables and the commands are those of all runs."""
        runs = [run(0), run(20)]
        joined = Results.joined(runs)
        assert ("`measure 0`; `measure 20`", "2026-12-01") == (joined.about["command"], joined.about["date"])
        assert [section for each in runs for section in sections(each)] == list(sections(joined))

    @pytest.mark.parametrize(
        ("other", "reason"), [(run(0), "the same delay"), (run(20, machine="another"), "different machines")]
    )
    def test_what_cannot_be_compared(self, other: Results, reason: str) -> None:
        """Figures of different machines, or with the same delay, are not mixed."""
        with pytest.raises(ValueError, match=reason):
            Results.joined([run(0), other])
