"""Storage: tasks in memory.  They are gone when the server stops."""

import datetime as dt
from uuid import UUID

from taskd import hookimpl
from taskd.storage import TaskNotFound, TaskStore
from taskd.tasks import NewTask, Task, TaskChanges


class MemoryStore(TaskStore):
    def __init__(self) -> None:
        self.tasks: dict[tuple[str, UUID], Task] = {}

    async def list(self, owner: str) -> list[Task]:
        return [task for (user, _), task in reversed(self.tasks.items()) if user == owner]

    async def create(self, owner: str, new: NewTask) -> Task:
        task = Task.create(owner, new, now())
        self.tasks[owner, task.id] = task
        return task

    async def get(self, owner: str, task_id: UUID) -> Task:
        try:
            return self.tasks[owner, task_id]
        except KeyError:
            raise TaskNotFound from None

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges) -> Task:
        task = await self.get(owner, task_id)
        self.tasks[owner, task_id] = task.changed(changes, now())
        return self.tasks[owner, task_id]

    async def toggle(self, owner: str, task_id: UUID) -> Task:
        task = await self.get(owner, task_id)
        self.tasks[owner, task_id] = task.toggled(now())
        return self.tasks[owner, task_id]

    async def delete(self, owner: str, task_id: UUID) -> None:
        await self.get(owner, task_id)
        del self.tasks[owner, task_id]

    async def ping(self) -> None:
        return


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


@hookimpl
def taskd_storage() -> MemoryStore:
    return MemoryStore()
