"""
What h11 makes of the bytes that a client sends, for comparison with taskd's own parser.

h11 is right, except where taskd is stricter on purpose, or h11 is stricter than the RFC.  Each of these cases has a
rule below.
"""

from __future__ import annotations

import re

import attrs
import h11

from taskd.server.limits import Limits

__all__ = ["Reference", "ReferenceRequest", "Response", "read_requests", "read_response"]

CONTROL = rb"\x00-\x08\x0a-\x1f\x7f"
END_OF_HEAD = b"\r\n\r\n"
LONGEST = 2**64 - 1
# The four forms of a target (RFC 9112, section 3.2).  h11 accepts any visible characters.
ORIGIN_FORM = re.compile(rb"/[\x21-\x7e]*")
ABSOLUTE_FORM = re.compile(rb"[A-Za-z]+://[A-Za-z0-9.\-]+(?::[0-9]+)?(?P<rest>[/?][\x21-\x22\x24-\x7e]*)?")
HOST = re.compile(rb"(?:\[[0-9A-Za-z:.%_~\-]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]+)(?::[0-9]*)?")
# RFC 9112, section 7.1.1; h11 allows control characters in an extension, and five more digits.
CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,15}[ \t]*(?:;[^%b]*)?" % CONTROL)
LAST_CHUNK = re.compile(rb"0+[^0-9A-Fa-f]")
SPACE_BEFORE_EXTENSION = re.compile(rb"(?:\r\n)?[0-9A-Fa-f]{1,15}([ \t]+);")
TRAILER_LINE = re.compile(rb"[!#$%%&'*+\-.^_`|~0-9A-Za-z]+:[^%b]*" % CONTROL)


@attrs.define
class ReferenceRequest:
    """
    A request whose head is valid.

    Attributes:
        targets: The forms in which the application may see its target.
        content: As much of its body as there is.
        is_whole: The body is complete.
        is_refused: What follows *content* is not valid.
        is_doubtful: One of taskd's own limits may cause a refusal at any byte of the body, so the rest is not
            predictable.
    """

    method: bytes
    targets: set[bytes]
    http_version: bytes
    keep_alive: bool
    expects_continue: bool
    has_body: bool
    is_chunked: bool
    content: bytes = b""
    is_whole: bool = False
    is_refused: bool = False
    is_doubtful: bool = False

    @property
    def ends_early(self) -> bool:
        """Whether the client stopped in the middle of the body."""
        return not (self.is_whole or self.is_refused)


@attrs.define
class Reference:
    """
    The data that a client sent.

    Attributes:
        requests: Its requests, in order, up to the first one that says it is the last, or whose end is unknown.
        rest: What follows the requests.
        refusals: The statuses with which *rest* may be refused; empty if it must get no response.
    """

    requests: list[ReferenceRequest] = attrs.field(factory=list)
    rest: bytes = b""
    refusals: set[int] = attrs.field(factory=set)


def read_requests(data: bytes, limits: Limits) -> Reference:
    """Parse all that a client has sent."""
    reference = Reference()
    while True:
        # Empty lines in front of a request are ignored (RFC 9112, section 2.2); h11 refuses them.
        while data.startswith(b"\r\n"):
            data = data[2:]
        reference.rest = data
        end = data.find(END_OF_HEAD)
        head = data if end < 0 else data[: end + len(END_OF_HEAD)]
        is_too_large = len(head) + (end < 0) > limits.head_bytes
        if end < 0:
            reference.refusals = _refusals_of_part(data)
        if is_too_large:
            reference.refusals |= {431}
            # Which of the errors is found first depends on how the data is split into packets.
            reference.refusals |= {400} if _refusals_of_part(head) else set()
        if end < 0 or is_too_large:
            return reference
        request = _request(head)
        if request is None:
            reference.refusals = {400}
            return reference
        reference.requests.append(request)
        data = _read_body(head, request, data[len(head) :], limits)
        if not (request.keep_alive and request.is_whole) or request.is_doubtful:
            return reference


