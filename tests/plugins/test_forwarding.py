"""`taskd.routes.forward`: a plugin's endpoint lets another endpoint of the application respond."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.types import ASGIApp

from taskd.testing import lifespan
from tests.conftest import client_of
from tests.support.applications import build
from tests.support.third_parties import Site, routes_source

pytestmark = pytest.mark.anyio

ENDPOINTS = """
from starlette.responses import StreamingResponse

async def streamed(request):
    async def parts(*parts):
        for part in parts:
            yield part
    headers = {"X-Query": request.url.query, "X-Asked": request.headers.get("x-asked", "")}
    return StreamingResponse(parts(b"a", b"b", await request.body()), 202, headers)

async def tasks(request):
    return await taskd.routes.forward(request, "/api/{user_id:str}/tasks", prefix="/old")

@taskd.routes.public
async def anyone(request):
    return await taskd.routes.forward(request, "/api/{user_id}/tasks")

async def nowhere(request):
    return await taskd.routes.forward(request, "/nowhere/{user_id}")

async def stream(request):
    headers = [header for header in request.scope["headers"] if header[0] != b"x-asked"]
    changes = {"method": "PUT", "query_string": b"q=1", "headers": headers}
    return await taskd.routes.forward(request, "/streamed/{user_id}", body=b"c", **changes)
"""
ROUTES = routes_source(
    "Route('/streamed/{user_id}', streamed, methods=['PUT'])",
    "Route('/old/{user_id}', tasks, methods=['GET', 'POST'])",
    "Route('/open/{user_id}', anyone)",
    "Route('/nowhere-else/{user_id}', nowhere)",
    "Route('/stream/{user_id}', stream)",
)


@pytest.fixture
async def app(site: Site) -> AsyncIterator[ASGIApp]:
    site.install("old", ENDPOINTS + ROUTES)
    application = build()
    async with lifespan(application):
        yield application


async def test_the_other_endpoint_reads_the_request(app: ASGIApp) -> None:
    """It gets the method, the query and the body, and the URLs in its response have the prefix."""
    async with client_of(app, "a/b") as client:
        created = await client.post("/old/a%2Fb", json={"title": "t"})
        listed = await client.get("/old/a%2Fb?limit=1")

    assert (201, f"/old/api/a%2Fb/tasks/{created.json()['id']}") == (created.status_code, created.headers["Location"])
    assert [created.json()] == listed.json()


async def test_the_request_can_be_changed(app: ASGIApp) -> None:
    """Another method, query, body and headers replace those of the client, and the whole response is returned."""
    async with client_of(app, "alice") as client:
        response = await client.get("/stream/alice?q=0", headers={"X-Asked": "yes"})

    assert (202, "abc") == (response.status_code, response.text)
    assert ("q=1", "") == (response.headers["X-Query"], response.headers["X-Asked"])


async def test_the_request_is_admitted_again(app: ASGIApp) -> None:
    """A public endpoint cannot open a protected one to strangers."""
    async with client_of(app) as stranger, client_of(app, "alice") as alice:
        responses = [await client.get("/open/alice") for client in (stranger, alice)]

    assert [401, 200] == [response.status_code for response in responses]


async def test_errors_reach_the_client(app: ASGIApp) -> None:
    """An error of the other endpoint, or a path that nothing serves, gets its usual response."""
    async with client_of(app, "alice") as client:
        invalid = await client.post("/old/alice", json={"title": ""})
        nothing = await client.get("/nowhere-else/alice")

    assert ([422, "title"], 404) == ([invalid.status_code, invalid.json()["errors"][0]["field"]], nothing.status_code)
