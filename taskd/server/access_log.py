"""Log each request on one line."""

from __future__ import annotations

import logging
import time

import attrs
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskd.logs import FIELDS, REQUEST_ID

__all__ = ["AccessLog"]

logger = logging.getLogger("taskd.access")


@attrs.frozen
class AccessLog:
    """
    ASGI middleware that logs each request to *app*, without its query, its credentials or the text of a task.

    The path is that of the route, as in `/api/{user_id}/tasks/{id}`: what is in a real path is up to clients.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log it when its response has ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(send)
        try:
            await self.app(scope, receive, exchange.send)
        finally:
            exchange.log(scope)


@attrs.define
class _Exchange:
    """What is known of a request and its response."""

    _send: Send
    _begun_s: float = attrs.field(init=False, factory=time.perf_counter)
    _status: int = attrs.field(init=False, default=0)
    _bytes: int = attrs.field(init=False, default=0)

    async def send(self, message: Message) -> None:
        """Send a part of the response, and note what it is."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body":
            self._bytes += len(message.get("body", b""))
        await self._send(message)

    def log(self, scope: Scope) -> None:
        """Write the line."""
        route, user, client = scope.get("route"), scope.get("user"), scope.get("client")
        fields = {
            "client": client[0] if client else None,
            "user": None if user is None else user.identity,
            "method": scope["method"],
            "route": None if route is None else route.path,
            # There is none if the client left before there was a response.
            "status": self._status or None,
            "ms": round((time.perf_counter() - self._begun_s) * 1000, 1),
            "bytes": self._bytes,
            "request_id": REQUEST_ID.get().decode("latin-1"),
        }
        shown = ["-" if value is None else _quoted(value) for value in fields.values()]
        logger.info("%s %s %s %s %s %s ms %s B %s", *shown, extra={FIELDS: fields})


def _quoted(value: object) -> object:
    """Return *value*; a text with white space or control characters is written as Python does."""
    return value if not isinstance(value, str) or (value.isprintable() and " " not in value) else repr(value)
