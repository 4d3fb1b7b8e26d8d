"""Routes: how many tasks a user has of each status, and a page that anyone may see."""

from collections import Counter

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taskd import JSONAnswer, TaskStore, hookimpl, public


@public
async def about(request: Request) -> Response:
    return JSONAnswer({"service": "acme tasks"})


@hookimpl
def taskd_routes(store: TaskStore) -> list[Route]:
    async def summary(request: Request) -> Response:
        tasks = await store.list(request.user.identity)
        return JSONAnswer(Counter(task.status.value for task in tasks))

    return [
        Route("/about", about, methods=["GET"]),
        Route("/api/{user_id}/summary", summary, methods=["GET"]),
    ]
