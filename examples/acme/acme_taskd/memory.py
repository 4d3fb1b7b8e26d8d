"""Storage: tasks in memory.  They are gone when the server stops."""

import datetime as dt
from collections import Counter
from uuid import UUID

from taskd import hookimpl
from taskd.queries import TaskPage, TaskQuery
from taskd.storage import EVERYTHING, CreationKey, KeyReused, PreconditionFailed, TaskDeleted, TaskNotFound, TaskStore
from taskd.tasks import NewTask, Task, TaskChanges


class MemoryStore(TaskStore):
    def __init__(self) -> None:
        self.tasks: dict[tuple[str, UUID], Task] = {}
        self.changes: Counter[str] = Counter()
        self.created: dict[tuple[str, str], tuple[bytes, UUID]] = {}

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        own = [task for (user, _), task in self.tasks.items() if user == owner]
        return query.page(own, self.changes[owner])

    async def seq(self, owner: str) -> int:
        return self.changes[owner]

    async def get(self, owner: str, task_id: UUID) -> Task:
        try:
            return self.tasks[owner, task_id]
        except KeyError:
            raise TaskNotFound from None

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        if key is not None and (owner, key.key) in self.created:
            return self.created_with(owner, key)
        if (owner, task_id) in self.tasks:
            raise PreconditionFailed
        task = self.keep(Task.create(owner, new, now(), task_id=task_id, version=self.next_version(owner)))
        if key is not None:
            self.created[owner, key.key] = (key.fingerprint, task.id)
        return task

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        task = await self.at_version(owner, task_id, version)
        return self.keep(task.changed(changes, now(), version=self.next_version(owner)))

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        task = await self.at_version(owner, task_id, version)
        return self.keep(task.toggled(now(), version=self.next_version(owner)))

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        await self.at_version(owner, task_id, version)
        self.next_version(owner)
        del self.tasks[owner, task_id]

    async def ping(self) -> None:
        return

    async def at_version(self, owner: str, task_id: UUID, version: int | None) -> Task:
        task = await self.get(owner, task_id)
        if version not in (None, task.version):
            raise PreconditionFailed
        return task

    def created_with(self, owner: str, key: CreationKey) -> Task:
        fingerprint, task_id = self.created[owner, key.key]
        if fingerprint != key.fingerprint:
            raise KeyReused
        if (owner, task_id) not in self.tasks:
            raise TaskDeleted
        return self.tasks[owner, task_id]

    def next_version(self, owner: str) -> int:
        self.changes[owner] += 1
        return self.changes[owner]

    def keep(self, task: Task) -> Task:
        self.tasks[task.user_id, task.id] = task
        return task


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


@hookimpl
def taskd_storage() -> MemoryStore:
    return MemoryStore()
