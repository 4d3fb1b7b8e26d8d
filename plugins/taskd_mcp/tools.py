"""The tools: what each does with the tasks of the user who calls it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from taskd.tasks import NewTask, Status, Task, TaskChanges
from taskd_mcp import lists
from taskd_mcp.arguments import CompleteTask, Deleted, ListTasks, SearchTasks, TaskList, ThisTask, UpdateTask
from taskd_mcp.calls import Call

__all__ = ["TOOLS", "Tool"]


# An assistant reads the docstrings.


async def add_task(call: Call) -> Task:
    """Add a task to the user's list. Only `title` is required."""
    return await call.store.create(call.owner, call.read(NewTask))


async def list_tasks(call: Call) -> TaskList:
    """List the user's tasks, page by page. To get the next page, pass `next_cursor` as `cursor`, unless it is null."""
    return await lists.page(call, "list_tasks", ListTasks)


async def search_tasks(call: Call) -> TaskList:
    """Find the user's tasks by a text in the title or the description. Otherwise, this is like `list_tasks`."""
    return await lists.page(call, "search_tasks", SearchTasks)


async def update_task(call: Call) -> Task:
    """Change some fields of a task. `list_tasks` and `search_tasks` return its id."""
    asked = call.read(UpdateTask)
    return await call.store.update(call.owner, asked.id, asked.changes())


async def complete_task(call: Call) -> Task:
    """Mark a task as completed, or reopen it. `list_tasks` and `search_tasks` return its id."""
    asked = call.read(CompleteTask)
    status = Status.COMPLETED if asked.completed else Status.PENDING
    return await call.store.update(call.owner, asked.id, TaskChanges(status=status))


async def delete_task(call: Call) -> Deleted:
    """Delete a task permanently. This cannot be undone, so ask the user first."""
    asked = call.read(ThisTask)
    await call.store.delete(call.owner, asked.id)
    return Deleted(asked.id)


@attrs.frozen
class Tool:
    """
    A tool, which has the name and the docstring of its function.

    Attributes:
        run: What it does.
        accepts: The class of its arguments.
        returns: The class of its result.
        only_reads: Whether it changes nothing.
        destroys: Whether it may overwrite or delete something.
        is_repeatable: Whether repeating a call has no further effect.
    """

    run: Callable[[Call], Awaitable[object]]
    accepts: type
    returns: type
    only_reads: bool = False
    destroys: bool = False
    is_repeatable: bool = True

    @property
    def name(self) -> str:
        """The name by which clients call it."""
        return self.run.__name__


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(add_task, NewTask, Task, is_repeatable=False),
        Tool(list_tasks, ListTasks, TaskList, only_reads=True),
        Tool(search_tasks, SearchTasks, TaskList, only_reads=True),
        Tool(update_task, UpdateTask, Task, destroys=True),
        Tool(complete_task, CompleteTask, Task),
        Tool(delete_task, ThisTask, Deleted, destroys=True),
    )
}
