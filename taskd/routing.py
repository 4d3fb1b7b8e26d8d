"""
From the routes of the plugins to one guarded resource for each path.

Starlette's router tries one route after the other and knows only the first one's methods.  A resource knows all methods
of its path, so that a 405 can list them and two plugins cannot claim the same one unnoticed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

import attrs
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from taskd.auth import Guard
from taskd.operations import Declaration, declaration_of
from taskd.plugins import Claimant, PluginError

__all__ = ["PATH_IS_ENCODED", "Operation", "operations_of", "public", "resources"]

E = TypeVar("E", bound=Callable[..., Any])

# Set in the scope while its path is still percent-encoded; see `taskd.middleware.PathLayer`.
PATH_IS_ENCODED = "taskd.path_is_encoded"

_PUBLIC = "__taskd_public__"
_PARAMETER = re.compile(r"{[^}]*}")
_LAST = "\U0010ffff"


def public(endpoint: E) -> E:
    """Declare that *endpoint* may be reached by anyone, without credentials."""
    setattr(endpoint, _PUBLIC, True)
    return endpoint


def _is_public(endpoint: Any) -> bool:
    # A subclass of a public endpoint is protected: only its own mark counts.
    return _PUBLIC in getattr(endpoint, "__dict__", {})


@attrs.frozen
class Operation:
    """What answers one method of a path, and what clients are to know of it."""

    app: ASGIApp
    claimant: Claimant
    is_public: bool
    is_documented: bool
    docstring: str
    declaration: Declaration | None

    @classmethod
    def of(cls, route: Route, method: str, claimant: Claimant) -> Operation:
        """Return what *route*, which *claimant* brought, brings for *method*."""
        function = _function(route.endpoint, method)
        return cls(
            app=route.app,
            claimant=claimant,
            is_public=_is_public(route.endpoint),
            is_documented=route.include_in_schema,
            docstring=inspect.getdoc(function) or inspect.getdoc(route.endpoint) or "",
            declaration=declaration_of(function) or declaration_of(route.endpoint),
        )


def _function(endpoint: Any, method: str) -> Any:
    """Return what of *endpoint* answers *method*: of a Starlette class, the function of that name."""
    if not (inspect.isclass(endpoint) and issubclass(endpoint, HTTPEndpoint)):
        return endpoint
    names = ("head", "get") if method == "HEAD" else (method.lower(),)
    return next((getattr(endpoint, name) for name in names if hasattr(endpoint, name)), endpoint)


@attrs.define
class Resource:
    """All that one path answers: the endpoint of `Route` is this, an ASGI app."""

    guard: Guard
    operations: dict[str, Operation] = attrs.field(factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find the operation of the request's method, admit the request to it, and run it."""
        operation = self.operations.get(scope["method"])
        if operation is None:
            raise HTTPException(405, "This path does not answer this method.", {"Allow": ", ".join(self.operations)})
        if PATH_IS_ENCODED in scope:
            parameters = scope["path_params"].items()
            scope["path_params"] = {
                name: unquote(value) if isinstance(value, str) else value for name, value in parameters
            }
        if not operation.is_public:
            await self.guard.admit(scope)
        await operation.app(scope, receive, send)

    def add(self, route: Route, claimant: Claimant) -> None:
        """Let *route* answer its methods here, unless one is taken."""
        if not route.methods:
            raise PluginError(f"{claimant} must name the methods of {route.path}")
        for method in sorted(route.methods):
            taken = self.operations.get(method)
            if taken is not None:
                raise PluginError(f"{method} {route.path} is claimed by {taken.claimant} and by {claimant}")
            self.operations[method] = Operation.of(route, method, claimant)


def resources(routes: Iterable[tuple[Claimant, Route]], guard: Guard) -> list[Route]:
    """
    Gather *routes*, each with who brought it, into one Starlette route for each path.

    A path with a literal segment goes before one with a parameter there, whichever plugin brought it.

    Raises:
        PluginError: Two claim the same method and path, or a route could not be reached or would not be guarded.
    """
    paths: dict[str, tuple[Route, Resource, Claimant]] = {}
    for claimant, route in routes:
        _check_path(route, claimant)
        shape = _PARAMETER.sub(_LAST, route.path)
        if shape not in paths:
            resource = Resource(guard)
            paths[shape] = (_exact_route(route.path, resource), resource, claimant)
        first, resource, claimant_of_first = paths[shape]
        if first.path != route.path:
            both = f"{claimant} calls {route.path} what {claimant_of_first} calls {first.path}"
            raise PluginError(f"{both}: use the same names")
        resource.add(route, claimant)
    # The end of a path goes after whatever may follow: /{x}.txt before /{x}, /{x}/more before /{x:path}.
    return [paths[shape][0] for shape in sorted(paths, key=lambda shape: shape + _LAST)]


def operations_of(route: Route) -> Mapping[str, Operation]:
    """Return the operations of a route that `resources` returned, by their methods."""
    assert isinstance(route.endpoint, Resource)
    return route.endpoint.operations


def _exact_route(path: str, resource: Resource) -> Route:
    """Return the Starlette route of *path*, which does not match with a line break at the end as `$` does."""
    route = Route(path, resource)
    route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z")
    return route


def _check_path(route: Route, claimant: Claimant) -> None:
    """Refuse a path that cannot be reached, and a protected one under /api whose owner the guard would not find."""
    if route.path.endswith("/") and route.path != "/":
        raise PluginError(f"{claimant} must leave out the slash at the end of {route.path}: both forms are answered")
    if not _is_public(route.endpoint) and re.match(r"/api/{(?!user_id[:}])", route.path):
        raise PluginError(f"{claimant} must call the first parameter of {route.path} user_id, or make it public")
