"""Test calls that are cancelled, as those of clients that have gone away are."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ClassVar

import pytest

from taskd.storage import CreationKey, TaskNotFound, TaskStore
from taskd.tasks import NewTask, Task, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import TIMEOUT_S, limited
from taskd.testing.storage.samples import AT_ONCE

__all__ = ["CancellationTests"]

# After how many turns of the event loop calls are cancelled.
MOMENTS = range(1, 7)
# Between two looks at whether a cancelled write has been made: some databases finish it in the background.
PAUSE_S = 0.02

Call = Coroutine[Any, Any, Any]

each_moment = pytest.mark.parametrize("turns", MOMENTS)


@promises
@limited
class CancellationTests:
    """Calls that are cancelled while they wait."""

    timeout_s: ClassVar[float] = TIMEOUT_S

    async def test_a_cancelled_call_gives_back_what_it_has_used(self, store: TaskStore, owner: str) -> None:
        """However many calls are cancelled, connections and locks remain for others."""
        task = await store.create(owner, NewTask(title="t"))
        for turns in MOMENTS:
            for calls in _calls(store, owner, task):
                await self._cancelled([calls() for _ in range(AT_ONCE)], turns)

        task = await store.update(owner, task.id, TaskChanges(title="u"))
        found = await asyncio.gather(*[store.get(owner, task.id) for _ in range(2 * AT_ONCE)])
        assert [task] * len(found) == found
        written = await asyncio.gather(*[store.toggle(owner, task.id) for _ in range(2 * AT_ONCE)])
        assert len(written) == len({task.version for task in written})

    @each_moment
    async def test_a_cancelled_read_does_not_end_others(self, store: TaskStore, owner: str, turns: int) -> None:
        """If one of several equal reads is cancelled, the others return their results."""
        task = await store.create(owner, NewTask(title="t"))
        for read, expected in (
            (lambda: store.list(owner), [task]),
            (lambda: store.get(owner, task.id), task),
            (lambda: store.seq(owner), task.version),
        ):
            reads: list[asyncio.Task[Any]] = [asyncio.ensure_future(read()) for _ in range(4)]
            for _ in range(turns):
                await asyncio.sleep(0)
            reads[0].cancel()
            done = await asyncio.gather(*reads, return_exceptions=True)

            assert [expected] * 3 == [getattr(result, "tasks", result) for result in done[1:]]

    @each_moment
    async def test_a_cancelled_write_is_made_completely_or_not_at_all(
        self, store: TaskStore, owner: str, turns: int
    ) -> None:
        """After a write has been cancelled, all methods agree on whether it was made."""
        for number in range(5):
            task = await store.create(owner, NewTask(title="t", tags=["a"]))
            changes = TaskChanges(title="u", tags=["b"])
            write = store.delete(owner, task.id) if number % 2 else store.update(owner, task.id, changes)
            await self._cancelled([write], turns)

            found, listed = await self._seen(store, owner, task)
            assert found == listed, "get and list do not agree"
            assert {(each.title, each.tags) for each in found} <= {("t", ("a",)), ("u", ("b",))}

    async def _cancelled(self, calls: list[Call], turns: int) -> None:
        """Make *calls*, cancel them after some *turns* of the event loop, and wait until they have ended."""
        tasks = [asyncio.ensure_future(call) for call in calls]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        _, pending = await asyncio.wait(tasks, timeout=self.timeout_s / 2)
        assert not pending, "a cancelled call does not end"
        # Whether they succeeded, failed or were cancelled does not matter.
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _seen(self, store: TaskStore, owner: str, task: Task) -> tuple[list[Task], list[Task]]:
        """Return what `get` and `list` say about a task, when they agree, or when they have not done so in time."""
        end = time.monotonic() + self.timeout_s
        while True:
            found = await _found(store, owner, task)
            listed = [each for each in (await store.list(owner)).tasks if each.id == task.id]
            if found == listed or time.monotonic() > end:
                return found, listed
            await asyncio.sleep(PAUSE_S)

    @each_moment
    async def test_a_cancelled_creation_can_be_retried(self, store: TaskStore, owner: str, turns: int) -> None:
        """After a creation with an idempotency key has been cancelled, a retry returns the one task."""
        for number in range(3):
            key = CreationKey(str(number), b"f")
            await self._cancelled([store.create(owner, NewTask(title="t"), key=key)], turns)
            task = await store.create(owner, NewTask(title="t"), key=key)

            assert task == await store.create(owner, NewTask(title="t"), key=key)
            assert number + 1 == len((await store.list(owner)).tasks)


def _calls(store: TaskStore, owner: str, task: Task) -> Iterator[Callable[[], Call]]:
    """Yield calls of all kinds."""
    yield lambda: store.list(owner)
    yield lambda: store.get(owner, task.id)
    yield lambda: store.seq(owner)
    yield lambda: store.create(owner, NewTask(title="t"))
    yield lambda: store.create(owner, NewTask(title="t"), key=CreationKey("key", b"f"))
    yield lambda: store.update(owner, task.id, TaskChanges(title="u"))
    yield lambda: store.update(owner, task.id, TaskChanges(title="u"), version=task.version)
    yield lambda: store.toggle(owner, task.id)
    yield lambda: store.delete(owner, task.id, version=task.version + 9999)


async def _found(store: TaskStore, owner: str, task: Task) -> list[Task]:
    """Return a list with the task, or an empty one if it is gone."""
    with contextlib.suppress(TaskNotFound):
        return [await store.get(owner, task.id)]
    return []
