"""Run `taskd migrate`: successfully, or until it prints one line that says what is wrong."""

from __future__ import annotations

from tests.support.commands import invoke
from tests.support.databases import Place

# What migrating an empty database prints.
STEPS = [
    "0001: The table of tasks.",
    "0002_serves_0001: The tags of tasks.",
    "0003_serves_0001: The versions of tasks, idempotency keys, and texts to search in.",
]
DONE = "\n".join(STEPS)
UP_TO_DATE = "The schema is up to date."
PASSWORD = "hunter2"


def migrate(place: Place, *options: str, **settings: str) -> str:
    """Run `taskd migrate` on *place*, check that it succeeds, and return its output."""
    result = invoke("migrate", *options, settings={"DATABASE_URL": place.url, **settings})
    assert (0, "") == (result.exit_code, result.stderr), result.output
    return result.stdout


def complaint(*options: str, **settings: str) -> str:
    """Run `taskd migrate`, check that it fails with one line, and return that line."""
    result = invoke("migrate", *options, settings=settings)
    assert (1, True) == (result.exit_code, isinstance(result.exception, SystemExit)), repr(result.exception)
    [line] = result.output.splitlines()
    assert line.startswith("taskd: ")
    assert PASSWORD not in line
    return line.removeprefix("taskd: ")
