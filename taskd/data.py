"""What the commands that back up, move, count and erase tasks need from a store; each protocol is optional."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable
from uuid import UUID

import attrs

from taskd.storage import CreationKey, StoreError
from taskd.tasks import Status, Task

__all__ = [
    "Backupable",
    "Erased",
    "Importer",
    "Owner",
    "OwnerExists",
    "Portable",
    "Record",
    "RememberedKey",
    "Statistics",
]


class OwnerExists(StoreError):
    """The store already knows the owner to import."""


@attrs.frozen(kw_only=True)
class Owner:
    """
    An owner of tasks.

    Args:
        id: The id of the user.
        seq: The counter of changes (see `taskd.storage.TaskStore`); 1 or higher, and never lower than a task's version.
    """

    id: str
    seq: int


@attrs.frozen(kw_only=True)
class RememberedKey:
    """
    An idempotency key that an owner has used.

    Args:
        key: The key.
        task_id: The task that was created with it, which may have been deleted since.
        created_at: When it was used.
    """

    key: CreationKey
    task_id: UUID
    created_at: dt.datetime


Record: TypeAlias = Owner | Task | RememberedKey
"""A part of what `Portable.export` yields."""


@attrs.frozen(kw_only=True)
class Erased:
    """How many *tasks* and idempotency *keys* of an owner were erased, and how many *owners*: 1, or 0 if unknown."""

    tasks: int
    keys: int
    owners: int


@attrs.frozen(kw_only=True)
class Statistics:
    """
    What a store contains.

    Args:
        owners: How many owners it knows.
        tasks: How many tasks have each status.
        keys: How many idempotency keys it remembers.
        size: How many bytes all of this takes up where it is stored; None if the store cannot tell.
        largest: The owners with the most tasks, and how many these have, in descending order.
    """

    owners: int
    tasks: Mapping[Status, int]
    keys: int
    size: int | None
    largest: Sequence[tuple[str, int]]


class Importer(Protocol):
    """Stores what `Portable.export` of another store has yielded."""

    async def put(
        self, owner: Owner, tasks: Iterable[Task], keys: Iterable[RememberedKey], *, replaces: bool = False
    ) -> None:
        """
        Store everything of *owner*, completely or not at all.

        If the store does not know the owner, ids, times, versions and `seq` stay as they are.  If it does, and
        *replaces* is true, the new tasks take the place of the old ones, with a version that no client has seen: higher
        than `seq` in the store, and than `seq` of *owner*.  The keys in the store are kept, and those that it does not
        have are added.

        Args:
            owner: The owner.
            tasks: The owner's tasks, in the order of their ids.  There may be more than fit into memory.
            keys: The owner's keys, in their order.
            replaces: Whether to replace the tasks of an owner that the store knows.

        Raises:
            OwnerExists: The store has tasks or keys of the owner, or its `seq` is not 0, and *replaces* is false.
        """
        ...


@runtime_checkable
class Portable(Protocol):
    """
    What `taskd export`, `taskd import`, `taskd erase` and `taskd stats` need from a store.

    These methods are for operators, and may take as long as they need.  They work while servers use the same tasks.
    """

    def export(self, owner: str | None = None) -> AsyncGenerator[Record, None]:
        """
        Yield everything, as it is at one moment: each `Owner`, followed by the owner's tasks and then the keys.

        Owners, their tasks and their keys come in ascending order of their ids, by code points.  The store does not
        collect them in memory.

        Args:
            owner: Whose records to yield; None yields those of all owners.  An unknown owner has none.
        """
        ...

    def importing(self) -> AbstractAsyncContextManager[Importer]:
        """Return a context manager for storing the records of several owners, one after another."""
        ...

    async def erase(self, owner: str) -> Erased:
        """Delete all tasks and keys of *owner*, and the counter `seq`, completely or not at all."""
        ...

    async def statistics(self) -> Statistics:
        """Count what the store contains."""
        ...


@runtime_checkable
class Backupable(Protocol):
    """What `taskd backup` and `taskd restore` need from a store."""

    async def backup(self, file: Path) -> str:
        """
        Write a copy of everything, as it is at one moment, to *file*, and verify it, while servers go on writing.

        Args:
            file: An empty file.

        Returns:
            What the copy contains, in words.

        Raises:
            StoreError: The copy could not be made; the message says what to do instead.
        """
        ...

    async def restore(self, file: Path) -> str:
        """
        Make the store contain what is in *file*, which `backup` has written, and raise the `seq` of all owners.

        It is raised so far that no version that was seen since the backup can be given to another state of a task.

        Returns:
            What was restored, in words.

        Raises:
            StoreError: The file is damaged, or the store contains something already.  Nothing has changed.
        """
        ...
