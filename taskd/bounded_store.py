"""Limit how long calls to a plugin's store may take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from operator import attrgetter
from typing import Any, TypeVar
from uuid import UUID

import attrs

from taskd.closing import close
from taskd.queries import TaskPage, TaskQuery
from taskd.storage import (
    EVERYTHING,
    CreationKey,
    KeyReused,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
    TaskDeleted,
    TaskNotFound,
    TaskStore,
)
from taskd.tasks import NewTask, Task, TaskChanges
from taskd.time_limit import TimedOut, TimeLimit, Timeouts

__all__ = ["BoundedStore"]

T = TypeVar("T")

_EXACTLY_TASKS = frozenset((Task,))
_OWNER_OF = attrgetter("user_id")
# These errors say nothing about the plugin.
_EXPECTED = (StoreUnavailable, TaskNotFound, PreconditionFailed, KeyReused, TaskDeleted)


@attrs.frozen(eq=False)
class BoundedStore(TaskStore):
    """
    Wraps the *store* of a plugin, and raises `StoreUnavailable` if a call takes too long.

    A result of the wrong type, or a task of another user, becomes a `StoreError`, whose log entry names the plugin.

    Attributes:
        store: The wrapped store.  Its other attributes are also available here.
        plugin: The name of the plugin, for the log.
        timeouts: How long the plugin may take.
    """

    store: TaskStore
    plugin: str
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    _limit: TimeLimit = attrs.field(init=False)

    @_limit.default
    def _limit_of_calls(self) -> TimeLimit:
        return TimeLimit(self.timeouts.call_s)

    def list(self, owner: str, query: TaskQuery = EVERYTHING) -> Coroutine[Any, Any, TaskPage]:
        """Return the tasks of *owner* that *query* selects."""
        return self._bounded("list", self.store.list(owner, query), _page, owner)

    def seq(self, owner: str) -> Coroutine[Any, Any, int]:
        """Return *owner*'s counter of changes."""
        return self._bounded("seq", self.store.seq(owner), _number, owner)

    def get(self, owner: str, task_id: UUID) -> Coroutine[Any, Any, Task]:
        """Return a task."""
        return self._bounded("get", self.store.get(owner, task_id), _task, owner)

    def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Coroutine[Any, Any, Task]:
        """Store a new task and return it."""
        return self._bounded("create", self.store.create(owner, new, task_id=task_id, key=key), _task, owner)

    def update(
        self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None
    ) -> Coroutine[Any, Any, Task]:
        """Change a task and return it."""
        return self._bounded("update", self.store.update(owner, task_id, changes, version=version), _task, owner)

    def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Coroutine[Any, Any, Task]:
        """Complete a task, or reopen a completed one, and return it."""
        return self._bounded("toggle", self.store.toggle(owner, task_id, version=version), _task, owner)

    def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> Coroutine[Any, Any, None]:
        """Delete a task."""
        return self._bounded("delete", self.store.delete(owner, task_id, version=version))

    def ping(self) -> Coroutine[Any, Any, None]:
        """Raise `StoreUnavailable` unless the store can serve requests."""
        return self._bounded("ping", self.store.ping())

    def waited_s(self, *, is_read: bool) -> float:
        """Return how many seconds the longest-waiting call has waited for its turn."""
        return self.store.waited_s(is_read=is_read)

    def close(self) -> Coroutine[Any, Any, None]:
        """Close the store.  Failures and time-outs are only logged."""
        return close(self.plugin, self.store, self.timeouts.close_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def _bounded(
        self, method: str, call: Awaitable[T], check: Callable[[str, str, T], None] | None = None, owner: str = ""
    ) -> T:
        try:
            result = await self._limit.wait(call)
            if check is not None:
                check(method, owner, result)
        except TimedOut:
            reason = f"{self.plugin} did not respond to {method} in {self.timeouts.call_s:.0f} s"
            raise StoreUnavailable(reason) from None
        except SystemExit as error:
            # SystemExit would end the server.
            raise StoreError(f"{self.plugin} tried to exit in {method}") from error
        except _EXPECTED:
            raise
        except StoreError as error:
            # Makes the log name the plugin.
            error.add_note(f"The store belongs to {self.plugin}.")
            raise
        return result


# Not every author of a plugin uses a type checker.


def _task(method: str, owner: str, result: object) -> None:
    """Raise `StoreError` unless what *method* returned is a task of *owner*."""
    if not isinstance(result, Task):
        raise StoreError(f"{method} returned a {type(result).__name__}, not a taskd.tasks.Task")
    if result.user_id != owner:
        raise StoreError(f"{method} returned a task of another user")


def _number(method: str, _: str, result: object) -> None:
    """Raise `StoreError` unless what *method* returned is a whole number."""
    if type(result) is not int:
        raise StoreError(f"{method} returned a {type(result).__name__}, not an int")


def _page(method: str, owner: str, result: object) -> None:
    """Raise `StoreError` unless what *method* returned is a page of tasks of *owner*."""
    if not isinstance(result, TaskPage):
        raise StoreError(f"{method} returned a {type(result).__name__}, not a taskd.queries.TaskPage")
    if not isinstance(result.tasks, (list, tuple)):
        raise StoreError(f"{method} returned a page with a {type(result.tasks).__name__}, not a list of tasks")
    # The fastest check for the usual case: every item is exactly a Task, and they are the user's.
    tasks = result.tasks
    if not (_EXACTLY_TASKS.issuperset(map(type, tasks)) and {owner}.issuperset(map(_OWNER_OF, tasks))):
        for task in tasks:
            _task(method, owner, task)
