"""What a storage plugin provides, and the errors it may raise."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Protocol, runtime_checkable
from uuid import UUID

from taskd.model import NewTask, Task, TaskChanges

__all__ = ["Migratable", "StoreError", "StoreUnavailable", "TaskNotFound", "TaskStore"]


class StoreError(Exception):
    """
    The store failed.  Clients get a 500, and the message goes to the log.

    The message must not hold a task's text, a secret or a DSN: drivers like to quote the values they choke on.
    """


class StoreUnavailable(StoreError):
    """
    The store cannot be reached, is full or does not answer in time.  Clients get a 503.

    It is not logged for each request: a store says in the log when it ceases to serve, and when it serves again, for
    which there is `taskd.Availability`.

    Args:
        reason: What is wrong, for people; never shown to clients.
        retry_after_s: After how many seconds a client may try again.

    Attributes:
        is_told: The store has said so in the log; what no store says, the core does.
    """

    def __init__(self, reason: str, retry_after_s: int = 2) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.is_told = False


class TaskNotFound(StoreError):
    """The owner has no such task: it never was, it was deleted, or it is somebody else's."""


class TaskStore(abc.ABC):
    """
    Where tasks are kept.

    The *owner*, a text of 1 to 255 characters, comes first in every method: no query can be written without it.  What
    comes in has been checked against the rules of `taskd.model`.  Each method is one atomic step: two at once give the
    result of one after the other, and a write that returned survives a crash of this process and of the store.

    Making a store does no I/O: it connects at the first use, in whichever event loop that is.  Every method may raise
    `StoreUnavailable`, within 10 seconds at the most, and `StoreError`.
    """

    @abc.abstractmethod
    async def list(self, owner: str) -> list[Task]:
        """Return all tasks of *owner*, the newest first."""

    @abc.abstractmethod
    async def create(self, owner: str, new: NewTask) -> Task:
        """Keep a new task (`Task.create` makes one) and return it."""

    @abc.abstractmethod
    async def get(self, owner: str, task_id: UUID) -> Task:
        """Return a task, or raise `TaskNotFound`."""

    @abc.abstractmethod
    async def update(self, owner: str, task_id: UUID, changes: TaskChanges) -> Task:
        """Change a task as `Task.changed` does and return it, or raise `TaskNotFound`."""

    @abc.abstractmethod
    async def toggle(self, owner: str, task_id: UUID) -> Task:
        """Complete a task, or reopen a completed one, and return it, or raise `TaskNotFound`."""

    @abc.abstractmethod
    async def delete(self, owner: str, task_id: UUID) -> None:
        """Remove a task for good, or raise `TaskNotFound`."""

    @abc.abstractmethod
    async def ping(self) -> None:
        """Return if the store would answer now; else raise `StoreUnavailable`."""

    async def close(self) -> None:
        """Let go of connections.  Called once, when the server stops; not at all where no lifespan runs."""
        return


@runtime_checkable
class Migratable(Protocol):
    """What `taskd migrate` asks of a store that has a schema.  A store need not have it."""

    async def migrate(self) -> Sequence[str]:
        """
        Bring the schema up to date, in one step and safely beside another that does the same.

        Returns:
            A line for each step that was taken; none if the schema was up to date.

        Raises:
            StoreError: It could not be done, and nothing has changed.
        """
        ...

    async def migration_script(self) -> str:
        """Return what `migrate` would run now, as SQL."""
        ...
