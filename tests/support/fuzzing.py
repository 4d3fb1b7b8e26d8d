"""Schemathesis: how it is run against a server, and what its report says it did."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from tests.support.processes import child_environ
from tests.support.requirements import missing

__all__ = ["Call", "Report", "schemathesis"]

SETTINGS = Path(__file__).parents[1] / "ecosystem" / "schemathesis"


@attrs.frozen
class Call:
    """
    A request that was made, and the *status* of its response.

    Attributes:
        phase: `examples`, `coverage`, `fuzzing` or `stateful`.
        operation: The method and the path.
        is_repeated: A check derived it from another request.
        origin: The operation whose response an id in the path came from.
    """

    phase: str
    operation: str
    status: int
    is_repeated: bool
    origin: str | None


@attrs.frozen
class Report:
    """What a run found, and what it did."""

    exit_code: int
    output: str
    calls: list[Call]
    checks: Counter[tuple[str, str]]

    def count(self, **wanted: object) -> Counter[tuple[str, int]]:
        """Count the calls whose attributes are as *wanted*, by operation and status."""
        return Counter(
            (call.operation, call.status)
            for call in self.calls
            if all(getattr(call, name) == value for name, value in wanted.items())
        )


def schemathesis(folder: Path, settings: str, url: str, variables: Mapping[str, str], *arguments: str) -> Report:
    """Run all checks on the server at *url*, in *folder*, with the file named *settings* and its *variables*."""
    program = Path(sysconfig.get_path("scripts")) / "schemathesis"
    if not program.exists():
        missing("schemathesis is not installed")
    shutil.copy(SETTINGS / settings, folder / "schemathesis.toml")
    shutil.copy(SETTINGS / "hooks.py", folder)
    command = [str(program), "run", f"{url}/openapi.json", "--checks", "all", "--no-color", "--continue-on-failure"]
    command += ["--generation-database", "none", "--report", "ndjson", "--report-ndjson-path", "report.ndjson"]
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=child_environ(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    calls: list[Call] = []
    checks: Counter[tuple[str, str]] = Counter()
    for phase, recorded in _scenarios(folder / "report.ndjson"):
        calls += _calls(phase, recorded)
        checks.update((check["name"], check["status"]) for made in recorded["checks"].values() for check in made)
    return Report(done.returncode, done.stdout, calls, checks)


def _scenarios(report: Path) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """Yield the scenarios, each with its phase; nothing if the run ended before it wrote a report."""
    for line in report.read_text().splitlines() if report.exists() else []:
        finished = json.loads(line).get("ScenarioFinished")
        if finished:
            recorder = finished["recorder"]
            yield finished["phase"], {name: recorder.get(name) or {} for name in ("cases", "interactions", "checks")}


def _calls(phase: str, recorded: Mapping[str, Mapping[str, Any]]) -> Iterator[Call]:
    for name, interaction in recorded["interactions"].items():
        if not interaction.get("response"):
            continue
        case = recorded["cases"][name]
        transition = case.get("transition")
        yield Call(
            phase=phase,
            operation=_operation(case),
            status=interaction["response"]["status_code"],
            is_repeated="parent_id" in case and transition is None,
            origin=_operation(recorded["cases"][transition["parent_id"]])
            if transition and case["is_transition_applied"]
            else None,
        )


def _operation(case: Mapping[str, Any]) -> str:
    return f"{case['value']['method']} {case['value']['path']}"
