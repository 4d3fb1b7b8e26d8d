"""`taskd backup` and `taskd restore`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from taskd.cli.commands import printing
from taskd.cli.data.files import interruptible, new_file
from taskd.plugins import Plugins

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
        plugins.backupable()
        with new_file(file) as part:
            contents = asyncio.run(_backed_up(plugins, part))
    click.echo(f"Wrote {file}.\n{contents}")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(file: Path) -> None:
    """
    Restore what taskd backup has written to FILE.

    The storage must be empty: stop all servers first, and move away what is left of the old one.
    """
    with printing() as plugins, interruptible():
        contents = asyncio.run(_restored(plugins, file))
    click.echo(f"Restored {file}.\n{contents}")


async def _backed_up(plugins: Plugins, file: Path) -> str:
    try:
        return await plugins.backupable().backup(file)
    finally:
        await plugins.close()


async def _restored(plugins: Plugins, file: Path) -> str:
    try:
        return await plugins.backupable().restore(file)
    finally:
        await plugins.close()
