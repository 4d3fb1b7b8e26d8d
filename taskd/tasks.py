"""
The task: its fields, and every rule about them.

The rules are the fields' types and validators.  They apply to constructors and request bodies, and the API document is
generated from them.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar
from uuid import RFC_4122, UUID

import attrs
from msgspec import UNSET, Meta, UnsetType
from uuid_utils.compat import uuid7

from taskd.fields import DATE_TIME, MustBe, in_utc, validated

__all__ = [
    "COMPLETION",
    "CONSISTENT",
    "UNSET",
    "Completion",
    "Description",
    "DueAt",
    "NewTask",
    "Priority",
    "Status",
    "Tag",
    "Tags",
    "Task",
    "TaskChanges",
    "TaskID",
    "Title",
    "UnsetType",
    "check_new_id",
    "time_of",
]


class Status(enum.Enum):
    """The progress of a task: `pending`, `in_progress`, or `completed`, which makes `is_completed` true."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"


class Priority(enum.Enum):
    """How important a task is, in ascending order: `low`, `medium`, `high`, `urgent`."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"


# In characters.
_MAX_TITLE = 200
_MAX_DESCRIPTION = 10_000
_MAX_TAG = 50
_MAX_TAGS = 20
# White space, written out, because clients also check titles with this pattern, and `\s` differs between dialects of
# regular expressions.  Only the line and paragraph separators are left to `\s`: some generators of JavaScript code
# unescape patterns, and a regular expression literal must not contain these two characters.
_SPACE = r"\s\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
# JavaScript's `\s` includes this character, which does not count as white space here.
_NO_SPACE = r"\ufeff"
# Some databases cannot store NUL in text, so it is refused whatever the store.
_NOT_BLANK = rf"^[{_SPACE}]*([^\x00{_SPACE}]|{_NO_SPACE})[^\x00]*$"
Title = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=_MAX_TITLE,
        pattern=_NOT_BLANK,
        description="What is to be done. Not only white space, and no NUL character. Stored exactly as sent.",
    ),
    MustBe(f"a text of 1 to {_MAX_TITLE} characters, not only white space, without NUL"),
]
Description = Annotated[
    str,
    Meta(max_length=_MAX_DESCRIPTION, pattern=r"^[^\x00]*$", description="More about it. No NUL character."),
    MustBe(f"a text of up to {_MAX_DESCRIPTION:,} characters, without NUL"),
]
# Times are stored in UTC, in the years 1 to 9999, and rounding a seventh decimal must not lead to the year 10000.
_IN_RANGE = r"(?!0000)(?!0001-01-01.*\+(?!00:00))(?!9999-12-31.*:.*-(?!00:00))(?!9999-12-31.23:59:59\.9{6}[5-9])"
DueAt = Annotated[
    dt.datetime,
    Meta(
        tz=True,
        description="When it is due: RFC 3339, with an offset. Responses have it in UTC.",
        extra_json_schema={"pattern": f"^{_IN_RANGE}{DATE_TIME}$"},
    ),
    MustBe("an RFC 3339 date-time with an offset"),
]
Tag = Annotated[str, Meta(min_length=1, max_length=_MAX_TAG, pattern=_NOT_BLANK)]
"""A tag: up to 50 characters, of which one is no white space."""
Tags = Annotated[
    tuple[Tag, ...],
    Meta(
        max_length=_MAX_TAGS,
        description="Labels, each not only white space, and without NUL. Stored exactly as sent, in the same order, but"
        " without repetitions.",
    ),
    MustBe(f"a list of up to {_MAX_TAGS} texts of 1 to {_MAX_TAG} characters, not only white space, without NUL"),
]
Moment = Annotated[dt.datetime, Meta(tz=True)]
TaskID = Annotated[
    UUID, Meta(description="The task's id, exactly as the server returned it: a UUID in lower case, with hyphens.")
]
IsCompleted = Annotated[bool, Meta(description="Whether `status` is `completed`."), MustBe("true or false")]
Completed = Annotated[bool, Meta(description="The same as `is_completed`."), MustBe("true or false")]


def _distinct(tags: Any) -> Any:
    """Drop repeated *tags*; as an attrs converter, this runs before the validator, which reports wrong values."""
    # The limit counts what was sent.
    if not isinstance(tags, (list, tuple)) or len(tags) > _MAX_TAGS:
        return tags
    try:
        return tuple(dict.fromkeys(tags))
    except TypeError:
        return tags


# With slots, msgspec would write the fields sorted by name, not in this order.
@attrs.frozen(kw_only=True, slots=False)
class Task:
    """
    A task as stored.

    All times are in UTC. `completed_at` is set exactly when `status` is `completed`. `updated_at` never decreases, even
    if the clock is set back.
    """

    # There are no validators: a task is made from a `NewTask`, from `TaskChanges` or from what is in a store, all of
    # which have already been checked.

    id: TaskID
    user_id: Annotated[str, Meta(description="The user who owns the task.")]
    title: Title
    description: Description | None
    status: Status
    priority: Priority
    due_at: DueAt | None
    tags: Tags
    is_completed: IsCompleted = attrs.field(init=False)
    completed: Completed = attrs.field(init=False)
    created_at: Annotated[Moment, Meta(description="When it was created.")]
    updated_at: Annotated[Moment, Meta(description="When it was last changed.")]
    completed_at: Annotated[Moment, Meta(description="When it was completed; null if it is not.")] | None
    version: Annotated[int, Meta(ge=0, description="Rises with every change. Also in `ETag`; see `If-Match`.")]

    def __attrs_pre_init__(self) -> None:
        """Put the fields in order: msgspec writes them in the order in which they were first set."""
        vars(self).update(_IN_ORDER)

    def __attrs_post_init__(self) -> None:
        """Derive `is_completed` and `completed` from the status."""
        is_completed = self.status is Status.COMPLETED
        vars(self).update(is_completed=is_completed, completed=is_completed)

    @classmethod
    def create(cls, owner: str, new: NewTask, now: dt.datetime, *, task_id: UUID | None = None, version: int) -> Task:
        """
        Return the task that *owner* creates from *new* at the time *now*.

        Without a *task_id*, the id is a new version 7 UUID (RFC 9562, section 5.7), so that later ids sort later.  If
        the client chose the *task_id*, the task's creation time is the time in that id.
        """
        created_at = now if task_id is None else time_of(task_id)
        changed_at = max(created_at, now)
        status = new.target_status()
        return cls(
            id=task_id or uuid7(),
            user_id=owner,
            title=new.title,
            description=new.description,
            status=status,
            priority=new.priority,
            due_at=new.due_at,
            tags=new.tags,
            created_at=created_at,
            updated_at=changed_at,
            completed_at=changed_at if status is Status.COMPLETED else None,
            version=version,
        )

    @classmethod
    def stored(cls, values: Sequence[Any]) -> Task:
        """
        Return a task, like the constructor, but several times faster.

        Args:
            values: The values of the fields that the constructor takes, in their order.
        """
        (
            task_id,
            user_id,
            title,
            description,
            status,
            priority,
            due_at,
            tags,
            created_at,
            updated_at,
            completed_at,
            version,
        ) = values
        task = object.__new__(cls)
        is_completed = status is Status.COMPLETED
        fields = {
            "id": task_id,
            "user_id": user_id,
            "title": title,
            "description": description,
            "status": status,
            "priority": priority,
            "due_at": due_at,
            "tags": tags,
            "is_completed": is_completed,
            "completed": is_completed,
            "created_at": created_at,
            "updated_at": updated_at,
            "completed_at": completed_at,
            "version": version,
        }
        # The class is frozen, but this is a new object.
        object.__setattr__(task, "__dict__", fields)
        return task

    def changed(self, changes: TaskChanges, now: dt.datetime, *, version: int) -> Task:
        """Return this task at a new *version*, with *changes* made at the time *now*."""
        moment = max(self.updated_at, now)
        target = changes.target_status()
        status = self.status if target is UNSET else target
        given = {
            field: value
            for field in ("title", "description", "priority", "due_at", "tags")
            if (value := getattr(changes, field)) is not UNSET
        }
        completed_at = (self.completed_at or moment) if status is Status.COMPLETED else None
        return _evolve(self, **given, status=status, updated_at=moment, completed_at=completed_at, version=version)

    def toggled(self, now: dt.datetime, *, version: int) -> Task:
        """Return this task, completed at the time *now*, or reopened if it was completed."""
        return self.changed(TaskChanges(is_completed=not self.is_completed), now, version=version)

    def at_version(self, version: int) -> Task:
        """Return this task at another *version*."""
        task = object.__new__(Task)
        vars(task).update(vars(self), version=version)
        return task


def time_of(task_id: UUID) -> dt.datetime:
    """Return when *task_id*, a version 7 UUID, was created, to the millisecond (RFC 9562, section 5.7)."""
    return _EPOCH + dt.timedelta(milliseconds=task_id.int >> 80)


def check_new_id(task_id: UUID, now: dt.datetime) -> None:
    """
    Check an id that a client chose for a new task.

    Raises:
        ValueError: It is not a version 7 UUID, or its time is more than a day after *now*.
    """
    if task_id.variant != RFC_4122 or task_id.version != 7:
        raise ValueError("must be a version 7 UUID")
    if task_id.int >> 80 > (now + _MAX_AHEAD - _EPOCH) // dt.timedelta(milliseconds=1):
        raise ValueError("must not be from the future")


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
# Clients' clocks may be wrong.
_MAX_AHEAD = dt.timedelta(days=1)
_IN_ORDER = dict.fromkeys(field.name for field in attrs.fields(Task))


def _evolve(task: Task, **given: Any) -> Task:
    kept = {field.name: getattr(task, field.name) for field in attrs.fields(Task) if field.init}
    return Task(**(kept | given))


def _contradict(status: Status, is_completed: bool) -> bool:
    return is_completed is not (status is Status.COMPLETED)


def _agrees(instance: NewTask | TaskChanges | Completion, flag: attrs.Attribute[Any], value: bool | UnsetType) -> None:
    """Refuse a flag that contradicts the status or, without a status, `is_completed`."""
    if value is UNSET:
        return
    if instance.status is not UNSET:
        if _contradict(instance.status, value):
            raise ValueError(f'{flag.name} must be true exactly when status is "completed"')
    elif instance.is_completed is not UNSET and value is not instance.is_completed:
        raise ValueError(f"{flag.name} must be the same as is_completed")


# The same rules for the API document.


def _never(*refused: dict[str, Any]) -> Meta:
    """Refuse what matches one of these schemas.  `oneOf` would refuse it, too, but would appear in generated types."""
    return Meta(extra_json_schema={"not": {"anyOf": refused}})


def _all(**values: dict[str, Any]) -> dict[str, Any]:
    """Return a schema for objects in which all of these fields are given, with such *values*."""
    return {"required": list(values), "properties": values}


_CONTRADICTING_FLAGS = [_all(is_completed={"const": flag}, completed={"const": not flag}) for flag in (True, False)]
CONSISTENT = _never(
    *[
        _all(
            status={"enum": [status.value for status in Status if _contradict(status, flag)]}, **{name: {"const": flag}}
        )
        for name in ("is_completed", "completed")
        for flag in (True, False)
    ],
    *_CONTRADICTING_FLAGS,
)
"""What JSON Schema must say about `NewTask` and `TaskChanges`: `status` and the flags agree."""
COMPLETION = _never(
    {"minProperties": 1, "properties": {"is_completed": False, "completed": False}}, *_CONTRADICTING_FLAGS
)
"""What JSON Schema must say about `Completion`: a known key, unless it is empty, and no contradiction."""


@attrs.frozen(kw_only=True, field_transformer=validated)
class NewTask:
    """
    A task to create. Only `title` is required.

    The default of `status` is `pending`, and that of `priority` is `medium`.
    """

    title: Title
    description: Description | None = None
    status: Status | UnsetType = UNSET
    priority: Priority = Priority.MEDIUM
    due_at: DueAt | None = attrs.field(default=None, converter=in_utc)
    tags: Tags = attrs.field(default=(), converter=_distinct)
    is_completed: IsCompleted | UnsetType = attrs.field(default=UNSET, validator=_agrees)
    completed: Completed | UnsetType = attrs.field(default=UNSET, validator=_agrees)

    def target_status(self) -> Status:
        """Return the status requested by `status`, `is_completed` or `completed`; `PENDING` by default."""
        target = _target_status(self)
        return Status.PENDING if target is UNSET else target


@attrs.frozen(kw_only=True, field_transformer=validated)
class TaskChanges:
    """
    The fields to change.

    A field that is left out keeps its value. `null` clears `description` and `due_at`. `tags` replaces all tags.
    """

    title: Title | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    status: Status | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    due_at: DueAt | UnsetType | None = attrs.field(default=UNSET, converter=in_utc)
    tags: Tags | UnsetType = attrs.field(default=UNSET, converter=_distinct)
    is_completed: IsCompleted | UnsetType = attrs.field(default=UNSET, validator=_agrees)
    completed: Completed | UnsetType = attrs.field(default=UNSET, validator=_agrees)

    def target_status(self) -> Status | UnsetType:
        """Return the status requested by `status`, `is_completed` or `completed`; `UNSET` if none is given."""
        return _target_status(self)


@attrs.frozen(kw_only=True, field_transformer=validated)
class Completion:
    """
    Whether the task is completed.

    An empty object toggles the task. An object with other keys only is refused: it must not toggle by mistake.
    """

    status: ClassVar[UnsetType] = UNSET
    needs_known_key: ClassVar[bool] = True

    is_completed: IsCompleted | UnsetType = attrs.field(default=UNSET, validator=_agrees)
    completed: Completed | UnsetType = attrs.field(default=UNSET, validator=_agrees)

    def target_status(self) -> Status | UnsetType:
        """Return the status requested by `is_completed` or `completed`; `UNSET` to toggle the task."""
        return _target_status(self)


def _target_status(given: NewTask | TaskChanges | Completion) -> Status | UnsetType:
    is_completed = given.completed if given.is_completed is UNSET else given.is_completed
    if given.status is not UNSET or is_completed is UNSET:
        return given.status
    return Status.COMPLETED if is_completed else Status.PENDING
