"""The hook of Todo-Backend's API."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import Route

from taskd import hookimpl
from taskd.storage import TaskStore
from taskd_todobackend.endpoints import TodoEndpoints

__all__ = ["taskd_routes"]


@hookimpl
def taskd_routes(store: TaskStore) -> Sequence[Route]:
    todos = TodoEndpoints(store)
    root, item = "/api/{user_id}/todos", "/api/{user_id}/todos/{id}"
    return [
        Route(root, todos.list, methods=["GET"]),
        Route(root, todos.create, methods=["POST"]),
        Route(root, todos.clear, methods=["DELETE"]),
        Route(item, todos.get, methods=["GET"]),
        Route(item, todos.change, methods=["PATCH"]),
        Route(item, todos.delete, methods=["DELETE"]),
    ]
