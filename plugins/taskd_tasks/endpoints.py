"""
The endpoints: read the body into a class of the model, make one call of the store, write the answer.

The guard has run before: `request.user.identity` is verified, and it is the path's `{user_id}`.
"""

from __future__ import annotations

from urllib.parse import quote
from uuid import UUID

import attrs
from starlette.requests import Request
from starlette.responses import Response

from taskd import (
    UNSET,
    Completion,
    JSONAnswer,
    NewTask,
    TaskChanges,
    TaskNotFound,
    TaskStore,
    read_json,
    structure,
)

__all__ = ["TaskEndpoints"]


@attrs.frozen
class TaskEndpoints:
    """The six endpoints over one *store*."""

    store: TaskStore

    async def list(self, request: Request) -> Response:
        """Answer all tasks of the user, the newest first."""
        return JSONAnswer(await self.store.list(request.user.identity))

    async def create(self, request: Request) -> Response:
        """Make a task and say where it is."""
        new = structure(await read_json(request), NewTask)
        task = await self.store.create(request.user.identity, new)
        root = request.scope.get("root_path", "").rstrip("/")
        location = f"{root}/api/{quote(task.user_id, safe='')}/tasks/{task.id}"
        return JSONAnswer(task, status_code=201, headers={"Location": location})

    async def get(self, request: Request) -> Response:
        """Answer one task."""
        return JSONAnswer(await self.store.get(request.user.identity, _task_id(request)))

    async def update(self, request: Request) -> Response:
        """Change the fields that the body holds, and keep the others."""
        changes = structure(await read_json(request), TaskChanges)
        return JSONAnswer(await self.store.update(request.user.identity, _task_id(request), changes))

    async def delete(self, request: Request) -> Response:
        """Remove a task for good."""
        await self.store.delete(request.user.identity, _task_id(request))
        return Response(status_code=204)

    async def complete(self, request: Request) -> Response:
        """Complete or reopen a task as the body says; without a word of it, toggle."""
        completion = structure(await read_json(request, without_body={}), Completion)
        owner, task_id = request.user.identity, _task_id(request)
        if completion.is_completed is UNSET:
            return JSONAnswer(await self.store.toggle(owner, task_id))
        return JSONAnswer(await self.store.update(owner, task_id, TaskChanges(is_completed=completion.is_completed)))


def _task_id(request: Request) -> UUID:
    """Return the id in the path.  Only the canonical form (RFC 9562, section 4) names a task."""
    text = request.path_params["id"]
    try:
        task_id = UUID(text)
    except ValueError:
        raise TaskNotFound from None
    if str(task_id) != text:
        raise TaskNotFound
    return task_id
