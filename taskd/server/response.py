"""
Write responses as bytes (RFC 9112, sections 4 and 6).

The application's responses get their common headers in `taskd.server.middleware`; `error_bytes` is for requests that
the application does not see, or fails to respond to.
"""

from __future__ import annotations

import functools
import http
import os
import re
import secrets
from collections.abc import Iterable

import attrs

from taskd.routes.errors import ErrorBody
from taskd.routes.responses import encode

__all__ = ["NOSNIFF", "NO_STORE", "X_REQUEST_ID", "ResponseHead", "error_bytes", "new_request_id"]

Headers = Iterable[tuple[bytes, bytes]]

# What the middleware and `error_bytes` add to responses.
X_REQUEST_ID = b"x-request-id"
NOSNIFF = (b"x-content-type-options", b"nosniff")
NO_STORE = (b"cache-control", b"no-store")

# What may appear in a header (RFC 9110, section 5); anything else would let a value add headers, or a whole response.
_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n)*")

# Headers that have the same value in many responses, so that their lines are worth remembering.
_REPEATED = frozenset(
    (
        b"access-control-allow-credentials",
        b"access-control-allow-origin",
        b"access-control-expose-headers",
        b"cache-control",
        b"content-type",
        b"date",
        b"vary",
        b"x-content-type-options",
    )
)


@functools.lru_cache(maxsize=128)
def _checked_line(header: tuple[bytes, bytes]) -> bytes:
    line = b"%b: %b\r\n" % header
    _check(line, 1)
    return line


def _check(lines: bytes, count: int) -> None:
    # A value with a line break could look like more lines, each of which is valid.
    if lines.count(b"\n") != count or not _FIELDS.fullmatch(lines):
        raise ValueError("a header of the response is not valid")


def _status_line(status: int) -> bytes:
    known = http.HTTPStatus.__members__.values()
    phrase = next((each.phrase for each in known if each == status), "")
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


# Asking the system for random numbers takes longer than everything else about an id.
IDS_AT_ONCE = 64
_unused_ids: list[bytes] = []
if hasattr(os, "register_at_fork"):
    # Two processes must not use the same ids.
    os.register_at_fork(after_in_child=_unused_ids.clear)

_STATUS_LINES = {status: _status_line(status) for status in range(200, 600)}


@attrs.define
class ResponseHead:
    """
    The head of a response, and how its body is framed.

    Attributes:
        data: The status line and headers, including the empty line.
        length: How many bytes the body has; None if it is not known in advance.
        is_chunked: Whether the body is sent in chunks.  If it is neither chunked nor of a known length, it ends with
            the connection.
        closes: Whether the connection ends with the response.
    """

    data: bytes
    length: int | None
    is_chunked: bool
    closes: bool

    @classmethod
    def of(
        cls, status: int, headers: Headers, defaults: Headers, *, http_version: str, has_body: bool, closes: bool
    ) -> ResponseHead:
        """
        Make the head of a response.

        Args:
            status: The status, 200 to 599.
            headers: Names, in lower case, with values.
            defaults: Headers that all responses have.
            http_version: The HTTP version of the request.
            has_body: False for a response that has no body, whatever its headers say: one to HEAD, or a 204 or 304.
            closes: Whether the server will close the connection, even if no header says so.

        Raises:
            ValueError: A header is not valid.
        """
        length: int | None = None
        says_close = False
        lines, unchecked = [], []
        for header in (*defaults, *headers):
            name = header[0].lower()
            if name in _REPEATED:
                lines.append(_checked_line(header))
                continue
            if name == b"content-length":
                length = int(header[1])
            elif name == b"connection":
                says_close = says_close or b"close" in header[1].lower()
            elif name == b"transfer-encoding":
                # Framing is up to the connection.
                continue
            line = b"%b: %b\r\n" % header
            lines.append(line)
            unchecked.append(line)
        _check(b"".join(unchecked), len(unchecked))
        is_chunked = has_body and length is None and http_version == "1.1"
        closes = closes or says_close or (has_body and length is None and not is_chunked)
        if is_chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        if closes and not says_close:
            lines.append(b"connection: close\r\n")
        data = b"%b%b\r\n" % (_STATUS_LINES[status], b"".join(lines))
        return cls(data, length if has_body else 0, is_chunked=is_chunked, closes=closes)


def new_request_id() -> bytes:
    """Return an id for a request that has no valid one: 32 random hexadecimal digits."""
    if not _unused_ids:
        digits = secrets.token_hex(16 * IDS_AT_ONCE).encode()
        _unused_ids.extend([digits[start : start + 32] for start in range(0, len(digits), 32)])
    return _unused_ids.pop()


def error_bytes(status: int, detail: str, *, headers: Headers = (), has_body: bool = True) -> bytes:
    """
    Return a complete response, like the application's errors, for a request that the application does not handle.

    Args:
        status: The status of the response.
        detail: One sentence for users.
        headers: Names, in lower case, with values; they are added to those that all such responses have, or replace
            them.
        has_body: False for a response to HEAD.
    """
    body = encode(ErrorBody.of(status, detail))
    own = (
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        NO_STORE,
        NOSNIFF,
        (X_REQUEST_ID, new_request_id()),
    )
    fields = dict([*own, *headers])
    head = ResponseHead.of(status, fields.items(), (), http_version="1.1", has_body=True, closes=True)
    return head.data + body if has_body else head.data
