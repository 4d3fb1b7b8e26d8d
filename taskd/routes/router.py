"""
Gather the routes of all plugins into one guarded resource for each path.

Starlette's router tries one route after another and knows only the methods of the first that matches.  A resource
knows all methods of its path, so that a 405 can list them, and two plugins cannot claim the same one.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, request_response
from starlette.types import Receive, Scope, Send

from taskd.auth import Guard
from taskd.plugins import PluginError, Source, blaming
from taskd.routes.errors import EXPECTED_ERRORS, NOTHING_HERE
from taskd.routes.operations import Operation, is_public, operation_of, parameters_of
from taskd.routes.overlaps import common_path

__all__ = ["ENCODED_SLASH", "HAS_ENCODED_SLASH", "Endpoint", "endpoints_of", "not_found", "resources"]

# Replaces a percent-encoded slash in a path, so that it does not end a segment.  UTF-8 cannot encode this character, so
# no path contains it otherwise.
ENCODED_SLASH = "\udc2f"
# Set in the scope if its path had an encoded slash, which has been replaced.
HAS_ENCODED_SLASH = "taskd.has_encoded_slash"

_PARAMETER = re.compile(r"{[^}]*}")
_LAST = "\U0010ffff"
# The code of the ASGI app that Starlette makes for a function, unless the route has middleware.
_PLAIN_APP = request_response(lambda _: Response()).__code__


# Runs an endpoint for a request, whose `receive` and `send` are passed, too.
Respond = Callable[[Request, Receive, Send], Awaitable[None]]


@attrs.frozen
class Endpoint:
    """
    The handler of one method of a path.

    Attributes:
        method: The HTTP method.
        route: The plugin's route.
        source: What provides the route.
        respond: Runs the endpoint for a request.
        guard: Admits requests.
        is_public: Whether it needs no credentials.
        docstring: The summary and the description; empty if there are none.
        operation: What else was declared for the API document.
    """

    method: str
    route: Route
    source: Source
    respond: Respond
    guard: Guard
    is_public: bool
    docstring: str
    operation: Operation

    @classmethod
    def of(cls, route: Route, method: str, source: Source, guard: Guard) -> Endpoint:
        """Return the endpoint of *route* from *source* for *method*, to which *guard* admits requests."""
        candidates = list(_candidates(route.endpoint, method))
        parameters = parameters_of(route.endpoint)
        return cls(
            method=method,
            route=route,
            source=source,
            respond=_respond_with(route),
            guard=attrs.evolve(guard, parameters=parameters) if parameters else guard,
            is_public=is_public(route.endpoint),
            docstring=next(filter(None, map(_docstring, candidates)), ""),
            operation=next(filter(None, map(operation_of, candidates)), Operation()),
        )

    def __str__(self) -> str:
        return f"{self.method} {self.path} of {self.source}"

    @property
    def path(self) -> str:
        """The path in the API document, without convertors."""
        return re.sub(r":\w+}", "}", self.route.path)

    @property
    def is_documented(self) -> bool:
        """Whether the API document includes this endpoint."""
        return self.route.include_in_schema


def _respond_with(route: Route) -> Respond:
    """Return what runs the endpoint of *route*: the route's ASGI app, or less if the endpoint is an async function."""
    endpoint, app = route.endpoint, route.app

    async def call(request: Request, receive: Receive, send: Send) -> None:
        response = await endpoint(request)
        await response(request.scope, receive, send)

    async def run(request: Request, receive: Receive, send: Send) -> None:
        # A route's own middleware sees the responses to expected errors.
        request.scope["starlette.exception_handlers"] = (EXPECTED_ERRORS, {})
        await app(request.scope, receive, send)

    is_plain = getattr(app, "__code__", None) is _PLAIN_APP and inspect.iscoroutinefunction(endpoint)
    return call if is_plain else run


def _candidates(endpoint: Any, method: str) -> Iterator[Any]:
    """Yield the objects that may describe how *endpoint* handles *method*, most specific first."""
    while isinstance(endpoint, functools.partial):
        yield endpoint
        endpoint = endpoint.func
    if inspect.isclass(endpoint) and issubclass(endpoint, HTTPEndpoint):
        # For each HTTP method, Starlette calls the function of the same name in the class.
        names = ("head", "get") if method == "HEAD" else (method.lower(),)
        yield from [getattr(endpoint, name) for name in names if hasattr(endpoint, name)][:1]
    yield endpoint


def _docstring(candidate: Any) -> str | None:
    # The docstring of `functools.partial` does not describe the function that it wraps.
    return None if isinstance(candidate, functools.partial) else inspect.getdoc(candidate)


