"""Caching: what browsers and proxies may keep of a response, and which headers it depends on."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conftest import ORIGIN, client_of
from tests.support.applications import build, get
from tests.support.third_parties import Site, auth_source, routes_source

pytestmark = pytest.mark.anyio

PRIVATE = ["private, no-cache"]
NO_STORE = ["no-store"]
TASK = {"title": "t"}
RESPONDING = """
from starlette.responses import Response

@taskd.routes.public
async def respond(request):
    headers = {name: value for name, value in request.query_params.items() if name != "status"}
    return Response(status_code=int(request.query_params.get("status", 200)), headers=headers)
"""
ROUTES = [f"Route('{path}', respond, methods=['GET', 'POST'])" for path in ("/api/{user_id}/notes", "/notes")]


def lines(response: httpx.Response, name: str) -> list[str]:
    """Return the values of all headers called *name*."""
    return response.headers.get_list(name)


def names(response: httpx.Response) -> set[str]:
    """Return the names in the only `Vary` of *response*."""
    [line] = lines(response, "Vary")
    listed = line.split(", ")
    assert len(listed) == len(set(listed))
    return set(listed)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", [{}, {"Origin": ORIGIN}])
async def test_a_browser_may_keep_what_it_reads(
    client: httpx.AsyncClient, tasks_url: str, method: str, headers: dict[str, str]
) -> None:
    """A successful read is for its user only, and must be revalidated before each use."""
    task_url = (await client.post(tasks_url, json=TASK)).headers["Location"]

    for url in (tasks_url, f"{tasks_url}/", task_url):
        response = await client.request(method, url, headers=headers)

        assert (200, PRIVATE) == (response.status_code, lines(response, "Cache-Control"))
        assert {"Origin", "Authorization"} <= names(response)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "", TASK, 201),
        ("POST", "", {}, 422),
        ("PUT", "/{id}", TASK, 200),
        ("PATCH", "/{id}/complete", {}, 200),
        ("DELETE", "/{id}", None, 204),
        ("GET", "/none", None, 404),
        ("HEAD", "/none", None, 404),
        ("GET", "/{id}/complete", None, 405),
        ("GET", "/{id}/nothing", None, 404),
        ("OPTIONS", "", None, 405),
    ],
)
async def test_nothing_else_is_kept(
    client: httpx.AsyncClient, tasks_url: str, method: str, path: str, body: Any, status: int
) -> None:
    """Responses to writes and errors must not be stored."""
    task = (await client.post(tasks_url, json=TASK)).json()
    response = await client.request(method, tasks_url + path.format_map(task), json=body)

    assert (status, NO_STORE) == (response.status_code, lines(response, "Cache-Control"))
    assert {"Origin"} == names(response)


async def test_a_refused_read_is_not_kept(stranger: httpx.AsyncClient, tasks_url: str) -> None:
    """With credentials, the response would be different."""
    response = await stranger.get(tasks_url)

    assert (401, NO_STORE) == (response.status_code, lines(response, "Cache-Control"))


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/alice/notes", {}, PRIVATE),
        ("GET", "/api/alice/notes", {"status": "304"}, PRIVATE),
        ("GET", "/api/alice/notes", {"Cache-Control": "max-age=5"}, ["max-age=5"]),
        ("HEAD", "/api/alice/notes", {"Cache-Control": "max-age=5"}, ["max-age=5"]),
        ("GET", "/api/alice/notes", {"Cache-Control": "max-age=5", "status": "304"}, ["max-age=5"]),
        ("GET", "/api/alice/notes", {"Cache-Control": "max-age=5", "status": "206"}, NO_STORE),
        ("GET", "/api/alice/notes", {"Cache-Control": "max-age=5", "status": "404"}, NO_STORE),
        ("GET", "/api/alice/notes", {"Cache-Control": "max-age=5", "status": "500"}, NO_STORE),
        ("POST", "/api/alice/notes", {"Cache-Control": "max-age=5"}, NO_STORE),
        ("GET", "/notes", {"Cache-Control": "max-age=5", "status": "404"}, ["max-age=5"]),
        ("GET", "/notes", {}, []),
    ],
)
async def test_a_plugin_may_override_the_headers_of_a_read(
    site: Site, method: str, path: str, query: dict[str, str], expected: list[str]
) -> None:
    """Under /api, anything but a successful read is never kept, whatever the plugin says."""
    site.install("notes", RESPONDING + routes_source(*ROUTES))

    async with client_of(build()) as client:
        response = await client.request(method, path, params=query)

    assert expected == lines(response, "Cache-Control")


@pytest.mark.parametrize(
    ("path", "own", "expected"),
    [
        ("/api/alice/notes", "Accept", {"Origin", "Authorization", "Accept"}),
        ("/api/alice/notes", "origin,, Accept , accept", {"Origin", "Authorization", "Accept"}),
        ("/api/alice/notes", "", {"Origin", "Authorization"}),
        ("/api/alice/notes", "Accept, *", {"*"}),
        ("/notes", "Accept", {"Origin", "Accept"}),
        ("/notes", "Origin", {"Origin"}),
    ],
)
async def test_there_is_one_vary_header(site: Site, path: str, own: str, expected: set[str]) -> None:
    """Some caches read only the first `Vary`; each name occurs once, however plugins capitalize it."""
    site.install("notes", RESPONDING + routes_source(*ROUTES))

    response = await get(build(), f"{path}?Vary={own}")

    assert expected == names(response)


@pytest.mark.parametrize(
    ("request_headers", "expected"),
    [("['X-Key', 'X-Tenant']", (PRIVATE, {"Origin", "X-Key", "X-Tenant"})), ("[]", (NO_STORE, {"Origin"}))],
)
async def test_a_read_depends_on_the_credentials(
    site: Site, request_headers: str, expected: tuple[list[str], set[str]]
) -> None:
    """If they are not in a header, caches could not tell two users apart, so they must not keep anything."""
    site.install("key", auth_source("return None") + f"\nBackend.request_headers = {request_headers}\n")
    site.install("notes", RESPONDING + routes_source(*ROUTES), distribution="zenith")

    response = await get(build(TASKD_AUTH="key"), "/api/alice/notes")

    assert expected == (lines(response, "Cache-Control"), names(response))
