"""Correct stores whose calls wait, which broken ones override."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID

from taskd.queries import TaskPage, TaskQuery
from taskd.storage import EVERYTHING, CreationKey
from taskd.tasks import NewTask, Task, TaskChanges
from tests.support.memory_store import MemoryStore


class Connected(MemoryStore):
    """A correct store whose calls wait for a connection, as those to a database do."""

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        yield
        await asyncio.sleep(0)

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        async with self.connection():
            return await super().list(owner, query)

    async def seq(self, owner: str) -> int:
        async with self.connection():
            return await super().seq(owner)

    async def get(self, owner: str, task_id: UUID) -> Task:
        async with self.connection():
            return await super().get(owner, task_id)

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        async with self.connection():
            return await super().create(owner, new, task_id=task_id, key=key)

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        async with self.connection():
            return await super().update(owner, task_id, changes, version=version)

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        async with self.connection():
            return await super().toggle(owner, task_id, version=version)

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        async with self.connection():
            await super().delete(owner, task_id, version=version)


class Pooled(Connected):
    """A correct store with five connections in each event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.slots: dict[object, asyncio.Semaphore] = {}

    def pool(self) -> asyncio.Semaphore:
        return self.slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(5))

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        async with self.pool(), super().connection():
            yield
