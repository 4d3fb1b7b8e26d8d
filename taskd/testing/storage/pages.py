"""Test paging through lists."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence

import attrs
import pytest

from taskd.queries import Order, Position, Sort, TaskPage, TaskQuery
from taskd.storage import TaskStore
from taskd.tasks import NewTask, Priority, Status, Task, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import HOUR, MANY, NOON, assert_lists, create_all, id_at, in_batches

__all__ = ["PageTests"]

each_sort = pytest.mark.parametrize("sort", Sort, ids=str)
each_order = pytest.mark.parametrize("order", Order, ids=str)


@promises
@limited
class PageTests:
    """`limit`, `after` and `count`, and what a page says about the rest of the list."""

    async def test_a_limit_cuts_off_the_rest(self, store: TaskStore, owner: str) -> None:
        """A page has at most as many tasks as its limit, and says whether there are more."""
        tasks = await _fill(store, owner)
        for limit in (1, 2, len(tasks) - 1, len(tasks), len(tasks) + 1, 1000, None):
            await assert_lists(store, owner, TaskQuery(limit=limit), tasks)

        exact = await store.list(owner, TaskQuery(limit=len(tasks)))
        assert (len(tasks), False) == (len(exact.tasks), exact.has_more)
        short = await store.list(owner, TaskQuery(limit=len(tasks) - 1))
        assert (len(tasks) - 1, True) == (len(short.tasks), short.has_more)

    async def test_an_empty_list_has_one_page(self, store: TaskStore, owner: str) -> None:
        """An empty list has no tasks and no more pages, and its count is zero."""
        assert TaskPage([], 0, has_more=False, total=0) == await store.list(owner, TaskQuery(limit=1, count=True))

    async def test_long_lists_are_complete(self, store: TaskStore, owner: str) -> None:
        """A list without a limit has all tasks, and a page may have 1,000."""
        tasks = await in_batches(store.create(owner, NewTask(title=str(number))) for number in range(MANY))

        for query in (TaskQuery(count=True), TaskQuery(sort=Sort.TITLE), TaskQuery(limit=MANY - 1, count=True)):
            await assert_lists(store, owner, query, tasks)

    async def test_a_returned_list_belongs_to_the_caller(self, store: TaskStore, owner: str) -> None:
        """Whatever the caller does to a list that it got, other lists stay as they are."""
        tasks = await _fill(store, owner)
        first, second = await store.list(owner), await store.list(owner)
        first.tasks.clear()

        assert tasks[::-1] == second.tasks
        assert tasks[::-1] == (await store.list(owner)).tasks

    async def test_matching_tasks_are_counted_on_request(self, store: TaskStore, owner: str) -> None:
        """The count covers the whole list: filters reduce it, but paging does not."""
        tasks = await _fill(store, owner)
        some = frozenset({Status.PENDING})
        for query in (TaskQuery(limit=2), TaskQuery(limit=2, statuses=some), TaskQuery(), TaskQuery(statuses=some)):
            counting = attrs.evolve(query, count=True)
            page = await store.list(owner, counting)
            last = attrs.evolve(counting, after=counting.position_of(page.tasks[-1]))

            assert None is (await store.list(owner, query)).total
            assert sum(map(query.matches, tasks)) == page.total == (await store.list(owner, last)).total

    async def test_every_page_has_the_owner_s_seq(self, store: TaskStore, owner: str) -> None:
        """Even a page without tasks has the counter of changes."""
        tasks = await _fill(store, owner)
        await store.delete(owner, tasks[0].id)
        seq = await store.seq(owner)
        end = TaskQuery().position_of(tasks[0])
        for query in (TaskQuery(), TaskQuery(limit=1), TaskQuery(statuses=frozenset()), TaskQuery(after=end)):
            assert seq == (await store.list(owner, query)).seq, query

    @each_sort
    @each_order
    async def test_pages_are_parts_of_the_list(self, store: TaskStore, owner: str, sort: Sort, order: Order) -> None:
        """Each page but the last is full and begins where the previous one ended; together, they are the whole list."""
        tasks = await _fill(store, owner)
        for limit, search in itertools.product((1, 2, 5), (None, "A")):
            query = TaskQuery(sort=sort, order=order, limit=limit, search=search)
            whole = (await store.list(owner, attrs.evolve(query, limit=None))).tasks
            walked = await _walk(store, owner, query)

            assert query.in_order(filter(query.matches, tasks)) == whole
            assert whole == [task for page in walked for task in page]
            assert [limit] * (len(walked) - 1) == [len(page) for page in walked[:-1]]
            assert walked[-1]

    @each_sort
    @each_order
    async def test_a_page_may_begin_after_a_deleted_task(
        self, store: TaskStore, owner: str, sort: Sort, order: Order
    ) -> None:
        """A position stays where it is when its task is deleted or moves, or when other tasks are created."""
        tasks = {task.id: task for task in await _fill(store, owner)}
        query = TaskQuery(sort=sort, order=order)
        third, fourth = query.in_order(tasks.values())[2:4]
        await store.delete(owner, third.id)
        changes = TaskChanges(title="zz", due_at=None, priority=Priority.LOW)
        changed = await store.update(owner, fourth.id, changes)
        created = await create_all(store, owner, NewTask(title="a", due_at=NOON), NewTask(title="aa"))
        tasks |= {task.id: task for task in [changed, *created]}
        del tasks[third.id]

        for task in (third, fourth):
            after = query.position_of(task)
            await assert_lists(store, owner, attrs.evolve(query, after=after, count=True), tasks.values())
            await assert_lists(store, owner, attrs.evolve(query, after=after, limit=2), tasks.values())

    @each_sort
    @each_order
    async def test_a_page_may_begin_anywhere(self, store: TaskStore, owner: str, sort: Sort, order: Order) -> None:
        """A position may be before, between or after all tasks, and need not belong to a task that ever existed."""
        tasks = await _fill(store, owner)
        for key, task in itertools.product(_keys(sort), (tasks[0], tasks[4], tasks[-1])):
            for task_id in (task.id, id_at(NOON - 9000 * HOUR)):
                query = TaskQuery(sort=sort, order=order, after=Position(key, task_id), limit=3)
                await assert_lists(store, owner, query, tasks)


async def _fill(store: TaskStore, owner: str) -> list[Task]:
    """Create tasks that have many values in common, and return them."""
    due = itertools.cycle([NOON, None, NOON + HOUR, NOON, None])
    statuses = itertools.cycle([Status.COMPLETED, Status.PENDING])
    titles = ["b", "B", "a", "stra\u00dfe", "A", "b", "STRASSE", "c", "a"]
    priorities = itertools.cycle([Priority.URGENT, Priority.LOW, Priority.LOW, Priority.HIGH])
    return await create_all(
        store,
        owner,
        *[
            NewTask(title=title, due_at=next(due), status=next(statuses), priority=next(priorities), tags=["a"])
            for title in titles
        ],
    )


async def _walk(store: TaskStore, owner: str, query: TaskQuery) -> list[list[Task]]:
    """Return the tasks on each page of *query*."""
    page = await store.list(owner, query)
    pages = [page.tasks]
    ends = {query.after}
    while page.has_more:
        query = attrs.evolve(query, after=query.position_of(page.tasks[-1]))
        # A wrong order could lead back to an earlier page, forever.
        assert query.after not in ends, query
        ends.add(query.after)
        page = await store.list(owner, query)
        pages.append(page.tasks)
    return pages


def _keys(sort: Sort) -> Sequence[str | int | dt.datetime | None]:
    """Return values to sort by, and values between them."""
    match sort:
        case Sort.CREATED_AT:
            return [None]
        case Sort.UPDATED_AT:
            return [NOON - 9000 * HOUR, NOON + 9000 * HOUR]
        case Sort.DUE_AT:
            return [None, NOON - HOUR, NOON, NOON + HOUR / 2, NOON + HOUR, NOON + 2 * HOUR]
        case Sort.PRIORITY:
            return [0, 1, 2, 3]
        case Sort.TITLE:
            return ["", "a", "aa", "b", "strasse", "z", "\U0001f389"]
