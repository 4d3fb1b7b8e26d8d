"""Find the heads of requests in the data that a client sends."""

from __future__ import annotations

import re

from taskd.server.head import BadRequest

__all__ = ["HeadReader"]

END_OF_HEAD = b"\r\n\r\n"
CR = 13
# Empty lines before a request are ignored (RFC 9112, section 2.2).
_EMPTY_LINES = re.compile(rb"(?:\r\n)+")
_METHOD_BEGINNING = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z\r]")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")


class HeadReader:
    """Takes complete heads of at most *max_bytes* from *buffer*, to which the connection adds received data."""

    __slots__ = ("_buffer", "_max_bytes", "_searched")

    def __init__(self, buffer: bytearray, max_bytes: int) -> None:
        self._buffer = buffer
        self._max_bytes = max_bytes
        # How much of the buffer is known not to contain the end of a head.
        self._searched = 0

    @property
    def has_begun(self) -> bool:
        """Whether part of a head has been received."""
        return bool(self._buffer) and self._buffer != b"\r"

    def is_one(self, data: bytes) -> bool:
        """Return whether *data* is exactly one head, which is the usual case and needs no buffer."""
        end = data.find(END_OF_HEAD) + len(END_OF_HEAD)
        return len(END_OF_HEAD) <= end == len(data) <= self._max_bytes and not self._buffer and data[0] != CR

    def take(self) -> bytes | None:
        """
        Remove the next head from the buffer and return it, or None if it is not complete yet.

        Raises:
            BadRequest: The head is too large, or the data cannot be the beginning of one.
        """
        self._drop_empty_lines()
        end = self._buffer.find(END_OF_HEAD, self._searched)
        size = end + len(END_OF_HEAD) if end >= 0 else len(self._buffer) + 1
        if size > self._max_bytes:
            raise BadRequest("The head of the request is too large.", 431)
        if end < 0:
            self._check_beginning()
            return None
        data = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        self._searched = 0
        return data

    def _drop_empty_lines(self) -> None:
        if self._buffer.startswith(b"\r\n") and (empty := _EMPTY_LINES.match(self._buffer)):
            end = empty.end()
            # The buffer cannot shrink while a match refers to it.
            del empty
            del self._buffer[:end]
            self._searched = 0

    def _check_beginning(self) -> None:
        if not self.has_begun:
            return
        if not _METHOD_BEGINNING.match(self._buffer) or _BARE_LINE_FEED.search(self._buffer, self._searched):
            raise BadRequest("The request is not valid HTTP.")
        self._searched = max(0, len(self._buffer) - len(END_OF_HEAD) + 1)
