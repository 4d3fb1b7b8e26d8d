"""Tell supervisors whether the process is alive, and whether it can serve requests."""

from __future__ import annotations

import time
from typing import Literal

import attrs
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taskd.routes.operations import Returns, operation, public
from taskd.routes.responses import JSONResponse
from taskd.storage import TaskStore

__all__ = ["HEALTH_PATHS", "IS_STOPPING", "health_routes"]

LIVEZ = "/livez"
READYZ = "/readyz"
HEALTH_PATHS = (LIVEZ, READYZ)
# The key in a request's state that says that the server is stopping.  taskd's own server sets it in the lifespan's
# state, of which each request has a copy.
IS_STOPPING = "taskd.is_stopping"
STOPPING = "The server is stopping; send requests to another one."
STOPPING_RETRY_AFTER_S = 2


@attrs.frozen(slots=False)
class Health:
    """The process, or the whole server, is healthy."""

    status: Literal["ok"]


def health_routes(store: TaskStore) -> list[Route]:
    """Return the routes for supervisors: `/livez` checks the process, and `/readyz` also checks what it needs."""

    @public
    @operation("checkLiveness", Returns(200, "The process is running.", type=Health, example=Health("ok")))
    async def livez(_: Request) -> Response:
        """
        Check whether the process is running.

        Does not check the storage. Use it to decide whether to restart the process.
        """
        return JSONResponse(Health("ok"))

    @public
    @operation(
        "checkReadiness",
        Returns(200, "The server and its storage are ready.", type=Health, example=Health("ok")),
        errors=[503],
    )
    async def readyz(request: Request) -> Response:
        """
        Check whether the server can serve requests.

        503 while the storage does not respond, or has a schema that this server cannot use, and as soon as the server
        is stopping.
        """
        if request.scope.get("state", {}).get(IS_STOPPING):
            raise HTTPException(503, STOPPING, {"Retry-After": str(STOPPING_RETRY_AFTER_S)})
        started_s = time.monotonic()
        await store.ping()
        request.app.state.storage.succeeded(started_s)
        return JSONResponse(Health("ok"))

    return [Route(LIVEZ, livez), Route(READYZ, readyz)]
