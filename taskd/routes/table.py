"""Look up the route for a path in a table, instead of trying one route after another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from starlette.applications import Starlette
from starlette.convertors import FloatConvertor, IntegerConvertor, StringConvertor, UUIDConvertor
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

__all__ = ["RouteTable", "TableApp"]

# The values of these parameters contain no slash.
_WITHIN_SEGMENT = {StringConvertor, IntegerConvertor, FloatConvertor, UUIDConvertor}

# How many slashes a path has, and its first segment.
Shape = tuple[int, str]


@attrs.frozen
class _Entry:
    """
    A route in the table.

    Attributes:
        route: The route.
        has_texts: Whether all parameters are texts, which need no conversion.
    """

    route: Route
    has_texts: bool = attrs.field(init=False)

    @has_texts.default
    def _has_only_texts(self) -> bool:
        return all(type(each) is StringConvertor for each in self.route.param_convertors.values())

    def may_match(self, shape: Shape) -> bool:
        """Return whether a path of this *shape* may match."""
        slashes, first = _shape(self.route.path)
        is_fixed = all(type(each) in _WITHIN_SEGMENT for each in self.route.param_convertors.values())
        return (not is_fixed or slashes == shape[0]) and ("{" in first or first == shape[1])

    def match(self, path: str) -> dict[str, Any] | None:
        """Return the values of the parameters in *path*; None if it does not match."""
        found = self.route.path_regex.match(path)
        if found is None:
            return None
        values = found.groupdict()
        if self.has_texts:
            return values
        return {name: self.route.param_convertors[name].convert(value) for name, value in values.items()}


def _shape(path: str) -> Shape:
    return path.count("/"), path[1:].partition("/")[0]


class RouteTable:
    """
    Finds the first of some routes that matches a path.

    Few routes have the same number of segments and the same first segment, and only those are tried.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        """Make a table of *routes*, in order of precedence."""
        entries = [_Entry(route) for route in routes]
        shapes = {_shape(entry.route.path) for entry in entries}
        self._by_shape = {shape: [entry for entry in entries if entry.may_match(shape)] for shape in shapes}
        self._others = entries

    def find(self, path: str) -> tuple[Route, dict[str, Any]] | None:
        """Return the route for *path*, and the values of its parameters; None if there is none."""
        for entry in self._by_shape.get(_shape(path), self._others):
            values = entry.match(path)
            if values is not None:
                return entry.route, values
        return None


class TableApp(Starlette):
    """A Starlette application that finds its routes in a table, and leaves all errors to the middleware around it."""

    def __init__(self, routes: list[Route], **options: Any) -> None:
        """Serve *routes*, in order of precedence; *options* are Starlette's."""
        super().__init__(routes=routes, **options)
        self._table = RouteTable(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the endpoint for a request; Starlette itself handles other events."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        found = self._table.find(_path_in(scope))
        scope["app"] = self
        if found is None:
            await self.router.default(scope, receive, send)
            return
        route, values = found
        # What Starlette's router sets.
        scope.setdefault("router", self.router)
        scope["route"], scope["endpoint"] = route, route.endpoint
        scope["path_params"] = {**scope["path_params"], **values} if "path_params" in scope else values
        await route.app(scope, receive, send)


def _path_in(scope: Scope) -> str:
    """Return the path below the `root_path`."""
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if root_path and path.startswith(root_path) and path[len(root_path) :][:1] in ("", "/"):
        return path[len(root_path) :]
    return path
