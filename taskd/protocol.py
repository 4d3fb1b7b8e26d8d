"""
uvicorn's HTTP protocol, with the bounds that it lacks.

httptools reads heads of any length, and takes time for them that grows with their square. uvicorn waits for heads
without end, and its own answer to what is not HTTP is not of taskd's form.
"""

from __future__ import annotations

import asyncio
import json
import secrets

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ["HTTPProtocol"]

MAX_HEAD_BYTES = 64 * 1024
# Also for the first byte of a connection.  After an answer, it is uvicorn that waits for the next request, for less.
HEAD_TIMEOUT_S = 20.0


class HTTPProtocol(HttpToolsProtocol):
    """One connection of a client."""

    _is_in_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._begin_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._end_wait()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to count: a head begins."""
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take note of a header, but not of one behind the body (RFC 9110, section 6.5.1): nobody is told by that."""
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Count no more: the body, if there is one, is bounded by the application."""
        self._is_in_head = False
        self._end_wait()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for the next request from here on, if this one was answered before its body had come."""
        self._end_wait()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Read what came, and refuse a head that has not ended after `MAX_HEAD_BYTES`."""
        super().data_received(data)
        if self._head_timer is None and (self._is_in_head or not self._is_answering):
            self._begin_wait()
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse(431, "Request Header Fields Too Large", "The head of the request is too large.")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(400, "Bad Request", "The request is not valid HTTP.")

    def _begin_wait(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._on_head_timeout)

    def _on_head_timeout(self) -> None:
        self._head_timer = None
        if self._is_in_head:
            self._refuse(408, "Request Timeout", "The head of the request did not come in time.")
        else:
            self.transport.close()

    def _end_wait(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    @property
    def _is_answering(self) -> bool:
        """Whether a request has not got its whole answer yet."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _refuse(self, status: int, reason: str, detail: str) -> None:
        """Answer as the application answers errors, and close the connection."""
        if self._is_answering:
            # The client would take this for the answer to the earlier request.  After that one, uvicorn hangs up.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        body = json.dumps({"detail": detail})
        head = [
            f"HTTP/1.1 {status} {reason}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            f"x-request-id: {secrets.token_hex(16)}",
            "connection: close",
        ]
        self.transport.write("\r\n".join([*head, "", body]).encode())
        self.transport.close()
