"""`taskd stats`."""

from __future__ import annotations

import click

from taskd.cli.commands import print_json, print_table, printing, run
from taskd.data import Statistics
from taskd.tasks import Status

__all__ = ["stats"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def stats(*, as_json: bool) -> None:
    """
    Count users and tasks, and show who has the most.

    Nothing is shown of what the tasks say.
    """
    with printing() as plugins:
        found = run(plugins, plugins.portable().statistics())
    if as_json:
        print_json(_plain(found))
    else:
        print_table(_rows(found))


def _plain(found: Statistics) -> dict[str, object]:
    return {
        "users": found.owners,
        "tasks": sum(found.tasks.values()),
        "tasks_by_status": {status.value: found.tasks.get(status, 0) for status in Status},
        "idempotency_keys": found.keys,
        "bytes": found.size,
        "largest_users": [{"user": user, "tasks": tasks} for user, tasks in found.largest],
    }


def _rows(found: Statistics) -> list[tuple[str, str]]:
    by_status = [(f"  {status.value}", f"{found.tasks.get(status, 0):,}") for status in Status]
    return [
        ("users", f"{found.owners:,}"),
        ("tasks", f"{sum(found.tasks.values()):,}"),
        *by_status,
        ("idempotency keys", f"{found.keys:,}"),
        ("size", "unknown" if found.size is None else f"{found.size / 2**20:,.1f} MiB"),
        ("largest users", ""),
        *[(f"  {_shown(user)}", f"{tasks:,}") for user, tasks in found.largest],
    ]


def _shown(user: str) -> str:
    """Return *user* for display, on one line."""
    return user if user.isprintable() else repr(user)
