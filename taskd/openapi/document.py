"""
Generate the API document, in OpenAPI 3.1, from the mounted routes.

The same plugins always produce the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

import msgspec
from starlette.routing import Route

from taskd.errors import ErrorCode
from taskd.openapi.operations import SCHEME, OperationWriter, check, types_of, types_of_returns
from taskd.openapi.schemas import Schemas
from taskd.plugins import PluginError
from taskd.routes.errors import ERRORS
from taskd.routes.responses import HEADERS
from taskd.routes.router import Endpoint, endpoints_of

__all__ = ["UNKNOWN_SCHEME", "code_table", "document"]

# The version of the API that the document describes; the version of the server is not public.
API_VERSION = "2.0.0"

# For an auth plugin that does not say how credentials are sent.
UNKNOWN_SCHEME: Mapping[str, object] = {
    "type": "apiKey",
    "in": "header",
    "name": "Authorization",
    "description": "The server does not say how to send credentials.",
}

# A Path Item Object has a field for each of these methods, and none for any other.
_METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}


def document(routes: Iterable[Route], security_schemes: Sequence[Mapping[str, object]]) -> bytes:
    """
    Return the API document for *routes*, as JSON.

    Args:
        routes: The routes that `taskd.routes.router.resources` returns.
        security_schemes: How clients can send credentials; none if the auth plugin does not say.

    Raises:
        PluginError: Two operations have the same name, or what an endpoint declares cannot be described.
    """
    endpoints = _documented(routes)
    try:
        written = _written(endpoints, _named(security_schemes or [UNKNOWN_SCHEME]))
    # Inspecting a plugin's class can raise any exception.  taskd does not start with a broken plugin.
    except Exception:
        _find_culprit(endpoints)
        raise
    return msgspec.json.format(written, indent=2) + b"\n"


def _named(schemes: Sequence[Mapping[str, object]]) -> dict[str, Mapping[str, object]]:
    """Return the *schemes* by the names that the document gives them."""
    return {f"{SCHEME}{number}" if number > 1 else SCHEME: scheme for number, scheme in enumerate(schemes, 1)}


def _written(endpoints: Sequence[Endpoint], security_schemes: Mapping[str, Mapping[str, object]]) -> bytes:
    writer = _writer(endpoints, security_schemes)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = writer.operation(endpoint)
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "taskd API", "version": API_VERSION, "description": _introduction()},
        # Relative to the document's URL: taskd may be served under a path prefix.
        "servers": [{"url": "."}],
        "tags": [{"name": name} for name in dict.fromkeys(endpoint.source.name for endpoint in endpoints)],
        "paths": paths,
        "components": {
            "schemas": writer.schemas.components,
            "responses": {name: writer.response(returns) for name, returns in ERRORS.items()},
            "headers": {name: writer.header(type_) for name, type_ in HEADERS.items()},
            "securitySchemes": security_schemes,
        },
    }
    return msgspec.json.encode(whole)


def _documented(routes: Iterable[Route]) -> list[Endpoint]:
    """Return the endpoints to include in the document, sorted by path."""
    documented = []
    for route in sorted(routes, key=lambda route: route.path):
        endpoints = endpoints_of(route)
        # Every GET also supports HEAD.
        methods = _METHODS - {"HEAD"} if "GET" in endpoints else _METHODS
        documented += [each for each in endpoints.values() if each.is_documented and each.method in methods]
    _check_names(documented)
    return documented


def _check_names(endpoints: Iterable[Endpoint]) -> None:
    """Refuse two operations with the same name."""
    taken: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        name = endpoint.operation.operation_id
        if name is not None and (other := taken.setdefault(name, endpoint)) is not endpoint:
            raise PluginError(f"{other} and {endpoint} are both called {name!r}", plugin=endpoint.source.name)


def _writer(endpoints: Sequence[Endpoint], security_schemes: Iterable[str]) -> OperationWriter:
    """Return a writer that has the schemas of all types that *endpoints* and their errors need."""
    types: list[Any] = []
    for endpoint in endpoints:
        check(endpoint)
        types += types_of(endpoint)
    for returns in ERRORS.values():
        types += types_of_returns(returns)
    types += HEADERS.values()
    return OperationWriter(Schemas.of(types), tuple(security_schemes))


def _find_culprit(endpoints: Iterable[Endpoint]) -> None:
    """Raise an error that names the first of *endpoints* that cannot be described on its own, if there is one."""
    for endpoint in endpoints:
        check(endpoint)
        try:
            types = list(types_of(endpoint))
            msgspec.json.encode(OperationWriter(Schemas.of(types)).operation(endpoint))
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            message = f"{endpoint} has a declaration that cannot be described: {reason}"
            raise PluginError(message, plugin=endpoint.source.name) from error


def _introduction() -> str:
    text = (files("taskd.openapi") / "introduction.md").read_text(encoding="utf-8")
    return Template(text).substitute(codes="\n".join(code_table()))


def code_table() -> Iterator[str]:
    """Yield the lines of a Markdown table of all error codes."""
    yield "| code | status | cause | remedy |"
    yield "| --- | --- | --- | --- |"
    for code in ErrorCode:
        yield f"| `{code.value}` | {code.status} | {code.cause} | {code.remedy} |"
