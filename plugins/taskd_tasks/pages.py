"""Read a long list page by page, one page at a time for all clients."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import attrs

from taskd.limiter import FairLimiter, Overloaded
from taskd.queries import TaskQuery
from taskd.storage import StoreUnavailable, TaskStore
from taskd.tasks import Task

__all__ = ["PAGE_LENGTH", "Pages"]

# Reading so many tasks takes a few milliseconds.
PAGE_LENGTH = 500


@attrs.frozen(eq=False)
class Pages:
    """
    Reads the pages of long lists from a *store*.

    The requests for these lists have already left the gate, which limits how many requests are served at once, so one
    page is read at a time, and users take turns.
    """

    store: TaskStore
    _limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, FairLimiter] = attrs.field(
        init=False, factory=WeakKeyDictionary
    )

    async def after(self, owner: str, query: TaskQuery, last: Task, length: int) -> tuple[Sequence[Task], bool]:
        """
        Return the tasks of *query* after *last*, at most *length* of them, and whether there are more after these.

        Raises:
            StoreUnavailable: The store is not available, or too many lists are being read.
        """
        query = attrs.evolve(query, after=query.position_of(last), limit=length, count=False)
        # However many lists are waiting, each may wait: a client that does not get the rest would ask for all again.
        limiter = self._limiters.setdefault(asyncio.get_running_loop(), FairLimiter(1, target_s=math.inf))
        try:
            await limiter.acquire(owner)
        except Overloaded:
            raise StoreUnavailable("too many long lists are being read") from None
        try:
            page = await self.store.list(owner, query)
        finally:
            limiter.release(owner)
        return page.tasks, page.has_more
