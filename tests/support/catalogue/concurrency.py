"""Stores whose concurrent calls disturb each other."""

from __future__ import annotations

import asyncio
from functools import partial
from uuid import UUID

from taskd.queries import TaskPage, TaskQuery
from taskd.storage import EVERYTHING, StoreError, StoreUnavailable
from taskd.tasks import Task, TaskChanges
from tests.support.catalogue.connected_store import Connected
from tests.support.catalogue.faults import store_fault
from tests.support.memory_store import now

race_fault = partial(store_fault, "concurrency")


@race_fault()
class LostFields(Connected):
    """Reads a task, and writes all of its fields later, so that concurrent updates of other fields are lost."""

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        task = await self.get(owner, task_id)
        await self.at_version(owner, task_id, version)
        return self.keep(task.changed(changes, now(), version=await self.raised(owner)))


@race_fault()
class UpdateResurrects(Connected):
    """Writes a task back that has been deleted since it was read, as an upsert does."""

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        task = await self.at_version(owner, task_id, version)
        await asyncio.sleep(0)
        # What others have changed meanwhile is kept.
        task = self.tasks[owner].get(task_id, task)
        return self.keep(task.changed(changes, now(), version=await self.raised(owner)))


@race_fault()
class ToggleResurrects(Connected):
    """Toggles a task that has been deleted since it was read."""

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        task = await self.at_version(owner, task_id, version)
        await asyncio.sleep(0)
        task = self.tasks[owner].get(task_id, task)
        return self.keep(task.toggled(now(), version=await self.raised(owner)))


@race_fault()
class DeletedTwice(Connected):
    """Lets several concurrent deletions of a task succeed."""

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        await self.at_version(owner, task_id, version)
        await asyncio.sleep(0)
        await self.raised(owner)
        self.forget(owner, task_id)


@race_fault()
class TogglesMerged(Connected):
    """Answers concurrent toggles of a task with the result of the first one, as if they were the same request."""

    def __init__(self) -> None:
        super().__init__()
        self.running: dict[UUID, asyncio.Future[Task]] = {}

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        if task_id not in self.running:
            self.running[task_id] = asyncio.ensure_future(super().toggle(owner, task_id, version=version))
        try:
            return await self.running[task_id]
        finally:
            self.running.pop(task_id, None)


@race_fault()
class OwnersMixedUp(Connected):
    """Keeps the owner of the current call in an attribute, so that concurrent calls list another owner's tasks."""

    current = ""

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        self.current = owner
        await asyncio.sleep(0)
        return await super().list(self.current, query)


@race_fault()
class ResultsMixedUp(Connected):
    """Lets concurrent reads share a cursor, so that one gets the task that another one asked for."""

    wanted: UUID

    async def get(self, owner: str, task_id: UUID) -> Task:
        self.wanted = task_id
        await asyncio.sleep(0)
        return await super().get(owner, self.wanted)


@race_fault()
class OneReadAtATime(Connected):
    """Uses one connection for all reads, and fails if it is busy."""

    is_busy = False

    async def get(self, owner: str, task_id: UUID) -> Task:
        if self.is_busy:
            raise StoreError("another operation is in progress")
        self.is_busy = True
        try:
            return await super().get(owner, task_id)
        finally:
            self.is_busy = False


@race_fault()
class TooManyConnections(Connected):
    """Opens a connection for each read, and fails if there are more than 15."""

    reading = 0

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        if self.reading >= 15:
            raise StoreUnavailable("too many connections")
        self.reading += 1
        try:
            return await super().list(owner, query)
        finally:
            self.reading -= 1


@race_fault()
class LockKeptAfterRefusal(Connected):
    """Keeps its lock when a write is refused, so that later writes wait for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        await self.lock.acquire()
        task = await super().update(owner, task_id, changes, version=version)
        self.lock.release()
        return task
