"""
The task endpoints: each reads the body into a model class, calls the store once and writes the response.

The guard has already verified that `request.user.identity` is the path's `{user_id}`.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

import attrs
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from taskd.routes import Body, JSONResponse, Returns, list_response, operation, read_body, url_prefix
from taskd.storage import TaskNotFound, TaskStore
from taskd.tasks import COMPLETION, CONSISTENT, UNSET, Completion, NewTask, Priority, Status, Task, TaskChanges, TaskID

__all__ = ["TaskEndpoints"]

Location = Annotated[str, Meta(description="Where the task is.")]

# The examples in the API document.
OPEN = Task(
    id=UUID("019ab7d4-5c00-7b2a-9d3e-4f5061728394"),
    user_id="dev",
    title="Water the plants",
    description=None,
    status=Status.PENDING,
    priority=Priority.HIGH,
    due_at=dt.datetime(2026, 11, 27, 17, 0, tzinfo=dt.timezone.utc),
    tags=("home",),
    created_at=dt.datetime(2026, 11, 25, 8, 30, 12, 345678, tzinfo=dt.timezone.utc),
    updated_at=dt.datetime(2026, 11, 25, 8, 30, 12, 345678, tzinfo=dt.timezone.utc),
    completed_at=None,
)
DONE = OPEN.toggled(dt.datetime(2026, 11, 26, 18, 4, 5, 678901, tzinfo=dt.timezone.utc))


@attrs.frozen
class TaskEndpoints:
    """The six endpoints for the tasks in one *store*."""

    store: TaskStore

    @operation("listTasks", Returns(200, "All tasks.", type=list[Task], example=[OPEN]))
    async def list(self, request: Request) -> Response:
        """
        List all tasks.

        Returns all tasks of the user, newest first; `[]` if there are none.
        """
        return await list_response(request, await self.store.list(request.user.identity))

    @operation(
        "createTask",
        Returns(201, "The task, as it is stored.", type=Task, example=OPEN, headers={"Location": Location}),
        body=Body(
            Annotated[NewTask, CONSISTENT],
            examples={
                "a title is enough": {"title": "Water the plants"},
                "with more fields": {
                    "title": "Water the plants",
                    "description": "Not the cactus.",
                    "priority": "high",
                    "due_at": "2026-11-27T18:00:00+01:00",
                    "tags": ["home"],
                },
            },
        ),
    )
    async def create(self, request: Request) -> Response:
        """
        Create a task.

        The server sets `id`, `user_id`, `created_at`, `updated_at` and `completed_at`. If the body has them, they are
        ignored.
        """
        new = await read_body(request, NewTask)
        task = await self.store.create(request.user.identity, new)
        location = f"{url_prefix(request)}/api/{quote(task.user_id, safe='')}/tasks/{task.id}"
        return JSONResponse(task, status_code=201, headers={"Location": location})

    @operation("getTask", Returns(200, "The task.", type=Task, example=OPEN), errors=[404], parameters={"id": TaskID})
    async def get(self, request: Request) -> Response:
        """
        Get a task.

        404 if there is no such task, or if it is another user's.
        """
        return JSONResponse(await self.store.get(request.user.identity, _task_id(request)))

    @operation(
        "updateTask",
        Returns(200, "The task, as it is now.", type=Task, example=DONE),
        body=Body(
            Annotated[TaskChanges, CONSISTENT],
            examples={
                "one field": {"status": "completed"},
                "clear the optional fields": {"description": None, "due_at": None, "tags": []},
            },
        ),
        errors=[404],
        parameters={"id": TaskID},
    )
    async def update(self, request: Request) -> Response:
        """
        Change some fields of a task.

        Fields that you leave out keep their values. `null` clears `description` and `due_at`. `tags` replaces all tags.
        `is_completed: false` without `status` sets `status` to `pending`, even if it was `in_progress`.
        """
        changes = await read_body(request, TaskChanges)
        return JSONResponse(await self.store.update(request.user.identity, _task_id(request), changes))

    @operation("deleteTask", Returns(204, "The task is gone."), errors=[404], parameters={"id": TaskID})
    async def delete(self, request: Request) -> Response:
        """
        Delete a task.

        The task is deleted permanently.
        """
        await self.store.delete(request.user.identity, _task_id(request))
        return Response(status_code=204)

    @operation(
        "completeTask",
        Returns(200, "The task, as it is now.", type=Task, example=DONE),
        body=Body(
            Annotated[Completion, COMPLETION],
            examples={"toggle": {}, "complete": {"is_completed": True}, "reopen": {"is_completed": False}},
            is_required=False,
        ),
        errors=[404],
        parameters={"id": TaskID},
    )
    async def complete(self, request: Request) -> Response:
        """
        Complete or reopen a task.

        Without a body, or with an empty one (`{}`), the task is toggled atomically. If you may send a request twice,
        send `is_completed`. A body with other keys only gets a 422. A task that is reopened becomes `pending`, and its
        `completed_at` becomes null.
        """
        status = (await read_body(request, Completion, is_required=False)).target_status()
        owner, task_id = request.user.identity, _task_id(request)
        if status is UNSET:
            return JSONResponse(await self.store.toggle(owner, task_id))
        return JSONResponse(await self.store.update(owner, task_id, TaskChanges(status=status)))


def _task_id(request: Request) -> UUID:
    """Return the id in the path, which must be in canonical form (RFC 9562, section 4)."""
    text = request.path_params["id"]
    try:
        task_id = UUID(text)
    except ValueError:
        raise TaskNotFound from None
    if str(task_id) != text:
        raise TaskNotFound
    return task_id
