"""Test that every value is returned exactly as it was stored."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from taskd.storage import TaskStore
from taskd.tasks import NewTask, Priority, Status, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited

__all__ = ["ValueTests"]

UTC = dt.timezone.utc
# The limits of what databases and drivers use for times, and what lies just beyond them.
MOMENTS = [
    dt.datetime.min.replace(tzinfo=UTC),
    dt.datetime(1582, 10, 10, 12, tzinfo=UTC),
    dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    dt.datetime(1970, 1, 1, tzinfo=UTC),
    dt.datetime(2000, 2, 29, 1, 2, 3, 456_789, tzinfo=UTC),
    dt.datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
    dt.datetime(2262, 4, 11, 23, 47, 16, 854_776, tzinfo=UTC),
    dt.datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    dt.datetime.max.replace(tzinfo=UTC),
]


def _is_time(value: object) -> bool:
    return isinstance(value, dt.datetime) and value.utcoffset() == dt.timedelta(0)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


# Equal values of other types would be written differently in JSON: 1 for true, or 3.0 for 3.
TYPES: dict[str, Callable[[object], bool]] = {
    "id": lambda value: isinstance(value, UUID),
    "user_id": _is_text,
    "title": _is_text,
    "description": _is_text,
    "status": lambda value: isinstance(value, Status),
    "priority": lambda value: isinstance(value, Priority),
    "due_at": _is_time,
    "tags": lambda value: isinstance(value, tuple) and all(map(_is_text, value)),
    "is_completed": lambda value: isinstance(value, bool),
    "completed": lambda value: isinstance(value, bool),
    "created_at": _is_time,
    "updated_at": _is_time,
    "completed_at": lambda value: value is None or _is_time(value),
    "version": lambda value: type(value) is int,
}


@promises
@limited
class ValueTests:
    """The fields of a task."""

    async def test_a_created_task_is_returned_unchanged(self, store: TaskStore, owner: str) -> None:
        """Every field is returned exactly as it was stored."""
        due_at = dt.datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.timezone.utc)
        new = NewTask(
            title=" \u00e9e\u0301\U0001f389 <b>&amp;</b>\ufeff\n",
            description="'; -- \r\n \r \\n \\u0041 %41 {} $1 \u2028\x1f\x7f ",
            status=Status.COMPLETED,
            priority=Priority.LOW,
            due_at=due_at,
            tags=["'; --", '"', "\\", "{a,b}", " c ", "NULL", "\u00e9", "e\u0301", "\U0001f389"],
        )
        task = await store.create(owner, new)

        assert task == await store.get(owner, task.id)
        assert [task] == (await store.list(owner)).tasks
        assert (new.title, new.description, new.priority, due_at, new.tags) == (
            task.title,
            task.description,
            task.priority,
            task.due_at,
            task.tags,
        )
        assert task.created_at == task.completed_at

    async def test_texts_may_be_as_long_as_allowed(self, store: TaskStore, owner: str) -> None:
        """Titles of 200 characters, descriptions of 10,000 and 20 tags of 50 are stored completely."""
        for character in ("x", "\U0001f389"):
            new = NewTask(
                title=character * 200,
                description=character * 10_000,
                tags=[character * 48 + f"{number:02}" for number in range(20)],
            )
            task = await store.create(owner, new)
            found = await store.get(owner, task.id)

            assert (new.title, new.description, new.tags) == (found.title, found.description, found.tags)
            assert task == found
            changes = TaskChanges(title=new.title[::-1], description=new.description, tags=new.tags[::-1])
            changed = await store.update(owner, task.id, changes)
            assert (changes.title, changes.description, changes.tags) == (
                changed.title,
                changed.description,
                changed.tags,
            )
            assert changed == await store.get(owner, task.id)

    async def test_due_dates_are_exact(self, store: TaskStore, owner: str) -> None:
        """A due date is any time in the years 1 to 9999, and is returned to the microsecond, in UTC."""
        for due_at in MOMENTS:
            task = await store.create(owner, NewTask(title="t", due_at=due_at))
            changed = await store.update(owner, task.id, TaskChanges(due_at=MOMENTS[0]))
            restored = await store.update(owner, task.id, TaskChanges(due_at=due_at))

            assert (due_at, MOMENTS[0], due_at) == (task.due_at, changed.due_at, restored.due_at)
            assert restored == await store.get(owner, task.id)
        assert MOMENTS[::-1] == [task.due_at for task in (await store.list(owner)).tasks]

    async def test_values_have_the_types_of_a_task(self, store: TaskStore, owner: str) -> None:
        """Every method returns values of exactly the types that `Task` declares, and times in UTC."""
        new = NewTask(title="t", description="d", due_at=MOMENTS[4], tags=["a"], status=Status.COMPLETED)
        created = await store.create(owner, new)
        tasks = {
            "create": created,
            "get": await store.get(owner, created.id),
            "update": await store.update(owner, created.id, TaskChanges(title="u")),
            "toggle": await store.toggle(owner, created.id),
            "list": (await store.list(owner)).tasks[0],
        }
        for method, task in tasks.items():
            for name, is_right in TYPES.items():
                value = getattr(task, name)
                assert is_right(value), f"{method} returned {name} as {value!r}"

    async def test_an_empty_description_is_not_null(self, store: TaskStore, owner: str) -> None:
        """A description may be empty, which differs from null: both are stored and updated as they are."""
        empty = await store.create(owner, NewTask(title="t", description=""))
        null = await store.create(owner, NewTask(title="t"))
        assert ["", None] == [(await store.get(owner, task.id)).description for task in (empty, null)]

        await store.update(owner, empty.id, TaskChanges(description=None))
        await store.update(owner, null.id, TaskChanges(description=""))
        assert [None, ""] == [(await store.get(owner, task.id)).description for task in (empty, null)]

    @pytest.mark.parametrize("flag", ["is_completed", "completed"])
    async def test_both_flags_complete_a_task(self, store: TaskStore, owner: str, flag: str) -> None:
        """`is_completed` and `completed` are two names of one flag, for new tasks and for changes."""
        given: dict[str, Any] = {flag: True}
        created = await store.create(owner, NewTask(title="t", **given))
        assert Status.COMPLETED is created.status is (await store.get(owner, created.id)).status

        given = {flag: False}
        reopened = await store.update(owner, created.id, TaskChanges(**given))
        assert (Status.PENDING, None) == (reopened.status, reopened.completed_at)
        assert reopened == await store.get(owner, created.id)