@attrs.define
class Resource:
    """The ASGI app of one path: all of its endpoints, by method."""

    guard: Guard
    endpoints: dict[str, Endpoint] = attrs.field(factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find the endpoint for the request's method, have the guard admit the request, and run the endpoint."""
        endpoint = self.endpoints.get(scope["method"])
        if endpoint is None:
            raise HTTPException(405, "This path does not support this method.", {"Allow": ", ".join(self.endpoints)})
        if HAS_ENCODED_SLASH in scope:
            _decode_slashes(scope)
        request = Request(scope, receive, send)
        if not endpoint.is_public:
            await endpoint.guard.admit(request)
        try:
            await endpoint.respond(request, receive, send)
        except SystemExit as error:
            # SystemExit would end the server.
            raise RuntimeError(f"{endpoint} tried to exit") from error

    def add(self, route: Route, source: Source) -> None:
        """Add the endpoints of *route*; refuse it if another route already has one of its methods."""
        if not route.methods:
            raise PluginError(f"{source} must name the methods of {route.path}", plugin=source.name)
        for method in sorted(route.methods):
            taken = self.endpoints.get(method)
            if taken is not None:
                message = f"{method} {route.path} is claimed by {taken.source} and by {source}"
                raise PluginError(message, plugin=source.name)
            self.endpoints[method] = Endpoint.of(route, method, source, self.guard)
        self._check_protection(route, source)

    def _check_protection(self, route: Route, source: Source) -> None:
        """Refuse a path that one plugin makes public and another protects; a plugin may do both on its own path."""
        opens = is_public(route.endpoint)
        for other in self.endpoints.values():
            if other.source != source and other.is_public != opens:
                opener, protector = (source, other.source) if opens else (other.source, source)
                raise PluginError(
                    f"{opener} makes {route.path} public, and {protector} protects it: remove taskd.routes.public, or"
                    " change a path",
                    plugin=source.name,
                )


def _decode_slashes(scope: Scope) -> None:
    """Restore encoded slashes, after the path has been split into segments."""
    scope["path"] = scope["path"].replace(ENCODED_SLASH, "/")
    scope["path_params"] = {
        name: value.replace(ENCODED_SLASH, "/") if isinstance(value, str) else value
        for name, value in scope["path_params"].items()
    }


def resources(routes: Iterable[tuple[Source, Route]], guard: Guard) -> list[Route]:
    """
    Gather *routes*, each with its source, into one Starlette route for each path.

    A literal segment takes precedence over a parameter, whichever plugin provides the path.

    Raises:
        PluginError: Two routes claim the same method and path, a route could not be reached or would not be guarded, or
            a public route overlaps a protected one.
    """
    routes = tuple(routes)
    for source, route in routes:
        with _blaming_endpoint(source, route):
            _check_path(route, source)
    _check_overlaps(routes)
    paths: dict[str, tuple[Route, Resource, Source]] = {}
    for source, route in routes:
        shape = _PARAMETER.sub(_LAST, route.path)
        if shape not in paths:
            resource = Resource(guard)
            paths[shape] = (_exact_route(route.path, resource), resource, source)
        first, resource, first_source = paths[shape]
        if first.path != route.path:
            both = f"{source} has {route.path}, and {first_source} has {first.path}"
            raise PluginError(f"{both}: use the same names for the parameters", plugin=source.name)
        with _blaming_endpoint(source, route):
            resource.add(route, source)
    # Longer paths come first: /{x}.txt before /{x}, /{x}/more before /{x:path}.
    return [paths[shape][0] for shape in sorted(paths, key=lambda shape: shape + _LAST)]


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a request for a path that no resource has; this is an ASGI app."""
    raise HTTPException(404, NOTHING_HERE)


def _blaming_endpoint(source: Source, route: Route) -> contextlib.AbstractContextManager[None]:
    """Turn any exception from inspecting the endpoint of *route* into a `PluginError`."""
    return blaming(source, f"has an endpoint at {route.path} that cannot be inspected", PluginError)


def endpoints_of(route: Route) -> Mapping[str, Endpoint]:
    """Return the endpoints of a route that `resources` returned, by method."""
    assert isinstance(route.endpoint, Resource)
    return route.endpoint.endpoints


def _exact_route(path: str, resource: Resource) -> Route:
    """Return a Starlette route for *path* that, unlike one with `$`, does not match a line break at the end."""
    route = Route(path, resource)
    route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z")
    return route


def _check_path(route: Route, source: Source) -> None:
    """Refuse an unreachable path, and a protected one that begins with /api/ and a parameter other than `user_id`."""
    if route.path.endswith("/") and route.path != "/":
        message = f"{source} must leave out the slash at the end of {route.path}: it matches without it, too"
        raise PluginError(message, plugin=source.name)
    if not is_public(route.endpoint) and re.match(r"/api/{(?!user_id[:}])", route.path):
        message = f"{source} must call the first parameter of {route.path} user_id, or make it public"
        raise PluginError(message, plugin=source.name)


def _check_overlaps(routes: Iterable[tuple[Source, Route]]) -> None:
    """Refuse a public route that would handle requests for a protected one without asking for credentials."""
    for (opener, opened), (protector, protected) in itertools.product(routes, repeat=2):
        if not is_public(opened.endpoint) or is_public(protected.endpoint) or opened.path == protected.path:
            continue
        common = common_path(opened.path, protected.path)
        if common is not None:
            raise PluginError(
                f"{opener} makes {opened.path} public, but {protector} protects {protected.path}, and both match"
                f" {common}: remove taskd.routes.public, or change a path{_advice(opened.path)}",
                plugin=opener.name,
            )


def _advice(path: str) -> str:
    """Return advice about a public *path* that overlaps protected ones."""
    if ":path}" not in path:
        return ""
    return f"; {path} matches everything below it, so begin it with a segment of its own, as in /pages/{{rest:path}}"
