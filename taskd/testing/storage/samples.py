"""Sample tasks, ids as clients choose them, and concurrent calls, for all tests of stores."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar
from uuid import UUID

import pytest

from taskd.queries import TaskPage, TaskQuery
from taskd.storage import StoreError, TaskNotFound, TaskStore
from taskd.tasks import NewTask, Task, TaskChanges

__all__ = [
    "AT_ONCE",
    "HOUR",
    "MANY",
    "NOON",
    "assert_lists",
    "assert_unknown",
    "create_all",
    "id_at",
    "in_batches",
    "outcomes",
    "soon",
    "titles",
]

T = TypeVar("T")

# How many concurrent calls to make.
AT_ONCE = 10
# More than stores often keep, read or remember at once.
MANY = 1001
NOON = dt.datetime(2026, 11, 27, 12, tzinfo=dt.timezone.utc)
HOUR = dt.timedelta(hours=1)

_numbers = itertools.count()


def soon() -> dt.datetime:
    """Return a time an hour from now, in whole milliseconds, because clients' clocks may be wrong."""
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=987_000) + HOUR


def id_at(moment: dt.datetime) -> UUID:
    """Return a new version 7 UUID for *moment* (RFC 9562, section 5.7), greater than all earlier ones."""
    milliseconds = round(moment.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62 | next(_numbers))


async def create_all(store: TaskStore, owner: str, *new: NewTask) -> list[Task]:
    """Create tasks one after another, and return them."""
    return [await store.create(owner, each) for each in new]


async def in_batches(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Make many *calls*, some of them at a time, and return their results in order."""
    remaining = iter(calls)
    results: list[T] = []
    while batch := list(itertools.islice(remaining, 2 * AT_ONCE)):
        results += await asyncio.gather(*batch)
    return results


def titles(page: TaskPage) -> list[str]:
    """Return the titles of the tasks on *page*."""
    return [task.title for task in page.tasks]


async def assert_lists(store: TaskStore, owner: str, query: TaskQuery, tasks: Iterable[Task]) -> None:
    """Check that *store* returns the right page for *query*, given *tasks*, which are all tasks of *owner*."""
    expected = query.page(tasks, await store.seq(owner))
    assert expected == await store.list(owner, query), query


async def assert_unknown(store: TaskStore, owner: str, task: Task) -> None:
    """Check that no method finds *task* for *owner*."""
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.get(owner, task.id),
        lambda: store.update(owner, task.id, TaskChanges(title="stolen")),
        lambda: store.toggle(owner, task.id),
        lambda: store.delete(owner, task.id),
    ]
    for call in calls:
        with pytest.raises(TaskNotFound):
            await call()


async def outcomes(calls: Iterable[Awaitable[T]]) -> tuple[list[T], list[type[StoreError]]]:
    """Make *calls* concurrently; return the results of those that succeed, and the errors of the others."""
    results: list[T] = []
    errors: list[type[StoreError]] = []
    for each in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(each, StoreError):
            errors.append(type(each))
        elif isinstance(each, BaseException):
            raise each
        else:
            results.append(each)
    return results, errors
