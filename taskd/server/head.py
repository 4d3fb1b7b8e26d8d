"""Parse the head of a request (RFC 9112, sections 2 to 6) with httptools, once it is complete."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import unquote

import attrs
from httptools import (
    HttpParserError,
    HttpParserInvalidURLError,
    HttpParserUpgrade,
    HttpRequestParser,
    parse_url,
)

__all__ = ["BadRequest", "Framing", "Head"]

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 3986, section 3.2.2, and a port.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.%_~\-a-zA-Z]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]+)(:[0-9]*)?")
_METHODS = frozenset((b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT"))
_NO_CALLBACKS = object()
MAX_LENGTH_DIGITS = 19
_VERSIONS = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}


class BadRequest(Exception):
    """
    The request is not valid HTTP, or is too large.

    Args:
        detail: One sentence, which is sent to the client.
        status: The status of the response.
    """

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.status = status


@attrs.define
class Framing:
    """
    How a request is framed, and what happens to its connection afterwards.

    Attributes:
        http_version: "1.1" or "1.0".
        length: How many bytes the body has, if a header says so.
        is_chunked: Whether the body is sent in chunks.
        keep_alive: Whether the client may send another request on this connection.
        expects_continue: Whether the client waits for "100 Continue" before it sends the body.
        asks_for_upgrade: Whether the client asks to change to another protocol.
    """

    http_version: str
    length: int | None = None
    is_chunked: bool = False
    keep_alive: bool = True
    expects_continue: bool = False
    asks_for_upgrade: bool = False
    _hosts: int = attrs.field(init=False, default=0)

    @classmethod
    def of(cls, http_version: str, headers: Iterable[tuple[bytes, bytes]]) -> Framing:
        """Read the framing from *headers*, all named in `FRAMING_HEADERS`; raise `BadRequest` if it is not valid."""
        framing = cls(http_version)
        for name, value in headers:
            FRAMING_HEADERS[name](framing, value)
        is_new = http_version == "1.1"
        framing.keep_alive = framing.keep_alive and is_new
        # RFC 9112, section 3.2.
        if framing._hosts != 1 and (framing._hosts or is_new):
            raise BadRequest("There must be exactly one Host header.")
        # RFC 9112, section 6.1: a request with both may be an attempt at request smuggling.
        if framing.is_chunked and framing.length is not None:
            raise BadRequest("A request must not have both Content-Length and Transfer-Encoding.")
        return framing

    def read_host(self, value: bytes) -> None:
        """Count the `Host` headers, and check each."""
        self._hosts += 1
        if not _HOST.fullmatch(value):
            raise BadRequest("The Host header must name a host.")

    def read_content_length(self, value: bytes) -> None:
        """Read `Content-Length`."""
        # Python parses very long numbers slowly, or raises an error.
        if self.length is not None or not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
            raise BadRequest("There must be exactly one Content-Length, and it must be a number.")
        self.length = int(value)

    def read_transfer_encoding(self, value: bytes) -> None:
        """Refuse all transfer codings except chunked, which every recipient must support."""
        if self.is_chunked or value.lower() != b"chunked" or self.http_version != "1.1":
            raise BadRequest("The only Transfer-Encoding supported is chunked, in HTTP/1.1.")
        self.is_chunked = True

    def read_connection(self, value: bytes) -> None:
        """Note whether the client wants to close the connection."""
        if b"close" in (option.strip(b" \t") for option in value.lower().split(b",")):
            self.keep_alive = False

    def read_expect(self, value: bytes) -> None:
        """Note an expectation, which HTTP/1.0 does not have (RFC 9110, section 10.1.1)."""
        self.expects_continue = value.lower() == b"100-continue" and self.http_version == "1.1"

    def read_upgrade(self, _: bytes) -> None:
        """Note a request to upgrade, which is ignored (RFC 9110, section 7.8)."""
        self.asks_for_upgrade = True


FRAMING_HEADERS: Mapping[bytes, Callable[[Framing, bytes], None]] = {
    b"host": Framing.read_host,
    b"content-length": Framing.read_content_length,
    b"transfer-encoding": Framing.read_transfer_encoding,
    b"connection": Framing.read_connection,
    b"expect": Framing.read_expect,
    b"upgrade": Framing.read_upgrade,
}


@attrs.define
class Head:
    """
    The head of a request.

    Attributes:
        method: Any token, in its original case.
        raw_path: The path, percent-encoded; for CONNECT, the whole target.
        query: The part after the question mark.
        headers: Names in lower case with their values, in the order received, without `Upgrade`, which is not passed
            on.
        framing: How the request is framed.
    """

    method: str
    raw_path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    framing: Framing

    @property
    def path(self) -> str:
        """Return the path, percent-decoded."""
        path = self.raw_path.decode("ascii")
        return unquote(path) if "%" in path else path

    @classmethod
    def parse(cls, data: bytes, max_headers: int) -> Head:
        """
        Parse *data*, the head of one request up to and including the empty line.

        Raises:
            BadRequest: It is not an HTTP/1.1 or HTTP/1.0 head, does not say clearly where the message ends, or has more
                than *max_headers* headers.
        """
        end = data.index(b"\r\n")
        parts = data[:end].split(b" ")
        if len(parts) != 3 or (version := _VERSIONS.get(parts[2])) is None:
            raise BadRequest("The request line must be a method, a target and HTTP/1.1.")
        method, target, _ = parts
        lines = data[end + 2 : -4].split(b"\r\n") if end + 4 < len(data) else ()
        if len(lines) > max_headers:
            raise BadRequest(f"The request has more than {max_headers} headers.", 431)
        _validate(data, method)
        headers, framing_headers = [], []
        for line in lines:
            name, _, value = line.partition(b":")
            header = (name.lower(), value.strip(b" \t"))
            headers.append(header)
            if header[0] in FRAMING_HEADERS:
                framing_headers.append(header)
        framing = Framing.of(version, framing_headers)
        if framing.asks_for_upgrade:
            headers = [each for each in headers if each[0] != b"upgrade"]
        raw_path, query = _split(target, method)
        return cls(method.decode("ascii"), raw_path, query, headers, framing)


def _validate(data: bytes, method: bytes) -> None:
    """
    Refuse a head that is not valid: its lines must end in CRLF, and all but the first must have a colon.

    The time that httptools takes for a head that it gets in pieces grows with the square of the head's size, and
    httptools also reads on past the end of a head.  So it gets one whole head and nothing else.
    """
    if method not in _METHODS:
        # httptools knows a few dozen methods; the application decides whether a path supports this one.
        if not _TOKEN.fullmatch(method):
            raise BadRequest("The method must be a token.")
        data = b"POST" + data[len(method) :]
    try:
        HttpRequestParser(_NO_CALLBACKS).feed_data(data)
    except HttpParserUpgrade:
        pass  # The upgrade is ignored.
    except HttpParserError:
        raise BadRequest("The request is not valid HTTP.") from None


def _split(target: bytes, method: bytes) -> tuple[bytes, bytes]:
    """Return the path and query of a request target (RFC 9112, section 3.2)."""
    if not target.isascii():
        raise BadRequest("The request target must be ASCII.")
    if method == b"CONNECT":
        return target, b""
    if target.startswith(b"/") and b"#" not in target:
        path, _, query = target.partition(b"?")
        return path, query
    try:
        url = parse_url(target)
    except HttpParserInvalidURLError:
        raise BadRequest("The request target must be a path or a URL.") from None
    return url.path or b"/", url.query or b""
