"""Stores that list the wrong tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any
from uuid import UUID

import attrs

from taskd.queries import Order, Sort, TaskPage, TaskQuery
from taskd.storage import EVERYTHING
from taskd.tasks import Task
from tests.support.catalogue.faults import store_fault
from tests.support.memory_store import MemoryStore

list_fault = partial(store_fault, "lists")


class Querying(MemoryStore):
    """Uses a query that is broken."""

    broken: type[TaskQuery]

    def __init__(self) -> None:
        super().__init__(self.broken)


@list_fault()
class HundredAtMost(MemoryStore):
    """Lists 100 tasks at most, even if no limit is given."""

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        page = await super().list(owner, query)
        return attrs.evolve(page, tasks=page.tasks[:100])


@list_fault()
class ThousandAtMost(MemoryStore):
    """Reads 1,000 tasks at most before it filters and sorts them."""

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        return query.page([*self.tasks[owner].values()][:1000], self.changes[owner])


@list_fault()
class PagesByOffset(MemoryStore):
    """Turns the beginning of a page into an offset when the page before is read, and skips what moves up meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets: dict[object, int] = {}

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        offset = self.offsets.get((owner, query.sort, query.order, query.after))
        if query.after is None or offset is None:
            page = await super().list(owner, query)
            before = 0 if query.after is None else len((await super().list(owner)).tasks) - len(page.tasks)
        else:
            whole = await super().list(owner, attrs.evolve(query, after=None, limit=None))
            kept, before = whole.tasks[offset:][: query.limit], offset
            page = attrs.evolve(whole, tasks=kept, has_more=offset + len(kept) < len(whole.tasks))
        for number, task in enumerate(page.tasks):
            self.offsets[owner, query.sort, query.order, query.position_of(task)] = before + number + 1
        return page


class _RepeatingTies(TaskQuery):
    def is_on_page(self, task: Task) -> bool:
        is_tie = self.sort is not Sort.CREATED_AT and self.after is not None and self._key(task) == self.after.key
        return super().is_on_page(task) or (is_tie and self.after is not None and task.id != self.after.id)


@list_fault()
class TiesRepeated(Querying):
    """Begins a page at the same value, and so repeats tasks that have it."""

    broken = _RepeatingTies


class _Unstable(TaskQuery):
    def in_order(self, tasks: Iterable[Task]) -> list[Task]:
        found = super().in_order(tasks)
        if self.sort is Sort.PRIORITY and self.limit is not None:
            found.sort(key=lambda task: (self._key(task), task.id.int % 7), reverse=self.order is Order.DESC)
        return found


@list_fault()
class TiesInAnyOrder(Querying):
    """Sorts equal priorities in another order on pages than in the whole list."""

    broken = _Unstable


class _CutOff(TaskQuery):
    def _is_found(self, task: Task) -> bool:
        search = self.search and self.search[:64]
        return super(_CutOff, attrs.evolve(self, search=search))._is_found(task)


@list_fault()
class SearchTextsCutOff(Querying):
    """Searches for the first 64 characters."""

    broken = _CutOff


class _DueAsText(TaskQuery):
    def _rank(self, position: Any) -> tuple[object, ...]:
        first, key, last = super()._rank(position)
        text = key.isoformat().replace("+00:00", "Z") if self.sort is Sort.DUE_AT and key else key  # type: ignore[attr-defined]
        return (first, text, last)


@list_fault()
class DueDatesSortedAsText(Querying):
    """Sorts due dates as texts with a Z, some of which have microseconds."""

    broken = _DueAsText


@list_fault()
class ListsShared(MemoryStore):
    """Returns the list that it keeps, so that whoever changes it changes the store's."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, TaskPage] = {}

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        if query != EVERYTHING:
            return await super().list(owner, query)
        if owner not in self.kept or self.kept[owner].seq != self.changes[owner]:
            self.kept[owner] = await super().list(owner, query)
        return self.kept[owner]


@list_fault()
class StaleAfterToggle(MemoryStore):
    """Caches lists, and forgets to invalidate them when a task is toggled."""

    def __init__(self) -> None:
        super().__init__()
        self.cached: dict[str, TaskPage] = {}

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        if query != EVERYTHING:
            return await super().list(owner, query)
        if owner not in self.cached:
            self.cached[owner] = await super().list(owner, query)
        return attrs.evolve(self.cached[owner], tasks=[*self.cached[owner].tasks])

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        cached = self.cached.get(owner)
        task = await super().toggle(owner, task_id, version=version)
        if cached:
            self.cached[owner] = cached
        return task

    def keep(self, task: Task) -> Task:
        self.cached.pop(task.user_id, None)
        return super().keep(task)

    def forget(self, owner: str, task_id: UUID) -> None:
        self.cached.pop(owner, None)
        super().forget(owner, task_id)


@list_fault()
class StaleAfterARace(MemoryStore):
    """Puts a task that it has read into its cache, although the task has been changed since it was read."""

    def __init__(self) -> None:
        super().__init__()
        self.cached: dict[UUID, Task] = {}

    async def get(self, owner: str, task_id: UUID) -> Task:
        if (task := self.cached.get(task_id)) and task.user_id == owner:
            return task
        task = await super().get(owner, task_id)
        await asyncio.sleep(0)
        self.cached[task_id] = task
        return task

    def keep(self, task: Task) -> Task:
        self.cached.pop(task.id, None)
        return super().keep(task)

    def forget(self, owner: str, task_id: UUID) -> None:
        self.cached.pop(task_id, None)
        super().forget(owner, task_id)


@list_fault(unseen="the contract runs in one process")
class StaleInOtherProcesses(MemoryStore):
    """Caches tasks until they are changed in the same process, though other processes may change them, too."""

    def __init__(self) -> None:
        super().__init__()
        self.cached: dict[tuple[str, UUID], Task] = {}

    async def get(self, owner: str, task_id: UUID) -> Task:
        if (owner, task_id) not in self.cached:
            self.cached[owner, task_id] = await super().get(owner, task_id)
        return self.cached[owner, task_id]

    def keep(self, task: Task) -> Task:
        self.cached.pop((task.user_id, task.id), None)
        return super().keep(task)

    def forget(self, owner: str, task_id: UUID) -> None:
        self.cached.pop((owner, task_id), None)
        super().forget(owner, task_id)
