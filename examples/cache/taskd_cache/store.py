"""
A store that keeps what it has read until the owner's counter of changes moves.

Every change of an owner's tasks raises the owner's `seq`, whichever process makes it.  So what was read at a `seq` is
what would be read now, as long as the `seq` is the same: reading that number replaces reading the tasks.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import attrs
from cachetools import LRUCache

from taskd.queries import TaskPage, TaskQuery
from taskd.storage import EVERYTHING, CreationKey, StoreWrapper, TaskStore
from taskd.tasks import NewTask, Task, TaskChanges

__all__ = ["CachingStore"]

# Of how many owners the counters are remembered.
OWNERS = 10_000
# About what a task needs besides its texts, in bytes.
OVERHEAD = 1024


@attrs.define(eq=False)
class _Counter:
    """An owner's counter, once it is known, and until when it is trusted, by the cache's clock."""

    seq: int = 0
    until_s: float = float("-inf")


class CachingStore(StoreWrapper):
    """
    Keeps lists and, with *trust_s*, single tasks.

    Args:
        store: The wrapped store.
        size: How many bytes the tasks may need, roughly.  What was used least recently is dropped.
        trust_s: For how many seconds a counter is trusted without asking the store again.  If it is not 0, changes that
            other processes make are seen that much later; those that are made through this store are seen at once.
        clock: Returns seconds that only increase.
    """

    def __init__(
        self, store: TaskStore, size: int, trust_s: float = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(store)
        self._trust_s, self._clock = trust_s, clock
        self._counters: LRUCache[str, _Counter] = LRUCache(OWNERS)
        # The owner is a part of each key, and the `seq` at which a page was read is a part of the page.
        self._pages: LRUCache[tuple[str, TaskQuery | UUID], TaskPage] = LRUCache(size, _size)

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        seq = await self.seq(owner)
        page = self._kept(owner, query, seq)
        if page is None:
            page = await super().list(owner, query)
            self._keep(owner, query, page)
        if page.seq != seq:
            # Something has changed since the counter was read, so it must not be trusted any longer.
            self._counters.pop(owner, None)
        # Callers may change their list.
        return attrs.evolve(page, tasks=[*page.tasks])

    async def seq(self, owner: str) -> int:
        counter = self._counters.get(owner)
        if counter is not None and self._clock() < counter.until_s:
            return counter.seq
        asked, started_s = _Counter(), self._clock()
        self._counters[owner] = asked
        asked.seq = await super().seq(owner)
        # If there was a change meanwhile, `asked` has been removed, and no later call will trust it.
        asked.until_s = started_s + self._trust_s
        return asked.seq

    async def get(self, owner: str, task_id: UUID) -> Task:
        if not self._trust_s:
            # Asking for the counter would cost as much as asking for the task.
            return await super().get(owner, task_id)
        seq = await self.seq(owner)
        page = self._kept(owner, task_id, seq)
        if page is None:
            # The task is at least as new as the counter, which was read first.
            page = TaskPage([await super().get(owner, task_id)], seq)
            self._keep(owner, task_id, page)
        return page.tasks[0]

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        async with self._changing(owner):
            return await super().create(owner, new, task_id=task_id, key=key)

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        async with self._changing(owner):
            return await super().update(owner, task_id, changes, version=version)

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        async with self._changing(owner):
            return await super().toggle(owner, task_id, version=version)

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        async with self._changing(owner):
            await super().delete(owner, task_id, version=version)

    @contextlib.asynccontextmanager
    async def _changing(self, owner: str) -> AsyncIterator[None]:
        """Forget the counter after a change, even one that has failed, because it may still have been made."""
        try:
            yield
        finally:
            # Calls that are asking for the counter at the moment may get its old value.
            self._counters.pop(owner, None)

    def _kept(self, owner: str, what: TaskQuery | UUID, seq: int) -> TaskPage | None:
        page = self._pages.get((owner, what))
        return page if page is not None and page.seq == seq else None

    def _keep(self, owner: str, what: TaskQuery | UUID, page: TaskPage) -> None:
        # A page that is larger than the whole cache is refused.
        with contextlib.suppress(ValueError):
            self._pages[owner, what] = page


def _size(page: TaskPage) -> int:
    """Return about how many bytes *page* needs: a character has up to four."""
    return OVERHEAD + sum(map(_size_of_task, page.tasks))


def _size_of_task(task: Task) -> int:
    return OVERHEAD + 4 * sum(map(len, (task.title, task.description or "", *task.tags)))
