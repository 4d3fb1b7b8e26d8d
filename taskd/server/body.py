"""Read bodies with a known length (RFC 9112, section 6.2) or in chunks (section 7.1)."""

from __future__ import annotations

import re
from typing import Protocol

import attrs

from taskd.server.head import BadRequest

__all__ = ["BodyDecoder", "ChunkedDecoder", "LengthDecoder"]

# How many lines between chunks are read in one turn of the event loop; reading them takes some 0.2 ms.
MAX_LINES_AT_ONCE = 64

# Matches a size, and extensions, which are ignored (RFC 9112, section 7.1.1), without control characters.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*")


class BodyDecoder(Protocol):
    """
    Takes a body from the data that a client sends.

    Attributes:
        is_complete: Whether the body has ended.
        has_more: Whether there was more to decode than should be decoded at once: if so, call `decode` again.
    """

    is_complete: bool
    has_more: bool

    def decode(self, buffer: bytearray, most: int) -> bytes:
        """
        Take the body's data from the start of *buffer*, and return up to *most* bytes of content.

        Raises:
            BadRequest: The framing of the body is invalid.
        """
        ...


@attrs.define
class LengthDecoder:
    """Decodes a body of *remaining* bytes, at least one."""

    remaining: int
    is_complete: bool = attrs.field(init=False, default=False)
    has_more: bool = attrs.field(init=False, default=False)

    def decode(self, buffer: bytearray, most: int) -> bytes:
        """Take the available part of the body."""
        content = bytes(memoryview(buffer)[: min(most, self.remaining)])
        del buffer[: len(content)]
        self.remaining -= len(content)
        self.is_complete = not self.remaining
        return content


@attrs.define
class ChunkedDecoder:
    """
    Decodes a body in chunks.

    httptools does not help here: it does not report where in its input a message ends, and it repeatedly copies a
    trailer that arrives in pieces.

    Attributes:
        max_overhead: How many bytes of lines may precede content; each chunk allows a few more, as in Go's net/http.
            The limit exists because tiny chunks with long extensions are expensive.
    """

    max_overhead: int
    is_complete: bool = attrs.field(init=False, default=False)
    has_more: bool = attrs.field(init=False, default=False)
    _overhead: int = attrs.field(init=False, default=0)
    # How many bytes of the current chunk are still to come.
    _remaining: int = attrs.field(init=False, default=0)
    _is_in_chunk: bool = attrs.field(init=False, default=False)
    _is_in_trailers: bool = attrs.field(init=False, default=False)
    # How much of the buffer is known to contain no line end.
    _searched: int = attrs.field(init=False, default=0)

    def decode(self, buffer: bytearray, most: int) -> bytes:
        """Take chunks, or parts of them, and trailers, which are dropped (RFC 9110, section 6.5.1)."""
        content = bytearray()
        lines = 0
        self.has_more = False
        while not self.is_complete and len(content) < most:
            if self._remaining:
                piece = memoryview(buffer)[: min(most - len(content), self._remaining)]
                count = len(piece)
                content += piece
                piece.release()
                del buffer[:count]
                self._remaining -= count
                if not count:
                    break
            elif lines == MAX_LINES_AT_ONCE:
                self.has_more = True
                break
            elif (line := self._line(buffer)) is not None:
                self._read(line)
                lines += 1
            else:
                break
        return bytes(content)

    def _line(self, buffer: bytearray) -> bytes | None:
        """Take a whole line and return it without its end; return None if it is not complete yet."""
        end = buffer.find(b"\r\n", self._searched)
        if self._overhead + (len(buffer) if end < 0 else end) > self.max_overhead:
            raise BadRequest("The lines of the body's chunks or trailers are too long.")
        if end < 0:
            self._searched = max(0, len(buffer) - 1)
            self._check_beginning(buffer)
            return None
        line = bytes(memoryview(buffer)[:end])
        del buffer[: end + 2]
        self._searched = 0
        self._overhead += end + 2
        return line

    def _check_beginning(self, buffer: bytearray) -> None:
        """Refuse a line that is already invalid, rather than wait for its end."""
        if self._is_in_chunk and buffer and buffer != b"\r":
            raise BadRequest("The length of a chunk of the body is not the one that it declares.")
        if b"\n" in buffer or b"\r" in buffer[:-1]:
            raise BadRequest("A line of the body's chunks must end in CRLF.")

    def _read(self, line: bytes) -> None:
        if self._is_in_trailers:
            if line and not _TRAILER_LINE.fullmatch(line):
                raise BadRequest("A trailer of the body is not valid.")
            self.is_complete = not line
        elif self._is_in_chunk:
            if line:
                raise BadRequest("The length of a chunk of the body is not the one that it declares.")
            self._is_in_chunk = False
        else:
            size = _CHUNK_LINE.fullmatch(line)
            if size is None:
                raise BadRequest("The size of a chunk of the body is not valid.")
            self._remaining = int(size[1], 16)
            self._is_in_chunk = bool(self._remaining)
            self._is_in_trailers = not self._remaining
            if self._remaining:
                self._overhead = max(0, self._overhead - 16 - 2 * self._remaining)
