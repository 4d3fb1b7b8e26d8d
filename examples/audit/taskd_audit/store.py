"""A store that logs every write, whether it succeeds or not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import attrs
import msgspec

from taskd.storage import (
    CreationKey,
    KeyReused,
    PreconditionFailed,
    StoreWrapper,
    TaskDeleted,
    TaskNotFound,
    TaskStore,
)
from taskd.tasks import UNSET, NewTask, Task, TaskChanges
from taskd_audit.log import AuditLog

__all__ = ["AuditStore", "Entry"]

T = TypeVar("T")

# Nothing has been written if one of these is raised.
_REFUSALS = (TaskNotFound, PreconditionFailed, KeyReused, TaskDeleted)


# With slots, msgspec would write the fields sorted by name.
@attrs.frozen(kw_only=True, slots=False)
class Entry:
    """
    What somebody did to a task, or tried to do.  It has no text from the task.

    Attributes:
        at: When it was begun.
        user: Whose task it is, which is who did it.
        action: What was done; `create_once` is a creation with an idempotency key, which may repeat an earlier one.
        task: The task's id, if it is known.
        before: The version that the task must have had, if the client required one.
        after: The version that the task has now.
        fields: The names of the fields that were given.
        outcome: `done`; `refused`, with *reason*; or `unknown` if the call failed: it may still have been done.
    """

    at: dt.datetime = attrs.field(factory=lambda: dt.datetime.now(dt.timezone.utc))
    user: str
    action: str
    task: UUID | None = None
    before: int | None = None
    after: int | None = None
    fields: tuple[str, ...] = ()
    outcome: str = "done"
    reason: str | None = None


class AuditStore(StoreWrapper):
    def __init__(self, store: TaskStore, log: AuditLog) -> None:
        super().__init__(store)
        self.log = log

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        action = "create" if key is None else "create_once"
        entry = Entry(user=owner, action=action, task=task_id, fields=_given(new))
        return await self._logged(entry, partial(self.store.create, owner, new, task_id=task_id, key=key))

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        entry = Entry(user=owner, action="update", task=task_id, before=version, fields=_given(changes))
        return await self._logged(entry, partial(self.store.update, owner, task_id, changes, version=version))

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        entry = Entry(user=owner, action="toggle", task=task_id, before=version)
        return await self._logged(entry, partial(self.store.toggle, owner, task_id, version=version))

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        entry = Entry(user=owner, action="delete", task=task_id, before=version)
        await self._logged(entry, partial(self.store.delete, owner, task_id, version=version))

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            # Lines may be waiting, even if the store cannot be closed.
            await self.log.close()

    async def _logged(self, entry: Entry, write: Callable[[], Awaitable[T]]) -> T:
        self.log.check()
        try:
            result = await write()
        except _REFUSALS as refusal:
            self._log(entry, outcome="refused", reason=type(refusal).__name__)
            raise
        except BaseException as error:
            self._log(entry, outcome="unknown", reason=type(error).__name__)
            raise
        self._log(entry, **({"task": result.id, "after": result.version} if isinstance(result, Task) else {}))
        return result

    def _log(self, entry: Entry, **ending: Any) -> None:
        self.log.write(msgspec.json.encode(attrs.evolve(entry, **ending)).decode())


def _given(sent: NewTask | TaskChanges) -> tuple[str, ...]:
    """Return the names of the fields that were given; for a new task, of those that differ from the defaults."""
    fields = attrs.fields(type(sent))
    return tuple(field.name for field in fields if getattr(sent, field.name) not in (UNSET, field.default))
