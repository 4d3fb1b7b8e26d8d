"""A store that announces each change that it has made."""

from __future__ import annotations

from uuid import UUID

from taskd.storage import CreationKey, StoreWrapper, TaskStore
from taskd.tasks import NewTask, Task, TaskChanges
from taskd_webhooks.messages import Message
from taskd_webhooks.outbox import Outbox

__all__ = ["AnnouncingStore"]


class AnnouncingStore(StoreWrapper):
    def __init__(self, store: TaskStore, outbox: Outbox) -> None:
        super().__init__(store)
        self.outbox = outbox

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        task = await super().create(owner, new, task_id=task_id, key=key)
        # A task that was created by an earlier request with the same key has been announced.  If it has not changed
        # since, it cannot be told from a new one, but its message has the same id as the first.
        is_repetition = key is not None and task.updated_at != task.created_at
        if not is_repetition:
            self.outbox.put(Message.about("task.created", task))
        return task

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        return self._announced(await super().update(owner, task_id, changes, version=version))

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        return self._announced(await super().toggle(owner, task_id, version=version))

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        await super().delete(owner, task_id, version=version)
        self.outbox.put(Message.about_deletion(owner, task_id))

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            self.outbox.close()

    def _announced(self, task: Task) -> Task:
        self.outbox.put(Message.about("task.updated", task))
        return task
