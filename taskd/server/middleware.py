"""
The outermost middleware, in plain ASGI, which handles every response of the application, including errors.

The response to a request that the server refuses before the application sees it has the headers that
`taskd.server.response.error_bytes` adds.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Container, Iterable, Mapping
from urllib.parse import quote, unquote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskd.logs import REQUEST_ID as REQUEST_ID_OF_TASK
from taskd.routes.errors import INTERNAL_ERROR, error_response, handler_of
from taskd.routes.responses import REQUEST_ID
from taskd.routes.router import ENCODED_SLASH, HAS_ENCODED_SLASH
from taskd.server.caching import NEVER_STORED, UNRESTRICTED, CacheHeaders
from taskd.server.cors import CORS, is_preflight
from taskd.server.response import NOSNIFF, X_REQUEST_ID, new_request_id

__all__ = ["RESPONSE_HEADERS", "HTTPMiddleware", "responding_to_errors"]

Header = tuple[bytes, bytes]

# The scope's key for the headers to add to the response: if the server itself responds, it adds them, too.
RESPONSE_HEADERS = "taskd.response_headers"

_READ_METHODS = ("GET", "HEAD")
_READ_STATUSES = (200, 304)

_SLASH = re.compile("%2f", re.IGNORECASE)
_REQUEST_ID = re.compile(REQUEST_ID.encode())

logger = logging.getLogger(__name__)


class HTTPMiddleware:
    """
    Adds an id and a normalised path to every request, and the common headers to every response.

    It handles preflights and requests that the application must not see, and logs exceptions.
    """

    def __init__(self, app: ASGIApp, origins: Container[str] = (), request_headers: Iterable[str] = ()) -> None:
        """
        Wrap *app*.

        Args:
            app: The application.
            origins: The origins whose pages may read its responses, and send credentials.
            request_headers: The names of the headers in which credentials are sent.
        """
        self.app = app
        request_headers = tuple(request_headers)
        self._cors = CORS(origins, request_headers)
        self._reads = CacheHeaders.of_reads(request_headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to its response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin, upgrade = headers.get(b"origin"), headers.get(b"upgrade")
        request_id = _request_id(scope) if X_REQUEST_ID in headers else new_request_id()
        REQUEST_ID_OF_TASK.set(request_id)
        response = _Response(send, request_id, scope, self._reads)
        app: ASGIApp = self.app
        if origin is not None and is_preflight(scope):
            app = self._cors.preflight_response(Headers(scope=scope))
            if upgrade is not None:
                # What follows may be the request's body: see `_refuse_upgrade`.
                response.added.append((b"connection", b"close"))
        else:
            response.added += self._cors.headers(origin) if origin is not None else ()
            if (upgrade is not None or scope["method"] == "CONNECT") and _has_body(headers):
                app = _refuse_upgrade
            else:
                _normalise_path(scope)
        caching = NEVER_STORED if response.is_private else UNRESTRICTED
        scope[RESPONSE_HEADERS] = (*response.added, *caching.fields)
        try:
            await app(scope, receive, response.send)
        except Exception as error:  # noqa: BLE001  raised again unless it is handled
            await _respond_to(error, scope, receive, response)


class _Started:
    """Sends the messages of a response; *is_started* says whether the client has received some of it, or will."""

    __slots__ = ("_send", "is_started")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.is_started = False

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message from the application."""
        self.is_started = True
        return self._send(message)


