"""`taskd erase`."""

from __future__ import annotations

import sys

import click

from taskd.cli.commands import printing, run
from taskd.cli.data.users import check_user, counted
from taskd.data import Erased
from taskd.plugins import Plugins
from taskd.queries import TaskQuery

__all__ = ["erase"]

NOT_ERASED = (
    "Not erased: backups and exports made before, logs, which contain the user's id, and what other services know about"
    " the user."
)


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.argument("user", callback=check_user)
def erase(*, yes: bool, user: str) -> None:
    """
    Delete everything that belongs to USER, permanently.

    These are the user's tasks, idempotency keys and counter of changes.  First make sure that the user can no longer
    sign in, and that no valid token is left.
    """
    with printing() as plugins:
        location = plugins.location()
        where = location.description if location is not None else f"plugin {plugins.settings.storage}"
        erased = run(plugins, _erased(plugins, user, where, asks=not yes))
    if not erased.owners:
        sys.exit(f"taskd: there is nothing of the user {user!r} in {where}")
    parts = f"{counted(erased.tasks, 'task')}, {counted(erased.keys, 'idempotency key')} and the counter of changes"
    click.echo(f"Erased {parts} of the user {user!r}.\n{NOT_ERASED}")


async def _erased(plugins: Plugins, user: str, where: str, *, asks: bool) -> Erased:
    store = plugins.portable()
    if asks:
        page = await plugins.bounded_store().list(user, TaskQuery(limit=1, count=True))
        tasks = counted(page.total or 0, "task")
        click.confirm(f"Erase the user {user!r}, who has {tasks}, from {where}?", abort=True, err=True)
    return await store.erase(user)
