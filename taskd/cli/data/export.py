"""`taskd export`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import attrs
import click

from taskd.cli.commands import printing, run
from taskd.cli.data.lines import FORMAT, DoneLine, EndLine, ExportLine, encode, line_of
from taskd.cli.data.output import output_file
from taskd.cli.data.progress import is_shown, progress
from taskd.cli.data.users import counted, user_option
from taskd.data import Owner, Portable, Record
from taskd.plugins import Plugins
from taskd.queries import TaskQuery
from taskd.storage import TaskStore
from taskd.tasks import Task

__all__ = ["export"]


@click.command()
@user_option
@click.option(
    "--format", "form", type=click.Choice(["ndjson", "ics"]), default="ndjson", show_default=True,
    help="ndjson: everything, for taskd import.  ics: the tasks of one user, for calendars.",
)  # fmt: skip
@click.argument("file", type=click.Path(path_type=Path), required=False)
def export(user: str | None, form: str, file: Path | None) -> None:
    """
    Write all users and their tasks to FILE, or to stdout.

    The export is what the storage contains at one moment; servers can go on serving.  FILE must not exist yet.
    """
    if form == "ics" and user is None:
        raise click.UsageError("A calendar is of one user: add --user.")
    writer = _ndjson if form == "ndjson" else _calendar()
    with _output(file) as output, printing() as plugins:
        report = run(plugins, _exported(plugins, user, writer, output))
    if file is not None:
        click.echo(f"{report} to {file}.")


@contextlib.contextmanager
def _output(file: Path | None) -> Iterator[BinaryIO]:
    if file is None:
        # Python leaves it out if it is closed at the start.
        if sys.stdout is None:
            sys.exit("taskd: stdout is closed: name a file to export to")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with output_file(file) as part, part.open("wb") as output:
        yield output


class Writer(Protocol):
    """Writes the records that come to an output, and returns how many users and tasks they were."""

    async def __call__(self, records: AsyncIterator[Record], output: BinaryIO) -> tuple[int, int]: ...


async def _exported(plugins: Plugins, user: str | None, write: Writer, output: BinaryIO) -> str:
    """Write what *user* has, or all users have, to *output*; return what was written, in words."""
    store = plugins.portable()
    total = await _total(plugins.store, store, user) if is_shown() else 0
    with progress("Exporting", total) as advance:
        async with contextlib.aclosing(store.export(user)) as records:
            # Nothing is written if this fails.
            first = await anext(records, None)
            if first is None and user is not None:
                sys.exit(f"taskd: there is nothing of the user {user!r}")
            users, tasks = await write(_watched(first, records, advance), output)
    return f"Exported {counted(users, 'user')} with {counted(tasks, 'task')}"


async def _total(store: TaskStore, portable: Portable, user: str | None) -> int:
    if user is None:
        return sum((await portable.statistics()).tasks.values())
    return (await store.list(user, TaskQuery(limit=1, count=True))).total or 0


async def _watched(
    first: Record | None, others: AsyncIterator[Record], advance: Callable[[int], None]
) -> AsyncIterator[Record]:
    """Yield *first* and *others*, and say of each task that it is done."""
    if first is not None:
        yield first
    async for record in others:
        yield record
        if isinstance(record, Task):
            advance(1)


@attrs.define
class _Counts:
    """How many records have been written since the last user began."""

    users: int = 0
    tasks: int = 0
    keys: int = 0


async def _ndjson(records: AsyncIterator[Record], output: BinaryIO) -> tuple[int, int]:
    output.write(encode(ExportLine(FORMAT)))
    counts, tasks = _Counts(), 0
    async for record in records:
        if isinstance(record, Owner):
            _end(counts, output)
            counts = _Counts(counts.users + 1)
        elif isinstance(record, Task):
            counts.tasks, tasks = counts.tasks + 1, tasks + 1
        else:
            counts.keys += 1
        output.write(encode(line_of(record)))
    _end(counts, output)
    output.write(encode(DoneLine(counts.users)))
    return counts.users, tasks


def _end(counts: _Counts, output: BinaryIO) -> None:
    """Write the last line of a user, if there was one."""
    if counts.users:
        output.write(encode(EndLine(counts.tasks, counts.keys)))


def _calendar() -> Writer:
    try:
        from taskd.cli.data.calendars import write  # noqa: PLC0415  its library is optional
    except ImportError:
        sys.exit("taskd: `taskd export --format ics` needs icalendar: run pip install 'taskd-server[ics]'")
    return write
