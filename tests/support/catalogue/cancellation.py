"""Stores that do not survive cancelled calls, or a second event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from uuid import UUID

import attrs

from taskd.queries import TaskPage, TaskQuery
from taskd.storage import EVERYTHING, CreationKey, StoreError
from taskd.tasks import NewTask, Task, TaskChanges
from tests.support.catalogue.connected_store import Connected, Pooled
from tests.support.catalogue.faults import store_fault

cancel_fault = partial(store_fault, "cancellation")
loop_fault = partial(store_fault, "event loops")


@cancel_fault()
class ConnectionLeaked(Pooled):
    """Never gives back the connection of a call that is cancelled."""

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        await self.pool().acquire()
        try:
            yield
            await asyncio.sleep(0)
        except StoreError:
            self.pool().release()
            raise
        self.pool().release()


@cancel_fault()
class LockLeaked(Connected):
    """Keeps the lock on a task if the call that holds it is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.locks: dict[UUID, asyncio.Lock] = {}

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        lock = self.locks.setdefault(task_id, asyncio.Lock())
        await lock.acquire()
        try:
            task = await super().update(owner, task_id, changes, version=version)
        except StoreError:
            lock.release()
            raise
        lock.release()
        return task


@cancel_fault()
class SharedReadCancelled(Connected):
    """Lets concurrent reads of a list share one call, which ends for all of them if one is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.running: dict[tuple[str, TaskQuery], asyncio.Future[TaskPage]] = {}

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        # A read that begins after a write must not get the list from before.
        which = (f"{owner} {self.changes[owner]}", query)
        if which not in self.running:
            self.running[which] = asyncio.ensure_future(super().list(owner, query))
            self.running[which].add_done_callback(lambda _: self.running.pop(which))
        page = await self.running[which]
        return attrs.evolve(page, tasks=[*page.tasks])


@cancel_fault()
class WaitsWhenCancelled(Connected):
    """Waits for ever for its connection to recover when a call is cancelled."""

    async def get(self, owner: str, task_id: UUID) -> Task:
        try:
            return await super().get(owner, task_id)
        except asyncio.CancelledError:
            await asyncio.Event().wait()
            raise


@cancel_fault()
class HalfDeleted(Connected):
    """Removes a task from its index and then the task itself, and stops in between when it is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.unlisted: set[tuple[str, UUID]] = set()

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        page = await super().list(owner, query)
        return attrs.evolve(page, tasks=[task for task in page.tasks if (owner, task.id) not in self.unlisted])

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        await self.at_version(owner, task_id, version)
        self.unlisted.add((owner, task_id))
        await asyncio.sleep(0)
        try:
            await super().delete(owner, task_id, version=version)
        finally:
            if task_id not in self.tasks[owner]:
                self.unlisted.discard((owner, task_id))


@cancel_fault()
class KeyTakenByACancelledRequest(Connected):
    """Reserves an idempotency key before it creates the task, and keeps it reserved when it is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.reserved: dict[tuple[str, str], asyncio.Event] = {}

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        if key is not None and (owner, key.key) not in self.created:
            if event := self.reserved.get((owner, key.key)):
                await event.wait()
                return await self.create(owner, new, key=key)
            self.reserved[owner, key.key] = asyncio.Event()
        task = await super().create(owner, new, task_id=task_id, key=key)
        if key is not None and (event := self.reserved.pop((owner, key.key), None)):
            event.set()
        return task


@loop_fault()
class LockOfTheFirstLoop(Connected):
    """Uses one lock in every event loop, which works only in the first one that has to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        async with self.lock, super().connection():
            yield


@loop_fault()
class WriterOfTheFirstLoop(Connected):
    """Writes in a task that it starts once, and that stops with the event loop in which it was started."""

    def __init__(self) -> None:
        super().__init__()
        self.writer: asyncio.Task[None] | None = None
        self.waiting: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    async def write(self) -> None:
        while True:
            turn = await self.waiting.get()
            if not turn.done():
                turn.set_result(None)

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        if self.writer is None:
            self.writer = asyncio.create_task(self.write())
        turn = asyncio.get_running_loop().create_future()
        self.waiting.put_nowait(turn)
        await turn
        return await super().update(owner, task_id, changes, version=version)


@loop_fault()
class ConnectionOfTheFirstLoop(Connected):
    """Opens its connection once, and uses it in every event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: asyncio.AbstractEventLoop | None = None

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        self.loop = self.loop or asyncio.get_running_loop()
        response = self.loop.create_future()
        # Like data that arrives at a socket of that loop.
        self.loop.call_soon(_respond, response)
        await response
        async with super().connection():
            yield


def _respond(response: asyncio.Future[None]) -> None:
    if not response.done():
        response.set_result(None)
