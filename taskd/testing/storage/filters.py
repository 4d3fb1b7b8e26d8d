"""Test which tasks filters keep."""

from __future__ import annotations

import datetime as dt
import itertools

from taskd.queries import Order, TaskQuery
from taskd.storage import TaskStore
from taskd.tasks import NewTask, Priority, Status, Task, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import HOUR, NOON, assert_lists, create_all, titles

__all__ = ["FilterTests"]

TICK = dt.timedelta(microseconds=1)
EARLIEST = dt.datetime.min.replace(tzinfo=dt.timezone.utc)
LATEST = dt.datetime.max.replace(tzinfo=dt.timezone.utc)
# What databases or drivers might not take for the text of a tag.
TAGS = [
    *["a", "b", "A", " a", "a ", "a,b", "b,a", "ab", "a|b", "a\nb"],
    *["'", '"', "\\", "''", '\\"', "{}", "{a}", "{a,b}", "[]", '["a"]', "NULL", "null", "%", "_", "*", "$1", "?", ":a"],
    *["0", "1", "true", "\u00e9", "e\u0301", "\u00df", "ss", "\U0001f389", "\ufeff", "x" * 50],
]


@promises
@limited
class FilterTests:
    """Each filter alone, and all together."""

    async def test_statuses_are_kept(self, store: TaskStore, owner: str) -> None:
        """Any set of statuses keeps the tasks that have one of them; an empty set keeps none."""
        tasks = await create_all(store, owner, *[NewTask(title=each.value, status=each) for each in (*Status, *Status)])
        for length in range(len(Status) + 1):
            for kept in itertools.combinations(Status, length):
                await assert_lists(store, owner, TaskQuery(statuses=frozenset(kept), count=True), tasks)

    async def test_priorities_are_kept(self, store: TaskStore, owner: str) -> None:
        """Any set of priorities keeps the tasks that have one of them; an empty set keeps none."""
        new = [NewTask(title=each.value, priority=each) for each in (*Priority, *Priority)]
        tasks = await create_all(store, owner, *new)
        for length in range(len(Priority) + 1):
            for kept in itertools.combinations(Priority, length):
                await assert_lists(store, owner, TaskQuery(priorities=frozenset(kept), count=True), tasks)

    async def test_a_task_must_have_all_tags(self, store: TaskStore, owner: str) -> None:
        """A task must have all the given tags, in any order; it may have others, too."""
        sets = [["a", "b"], ["b", "a"], ["a"], ["b", "c"], [], ["c", "b", "a"]]
        await create_all(store, owner, *[NewTask(title="".join(tags) or "none", tags=tags) for tags in sets])

        assert ["cba", "a", "ba", "ab"] == titles(await store.list(owner, TaskQuery(tags=("a",))))
        assert ["cba", "ba", "ab"] == titles(await store.list(owner, TaskQuery(tags=("b", "a"))))
        assert ["cba", "ba", "ab"] == titles(await store.list(owner, TaskQuery(tags=("a", "b", "a"))))
        assert ["cba"] == titles(await store.list(owner, TaskQuery(tags=("a", "b", "c"))))
        assert [] == titles(await store.list(owner, TaskQuery(tags=("a", "d"))))

    async def test_tags_are_compared_exactly(self, store: TaskStore, owner: str) -> None:
        """A tag matches only itself, not similar tags, and none of its characters has a special meaning."""
        tasks = await create_all(store, owner, *[NewTask(title=f"{tag}.", tags=[tag]) for tag in TAGS])
        tasks += await create_all(store, owner, NewTask(title="all", tags=TAGS[:20]), NewTask(title="none"))
        for tag in TAGS:
            await assert_lists(store, owner, TaskQuery(tags=(tag,)), tasks)
        await assert_lists(store, owner, TaskQuery(tags=tuple(TAGS[:20])), tasks)

    async def test_due_after_is_inclusive_and_due_before_is_exclusive(self, store: TaskStore, owner: str) -> None:
        """A range of times includes its start, excludes its end, and is exact to the microsecond."""
        moments = {"before": NOON - TICK, "noon": NOON, "after": NOON + TICK}
        await create_all(store, owner, *[NewTask(title=title, due_at=due_at) for title, due_at in moments.items()])

        async def found(due_after: dt.datetime | None = None, due_before: dt.datetime | None = None) -> list[str]:
            query = TaskQuery(due_after=due_after, due_before=due_before, order=Order.ASC)
            return titles(await store.list(owner, query))

        assert ["noon", "after"] == await found(due_after=NOON)
        assert ["before"] == await found(due_before=NOON)
        assert ["noon"] == await found(due_after=NOON, due_before=NOON + TICK)
        assert [] == await found(due_after=NOON, due_before=NOON)
        assert [] == await found(due_after=NOON + TICK, due_before=NOON)
        assert ["before", "noon", "after"] == await found(due_after=NOON - HOUR, due_before=NOON + HOUR)

    async def test_ranges_leave_out_tasks_without_due_at(self, store: TaskStore, owner: str) -> None:
        """Either end of a range leaves out tasks without a due date, even at the earliest or latest possible time."""
        moments = [None, EARLIEST, NOON, LATEST]
        tasks = await create_all(store, owner, *[NewTask(title=str(due_at), due_at=due_at) for due_at in moments])
        for moment in (EARLIEST, EARLIEST + TICK, NOON, LATEST):
            await assert_lists(store, owner, TaskQuery(due_after=moment), tasks)
            await assert_lists(store, owner, TaskQuery(due_before=moment), tasks)

    async def test_filters_combine(self, store: TaskStore, owner: str) -> None:
        """A task must pass all filters."""
        tasks = await create_all(store, owner, *_various())
        keeping = {
            "statuses": frozenset({Status.PENDING, Status.COMPLETED}),
            "priorities": frozenset({Priority.HIGH, Priority.URGENT}),
            "tags": ("a",),
            "due_after": NOON,
            "due_before": NOON + HOUR,
            "search": "T",
        }
        for length in range(2, len(keeping) + 1):
            for names in itertools.combinations(keeping, length):
                query = TaskQuery(**{name: keeping[name] for name in names}, count=True)  # type: ignore[arg-type]
                await assert_lists(store, owner, query, tasks)

    async def test_filters_use_the_current_values(self, store: TaskStore, owner: str) -> None:
        """A changed task is found by its new values, and no longer by its old ones."""
        [task] = await create_all(store, owner, NewTask(title="t", tags=["a"], due_at=NOON))
        changes = TaskChanges(title="u", tags=["b"], due_at=None, priority=Priority.LOW, status=Status.COMPLETED)
        changed = await store.update(owner, task.id, changes)

        async def found(task: Task) -> list[Task]:
            due_after = None if task.due_at is None else NOON
            query = TaskQuery(
                search=task.title,
                tags=task.tags,
                statuses=frozenset({task.status}),
                priorities=frozenset({task.priority}),
                due_after=due_after,
            )
            return (await store.list(owner, query)).tasks

        assert ([], [changed]) == (await found(task), await found(changed))

    async def test_other_owners_tasks_are_not_counted(self, store: TaskStore, owner: str) -> None:
        """Only the owner's own tasks are listed and counted."""
        await create_all(store, f"{owner}x", NewTask(title="t", tags=["a"], due_at=NOON))
        [task] = await create_all(store, owner, NewTask(title="t", tags=["a"], due_at=NOON))

        await assert_lists(store, owner, TaskQuery(search="t", tags=("a",), due_after=NOON, count=True), [task])


def _various() -> list[NewTask]:
    """Return tasks such that each filter of `test_filters_combine` keeps some, and all together keep one."""
    kept = {"status": Status.PENDING, "priority": Priority.HIGH, "tags": ["a", "b"], "due_at": NOON, "title": "t"}
    left_out = {"status": Status.IN_PROGRESS, "priority": Priority.LOW, "tags": ["b"], "due_at": None, "title": "u"}
    return [
        NewTask(**kept),  # type: ignore[arg-type]
        NewTask(**left_out),  # type: ignore[arg-type]
        *[NewTask(**kept | {name: value}) for name, value in left_out.items()],  # type: ignore[arg-type]
        *[NewTask(**left_out | {name: value}) for name, value in kept.items()],  # type: ignore[arg-type]
    ]
