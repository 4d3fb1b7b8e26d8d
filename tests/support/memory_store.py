"""A correct store in memory, in small steps that broken stores override."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from uuid import UUID

import attrs

from taskd.queries import TaskPage, TaskQuery
from taskd.storage import (
    EVERYTHING,
    CreationKey,
    KeyReused,
    PreconditionFailed,
    TaskDeleted,
    TaskNotFound,
    TaskStore,
)
from taskd.tasks import NewTask, Task, TaskChanges

__all__ = ["MemoryStore", "now"]


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


@attrs.define(eq=False, slots=False)
class MemoryStore(TaskStore):
    """
    Keeps every promise of `TaskStore`.

    Each step of a write is a separate method.  Nothing else runs between the steps, unless a broken store waits.

    Attributes:
        query_class: The class of the queries that filter, sort and page.
    """

    query_class: type[TaskQuery] = TaskQuery
    tasks: defaultdict[str, dict[UUID, Task]] = attrs.field(factory=lambda: defaultdict(dict))
    changes: Counter[str] = attrs.field(factory=Counter)
    created: dict[tuple[str, str], tuple[bytes, Task]] = attrs.field(factory=dict)

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        query = self.query_class(**attrs.asdict(query, recurse=False))
        return query.page([*self.tasks[owner].values()], self.changes[owner])

    async def seq(self, owner: str) -> int:
        return self.changes[owner]

    async def get(self, owner: str, task_id: UUID) -> Task:
        return self.found(owner, task_id)

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        if key is not None and (known := await self.known(owner, key)):
            return known
        if task_id is not None:
            await self.check_free(owner, task_id)
        task = self.keep(Task.create(owner, new, now(), task_id=task_id, version=await self.raised(owner)))
        if key is not None:
            self.remember(owner, key, task)
        return task

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        task = await self.at_version(owner, task_id, version)
        return self.keep(task.changed(changes, now(), version=await self.raised(owner)))

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        task = await self.at_version(owner, task_id, version)
        return self.keep(task.toggled(now(), version=await self.raised(owner)))

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        await self.at_version(owner, task_id, version)
        await self.raised(owner)
        self.forget(owner, task_id)

    async def ping(self) -> None:
        return

    async def raised(self, owner: str) -> int:
        """Raise the owner's counter and return it."""
        self.changes[owner] += 1
        return self.changes[owner]

    async def at_version(self, owner: str, task_id: UUID, version: int | None) -> Task:
        """Return the task to change, if it has this *version*."""
        task = self.found(owner, task_id)
        if version not in (None, task.version):
            raise PreconditionFailed
        return task

    def found(self, owner: str, task_id: UUID) -> Task:
        if task_id not in self.tasks[owner]:
            raise TaskNotFound
        return self.tasks[owner][task_id]

    async def check_free(self, owner: str, task_id: UUID) -> None:
        """Check that a task may be created with this id."""
        if task_id in self.tasks[owner]:
            raise PreconditionFailed

    async def known(self, owner: str, key: CreationKey) -> Task | None:
        """Return the task that was created with *key*, or None."""
        if (owner, key.key) not in self.created:
            return None
        fingerprint, task = self.created[owner, key.key]
        if fingerprint != key.fingerprint:
            raise KeyReused
        if task.id not in self.tasks[owner]:
            raise TaskDeleted
        return self.tasks[owner][task.id]

    def keep(self, task: Task) -> Task:
        self.tasks[task.user_id][task.id] = task
        return task

    def remember(self, owner: str, key: CreationKey, task: Task) -> None:
        self.created[owner, key.key] = (key.fingerprint, task)

    def forget(self, owner: str, task_id: UUID) -> None:
        self.tasks[owner].pop(task_id, None)
