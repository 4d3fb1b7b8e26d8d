"""The hook that this plugin implements."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.routing import Route

from taskd import hookimpl
from taskd.settings import load_settings
from taskd_compat.endpoints import COMPLETE, PREFIX, TASK, TASKS, CompatEndpoints
from taskd_compat.settings import CompatSettings, Dialect

__all__ = ["taskd_routes"]


@hookimpl
def taskd_routes(environ: Mapping[str, str]) -> list[Route]:
    """Return the routes for the dialects, which the API document leaves out."""
    dialects = load_settings(CompatSettings, environ).dialects
    tasks = CompatEndpoints(dialects)
    routes = [
        (TASKS, tasks.list, ["GET"]),
        (TASKS, tasks.create, ["POST"]),
        (TASK, tasks.get, ["GET"]),
        (TASK, tasks.update, ["PUT", "PATCH"] if Dialect.PATCH in dialects else ["PUT"]),
        (TASK, tasks.delete, ["DELETE"]),
        (COMPLETE, tasks.complete, ["PATCH"]),
    ]
    if Dialect.TOGGLE in dialects:
        routes.append((f"{TASK}/toggle", tasks.complete, ["PATCH", "POST", "PUT"]))
    return [
        Route(f"{PREFIX}{path}", endpoint, methods=methods, include_in_schema=False)
        for path, endpoint, methods in routes
    ]
