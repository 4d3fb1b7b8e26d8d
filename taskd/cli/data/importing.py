"""`taskd import`."""

from __future__ import annotations

import contextlib
import enum
import os
import stat
from collections import Counter
from typing import BinaryIO

import attrs
import click

from taskd.cli.commands import printing, run
from taskd.cli.data.gathering import ExportReader, GatheredUser, WrongLine, digest_of
from taskd.cli.data.progress import progress
from taskd.cli.data.users import counted
from taskd.data import Importer, OwnerExists, Portable
from taskd.plugins import Plugins

__all__ = ["import_"]


class Policy(enum.Enum):
    """What happens to a user who is known and has other tasks."""

    REFUSE = enum.auto()
    SKIP = enum.auto()
    REPLACE = enum.auto()


class _Result(enum.Enum):
    """What happened to a user."""

    STORED = enum.auto()
    SAME = enum.auto()
    SKIPPED = enum.auto()
    REPLACED = enum.auto()


@click.command("import")
@click.option("--skip", "policy", flag_value=Policy.SKIP, help="Leave users that have other tasks as they are.")
@click.option("--replace", "policy", flag_value=Policy.REPLACE, help="Replace the tasks of users that have other ones.")
@click.argument("file", type=click.File("rb"))
def import_(policy: Policy | None, file: BinaryIO) -> None:
    """
    Import what taskd export has written to FILE; - is stdin.

    Each user is imported completely or not at all.  Users that are there already, with the same tasks, are left as they
    are, so an import that was interrupted can be run again.  The import stops at a user that has other tasks, unless
    one of the options says what to do.
    """
    with printing() as plugins:
        results = run(plugins, _imported(plugins, file, policy or Policy.REFUSE))
    click.echo(results)


_NOTES = {
    _Result.REPLACED: "{} had other tasks, which were replaced.",
    _Result.SAME: "{} had the same tasks already.",
    _Result.SKIPPED: "{} had other tasks, and kept them.",
}


@attrs.define
class _Results:
    """What happened to the users."""

    users: Counter[_Result] = attrs.field(factory=Counter)
    tasks: int = 0

    def __str__(self) -> str:
        imported = self.users[_Result.STORED] + self.users[_Result.REPLACED]
        first = f"Imported {counted(imported, 'user')} with {counted(self.tasks, 'task')}."
        others = [note.format(counted(self.users[each], "user")) for each, note in _NOTES.items() if self.users[each]]
        return " ".join([first, *others])

    def add(self, result: _Result, user: GatheredUser) -> None:
        """Add what happened to *user*."""
        self.users[result] += 1
        if result in (_Result.STORED, _Result.REPLACED):
            self.tasks += user.counts.tasks


async def _imported(plugins: Plugins, file: BinaryIO, policy: Policy) -> _Results:
    """Import *file*; return what was done."""
    results = _Results()
    try:
        store = plugins.portable()
        # Makes sure that there is a schema.
        await plugins.bounded_store().ping()
        with progress("Importing", _size(file)) as advance:
            async with store.importing() as importer:
                for user in ExportReader(file, advance).users():
                    results.add(await _put(user, store, importer, policy), user)
    except BaseException:
        if results.users:
            # These stay, whatever the error is.
            click.echo(results, err=True)
        raise
    return results


async def _put(user: GatheredUser, store: Portable, importer: Importer, policy: Policy) -> _Result:
    try:
        await importer.put(user.owner, user.tasks(), user.keys())
    except OwnerExists:
        pass
    else:
        return _Result.STORED
    if user.digest == await digest_of(store.export(user.owner.id)):
        return _Result.SAME
    if policy is Policy.SKIP:
        return _Result.SKIPPED
    if policy is Policy.REFUSE:
        raise WrongLine(
            user.number,
            f"begins the user {user.owner.id!r}, who has other tasks already: add --skip to keep them, or --replace",
        )
    await importer.put(user.owner, user.tasks(), user.keys(), replaces=True)
    return _Result.REPLACED


def _size(file: BinaryIO) -> int:
    """Return the size of *file* in bytes; 0 if it is not known."""
    with contextlib.suppress(OSError):
        found = os.fstat(file.fileno())
        return found.st_size if stat.S_ISREG(found.st_mode) else 0
    return 0
