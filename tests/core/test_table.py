"""The table of routes finds the route that trying one after another would find."""

from __future__ import annotations

import itertools

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from taskd.auth import DenyAll, Guard
from taskd.plugins import Source
from taskd.routes.router import resources
from taskd.routes.table import RouteTable


async def endpoint(_: Request) -> Response:
    raise NotImplementedError


PATHS = (
    "/", "/a", "/a/{x}", "/a/b", "/a/{x}/c", "/a/{x:int}/c/{y}", "/a.{x}", "/n/{x:int}", "/n/{x:float}/y", "/{x}/z",
    "/pages/{rest:path}", "/{x}.txt", "/{rest:path}/end", "/u/{x:uuid}", "/{x}",
)  # fmt: skip
UUID = "9e1c3c3e-8a4b-4d1b-8f5e-1f0f4c1d2e3f"
SEGMENTS = ("", "a", "b", "c", "7", "7.5", "z", "end", "x.txt", "pages", "n", "u", UUID)
ASKED = [
    *("/" + "/".join(segments) for count in (1, 2, 3) for segments in itertools.product(SEGMENTS, repeat=count)),
    "/a/7/c/b",
    "/a/b/c/d",
    "/a/b/c/end",
    "*",
    "",
    "//",
    "/a\n",
    "/a.b",
]


@pytest.fixture(scope="module")
def routes() -> list[Route]:
    """Return the routes in order of precedence."""
    source = Source("plugin", "distribution")
    return resources([(source, Route(path, endpoint)) for path in PATHS], Guard(DenyAll()))


def tried(routes: list[Route], path: str) -> tuple[str, object] | None:
    """Return what Starlette's router finds."""
    for route in routes:
        match, scope = route.matches({"type": "http", "method": "GET", "path": path})
        if match is not Match.NONE:
            return route.path, scope["path_params"]
    return None


def test_the_first_matching_route_is_found(routes: list[Route]) -> None:
    """A path has the same route and the same parameters, whatever convertors the routes have."""
    table = RouteTable(routes)
    for path in ASKED:
        found = table.find(path)
        assert tried(routes, path) == (found and (found[0].path, found[1])), path
