"""
Which tasks a list contains, in which order, and where its pages begin.

`TaskQuery` can filter, sort and page tasks in memory.  Stores may do so in any other way, but must return the same
tasks.
"""

from __future__ import annotations

import base64
import datetime as dt
import enum
import hashlib
from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

import attrs
from msgspec import Meta

from taskd.fields import FieldType
from taskd.tasks import DueAt, Priority, Status, Task

__all__ = ["Order", "Position", "Sort", "TaskPage", "TaskQuery", "sealed", "unsealed"]

_CHECK_BYTES = 8


class Order(enum.Enum):
    """The direction in which a list is sorted."""

    ASC = "asc"
    DESC = "desc"


class Sort(enum.Enum):
    """What a list is sorted by. Priorities are sorted from `low` to `urgent`, and titles ignoring case."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    DUE_AT = "due_at"
    PRIORITY = "priority"
    TITLE = "title"

    @property
    def default_order(self) -> Order:
        """The default direction: newest first, most important first, or first due first."""
        return Order.ASC if self in (Sort.DUE_AT, Sort.TITLE) else Order.DESC


# Counting the members of an enum each time would take longer than everything else that `is_filtered` does.
_STATUSES, _PRIORITIES = len(Status), len(Priority)
_RANKS = {priority: rank for rank, priority in enumerate(Priority)}
# What a position may have as its key.
_KEYS = {
    Sort.CREATED_AT: FieldType.of(None),
    Sort.UPDATED_AT: FieldType.of(DueAt),
    Sort.DUE_AT: FieldType.of(DueAt | None),
    Sort.PRIORITY: FieldType.of(Annotated[int, Meta(ge=0, lt=_PRIORITIES)]),
    Sort.TITLE: FieldType.of(Annotated[str, Meta(pattern=r"^[^\x00]*$")]),
}


@attrs.frozen
class Position:
    """
    Where a page begins: right after the task that has, or had, this key and id.

    Attributes:
        key: The value by which the task is sorted: `updated_at`; `due_at`, which may be None; the rank of the priority,
            from 0 for `low` to 3 for `urgent`; or the case-folded title.  It is None for `created_at`, because ids
            already sort by age.
        id: The task's id.
    """

    key: str | int | dt.datetime | None
    id: UUID

    @classmethod
    def read(cls, sort: Sort, key: object, task_id: UUID) -> Position:
        """
        Return a position in a list sorted by *sort*, whose *key* was parsed from JSON and may come from a client.

        Raises:
            ValueError: No task can have this key.
        """
        return cls(_KEYS[sort].read(key), task_id)


@attrs.frozen
class TaskPage:
    """
    A page of a list, or the whole list.

    Attributes:
        tasks: The tasks, in the order of the query.
        seq: The owner's counter of changes when the list was read.
        has_more: Whether `limit` has cut off tasks.
        total: How many tasks match, on all pages together; None unless the query asks for it.
    """

    tasks: list[Task]
    seq: int
    has_more: bool = False
    total: int | None = None


@attrs.frozen(kw_only=True)
class TaskQuery:
    """
    Which of an owner's tasks to list, and how.  By default, all of them, newest first.

    A task must pass all filters.  Ties are sorted by id, in the same direction.  When sorting by `due_at`, tasks
    without it come last in both directions.

    Args:
        statuses: The statuses to keep.  An empty set finds nothing.
        priorities: The priorities to keep.  An empty set finds nothing.
        tags: The tags that a task must have.  It may have others, too.
        due_after: The earliest `due_at` to keep.
        due_before: Keep tasks due before this time, exclusively.
        search: The text that the title or the description must contain.  Both sides are compared after full Unicode
            case folding, without normalization.
        sort: What to sort by.
        order: The direction; by default, the usual one for *sort*.
        limit: The maximum length of a page; None for no limit.
        after: Where the page begins; None for the first page.
        count: Whether to count how many tasks match, on all pages together.
    """

    statuses: frozenset[Status] = frozenset(Status)
    priorities: frozenset[Priority] = frozenset(Priority)
    tags: tuple[str, ...] = ()
    due_after: dt.datetime | None = None
    due_before: dt.datetime | None = None
    search: str | None = None
    sort: Sort = Sort.CREATED_AT
    order: Order = attrs.field()
    limit: int | None = None
    after: Position | None = None
    count: bool = False

    @order.default
    def _default_order(self) -> Order:
        return self.sort.default_order

    @property
    def folded_search(self) -> str | None:
        """The case-folded text to search for; None if there is none."""
        return None if self.search is None else self.search.casefold()

    @property
    def is_filtered(self) -> bool:
        """Whether filters may leave out tasks; paging does not count."""
        return (
            len(self.statuses) < _STATUSES
            or len(self.priorities) < _PRIORITIES
            or bool(self.tags)
            or self.due_after is not None
            or self.due_before is not None
            or bool(self.search)
        )

    def matches(self, task: Task) -> bool:
        """Tell whether *task* passes all filters, whatever page it is on."""
        return (
            task.status in self.statuses
            and task.priority in self.priorities
            and set(self.tags) <= set(task.tags)
            and self._is_due(task.due_at)
            and self._is_found(task)
        )

    def position_of(self, task: Task) -> Position:
        """Return the position at which the page after *task* begins."""
        return Position(self._key(task), task.id)

    def page(self, tasks: Iterable[Task], seq: int) -> TaskPage:
        """Return this query's page of *tasks*, which are all tasks of an owner, in any order, at the counter *seq*."""
        found = self.in_order(filter(self.matches, tasks))
        rest = [task for task in found if self.is_on_page(task)]
        kept = rest[: self.limit]
        return TaskPage(kept, seq, has_more=len(kept) < len(rest), total=len(found) if self.count else None)

    def in_order(self, tasks: Iterable[Task]) -> list[Task]:
        """Return *tasks* in the order of this query."""
        return sorted(tasks, key=lambda task: self._rank(self.position_of(task)), reverse=self.order is Order.DESC)

    def is_on_page(self, task: Task) -> bool:
        """Tell whether *task* comes after the start of the page."""
        if self.after is None:
            return True
        rank, start = self._rank(self.position_of(task)), self._rank(self.after)
        return rank > start if self.order is Order.ASC else rank < start

    def _is_due(self, due_at: dt.datetime | None) -> bool:
        if self.due_after is None and self.due_before is None:
            return True
        return (
            due_at is not None
            and (self.due_after is None or self.due_after <= due_at)
            and (self.due_before is None or due_at < self.due_before)
        )

    def _is_found(self, task: Task) -> bool:
        text = self.folded_search
        return not text or text in task.title.casefold() or text in (task.description or "").casefold()

    def _key(self, task: Task) -> str | int | dt.datetime | None:
        match self.sort:
            case Sort.UPDATED_AT:
                return task.updated_at
            case Sort.DUE_AT:
                return task.due_at
            case Sort.PRIORITY:
                return _RANKS[task.priority]
            case Sort.TITLE:
                return task.title.casefold()
            case _:
                return None

    def _rank(self, position: Position) -> tuple[object, ...]:
        """Return a value that sorts like *position* if the order is ascending, and in reverse if it is descending."""
        # A missing key comes last in both directions.  Positions without a key are compared only with each other.
        is_last = position.key is None
        return (is_last is (self.order is Order.ASC), position.key, position.id)


def sealed(payload: bytes, purpose: bytes) -> str:
    """
    Return the text of a cursor with this *payload*: URL-safe base64, with a checksum that detects changes.

    It needs no secret, as long as the payload gives access to nothing that its sender may not read anyway.

    Args:
        payload: What the cursor contains.
        purpose: Up to eight bytes that tell cursors of this kind from others.
    """
    return _encoded(payload + _check(payload, purpose))


def unsealed(text: str, purpose: bytes) -> bytes:
    """
    Return the payload of a cursor.

    Raises:
        ValueError: The *text* is not exactly what `sealed` returned for this *purpose*.
    """
    raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    payload, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
    # Different texts can decode to the same bytes.
    if check != _check(payload, purpose) or _encoded(raw) != text:
        raise ValueError("the cursor is damaged")
    return payload


def _check(payload: bytes, purpose: bytes) -> bytes:
    return hashlib.blake2s(payload, digest_size=_CHECK_BYTES, person=purpose).digest()


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
