"""What a storage plugin provides, and the errors it may raise."""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

import attrs

from taskd.queries import TaskPage, TaskQuery
from taskd.tasks import NewTask, Task, TaskChanges

__all__ = [
    "EVERYTHING",
    "CreationKey",
    "KeyReused",
    "Located",
    "Location",
    "Migratable",
    "PreconditionFailed",
    "Rehearsable",
    "StoreError",
    "StoreUnavailable",
    "StoreWrapper",
    "TaskDeleted",
    "TaskNotFound",
    "TaskStore",
]

EVERYTHING = TaskQuery()
"""All tasks, newest first."""


class StoreError(Exception):
    """
    The store failed.  Clients get a 500, and the message goes to the log.

    The message must not contain a task's text, a secret or a DSN: drivers often quote the values that they reject.
    """


class StoreUnavailable(StoreError):
    """
    The store cannot be reached, is full or does not respond in time.  Clients get a 503.

    This error is not logged for each request: one line says when the store goes down, and one when it recovers.  A
    store can log these lines itself with `taskd.outages.OutageLog`.

    Args:
        reason: What is wrong, for the log; never shown to clients.
        retry_after_s: How many seconds a client should wait before it tries again.

    Attributes:
        is_logged: Whether the store has already logged this outage; if not, the core logs it.
    """

    def __init__(self, reason: str, retry_after_s: int = 2) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.is_logged = False


class TaskNotFound(StoreError):
    """The owner has no such task: it never existed, was deleted, or is another user's."""


class PreconditionFailed(StoreError):
    """The task has another version than the caller expects, or the task to create already exists."""


class KeyReused(StoreError):
    """The owner has used the same idempotency key for a different request."""


class TaskDeleted(StoreError):
    """The task that was created with this idempotency key has since been deleted."""


@attrs.frozen
class CreationKey:
    """
    Identifies a request to create a task, so that repeating the request does not create another task.

    Args:
        key: 1 to 255 visible ASCII characters, chosen by the client.
        fingerprint: A hash of the body, which tells apart different requests with the same key.
    """

    key: str
    fingerprint: bytes


