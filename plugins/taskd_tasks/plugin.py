"""The hook that this plugin implements."""

from __future__ import annotations

from starlette.routing import Route

from taskd import hookimpl
from taskd.storage import TaskStore
from taskd_tasks.endpoints import TaskEndpoints

__all__ = ["taskd_routes"]


@hookimpl
def taskd_routes(store: TaskStore) -> list[Route]:
    """Return the routes of the six endpoints."""
    tasks = TaskEndpoints(store)
    return [
        Route("/api/{user_id}/tasks", tasks.list, methods=["GET"]),
        Route("/api/{user_id}/tasks", tasks.create, methods=["POST"]),
        Route("/api/{user_id}/tasks/{id}", tasks.get, methods=["GET"]),
        Route("/api/{user_id}/tasks/{id}", tasks.update, methods=["PUT"]),
        Route("/api/{user_id}/tasks/{id}", tasks.delete, methods=["DELETE"]),
        Route("/api/{user_id}/tasks/{id}/complete", tasks.complete, methods=["PATCH"]),
    ]
