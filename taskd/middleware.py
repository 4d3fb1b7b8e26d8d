"""
The outermost layers, plain ASGI: what holds for every answer, errors and 500s included.

From the outside in: `RequestLayer`, `CORSLayer`, `RefusalLayer`, `PathLayer`, and then Starlette's application.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Collection
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskd.http import error_answer
from taskd.routing import PATH_IS_ENCODED

__all__ = ["CORSLayer", "PathLayer", "RefusalLayer", "RequestLayer"]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")

logger = logging.getLogger(__name__)


class RequestLayer:
    """Gives every request an id and every answer the headers that all carry, and logs what fails inside."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap *app*."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with the headers added to its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        added = [(b"x-request-id", request_id), _NOSNIFF]
        if f"{scope['path']}/".startswith(f"{scope.get('root_path', '')}/api/"):
            added.append(_NO_STORE)
        finished = False

        async def send_with_headers(message: Message) -> None:
            nonlocal finished
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *added]
            elif message["type"] == "http.response.body":
                finished = not message.get("more_body", False)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            # The path, but never the query: people put tokens there.
            path = quote(scope["path"], safe="/%")
            logger.exception("%s %s failed, request id %s", scope["method"], path, request_id.decode())
            if not finished:
                raise


class RefusalLayer:
    """Answers what the application must not see, and what it is given no more time to answer."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap *app*."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and answer it if it is cancelled before its answer has begun."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        app = _refuse_upgrade if _asks_for_upgrade_with_body(scope) else self.app
        try:
            await app(scope, receive, watched_send)
        except asyncio.CancelledError:
            # The server ends, and waits no longer: nobody else would answer.
            if started:
                raise
            headers = {"Retry-After": "2", "Connection": "close"}
            await error_answer(503, "The server is stopping; try again later.", headers)(scope, receive, send)


def _asks_for_upgrade_with_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    if b"upgrade" not in headers and scope["method"] != "CONNECT":
        return False
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


async def _refuse_upgrade(scope: Scope, receive: Receive, send: Send) -> None:
    """
    Refuse a request with a body that asks for another protocol (RFC 9110, sections 7.8 and 9.3.6), and hang up.

    httptools takes what follows the head of such a request for the other protocol: the body would be missing here, and
    be read as the next request.
    """
    answer = error_answer(400, "A request with a body must not ask for an upgrade.", {"Connection": "close"})
    await answer(scope, receive, send)


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return bytes(value)
    return secrets.token_hex(16).encode()


class CORSLayer(CORSMiddleware):
    """Starlette's CORS, for a fixed set of origins, with credentials, and with refusals in JSON like every error."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        """Wrap *app*; pages of *origins* may read its answers."""
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"),
            allow_headers=("Authorization", "Content-Type", "X-Request-ID"),
            allow_credentials=True,
            expose_headers=("Location", "X-Request-ID", "Retry-After", "WWW-Authenticate"),
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight request (Fetch standard, "CORS-preflight request")."""
        answer = super().preflight_response(request_headers)
        headers = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        if "upgrade" in request_headers:
            # What follows may be its body, see `_refuse_upgrade`.
            headers["Connection"] = "close"
        if answer.status_code == 200:
            return Response(status_code=204, headers=headers)
        return error_answer(answer.status_code, f"{bytes(answer.body).decode()}.", headers)


class PathLayer:
    """
    Makes one path of all that name the same resource.

    A trailing slash is dropped.  A percent-encoded slash must not end a segment (RFC 3986, section 2.2): a path that
    has one is routed in its encoded form, and its parameters are decoded afterwards.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap *app*."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its path in the form that the router knows."""
        if scope["type"] == "http":
            path = scope["path"]
            raw_path = scope.get("raw_path") or b""
            if b"%2F" in raw_path or b"%2f" in raw_path:
                path = raw_path.decode("utf-8", "replace")
                scope[PATH_IS_ENCODED] = True
            if path.endswith("/") and path != "/":
                path = path[:-1]
            if path == scope.get("root_path"):
                path += "/"
            scope["path"] = path
        await self.app(scope, receive, send)
