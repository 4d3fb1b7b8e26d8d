"""The reference implementation of queries filters, sorts and pages as the contract says."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.queries import Order, Position, Sort, TaskQuery
from taskd.tasks import Priority, Status, Task

NOON = dt.datetime(2026, 11, 27, 12, tzinfo=dt.timezone.utc)
HOUR = dt.timedelta(hours=1)
MOMENTS = st.sampled_from([NOON - HOUR, NOON, NOON + HOUR])
TEXTS = st.text("aAsS\u00df\u03c2\u03a3 ", min_size=1, max_size=4)
TASKS = st.lists(
    st.builds(
        Task,
        id=st.integers(1, 10**6).map(lambda number: UUID(int=number)),
        user_id=st.just("dev"),
        title=TEXTS,
        description=st.none() | TEXTS,
        status=st.sampled_from(Status),
        priority=st.sampled_from(Priority),
        due_at=st.none() | MOMENTS,
        tags=st.lists(st.sampled_from("ab"), unique=True).map(tuple),
        created_at=MOMENTS,
        updated_at=MOMENTS,
        completed_at=st.none(),
        version=st.just(1),
    ),
    max_size=12,
    unique_by=lambda task: task.id,
)
QUERIES = st.builds(
    TaskQuery,
    statuses=st.frozensets(st.sampled_from(Status)),
    priorities=st.frozensets(st.sampled_from(Priority)),
    tags=st.lists(st.sampled_from("ab"), max_size=2).map(tuple),
    due_after=st.none() | MOMENTS,
    due_before=st.none() | MOMENTS,
    search=st.none() | TEXTS,
    sort=st.sampled_from(Sort),
    order=st.sampled_from(Order),
)


def task(number: int = 1, **fields: object) -> Task:
    """Return the task with the id *number*."""
    values: dict[str, object] = {
        "user_id": "dev",
        "title": "t",
        "description": None,
        "status": Status.PENDING,
        "priority": Priority.MEDIUM,
        "due_at": None,
        "tags": (),
        "created_at": NOON,
        "updated_at": NOON,
        "completed_at": None,
        "version": 1,
    }
    return Task(id=UUID(int=number), **(values | fields))  # type: ignore[arg-type]


def numbers(tasks: list[Task]) -> list[int]:
    """Return the numbers of *tasks*."""
    return [each.id.int for each in tasks]


def test_without_parameters_all_tasks_are_listed_newest_first() -> None:
    """Tasks are sorted by id, whatever their `created_at` is."""
    page = TaskQuery().page([task(2), task(3, created_at=NOON - HOUR), task(1, created_at=NOON + HOUR)], seq=7)

    assert ([3, 2, 1], 7, False, None) == (numbers(page.tasks), page.seq, page.has_more, page.total)
    assert not TaskQuery(limit=1, count=True, after=Position(None, UUID(int=1))).is_filtered


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (TaskQuery(statuses=frozenset({Status.PENDING, Status.COMPLETED})), [1, 3]),
        (TaskQuery(statuses=frozenset()), []),
        (TaskQuery(priorities=frozenset({Priority.URGENT})), [2]),
        (TaskQuery(priorities=frozenset()), []),
        (TaskQuery(tags=("a",)), [1, 2]),
        (TaskQuery(tags=("b", "a", "b")), [2]),
        (TaskQuery(due_after=NOON), [1, 2]),
        (TaskQuery(due_before=NOON + HOUR), [1]),
        (TaskQuery(due_after=NOON, due_before=NOON), []),
        (TaskQuery(search="STRASSE"), [1]),
        (TaskQuery(search="\u03bf\u03b4\u03bf\u03c2"), [2]),
        (TaskQuery(search=" "), [3]),
        (TaskQuery(search="e\u0301"), []),
    ],
)
def test_each_filter_keeps_what_the_contract_says(query: TaskQuery, kept: list[int]) -> None:
    """Each filter alone keeps these tasks, and `is_filtered` says that it may leave out others."""
    tasks = [
        task(1, title="stra\u00dfe", tags=("a",), due_at=NOON, status=Status.COMPLETED),
        task(2, description="\u039f\u0394\u039f\u03a3", tags=("a", "b"), due_at=NOON + HOUR, priority=Priority.URGENT),
        task(3, title="caf\u00e9 au lait"),
    ]
    tasks[1] = attrs.evolve(tasks[1], status=Status.IN_PROGRESS)

    assert kept == numbers(attrs.evolve(query, order=Order.ASC).page(tasks, 0).tasks)
    assert query.is_filtered


@pytest.mark.parametrize(
    ("sort", "descending"),
    [
        (Sort.CREATED_AT, [4, 3, 2, 1]),
        (Sort.UPDATED_AT, [1, 4, 3, 2]),
        (Sort.DUE_AT, [3, 2, 4, 1]),
        (Sort.PRIORITY, [2, 4, 3, 1]),
        (Sort.TITLE, [4, 2, 3, 1]),
    ],
)
def test_each_sort_is_that_of_the_contract(sort: Sort, descending: list[int]) -> None:
    """Ties are sorted by age in the same direction, and tasks without `due_at` come last in both."""
    tasks = [
        task(1, title="Stra\u00dfe", updated_at=NOON + HOUR, priority=Priority.LOW),
        task(2, title="strasse 2", due_at=NOON, priority=Priority.URGENT),
        task(3, title="STRASSE", due_at=NOON, priority=Priority.MEDIUM),
        task(4, title="\uff21", priority=Priority.HIGH),
    ]
    ascending = [2, 3, 1, 4] if sort is Sort.DUE_AT else descending[::-1]

    assert descending == numbers(TaskQuery(sort=sort, order=Order.DESC).in_order(tasks))
    assert ascending == numbers(TaskQuery(sort=sort, order=Order.ASC).in_order(tasks))
    expected = Order.ASC if sort in (Sort.DUE_AT, Sort.TITLE) else Order.DESC
    assert expected is sort.default_order is TaskQuery(sort=sort).order


@given(tasks=TASKS, query=QUERIES, limit=st.integers(1, 5))
def test_pages_are_parts_of_the_list(tasks: list[Task], query: TaskQuery, limit: int) -> None:
    """Each page begins where the previous one ended, even if that task is gone, and all have the same count."""
    whole, total = query.page(tasks, 0).tasks, sum(map(query.matches, tasks))
    walked: list[Task] = []
    query = attrs.evolve(query, limit=limit, count=True)
    while (page := query.page([each for each in tasks if each not in walked], 0)).has_more:
        walked += page.tasks
        assert limit == len(page.tasks)
        assert query.page(tasks, 0).tasks == page.tasks
        assert total == query.page(tasks, 0).total
        query = attrs.evolve(query, after=query.position_of(page.tasks[-1]))

    assert whole == walked + page.tasks
