"""What the tools accept and return.  The rules are those of the task itself."""

from __future__ import annotations

from typing import Annotated

import attrs
from msgspec import Meta

from taskd.fields import MustBe, in_utc, validated
from taskd.queries import Order, Sort
from taskd.tasks import DueAt, Priority, Status, Tag, Task, TaskChanges, TaskID

__all__ = ["CompleteTask", "Deleted", "ListTasks", "SearchTasks", "TaskList", "ThisTask", "UpdateTask"]

DEFAULT_LIMIT = 50
MAX_LIMIT = 100
MAX_SEARCH = 200

ExistingID = Annotated[TaskID, MustBe("the id of a task: a UUID")]
Statuses = Annotated[
    tuple[Status, ...],
    Meta(description="Only tasks with one of these. By default, with any."),
    MustBe("a list of pending, in_progress, completed"),
]
Priorities = Annotated[
    tuple[Priority, ...],
    Meta(description="Only tasks with one of these. By default, with any."),
    MustBe("a list of low, medium, high, urgent"),
]
AllTags = Annotated[
    tuple[Tag, ...], Meta(description="Only tasks that have all of these tags."), MustBe("a list of tags")
]
DueAfter = Annotated[DueAt, Meta(description="Only tasks due at this time or later: RFC 3339, with an offset.")]
DueBefore = Annotated[DueAt, Meta(description="Only tasks due before this time: RFC 3339, with an offset.")]
SortBy = Annotated[Sort, Meta(description="What to sort by. Tasks without `due_at` come last.")]
InOrder = Annotated[Order, Meta(description="By default, `asc` for `due_at` and `title`, and `desc` for the others.")]
Limit = Annotated[
    int,
    Meta(ge=1, le=MAX_LIMIT, description="The most tasks to return."),
    MustBe(f"a whole number from 1 to {MAX_LIMIT}"),
]
PageCursor = Annotated[
    str, Meta(description="The `next_cursor` of the previous page. All other arguments except `limit` may be left out.")
]
Search = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_SEARCH,
        pattern=r"^[^\x00]*$",
        description="The text that the title or the description must contain, regardless of case.",
    ),
    MustBe(f"a text of 1 to {MAX_SEARCH} characters, without NUL"),
]
IsDone = Annotated[bool, Meta(description="`false` reopens the task."), MustBe("true or false")]


@attrs.frozen(kw_only=True, field_transformer=validated)
class ListTasks:
    """Which tasks to list, and in which order. By default, all of them, newest first."""

    status: Statuses = ()
    priority: Priorities = ()
    tags: AllTags = ()
    due_after: DueAfter | None = attrs.field(default=None, converter=in_utc)
    due_before: DueBefore | None = attrs.field(default=None, converter=in_utc)
    sort: SortBy = Sort.CREATED_AT
    order: InOrder | None = None
    limit: Limit = DEFAULT_LIMIT
    cursor: PageCursor | None = None


@attrs.frozen(kw_only=True, field_transformer=validated)
class SearchTasks(ListTasks):
    """What to search for, and in which tasks. By default, in all of them, newest first."""

    text: Search


@attrs.frozen(kw_only=True, field_transformer=validated)
class ThisTask:
    """Which task."""

    id: ExistingID


@attrs.frozen(kw_only=True, field_transformer=validated)
class CompleteTask(ThisTask):
    """Which task to complete or to reopen."""

    completed: IsDone = True


@attrs.frozen(kw_only=True, field_transformer=validated)
class UpdateTask(TaskChanges):
    """
    Which task to change, and the fields to change.

    A field that is left out keeps its value. `null` clears `description` and `due_at`. `tags` replaces all tags.
    """

    id: ExistingID

    def changes(self) -> TaskChanges:
        """Return what to change."""
        return TaskChanges(**{field.name: getattr(self, field.name) for field in attrs.fields(TaskChanges)})


# Without slots, so that the fields appear in the JSON in this order.
@attrs.frozen(slots=False)
class TaskList:
    """A page of tasks."""

    tasks: Annotated[list[Task], Meta(description="The tasks, in the order that was asked for.")]
    next_cursor: Annotated[str, Meta(description="Leads to the next page; null if this is the last one.")] | None


@attrs.frozen(slots=False)
class Deleted:
    """The task that has been deleted."""

    id: TaskID
