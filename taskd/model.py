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
    "CONSISTENT",
    "DATE_TIME",
    "UNSET",
    "Completion",
    "Description",
    "DueAt",
    "NewTask",
    "Priority",
    "Status",
    "Task",
    "TaskChanges",
    "TaskID",
    "Title",
    "UnsetType",
    "Wanted",
    "is_contradiction",
]


class Status(enum.Enum):
    """Where a task stands: `pending`, `in_progress`, or `completed`, which is what `is_completed` says, too."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"


class Priority(enum.Enum):
    """How much a task matters, from the least to the most: `low`, `medium`, `high`, `urgent`."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"


@attrs.frozen
class Wanted:
    """
    What a field takes, in the *words* of the fault when something else came: "must be" and these.

    It goes into the field's `Annotated` type, beside `msgspec.Meta`, whose `description` is for the API document.
    """

    words: str


# What is white space, written out: what `\s` means differs from one dialect of regular expressions to the next, and
# clients check by their own.
_SPACE = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# PostgreSQL cannot store NUL in a text, so no text may hold one, whichever store serves.
Title = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=rf"^[{_SPACE}]*[^\x00{_SPACE}][^\x00]*$",
        description="What is to be done. Not only white space, and no NUL character. Stored exactly as sent.",
    ),
    Wanted("a text of 1 to 200 characters, not only white space, without NUL"),
]
Description = Annotated[
    str,
    Meta(max_length=10_000, pattern=r"^[^\x00]*$", description="More about it. No NUL character."),
    Wanted("a text of up to 10,000 characters, without NUL"),
]
# RFC 3339, section 5.6, less what no calendar has: a 13th month, a 25th hour, a leap second.
DATE_TIME = (
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)
# Times are kept in UTC, in the years 1 to 9999.
# A seventh decimal is rounded, and must not round to the year 10000.
_IN_RANGE = r"(?!0000)(?!0001-01-01.*\+(?!00:00))(?!9999-12-31.*:.*-(?!00:00))(?!9999-12-31.23:59:59\.9{6}[5-9])"
DueAt = Annotated[
    dt.datetime,
    Meta(
        tz=True,
        description="When it is due: RFC 3339, with an offset. Responses have it in UTC.",
        extra_json_schema={"pattern": f"^{_IN_RANGE}{DATE_TIME}$"},
    ),
    Wanted("an RFC 3339 date-time with an offset"),
]
Moment = Annotated[dt.datetime, Meta(tz=True)]
TaskID = Annotated[
    UUID, Meta(description="The task's id, exactly as the server returned it: a UUID in lower case, with hyphens.")
]
IsCompleted = Annotated[bool, Meta(description="Whether `status` is `completed`."), Wanted("true or false")]


# Without slots, JSON has the fields in this order: with them, msgspec finds them sorted by name.
@attrs.frozen(kw_only=True, slots=False)
class Task:
    """
    A task, as it is stored.

    All times are in UTC. `completed_at` is set exactly when `status` is `completed`. `updated_at` never goes back, even
    when the clock does.
    """

    id: TaskID
    user_id: Annotated[str, Meta(description="The user whose task it is.")]
    title: Title
    description: Description | None
    status: Status
    priority: Priority
    due_at: DueAt | None
    is_completed: IsCompleted = attrs.field(init=False)
    created_at: Annotated[Moment, Meta(description="When it was created.")]
    updated_at: Annotated[Moment, Meta(description="When it was last changed.")]
    completed_at: Annotated[Moment, Meta(description="When it was completed; null if it is not.")] | None

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
    """
    A task to create. Only `title` is required.

    The default of `status` is `pending`, and that of `priority` is `medium`.
    """

    title: Title
    description: Description | None = None
    status: Status | UnsetType = UNSET
    priority: Priority = Priority.MEDIUM
    due_at: DueAt | None = None
    is_completed: IsCompleted | UnsetType = UNSET

    def target_status(self) -> Status:
        """Return the status asked for, by either field; `PENDING` unless told."""
        target = _target_status(self.status, self.is_completed)
        return Status.PENDING if target is UNSET else target


@attrs.frozen(kw_only=True)
class TaskChanges:
    """
    The fields to change.

    A field that is left out keeps its value. `null` clears `description` and `due_at`.
    """

    title: Title | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    status: Status | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    due_at: DueAt | UnsetType | None = UNSET
    is_completed: IsCompleted | UnsetType = UNSET

    def target_status(self) -> Status | UnsetType:
        """Return the status asked for, by either field; `UNSET` if neither is given."""
        return _target_status(self.status, self.is_completed)


@attrs.frozen(kw_only=True)
class Completion:
    """Whether the task is to be completed. If `is_completed` is left out, the opposite of what it is now."""

    is_completed: IsCompleted | UnsetType = UNSET


# The same rule, for clients; without a branch in the types that are generated from it.
CONSISTENT = Meta(
    extra_json_schema={
        "not": {
            "anyOf": [
                {
                    "required": ["status", "is_completed"],
                    "properties": {
                        "status": {"enum": [status.value for status in Status if (status is Status.COMPLETED) != flag]},
                        "is_completed": {"const": flag},
                    },
                }
                for flag in (True, False)
            ]
        }
    }
)


def is_contradiction(status: Status | UnsetType, is_completed: bool | UnsetType) -> bool:
    """Tell whether the two fields that say if a task is completed are both given and disagree."""
    if status is UNSET or is_completed is UNSET:
        return False
    return is_completed is not (status is Status.COMPLETED)


def _target_status(status: Status | UnsetType, is_completed: bool | UnsetType) -> Status | UnsetType:
    if status is not UNSET or is_completed is UNSET:
        return status
    return Status.COMPLETED if is_completed else Status.PENDING
