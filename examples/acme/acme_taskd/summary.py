"""Routes: how many tasks a user has of each status, and a page that anyone may see."""

from collections import Counter

import attrs
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taskd import hookimpl
from taskd.routes import JSONResponse, Returns, operation, public
from taskd.storage import TaskStore


@attrs.frozen
class Summary:
    """How many tasks there are of each status."""

    pending: int = 0
    in_progress: int = 0
    completed: int = 0


@attrs.frozen
class SummaryEndpoint:
    store: TaskStore

    @operation("summarize", Returns(200, "The numbers.", type=Summary, example=Summary(pending=2, completed=7)))
    async def summary(self, request: Request) -> Response:
        """
        Count the tasks.

        Only the user's own tasks are counted, by status.
        """
        tasks = (await self.store.list(request.user.identity)).tasks
        return JSONResponse(Summary(**Counter(task.status.value for task in tasks)))


@public
async def about(request: Request) -> Response:
    return JSONResponse({"service": "acme tasks"})


@hookimpl
def taskd_routes(store: TaskStore) -> list[Route]:
    return [
        Route("/about", about, methods=["GET"], include_in_schema=False),
        Route("/api/{user_id}/summary", SummaryEndpoint(store).summary, methods=["GET"]),
    ]
