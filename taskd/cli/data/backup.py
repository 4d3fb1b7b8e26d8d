"""`taskd backup` and `taskd restore`."""

from __future__ import annotations

from pathlib import Path

import click

from taskd.cli.commands import printing, run
from taskd.cli.data.output import exiting_at_signals, output_file

__all__ = ["backup", "restore"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def backup(file: Path) -> None:
    """
    Write a copy of all tasks to FILE, while servers go on serving.

    FILE must not exist yet.  It appears when the copy is complete and has been verified.
    """
    with printing() as plugins:
        # Before anything is written.
        store = plugins.backupable()
        with output_file(file) as part:
            contents = run(plugins, store.backup(part))
    click.echo(f"Wrote {file}.\n{contents}")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(file: Path) -> None:
    """
    Restore what taskd backup has written to FILE.

    The storage must be empty: stop all servers first, and move away what is left of the old one.
    """
    with printing() as plugins, exiting_at_signals():
        contents = run(plugins, plugins.backupable().restore(file))
    click.echo(f"Restored {file}.\n{contents}")
