"""Load plugins and print output for the commands."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import click
import msgspec

from taskd.plugins import Plugins
from taskd.start import print_warnings, starting

__all__ = ["closing", "loaded_plugins", "print_json", "print_table", "printing", "run"]

T = TypeVar("T")


@contextlib.contextmanager
def loaded_plugins() -> Iterator[Plugins]:
    """Load the plugins that the environment enables; when the command ends, close what they have created."""
    with starting() as environ, closing(Plugins.load(environ)) as plugins:
        yield plugins


@contextlib.contextmanager
def closing(plugins: Plugins) -> Iterator[Plugins]:
    """At the end of the block, close what *plugins* have created, unless the application has already done so."""
    try:
        yield plugins
    finally:
        if not plugins.is_closed:
            asyncio.run(plugins.close())


def run(plugins: Plugins, work: Coroutine[Any, Any, T]) -> T:
    """Run *work*, and then, in the same event loop, close what *plugins* have created for it."""

    async def whole() -> T:
        try:
            return await work
        finally:
            await plugins.close()

    return asyncio.run(whole())


@contextlib.contextmanager
def printing() -> Iterator[Plugins]:
    """
    Load the plugins as `loaded_plugins` does, for a command that prints something and exits.

    The plugins' output goes to stderr, because a program may be reading the command's own output.  So do warnings,
    which a server would log.
    """
    with contextlib.redirect_stdout(sys.stderr), loaded_plugins() as plugins:
        yield plugins
        print_warnings(plugins.warnings)


def print_json(value: object) -> None:
    """Print *value* as JSON, for a program."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_table(rows: Iterable[Sequence[str]]) -> None:
    """Print *rows* with aligned columns."""
    rows = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
