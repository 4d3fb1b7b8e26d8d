"""Test the order of lists."""

from __future__ import annotations

import datetime as dt

import pytest

from taskd.queries import Order, Sort, TaskQuery
from taskd.storage import TaskStore
from taskd.tasks import NewTask, Priority, Status, Task, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import HOUR, NOON, assert_lists, create_all, id_at, soon, titles

__all__ = ["SortTests"]

TICK = dt.timedelta(microseconds=1)
# Already sorted: by code point after case folding, whatever the language or the encoding.
TITLES = [
    *["\tb", " b", "!", "10", "9", "A", "a!", "Aa", "a~", "B", "STRASSD", "stra\u00dfe", "Strassf", "z", "\u00c4"],
    *["\u00f6", "\u017e", "\u03bf\u03b4\u03bf\u03c2", "\u0416", "\ue000", "\uff21", "\U00010400", "\U0001f389"],
]


@promises
@limited
class SortTests:
    """Each sort in both directions."""

    @pytest.mark.parametrize("order", Order, ids=str)
    @pytest.mark.parametrize("sort", Sort, ids=str)
    async def test_ties_are_sorted_by_age_in_the_same_direction(
        self, store: TaskStore, owner: str, sort: Sort, order: Order
    ) -> None:
        """Ties are sorted by id, in the same direction."""
        # So close together that the tasks are created, and changed, in the same millisecond.
        made_at = soon()
        ids = [id_at(made_at) for _ in range(6)]
        tasks = [
            await store.create(owner, NewTask(title=title, due_at=NOON), task_id=task_id)
            for title, task_id in zip("aAaAaA", [*ids[3:], *ids[:3]], strict=True)
        ]
        tasks += [
            await store.create(owner, NewTask(title=title, due_at=None, priority=Priority.LOW)) for title in "AaA"
        ]

        await assert_lists(store, owner, TaskQuery(sort=sort, order=order), tasks)
        same = [task.id for task in (await store.list(owner, TaskQuery(sort=sort, order=order, due_after=NOON))).tasks]
        assert (ids if order is Order.ASC else ids[::-1]) == same

    @pytest.mark.parametrize("order", Order, ids=str)
    async def test_titles_are_sorted_by_code_point_after_case_folding(
        self, store: TaskStore, owner: str, order: Order
    ) -> None:
        """Titles are sorted by code point, whatever the language, so characters outside the BMP come last."""
        shuffled = sorted(TITLES, key=lambda title: (len(title), title[::-1]))
        await create_all(store, owner, *[NewTask(title=title) for title in shuffled])

        page = await store.list(owner, TaskQuery(sort=Sort.TITLE, order=order))
        assert (TITLES if order is Order.ASC else TITLES[::-1]) == titles(page)

    @pytest.mark.parametrize("order", Order, ids=str)
    async def test_tasks_without_due_at_come_last(self, store: TaskStore, owner: str, order: Order) -> None:
        """Tasks without a due date come last in both directions; the others are sorted to the microsecond."""
        moments = [NOON + TICK, None, dt.datetime.max.replace(tzinfo=dt.timezone.utc), NOON, None, NOON - HOUR]
        moments.append(dt.datetime.min.replace(tzinfo=dt.timezone.utc))
        tasks = await create_all(store, owner, *[NewTask(title="t", due_at=due_at) for due_at in moments])

        await assert_lists(store, owner, TaskQuery(sort=Sort.DUE_AT, order=order), tasks)
        page = await store.list(owner, TaskQuery(sort=Sort.DUE_AT, order=order))
        assert [None, None] == [task.due_at for task in page.tasks[-2:]]

    @pytest.mark.parametrize("order", Order, ids=str)
    async def test_priorities_are_sorted_by_importance(self, store: TaskStore, owner: str, order: Order) -> None:
        """Priorities are sorted from `low` to `urgent`, or in reverse."""
        shuffled = [Priority.HIGH, Priority.LOW, Priority.URGENT, Priority.MEDIUM]
        await create_all(store, owner, *[NewTask(title=each.value, priority=each) for each in shuffled])

        expected = ["low", "medium", "high", "urgent"]
        page = await store.list(owner, TaskQuery(sort=Sort.PRIORITY, order=order))
        assert (expected if order is Order.ASC else expected[::-1]) == titles(page)

    @pytest.mark.parametrize("order", Order, ids=str)
    async def test_the_last_write_decides_when_a_task_was_updated(
        self, store: TaskStore, owner: str, order: Order
    ) -> None:
        """Every update and every toggle makes a task the last one changed; reading does not."""
        tasks = {task.id: task for task in await create_all(store, owner, *[NewTask(title=title) for title in "abcd"])}

        def keep(task: Task) -> None:
            tasks[task.id] = task

        first, second, third, _ = tasks
        keep(await store.update(owner, third, TaskChanges()))
        keep(await store.toggle(owner, first))
        keep(await store.update(owner, second, TaskChanges(status=Status.IN_PROGRESS)))
        await store.get(owner, third)

        await assert_lists(store, owner, TaskQuery(sort=Sort.UPDATED_AT, order=order), tasks.values())
