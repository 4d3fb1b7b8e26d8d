"""Test that what a store has acknowledged survives a crash."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from taskd.storage import CreationKey, KeyReused, TaskDeleted, TaskStore
from taskd.tasks import NewTask, Priority, Task, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import AT_ONCE, NOON, create_all

__all__ = ["DurabilityTests", "Reopen"]

Reopen = Callable[[], TaskStore | Awaitable[TaskStore]]

NEW = NewTask(title="t", description="", due_at=NOON, tags=["b", "a"], priority=Priority.HIGH)
KEY = CreationKey("a key", b"\x00\xff")


@promises
@limited
class DurabilityTests:
    """What a store that is opened again contains; skipped unless there is a fixture `reopen`."""

    @pytest.fixture
    def reopen(self) -> Reopen:
        """Skip the test: only a subclass knows how to open a store again."""
        pytest.skip("define a fixture `reopen` to test what survives a crash")

    async def test_acknowledged_writes_survive_a_crash(self, store: TaskStore, owner: str, reopen: Reopen) -> None:
        """Each write is durable as soon as it has returned, not when the next one does or the store is closed."""
        tasks: dict[object, Task] = {}

        async def survives() -> None:
            async with _reopened(reopen) as again:
                page = await again.list(owner)
                assert [*tasks.values()][::-1] == page.tasks
                assert page.tasks == [await again.get(owner, task.id) for task in page.tasks]
                assert page.seq == await again.seq(owner) == await store.seq(owner)

        for task in await create_all(store, owner, NEW, NEW, NewTask(title="u")):
            tasks[task.id] = task
        await survives()
        first, second, third = tasks
        tasks[first] = await store.update(owner, tasks[first].id, TaskChanges(title="v", tags=["c"], due_at=None))
        await survives()
        tasks[second] = await store.toggle(owner, tasks[second].id)
        await survives()
        await store.delete(owner, tasks.pop(third).id)
        await survives()
        for task in await asyncio.gather(*[store.toggle(owner, tasks[first].id) for _ in range(AT_ONCE)]):
            tasks[first] = max(tasks[first], task, key=lambda each: each.version)
        await survives()

    async def test_versions_are_not_reused_after_a_crash(self, store: TaskStore, owner: str, reopen: Reopen) -> None:
        """The counter of changes survives a crash, even if the last task was deleted."""
        deleted = await store.create(owner, NEW)
        await store.delete(owner, deleted.id)
        seq = await store.seq(owner)
        async with _reopened(reopen) as again:
            assert seq == await again.seq(owner) == (await again.list(owner)).seq
            created = await again.create(owner, NEW, task_id=deleted.id)
            assert created.version > seq

    async def test_keys_survive_a_crash(self, store: TaskStore, owner: str, reopen: Reopen) -> None:
        """An idempotency key is remembered over a restart, with the request that used it."""
        task = await store.create(owner, NEW, key=KEY)
        deleted = await store.create(f"{owner}x", NEW, key=KEY)
        await store.delete(f"{owner}x", deleted.id)
        async with _reopened(reopen) as again:
            assert task == await again.create(owner, NEW, key=KEY)
            with pytest.raises(KeyReused):
                await again.create(owner, NEW, key=CreationKey(KEY.key, b"other"))
            with pytest.raises(TaskDeleted):
                await again.create(f"{owner}x", NEW, key=KEY)


@contextlib.asynccontextmanager
async def _reopened(reopen: Reopen) -> AsyncIterator[TaskStore]:
    """Open another store over the same tasks, and close it after the block."""
    opened = reopen()
    again = await opened if inspect.isawaitable(opened) else opened
    try:
        yield again
    finally:
        await again.close()
