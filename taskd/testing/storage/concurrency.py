"""Test that concurrent calls have the same result as consecutive ones."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from taskd.queries import TaskQuery
from taskd.storage import TaskNotFound, TaskStore
from taskd.tasks import NewTask, Priority, Task, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import AT_ONCE, NOON, create_all, outcomes

__all__ = ["ConcurrencyTests"]

T = TypeVar("T")

# Some races depend on chance.
ROUNDS = 3


@promises
@limited
class ConcurrencyTests:
    """Calls at the same time, of one owner and of several."""

    async def test_concurrent_updates_of_different_fields_are_all_kept(self, store: TaskStore, owner: str) -> None:
        """An update writes only the fields that it was given, so that concurrent updates of others are not lost."""
        for _ in range(ROUNDS):
            task = await store.create(owner, NewTask(title="t"))
            *_, toggled = await asyncio.gather(
                store.update(owner, task.id, TaskChanges(title="u")),
                store.update(owner, task.id, TaskChanges(description="d")),
                store.update(owner, task.id, TaskChanges(priority=Priority.URGENT)),
                store.update(owner, task.id, TaskChanges(due_at=NOON)),
                store.update(owner, task.id, TaskChanges(tags=["a"])),
                store.toggle(owner, task.id),
            )
            found = await store.get(owner, task.id)

            assert ("u", "d", Priority.URGENT, NOON, ("a",), True) == (
                found.title,
                found.description,
                found.priority,
                found.due_at,
                found.tags,
                found.is_completed,
            )
            assert toggled.completed_at == found.completed_at

    async def test_a_deleted_task_is_not_written_back(self, store: TaskStore, owner: str) -> None:
        """A task that is deleted while others update or toggle it stays deleted."""
        for first in range(ROUNDS):
            task = await store.create(owner, NewTask(title="t"))
            writes = [
                *[store.update(owner, task.id, TaskChanges(title=str(number))) for number in range(AT_ONCE)],
                *[store.toggle(owner, task.id) for _ in range(AT_ONCE)],
            ]
            # Among the writes, at different positions.
            writes.insert(first * AT_ONCE, store.delete(owner, task.id))  # type: ignore[arg-type]
            _, errors = await outcomes(writes)

            assert {*errors} <= {TaskNotFound}
            with pytest.raises(TaskNotFound):
                await store.get(owner, task.id)
            assert [] == (await store.list(owner)).tasks

    async def test_many_reads_are_made_at_once(self, store: TaskStore, owner: str) -> None:
        """Each of 24 concurrent reads succeeds: those for which there is no connection wait."""
        tasks = await create_all(store, owner, NewTask(title="t"), NewTask(title="u"))
        which = list(itertools.islice(itertools.cycle(tasks), 24))

        assert which == await asyncio.gather(*[store.get(owner, task.id) for task in which])
        for page in await asyncio.gather(*[store.list(owner) for _ in which]):
            assert tasks[::-1] == page.tasks
        assert {tasks[-1].version} == {*await asyncio.gather(*[store.seq(owner) for _ in which])}

    async def test_concurrent_calls_are_not_mixed_up(self, store: TaskStore, owner: str) -> None:
        """Each of many concurrent calls, of several owners, gets its own result."""
        owners = [f"{owner}{number}" for number in range(AT_ONCE)]
        created = await asyncio.gather(*[store.create(each, NewTask(title=each)) for each in owners])
        assert owners == [task.user_id for task in created] == [task.title for task in created]

        async def used(task: Task) -> None:
            query = TaskQuery(search=task.title, count=True)
            found, page, searched, seq, changed = await asyncio.gather(
                store.get(task.user_id, task.id),
                store.list(task.user_id),
                store.list(task.user_id, query),
                store.seq(task.user_id),
                store.update(f"{task.user_id}x", others[task.user_id].id, TaskChanges(description=task.title)),
            )
            assert [task] * 3 == [found, *page.tasks, *searched.tasks]
            assert (task.version, 1) == (seq, searched.total)
            assert (f"{task.user_id}x", task.title) == (changed.user_id, changed.description)

        others = {each: await store.create(f"{each}x", NewTask(title="t")) for each in owners}
        for _ in range(ROUNDS):
            await asyncio.gather(*[used(task) for task in created])

    async def test_a_read_during_a_write_leaves_nothing_stale(self, store: TaskStore, owner: str) -> None:
        """However reads and writes overlap, the next read returns what the last write has made."""
        for pause in range(4):
            # A new task, which no cache contains.
            task = await store.create(owner, NewTask(title="t"))
            write = _after(pause, store.toggle, owner, task.id)
            toggled, *_ = await asyncio.gather(write, store.get(owner, task.id), store.list(owner), store.seq(owner))

            assert toggled == await store.get(owner, task.id)
            assert toggled == (await store.list(owner)).tasks[0]
            assert toggled.version == await store.seq(owner)


async def _after(turns: int, call: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """Make a call after some *turns* of the event loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return await call(*arguments)
