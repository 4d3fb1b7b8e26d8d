"""`taskd migrate`."""

from __future__ import annotations

import click

from taskd.cli.commands import printing, run
from taskd.plugins import Plugins

__all__ = ["migrate"]


@click.command()
@click.option("--sql", "only_shows", is_flag=True, help="Only print the script that would be run.")
def migrate(*, only_shows: bool) -> None:
    """
    Bring the schema of the storage up to date.

    A schema that is up to date stays as it is.  It is safe to run several of these commands at the same time.
    """
    with printing() as plugins:
        printed = run(plugins, _migrated(plugins, only_shows=only_shows))
    click.echo(printed, nl=False)


async def _migrated(plugins: Plugins, *, only_shows: bool) -> str:
    """Migrate the schema, or only find out what would be run; return the text to print."""
    store = plugins.migratable()
    if only_shows:
        return await store.migration_script()
    steps = await store.migrate() or ["The schema is up to date."]
    return "".join(f"{step}\n" for step in steps)
