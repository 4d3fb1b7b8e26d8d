"""The endpoints of Todo-Backend, for the tasks in one store."""

from __future__ import annotations

import contextlib
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

import attrs
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from taskd.routes import Body, JSONResponse, Returns, list_response, operation, read_body, url_prefix
from taskd.storage import PreconditionFailed, TaskNotFound, TaskStore
from taskd.tasks import UNSET, Task, TaskID
from taskd_todobackend.todos import NewTodo, Todo, TodoChanges

__all__ = ["TodoEndpoints"]

EXAMPLE = Todo(
    UUID("019ab7d4-5c00-7b2a-9d3e-4f5061728394"),
    "Walk the dog",
    completed=False,
    order=95,
    url="https://tasks.example.com/api/alice/todos/019ab7d4-5c00-7b2a-9d3e-4f5061728394",
)
Location = Annotated[str, Meta(description="The `url` of the todo.")]


@attrs.frozen
class TodoEndpoints:
    store: TaskStore

    @operation("listTodos", Returns(200, "The todos.", type=list[Todo], example=[EXAMPLE]))
    async def list(self, request: Request) -> Response:
        """
        List all todos.

        They are all of the user's tasks, newest first. Clients sort them by `order`.
        """
        tasks = (await self.store.list(request.user.identity)).tasks
        root = _root(request)
        return await list_response(request, [Todo.of(task, root) for task in tasks])

    @operation(
        "createTodo",
        Returns(201, "The new todo.", type=Todo, example=EXAMPLE, headers={"Location": Location}),
        body=Body(
            NewTodo, examples={"a title is enough": {"title": "Walk the dog"}, "in place": {"title": "t", "order": 95}}
        ),
    )
    async def create(self, request: Request) -> Response:
        """
        Create a todo.

        It becomes a task, with a tag for its `order`.
        """
        new = await read_body(request, NewTodo)
        todo = Todo.of(await self.store.create(request.user.identity, new.task()), _root(request))
        return JSONResponse(todo, status_code=201, headers={"Location": todo.url})

    @operation("clearTodos", Returns(204, "All todos have been deleted."))
    async def clear(self, request: Request) -> Response:
        """
        Delete all todos.

        **All tasks of the user are deleted**, one after the other. If the storage fails meanwhile, the others are left.
        """
        owner = request.user.identity
        for task in (await self.store.list(owner)).tasks:
            # Another request may have deleted it.
            with contextlib.suppress(TaskNotFound):
                await self.store.delete(owner, task.id)
        return Response(status_code=204)

    @operation(
        "getTodo",
        Returns(200, "The todo.", type=Todo, example=EXAMPLE),
        errors=[404],
        parameters={"id": TaskID},
    )
    async def get(self, request: Request) -> Response:
        """
        Get a todo.

        404 if there is no such todo, or it belongs to another user.
        """
        task = await self.store.get(request.user.identity, _task_id(request))
        return JSONResponse(Todo.of(task, _root(request)))

    @operation(
        "changeTodo",
        Returns(200, "The todo as it is now.", type=Todo, example=EXAMPLE),
        body=Body(TodoChanges, examples={"complete": {"completed": True}, "move": {"order": 95}}),
        errors=[404],
        parameters={"id": TaskID},
    )
    async def change(self, request: Request) -> Response:
        """
        Change some fields of a todo.

        Fields that you leave out keep their values.
        """
        wanted = await read_body(request, TodoChanges)
        task = await self._changed(request.user.identity, _task_id(request), wanted)
        return JSONResponse(Todo.of(task, _root(request)))

    @operation("deleteTodo", Returns(204, "The todo has been deleted."), errors=[404], parameters={"id": TaskID})
    async def delete(self, request: Request) -> Response:
        """
        Delete a todo.

        The task is deleted permanently.
        """
        await self.store.delete(request.user.identity, _task_id(request))
        return Response(status_code=204)

    async def _changed(self, owner: str, task_id: UUID, wanted: TodoChanges) -> Task:
        if wanted.order is UNSET:
            return await self.store.update(owner, task_id, wanted.changes())
        while True:
            task = await self.store.get(owner, task_id)
            # Tags are replaced as a whole, so they must not have changed since they were read.
            with contextlib.suppress(PreconditionFailed):
                return await self.store.update(owner, task_id, wanted.changes(task.tags), version=task.version)


def _root(request: Request) -> str:
    """Return the URL of the user's todos, as the client knows it."""
    path = f"{url_prefix(request)}/api/{quote(request.user.identity, safe='')}/todos"
    return f"{request.url.scheme}://{request.url.netloc}{path}"


def _task_id(request: Request) -> UUID:
    """Return the id in the path, which must be in canonical form."""
    text = request.path_params["id"]
    try:
        task_id = UUID(text)
    except ValueError:
        raise TaskNotFound from None
    if str(task_id) != text:
        raise TaskNotFound
    return task_id
