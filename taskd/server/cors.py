"""Decide what pages from other origins may do (Fetch standard, section "CORS protocol")."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from taskd.routes.errors import error_response
from taskd.routes.media_types import NAME

__all__ = ["CORS", "LoopbackOrigins", "is_preflight"]

Header = tuple[bytes, bytes]

_VARY_OF_PREFLIGHTS = (
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network"
)
# Browsers let pages read these response headers, in addition to a few that are always readable.
_EXPOSED = ("Location", "X-Request-ID", "Retry-After", "WWW-Authenticate", "ETag", "Link", "X-Total-Count")
_READABLE: tuple[Header, ...] = (
    (b"access-control-allow-credentials", b"true"),
    (b"access-control-expose-headers", ", ".join(_EXPOSED).encode()),
)
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
# Always allowed, like the headers with credentials: browsers cache this, and need not ask before the next request.
_ALLOWED = ("Accept", "Accept-Language", "Content-Language", "Content-Type", "X-Request-ID")
# How many seconds a browser may remember what it was allowed.
_MAX_AGE_S = 600
_HEADER_NAME = re.compile(NAME)
_OCTET = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_LOOPBACK_ORIGIN = re.compile(
    rf"https?://(([a-z0-9_-]+\.)*localhost|127(\.{_OCTET}){{3}}|\[::1\])(:\d{{1,5}})?", re.ASCII
)


class LoopbackOrigins:
    """
    The origins of pages that are served on the same machine as the browser, at any port.

    Browsers resolve `localhost`, and every name below it, to a loopback address (RFC 6761, section 6.3).  The origins
    are spelled as browsers send them: in lower case, and without a path (RFC 6454, section 6.2).
    """

    def __contains__(self, origin: object) -> bool:
        """Return whether *origin* is one of them."""
        return isinstance(origin, str) and _LOOPBACK_ORIGIN.fullmatch(origin) is not None


class CORS:
    """Lets pages of some origins read responses, and send requests with any headers."""

    def __init__(self, origins: Container[str], request_headers: Iterable[str]) -> None:
        """
        Allow *origins*.

        Args:
            origins: The origins whose pages may read responses, and send credentials.
            request_headers: The names of the headers in which credentials are sent.
        """
        self._origins = origins
        self._allowed = (*_ALLOWED, *request_headers)

    def headers(self, origin: bytes) -> list[Header]:
        """Return the headers that let a page of *origin* read a response; none if it may not."""
        if origin.decode("latin-1") not in self._origins:
            return []
        return [(b"access-control-allow-origin", origin), *_READABLE]

    def preflight_response(self, request: Headers) -> Response:
        """
        Return the response to a preflight with the headers *request*; it is a 400 if the origin or the method is wrong.

        All headers that the preflight asks for are allowed: pages of these origins are trusted, and tracing libraries
        send headers of their own.
        """
        origin = request["origin"]
        headers = {"Vary": _VARY_OF_PREFLIGHTS}
        if origin not in self._origins:
            return error_response(400, "Disallowed CORS origin.", headers)
        headers |= {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}
        if request["access-control-request-method"] not in _METHODS:
            return error_response(400, "Disallowed CORS method.", headers)
        asked = _names_in(request.getlist("access-control-request-headers"))
        headers |= {
            "Access-Control-Allow-Methods": ", ".join(_METHODS),
            "Access-Control-Allow-Headers": ", ".join((*self._allowed, *asked)),
            "Access-Control-Max-Age": str(_MAX_AGE_S),
        }
        if request.get("access-control-request-private-network") == "true":
            # Some versions of Chromium ask this of servers on private networks; later ones ask the user instead.
            headers["Access-Control-Allow-Private-Network"] = "true"
        return Response(status_code=204, headers=headers)


def is_preflight(scope: Scope) -> bool:
    """Return whether a request that has an origin is a preflight (Fetch standard, "CORS-preflight request")."""
    return scope["method"] == "OPTIONS" and "access-control-request-method" in Headers(scope=scope)


def _names_in(values: Iterable[str]) -> list[str]:
    """Return the valid names of headers in *values*, each of which is a comma-separated list."""
    names = dict.fromkeys(name.strip(" \t") for value in values for name in value.split(","))
    return [name for name in names if _HEADER_NAME.fullmatch(name)]