class _Response(_Started):
    """
    Sends the messages of a response, with the common headers.

    Attributes:
        added: The common headers, except for those about caching.
        is_private: Whether the path is below /api.  Elsewhere, a plugin may protect some paths, and not others.
        is_finished: Whether the client has received all of the response, or will.
    """

    __slots__ = ("_reads", "_scope", "added", "is_finished", "is_private", "request_id")

    def __init__(self, send: Send, request_id: bytes, scope: Scope, reads: CacheHeaders) -> None:
        self._send = send
        self._scope = scope
        self._reads = reads
        self.request_id = request_id
        self.added: list[Header] = [(X_REQUEST_ID, request_id), NOSNIFF]
        self.is_private = f"{scope['path']}/".startswith(f"{scope.get('root_path', '')}/api/")
        self.is_started = self.is_finished = False

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message from the application."""
        self.is_started = True
        if message["type"] == "http.response.start":
            status, caching = message["status"], UNRESTRICTED
            if self.is_private or "user" in self._scope or status == 401:
                is_read = status in _READ_STATUSES and self._scope["method"] in _READ_METHODS
                caching = self._reads if is_read else NEVER_STORED
            message["headers"] = [*caching.added_to(message.get("headers", ())), *self.added]
        elif message["type"] == "http.response.body":
            self.is_finished = not message.get("more_body", False)
        return self._send(message)


async def _respond_to(error: Exception, scope: Scope, receive: Receive, response: _Response) -> None:
    """Respond to a request that failed with *error*, and log an unexpected one."""
    try:
        await _handle(error, scope, receive, response)
    except Exception:
        if not response.is_started:
            await error_response(500, INTERNAL_ERROR)(scope, receive, response.send)
        # Log the path, but never the query: people put tokens there.
        path, request_id = _encoded(scope["path"]), response.request_id.decode()
        logger.exception("%s %s failed, request id %s", scope["method"], path, request_id)
        if not response.is_finished:
            raise


async def _handle(error: Exception, scope: Scope, receive: Receive, response: _Started) -> None:
    """Send the response to an expected *error*; raise any other."""
    handle = handler_of(error)
    if handle is None:
        raise error
    if response.is_started:
        raise RuntimeError("the application refused a request after it had started to respond") from error
    handled = await handle(Request(scope), error)
    await handled(scope, receive, response.send)
    # An error that is raised again and again would collect tracebacks.
    error.__traceback__ = None


def responding_to_errors(app: ASGIApp) -> ASGIApp:
    """Return *app* with responses in place of expected errors, for middleware around it that must see them."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        response = _Started(send)
        try:
            await app(scope, receive, response.send)
        except Exception as error:  # noqa: BLE001  raised again unless it is handled
            await _handle(error, scope, receive, response)

    return respond


def _normalise_path(scope: Scope) -> None:
    """
    Normalise the path, so that all spellings of a resource's path become the same.

    A trailing slash is dropped.  Percent-encoded characters are decoded, but an encoded slash must not end a segment
    (RFC 3986, section 2.2): it becomes `ENCODED_SLASH`.
    """
    path: str = scope["path"]
    raw_path = scope.get("raw_path") or b""
    if b"%2F" in raw_path or b"%2f" in raw_path:
        path = _decoded(raw_path.decode("utf-8", "replace"), scope.get("root_path", ""))
        scope[HAS_ENCODED_SLASH] = True
    if path.endswith("/") and path != "/":
        path = path[:-1]
    if path == scope.get("root_path"):
        path += "/"
    scope["path"] = path


def _decoded(raw_path: str, root_path: str) -> str:
    """Decode *raw_path*; some servers prepend *root_path*, which is already decoded."""
    below = raw_path.removeprefix(root_path)
    above = raw_path[: len(raw_path) - len(below)]
    return above + unquote(_SLASH.sub(ENCODED_SLASH, below))


def _encoded(path: str) -> str:
    """Return *path* for the log: in ASCII, and on one line."""
    return "%2F".join(map(quote, path.split(ENCODED_SLASH)))


def _request_id(scope: Scope) -> bytes:
    """Return the id that the request has, if it is valid, or else a new one."""
    ids = [value for name, value in scope["headers"] if name == X_REQUEST_ID and _REQUEST_ID.fullmatch(value)]
    return ids[-1] if ids else new_request_id()


def _has_body(headers: Mapping[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


async def _refuse_upgrade(scope: Scope, receive: Receive, send: Send) -> None:
    """
    Refuse a request with a body if it asks for another protocol (RFC 9110, sections 7.8 and 9.3.6), and disconnect.

    Under servers other than taskd's own, httptools takes what follows the head of such a request for data in the other
    protocol: the body would be missing here, and would be read as the next request.
    """
    refusal = error_response(400, "A request with a body must not ask for an upgrade.", {"Connection": "close"})
    await refusal(scope, receive, send)