def _refusals_of_part(data: bytes) -> set[int]:
    """Return how an incomplete head is refused: as soon as nothing can make it valid, while h11 waits for the rest."""
    is_hopeless = re.search(rb"(?<!\r)\n", data) or (data and not re.match(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z\r]", data))
    return {400} if is_hopeless else set()


def _request(head: bytes) -> ReferenceRequest | None:
    """Return what h11 accepts as a request, unless taskd is stricter."""
    connection = _server(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request) or connection.trailing_data[0]:
        # Because of a bare LF, which h11 takes for the end of a line (RFC 9112, section 2.2: a recipient may).
        return None
    request_line, *lines = head[: -len(END_OF_HEAD)].split(b"\r\n")
    fields = [(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]
    lengths, codings, hosts = ([v for n, v in fields if n == name] for name in FRAMING)
    targets = _targets(event)
    if (
        # A bare CR or LF does not end a line (section 2.2), and other control characters may be refused (RFC 9110,
        # section 5.5); h11 allows most.
        re.search(rb"[%b]" % CONTROL, b"".join([request_line, *lines]))
        # Folded lines must be refused by a server that does not unfold them (section 5.2).
        or any(line.startswith((b" ", b"\t")) for line in lines)
        # There is no other version with this syntax (section 2.3); h11 accepts any digits.
        or event.http_version not in (b"1.0", b"1.1")
        # The length may be given only once, in digits, and in only one framing (sections 6.1 and 6.3 allow more).
        or len(lengths) + len(codings) > 1
        or any(not length.isdigit() or int(length) > LONGEST for length in lengths)
        # HTTP/1.0 has no transfer codings (section 6.1).
        or (codings and event.http_version != b"1.1")
        # h11 counts hosts as taskd does, but does not check what they contain (section 3.2).
        or any(not HOST.fullmatch(host) for host in hosts)
        or not targets
    ):
        return None
    options = [each.strip(b" \t") for n, v in fields if n == b"connection" for each in v.lower().split(b",")]
    is_new = event.http_version == b"1.1"
    return ReferenceRequest(
        method=event.method,
        targets=targets,
        http_version=event.http_version,
        # HTTP/1.0 connections do not persist, in h11 as in taskd (section 9.3 would allow it).
        keep_alive=is_new and b"close" not in options,
        expects_continue=is_new and (b"expect", b"100-continue") in [(n, v.lower()) for n, v in fields],
        is_chunked=bool(codings),
        has_body=bool(codings) or any(int(length) for length in lengths),
    )


FRAMING = (b"content-length", b"transfer-encoding", b"host")


def _targets(event: h11.Request) -> set[bytes]:
    """Return the forms in which the application may see a target; none if it has none of the RFC's forms."""
    target = event.target
    if event.method == b"CONNECT":
        # No path supports CONNECT, so that a 405 is due whatever the target is.
        return {target}
    if absolute := ABSOLUTE_FORM.fullmatch(target):
        rest = absolute["rest"] or b"/"
        target = rest if rest.startswith(b"/") else b"/" + rest
    elif target != b"*" and not ORIGIN_FORM.fullmatch(target):
        return set()
    # Fragments are not meant to be sent (RFC 9110, section 4.1), so one that was sent is dropped.
    return {target.split(b"#")[0]}


def _server(data: bytes) -> h11.Connection:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 30)
    connection.receive_data(data)
    return connection


def _read_body(head: bytes, request: ReferenceRequest, data: bytes, limits: Limits, overhead: int = 0) -> bytes:
    """Read the body of *request* from *data*, and return what follows."""
    connection = _server(head + data)
    connection.next_event()
    while not (request.is_whole or request.is_refused):
        before = connection.trailing_data[0]
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            if request.is_chunked and (found := SPACE_BEFORE_EXTENSION.match(before)):
                # h11 does not accept such spaces (RFC 9112, section 7.1.1), so it gets the same bytes without them.
                at = len(data) - len(before)
                request.content = b""
                data = data[: at + found.start(1)] + data[at + found.end(1) :]
                return _read_body(head, request, data, limits, overhead + len(found[1]))
            request.is_refused = True
            break
        left = connection.trailing_data[0]
        consumed = before[: len(before) - len(left)]
        if isinstance(event, h11.Data):
            consumed = consumed[: len(consumed) - len(event.data)]
        if request.is_chunked:
            is_pending = event is h11.NEED_DATA
            overhead += len(consumed)
            # taskd limits the lines between chunks, as it does heads; h11 does not limit them.
            request.is_doubtful = overhead + is_pending * len(left) > limits.head_bytes
            # Without the end of the previous chunk.
            lines = b"" if consumed == b"\r" else consumed.removeprefix(b"\r\n")
            request.is_refused = _is_refused(lines, left if is_pending else b"")
        if request.is_refused or event is h11.NEED_DATA:
            break
        if isinstance(event, h11.Data):
            request.content += event.data
        request.is_whole = isinstance(event, h11.EndOfMessage)
    return connection.trailing_data[0]


def _is_refused(lines: bytes, part: bytes) -> bool:
    """
    Tell whether lines between chunks are refused.

    Args:
        lines: Complete lines, which h11 has accepted.
        part: The incomplete line that follows them, for which h11 is waiting.
    """
    if LAST_CHUNK.match(lines):
        # h11 checks trailers only when all have arrived, and accepts a bare LF and folded lines (sections 2.2, 5.2).
        trailers, _, part = (lines + part).rpartition(b"\r\n")
        chunk_lines, *trailer_lines = trailers.split(b"\r\n") if trailers else [b""]
        lines = chunk_lines
        if any(line and not TRAILER_LINE.fullmatch(line) for line in trailer_lines):
            return True
    # No further bytes can make this a valid line (section 2.2).
    if re.search(rb"\n|\r[^\n]", part):
        return True
    return any(line and not CHUNK_LINE.fullmatch(line) for line in lines.split(b"\r\n"))


@attrs.define
class Response:
    """
    A response as h11 reads it.

    Attributes:
        interim: How many "100 Continue" responses came before it.
        is_whole: It is complete.
        closes: It says that it is the last.
    """

    status: int
    content: bytes
    interim: int
    is_whole: bool
    closes: bool


def read_response(data: bytes, method: bytes) -> tuple[Response | None, bytes]:
    """Read the response to a request with *method* from *data*, everything that was received; also return the rest."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 30)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "taskd")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    response = Response(0, b"", 0, is_whole=False, closes=False)
    while not response.is_whole:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            # The response is cut off; any other error would be the server's fault.
            assert re.search("peer (unexpectedly )?closed|ConnectionClosed", str(error)), error  # noqa: PT017
            return (response if response.status else None), b""
        if isinstance(event, h11.InformationalResponse):
            assert 100 == event.status_code
            response.interim += 1
        elif isinstance(event, h11.Response):
            response.status = event.status_code
            response.closes = (b"connection", b"close") in event.headers
        elif isinstance(event, h11.Data):
            response.content += event.data
        elif isinstance(event, h11.ConnectionClosed):
            return None, b""
        response.is_whole = isinstance(event, h11.EndOfMessage)
    return response, connection.trailing_data[0]
