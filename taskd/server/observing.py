"""Tell observers about each request, at the end of its response."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import attrs
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskd.server.admission import PLACE
from taskd.server.gates import Place
from taskd.telemetry import FinishedRequest, Observer

__all__ = ["Observing"]

logger = logging.getLogger(__name__)


@attrs.frozen
class Observing:
    """ASGI middleware that passes requests on to *app*, and calls *observers* at the end of each response."""

    app: ASGIApp
    observers: Sequence[Observer]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and tell the observers when its response has ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        place: Place | None = scope.get(PLACE)
        response, begun_s = _Response(send), time.perf_counter()
        try:
            await self.app(scope, receive, response.send)
        finally:
            seconds = time.perf_counter() - begun_s + (0.0 if place is None else place.waited_s)
            self._tell(FinishedRequest(scope, response.status, seconds, response.size))

    def _tell(self, request: FinishedRequest) -> None:
        for observe in self.observers:
            try:
                observe(request)
            except Exception:
                logger.exception("An observer failed")


class _Response:
    """Sends the messages of a response, and notes its status and its size."""

    __slots__ = ("_send", "size", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.size = 0

    async def send(self, message: Message) -> None:
        """Send a part of the response, and note what it is."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
        await self._send(message)
