"""
uvicorn's HTTP protocol, with the bounds that it lacks.

httptools reads heads of any length, and takes time for them that grows with their square; and uvicorn's own answer to
what is not HTTP is not of taskd's form.
"""

from __future__ import annotations

import json
import secrets

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ["HTTPProtocol"]

MAX_HEAD_BYTES = 64 * 1024


class HTTPProtocol(HttpToolsProtocol):
    """One connection of a client."""

    _is_in_head = False
    _head_bytes = 0

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
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Read what came, and refuse a head that has not ended after `MAX_HEAD_BYTES`."""
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse(431, "Request Header Fields Too Large", "The head of the request is too large.")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(400, "Bad Request", "The request is not valid HTTP.")

    def _refuse(self, status: int, reason: str, detail: str) -> None:
        """Answer as the application answers errors, and close the connection."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            # An earlier request is not answered yet, and its client would take this for the answer.
            cycle.keep_alive = False
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
