"""
The task: its fields, and every rule about them.

The field types carry their limits as `msgspec.Meta`, so that the same line of code checks a body and describes it to
clients.  Everything here is a frozen value; nothing here does I/O.
"""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated, Any
from uuid import UUID

import attrs
from msgspec import UNSET, Meta, UnsetType
from uuid_utils.compat import uuid7

__all__ = [
    "UNSET",
    "Completion",
    "Description",
    "DueAt",
    "NewTask",
    "Priority",
    "Status",
    "Task",
    "TaskChanges",
    "Title",
    "UnsetType",
    "is_contradiction",
]


class Status(enum.Enum):
    """Where a task stands.  `COMPLETED` and `Task.is_completed` always say the same."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"


class Priority(enum.Enum):
    """How much a task matters to its owner.  The server attaches no meaning to it."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"


# PostgreSQL cannot store NUL in a text, so no text may hold one, whichever store serves.
Title = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^(?=\s*\S)[^\x00]*$",
        description="a text of 1 to 200 characters, not only white space, without NUL",
    ),
]
Description = Annotated[
    str,
    Meta(max_length=10_000, pattern=r"^[^\x00]*$", description="a text of up to 10,000 characters, without NUL"),
]
DueAt = Annotated[dt.datetime, Meta(tz=True, description="an RFC 3339 date-time with an offset")]


# Without slots, JSON has the fields in this order: with them, msgspec finds them sorted by name.
@attrs.frozen(kw_only=True, slots=False)
class Task:
    """
    A task as it is stored and as clients see it.

    All times are aware and in UTC.  `completed_at` is set exactly when `status` is `COMPLETED`; `updated_at` never goes
    back, even when the clock does.
    """

    id: UUID
    user_id: str
    title: Title
    description: Description | None
    status: Status
    priority: Priority
    due_at: DueAt | None
    is_completed: bool = attrs.field(init=False)
    created_at: dt.datetime
    updated_at: dt.datetime
    completed_at: dt.datetime | None

    def __attrs_post_init__(self) -> None:
        """Derive what must never disagree with the status."""
        object.__setattr__(self, "is_completed", self.status is Status.COMPLETED)

    @classmethod
    def create(cls, owner: str, new: NewTask, now: dt.datetime) -> Task:
        """
        Make the task that *owner* asks for in *new* at the moment *now*.

        The id is a version 7 UUID (RFC 9562, section 5.7), so that ids made later sort later.
        """
        status = new.target_status()
        return cls(
            id=uuid7(),
            user_id=owner,
            title=new.title,
            description=new.description,
            status=status,
            priority=new.priority,
            due_at=new.due_at,
            created_at=now,
            updated_at=now,
            completed_at=now if status is Status.COMPLETED else None,
        )

    def changed(self, changes: TaskChanges, now: dt.datetime) -> Task:
        """Return this task with *changes* made at the moment *now*."""
        moment = max(self.updated_at, now)
        target = changes.target_status()
        status = self.status if target is UNSET else target
        given = {
            field: value
            for field in ("title", "description", "priority", "due_at")
            if (value := getattr(changes, field)) is not UNSET
        }
        completed_at = (self.completed_at or moment) if status is Status.COMPLETED else None
        return _evolve(self, **given, status=status, updated_at=moment, completed_at=completed_at)

    def toggled(self, now: dt.datetime) -> Task:
        """Return this task completed at the moment *now*, or reopened if it was completed already."""
        return self.changed(TaskChanges(is_completed=not self.is_completed), now)


def _evolve(task: Task, **given: Any) -> Task:
    kept = {field.name: getattr(task, field.name) for field in attrs.fields(Task) if field.init}
    return Task(**(kept | given))


@attrs.frozen(kw_only=True)
class NewTask:
    """What a client says of a task that is to be made.  Only the title is required."""

    title: Title
    description: Description | None = None
    status: Status | UnsetType = UNSET
    priority: Priority = Priority.MEDIUM
    due_at: DueAt | None = None
    is_completed: bool | UnsetType = UNSET

    def target_status(self) -> Status:
        """Return the status asked for, by either field; `PENDING` unless told."""
        target = _target_status(self.status, self.is_completed)
        return Status.PENDING if target is UNSET else target


@attrs.frozen(kw_only=True)
class TaskChanges:
    """What is to change in a task: `UNSET` keeps a field, `None` clears one that may be empty."""

    title: Title | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    status: Status | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    due_at: DueAt | UnsetType | None = UNSET
    is_completed: bool | UnsetType = UNSET

    def target_status(self) -> Status | UnsetType:
        """Return the status asked for, by either field; `UNSET` if neither is given."""
        return _target_status(self.status, self.is_completed)


@attrs.frozen(kw_only=True)
class Completion:
    """Whether a task is to be completed; `UNSET` asks for the opposite of what it is."""

    is_completed: bool | UnsetType = UNSET


def is_contradiction(status: Status | UnsetType, is_completed: bool | UnsetType) -> bool:
    """Tell whether the two fields that say if a task is completed are both given and disagree."""
    if status is UNSET or is_completed is UNSET:
        return False
    return is_completed is not (status is Status.COMPLETED)


def _target_status(status: Status | UnsetType, is_completed: bool | UnsetType) -> Status | UnsetType:
    if status is not UNSET or is_completed is UNSET:
        return status
    return Status.COMPLETED if is_completed else Status.PENDING
