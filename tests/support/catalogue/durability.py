"""Stores that lose something when they are restarted, or fail badly while something that they need is down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any
from uuid import UUID

from taskd.queries import TaskPage, TaskQuery
from taskd.storage import EVERYTHING, CreationKey, StoreError, StoreUnavailable, TaskNotFound
from taskd.tasks import NewTask, Task
from tests.support.broken_stores import altered
from tests.support.catalogue.connected_store import Connected
from tests.support.catalogue.faults import store_fault
from tests.support.catalogue.outages import MayBeDown
from tests.support.memory_store import MemoryStore, now

crash_fault = partial(store_fault, "durability")
outage_fault = partial(store_fault, "outages")

Entry = tuple[Any, ...]


class Durable(MemoryStore):
    """A correct store with a log on a disk: each write is in it before it returns."""

    def __init__(self, log: Iterable[Entry] = ()) -> None:
        super().__init__()
        self.log = [*log]
        for name, *values in self.log:
            getattr(self, f"replay_{name}")(*values)

    async def reopen(self) -> Durable:
        """Return a store as it is after a crash."""
        return type(self)(self.log)

    def write(self, *entry: object) -> None:
        """Write to the disk."""
        self.log.append(entry)

    async def raised(self, owner: str) -> int:
        seq = await super().raised(owner)
        self.write("seq", owner, seq)
        return seq

    def keep(self, task: Task) -> Task:
        self.write("keep", task)
        return super().keep(task)

    def remember(self, owner: str, key: CreationKey, task: Task) -> None:
        self.write("remember", owner, key, task)
        super().remember(owner, key, task)

    def forget(self, owner: str, task_id: UUID) -> None:
        self.write("forget", owner, task_id)
        super().forget(owner, task_id)

    def replay_seq(self, owner: str, seq: int) -> None:
        self.changes[owner] = seq

    def replay_keep(self, task: Task) -> None:
        super().keep(task)

    def replay_remember(self, owner: str, key: CreationKey, task: Task) -> None:
        super().remember(owner, key, task)

    def replay_forget(self, owner: str, task_id: UUID) -> None:
        super().forget(owner, task_id)


class Buffered(Durable):
    """Keeps some entries of the log in memory."""

    def __init__(self, log: Iterable[Entry] = ()) -> None:
        super().__init__(log)
        self.buffer: list[Entry] = []

    def flush(self) -> None:
        self.log += self.buffer
        self.buffer.clear()


@crash_fault()
class WrittenOnClose(Buffered):
    """Writes to the disk when it is closed, and so loses everything in a crash."""

    def write(self, *entry: object) -> None:
        self.buffer.append(entry)

    async def close(self) -> None:
        self.flush()


@crash_fault()
class EveryTenthWrite(Buffered):
    """Collects some writes before it writes them to the disk."""

    def write(self, *entry: object) -> None:
        self.buffer.append(entry)
        if len(self.buffer) >= 10:
            self.flush()


@crash_fault()
class DeletionsInMemory(Buffered):
    """Writes that a task was deleted when something else is written."""

    def write(self, *entry: object) -> None:
        self.buffer.append(entry)
        if entry[0] != "forget":
            self.flush()


@crash_fault()
class KeysInMemory(Durable):
    """Keeps idempotency keys in memory only."""

    def replay_remember(self, owner: str, key: CreationKey, task: Task) -> None:
        pass


@crash_fault()
class CounterInMemory(Durable):
    """Continues after a crash with the highest version that is left, and so uses versions of deleted tasks again."""

    def replay_forget(self, owner: str, task_id: UUID) -> None:
        super().replay_forget(owner, task_id)
        self.changes[owner] = max((task.version for task in self.tasks[owner].values()), default=0)


@crash_fault()
class TypesLostOnDisk(Durable):
    """Returns tags as lists after a crash, because JSON has no tuples."""

    def replay_keep(self, task: Task) -> None:
        super().replay_keep(altered(task, tags=[*task.tags]))


class Dependent(MayBeDown, Connected):
    """A correct store that needs a server, which may be down."""

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        async with super().connection():
            if self.is_down:
                await self.fail()
            yield

    async def fail(self) -> None:
        raise StoreUnavailable("connection refused")

    async def ping(self) -> None:
        async with self.connection():
            await super().ping()


@outage_fault()
class DriverErrors(Dependent):
    """Lets the driver's errors through while the server is down."""

    async def fail(self) -> None:
        raise ConnectionRefusedError


@outage_fault()
class OutageIsABug(Dependent):
    """Raises `StoreError`, and so a 500, while the server is down."""

    async def fail(self) -> None:
        raise StoreError("connection refused")


@outage_fault()
class WaitsForTheServer(Dependent):
    """Waits until the server is back, however long that takes."""

    async def fail(self) -> None:
        while self.is_down:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@outage_fault()
class StaysDown(Dependent):
    """Keeps a broken connection, and so fails after the server is back, too."""

    was_down = False

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        self.was_down = self.was_down or self.is_down
        if self.was_down:
            await self.fail()
        async with super().connection():
            yield


@outage_fault()
class EmptyWhileDown(Dependent):
    """Returns an empty list while the server is down."""

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        try:
            return await super().list(owner, query)
        except StoreUnavailable:
            return query.page([], 0)


@outage_fault()
class NotFoundWhileDown(Dependent):
    """Reports that there is no such task while the server is down."""

    async def get(self, owner: str, task_id: UUID) -> Task:
        try:
            return await super().get(owner, task_id)
        except StoreUnavailable:
            raise TaskNotFound from None


@outage_fault()
class PingsItself(Dependent):
    """Reports that it is ready while the server is down."""

    async def ping(self) -> None:
        return


@outage_fault()
class WritesLostWhileDown(Dependent):
    """Returns tasks as created while the server is down, and drops them."""

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        try:
            return await super().create(owner, new, task_id=task_id, key=key)
        except StoreUnavailable:
            return Task.create(owner, new, now(), task_id=task_id, version=1)
