"""`taskd doctor`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence

import click

from taskd.checks import Check, Outcome
from taskd.cli.address import check_address
from taskd.cli.commands import print_table
from taskd.cli.examination import examine
from taskd.start import starting

__all__ = ["doctor"]


@click.command()
@click.option("--host", help="The --host of taskd serve: check whether it can listen there, and who can reach it.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="The --port of taskd serve."
)
@click.option("--strict", is_flag=True, help="Exit with status 1 for notes, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor(host: str | None, port: int, *, strict: bool, as_json: bool) -> None:
    """
    Check this deployment from end to end: the settings, the plugins, and everything they depend on.

    It prints a line for each check, and what to do about those that fail.  It does with the tasks of a new user what
    users do, in a transaction that is rolled back, and changes nothing.  The exit status is 1 if any check fails, and,
    with --strict, if there is a note.
    """
    with contextlib.redirect_stdout(sys.stderr), starting() as environ:
        checks = asyncio.run(_listed(examine(environ)))
        if host is not None:
            checks.append(check_address(host, port))
    (_print_json if as_json else _print)(checks)
    bad = {Outcome.FAILED, Outcome.NOTE} if strict else {Outcome.FAILED}
    if any(check.outcome in bad for check in checks):
        sys.exit(1)


async def _listed(checks: AsyncIterator[Check]) -> list[Check]:
    return [check async for check in checks]


def _print(checks: Sequence[Check]) -> None:
    print_table((check.outcome.value, check.name, check.finding) for check in checks)
    for check in checks:
        if check.remedy:
            click.echo(f"\n{check.name}: {check.remedy}")


def _print_json(checks: Sequence[Check]) -> None:
    rows = [
        {
            "name": check.name,
            "outcome": check.outcome.name.lower(),
            "finding": check.finding,
            "remedy": check.remedy or None,
        }
        for check in checks
    ]
    click.echo(json.dumps({"checks": rows}, indent=2))
