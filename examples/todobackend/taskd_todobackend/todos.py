"""
What Todo-Backend calls a todo: a task with four of its fields.

A task has no `order`, so it is kept in one of its tags, such as `order:95`.  So it is stored, changed and deleted
together with the task, by any store; other clients see a tag.
"""

from __future__ import annotations

import re
from typing import Annotated

import attrs
from msgspec import Meta

from taskd.fields import MustBe, validated
from taskd.routes import FieldError, InvalidBody
from taskd.tasks import UNSET, NewTask, Task, TaskChanges, TaskID, Title, UnsetType

__all__ = ["NewTodo", "Todo", "TodoChanges"]

# JavaScript represents larger numbers only approximately.
MOST = 2**53 - 1
Order = Annotated[
    int,
    Meta(ge=-MOST, le=MOST, description="The place in the list, which clients sort."),
    MustBe(f"a whole number from -{MOST} to {MOST}"),
]
Completed = Annotated[bool, MustBe("true or false")]

_TAG = re.compile("order:(-?[0-9]{1,16})", re.ASCII)


# Without slots, so that the fields appear in the JSON in this order.
@attrs.frozen(slots=False)
class Todo:
    """A todo as Todo-Backend's clients know it."""

    id: TaskID
    title: Title
    completed: bool
    order: Order | None
    url: Annotated[str, Meta(description="Where it can be read, changed and deleted.")]

    @classmethod
    def of(cls, task: Task, root: str) -> Todo:
        """Return *task* as a todo below the URL *root*."""
        found = next(filter(None, map(_TAG.fullmatch, task.tags)), None)
        return cls(task.id, task.title, task.completed, int(found[1]) if found else None, f"{root}/{task.id}")


@attrs.frozen(kw_only=True, field_transformer=validated)
class NewTodo:
    """A todo to create. Only `title` is required."""

    title: Title
    completed: Completed = False
    order: Order | None = None

    def task(self) -> NewTask:
        """Return the task to create."""
        return NewTask(title=self.title, completed=self.completed, tags=_ordered((), self.order))


@attrs.frozen(kw_only=True, field_transformer=validated)
class TodoChanges:
    """The fields to change. `null` removes `order`."""

    title: Title | UnsetType = UNSET
    completed: Completed | UnsetType = UNSET
    order: Order | UnsetType | None = UNSET

    def changes(self, tags: tuple[str, ...] = ()) -> TaskChanges:
        """Return the changes to a task that has these *tags*, which only matter if `order` is given."""
        new = UNSET if self.order is UNSET else _ordered(tags, self.order)
        try:
            return TaskChanges(title=self.title, completed=self.completed, tags=new)
        except ValueError:
            # The title has been checked already.
            message = f"cannot be kept, because it needs a tag, and the task has {len(tags)} others"
            raise InvalidBody(FieldError("order", message)) from None


def _ordered(tags: tuple[str, ...], order: int | None) -> tuple[str, ...]:
    """Return *tags* with this *order* in place of another."""
    others = tuple(tag for tag in tags if not _TAG.fullmatch(tag))
    return others if order is None else (*others, f"order:{order}")