class TaskStore(abc.ABC):
    """
    Where tasks are kept.

    The *owner*, a string of 1 to 255 characters, is the first argument of every method that reads or writes tasks, so
    that no query can omit it.  Arguments have already been checked against the rules of `taskd.tasks`.  Each method is
    atomic: concurrent calls have the same result as consecutive ones, and a write that has returned survives a crash of
    this process or of the store.

    Each owner has a counter, `seq`, that every write raises as part of the change itself.  The new value becomes the
    `version` of the task that is created or changed.  So a task never has the same version twice, even if it is deleted
    and created again.  An `update` that changes nothing also raises the counter.

    Creating a store does no I/O: it connects on first use, in the event loop that is running then.  Later, it must also
    work in other loops, because a serverless adapter may use a new one for each call.  Every method may raise
    `StoreError`; one that raises `StoreUnavailable` must do so within 10 seconds.

    A call may be cancelled while it waits.  Then it must end, and give back what it uses; a write must be made
    completely or not at all; and other calls must not be affected, even if they ask for the same.
    """

    @abc.abstractmethod
    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        """Return the tasks of *owner* that *query* selects; by default all of them, newest first."""

    @abc.abstractmethod
    async def seq(self, owner: str) -> int:
        """
        Return *owner*'s counter of changes: 0 at first, and higher after each change.

        The counter may rise by more than one.
        """

    @abc.abstractmethod
    async def get(self, owner: str, task_id: UUID) -> Task:
        """Return a task, or raise `TaskNotFound`."""

    @abc.abstractmethod
    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        """
        Store a new task (see `Task.create`) and return it.

        Args:
            owner: Whose task it is.
            new: What the client sent.
            task_id: The id of the task, if the client chose it; `taskd.tasks.check_new_id` must accept it.
            key: If *owner* has created a task with the same key in the last 24 hours, or longer, that task is returned
                instead, as it is now.  Never given together with *task_id*.

        Raises:
            PreconditionFailed: *owner* already has a task with *task_id*.
            KeyReused: *owner* has used the key with another fingerprint.
            TaskDeleted: The task that *owner* created with the key has been deleted.
        """

    @abc.abstractmethod
    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        """
        Change a task as `Task.changed` does and return it.

        Args:
            owner: Whose task it is.
            task_id: Which task to change.
            changes: The changes.
            version: If given, change the task only if it has this version.

        Raises:
            TaskNotFound: *owner* has no such task.
            PreconditionFailed: The task has another version.
        """

    @abc.abstractmethod
    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        """Complete a task, or reopen it if it is completed, and return it; otherwise like `update`."""

    @abc.abstractmethod
    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        """Delete a task permanently; otherwise like `update`."""

    @abc.abstractmethod
    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the store can serve requests."""

    def waited_s(self, *, is_read: bool) -> float:  # noqa: ARG002
        """
        Return how many seconds the longest-waiting call has been waiting for its turn; 0.0 if none is waiting.

        If reads and writes do not wait for each other, *is_read* says which of them to consider.  Under load, the core
        calls this method often, to notice early that the store cannot keep up, so it must be fast.  Override it if
        calls wait for each other.
        """
        return 0.0

    async def close(self) -> None:
        """Close all connections.  Called once, when the server stops, but only if it runs the ASGI lifespan."""
        return


class StoreWrapper(TaskStore):
    """
    A store that passes every call on to another: the base class for audit logs, caches, quotas and the like.

    Override the methods in which the wrapper does something, and call `super()` for what the wrapped store does.  The
    rules of `TaskStore` apply to the result: for example, `update` must remain atomic.

    All other attributes are those of the wrapped store, too: `taskd migrate` and `taskd doctor` reach it through the
    wrapper.

    Attributes:
        store: The wrapped store.
    """

    def __init__(self, store: TaskStore) -> None:
        """Wrap *store*."""
        self.store = store

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the wrapped store."""
        # Copying and unpickling ask for attributes before there are any.
        if name == "store":
            raise AttributeError(name)
        return getattr(self.store, name)

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        """Return the tasks of *owner* that *query* selects."""
        return await self.store.list(owner, query)

    async def seq(self, owner: str) -> int:
        """Return *owner*'s counter of changes."""
        return await self.store.seq(owner)

    async def get(self, owner: str, task_id: UUID) -> Task:
        """Return a task."""
        return await self.store.get(owner, task_id)

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        """Store a new task and return it."""
        return await self.store.create(owner, new, task_id=task_id, key=key)

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        """Change a task and return it."""
        return await self.store.update(owner, task_id, changes, version=version)

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        """Complete or reopen a task and return it."""
        return await self.store.toggle(owner, task_id, version=version)

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        """Delete a task."""
        await self.store.delete(owner, task_id, version=version)

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the store can serve requests."""
        await self.store.ping()

    def waited_s(self, *, is_read: bool) -> float:
        """Return how many seconds the longest-waiting call has been waiting for its turn."""
        return self.store.waited_s(is_read=is_read)

    async def close(self) -> None:
        """Close the wrapped store.  A wrapper that overrides this method must call it, too."""
        await self.store.close()


@runtime_checkable
class Migratable(Protocol):
    """What `taskd migrate` needs from a store that has a schema; optional."""

    async def migrate(self) -> Sequence[str]:
        """
        Bring the schema up to date atomically, even if another process is doing so at the same time.

        Returns:
            A line for each migration that was applied; none if the schema was already up to date.

        Raises:
            StoreError: The migration failed, and nothing has changed.
        """
        ...

    async def migration_script(self) -> str:
        """Return the script that `migrate` would run now."""
        ...


@attrs.frozen(kw_only=True)
class Location:
    """
    Where a store keeps its tasks.

    Args:
        description: The location in words, for display.  It must not contain a password.
        is_local: Whether the tasks are on this machine.
        setting: The environment variable that sets the location, if there is one.
        file: The file that holds the tasks, if there is one.
    """

    description: str
    is_local: bool
    setting: str = ""
    file: Path | None = None


@runtime_checkable
class Located(Protocol):
    """
    What `taskd dev` needs from a store to show which tasks it serves, and to avoid serving production tasks by mistake.

    It is optional, but a store that can be on another machine should implement it.
    """

    @property
    def location(self) -> Location:
        """Where the tasks are."""
        ...


@runtime_checkable
class Rehearsable(Protocol):
    """
    What `taskd doctor` needs from a store to do what users do, without a trace; optional.

    A wrapper of the store takes no part in it, so that it announces nothing that has not happened.
    """

    async def rehearse(self, act: Callable[[TaskStore], Awaitable[None]]) -> None:
        """
        Call *act* with a store of the same tasks that works exactly like this one, and undo what it has written.

        Nobody else may ever see what it has written, even if the process is killed.

        Raises:
            StoreError: The store cannot be used.
            Exception: What *act* raised.
        """
        ...
