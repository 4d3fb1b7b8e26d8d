"""What clients may do to a connection: any actions in any order, and any bytes in any packets."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from taskd.server.body import ChunkedDecoder
from tests.support.conversations import LARGEST_RESPONSE, LIMITS, LOOPS, Conversation, Plan, conversations

# What a client sends


def chunked(chunks: list[tuple[bytes, bytes, str]], trailers: bytes) -> bytes:
    """Return a body in chunks, each with its extension and the format of its size."""
    written = [
        (form % len(piece)).encode() + extension + b"\r\n" + piece + b"\r\n" for piece, extension, form in chunks
    ]
    return b"".join(written) + b"0\r\n" + trailers + b"\r\n"


CONTENT = st.one_of(
    st.binary(min_size=1, max_size=20),
    st.integers(1, 3000).map(b"x".__mul__),
    st.sampled_from([b"\r\n", b"0\r\n\r\n", b"GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n"]),
)
CHUNKS = st.lists(
    st.tuples(
        CONTENT,
        st.sampled_from([b"", b"", b";a=b", b';a="b;c"', b" ;a", b"; " + b"e" * 300, b" "]),
        st.sampled_from(["%x", "%X", "0%x", "%015x"]),
    ),
    max_size=4,
)
TRAILERS = st.sampled_from([b"", b"", b"", b"A: b\r\n", b"A: b\r\nB:\r\n", b"T: " + b"t" * 500 + b"\r\n"])
FRAMINGS = [
    b"Content-Length: 3",
    b"Content-Length: 0",
    b"Content-Length: 2, 2",
    b"Content-Length: +2",
    b"Content-Length: 18446744073709551616",
    b"Content-Length:",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity",
    b"Host: taskd",
    b"Host: a b",
    b"Host:",
    b"X: a\r\n b",
    b" X: a",
    b"X : a",
    b"X",
    b": a",
]
HEADERS = st.sampled_from(
    [
        b"A: b",
        b"A:",
        b"a:\t b c\t",
        b"A: \xff",
        b"Connection: keep-alive",
        b"Connection: Upgrade",
        b"Upgrade: h2c",
        b"Upgrade: websocket",
        b"Expect: 100-continue",
        b"Expect: 100-Continue",
        b"Expect: 200-ok",
        b"Connection: x, Close",
    ]
)


@st.composite
def heads_and_bodies(draw: st.DrawFn) -> bytes:
    """Return a valid request, or a near miss."""
    method = draw(st.sampled_from([b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"FOO", b"OPTIONS", b"CONNECT"]))
    targets = [b"/", b"/a?b=c", b"/a%20b?", b"/a#b", b"http://taskd/x?y", b"http://taskd:80", b"*", b"/a?b?c/../"]
    target = b"taskd:80" if method == b"CONNECT" else draw(st.sampled_from(targets))
    version = draw(st.sampled_from([b"HTTP/1.1"] * 9 + [b"HTTP/1.0"]))
    lines = [b"%b %b %b" % (method, target, version), b"Host: taskd", *draw(st.lists(HEADERS, max_size=2))]
    body = b""
    lines += draw(st.sampled_from([[], [], [b"Expect: 100-continue"]]))
    match draw(st.sampled_from(["", "length", "chunks"])):
        case "length":
            body = draw(CONTENT)
            lines.append(b"Content-Length: %d" % len(body))
        case "chunks":
            body = chunked(draw(CHUNKS), draw(TRAILERS))
            lines.append(b"Transfer-Encoding: chunked")
    # Not first among the alternatives, because Hypothesis prefers the first one.
    if draw(st.integers(0, 9)) == 7:
        # Around the limit.
        rest = LIMITS.head_bytes - len(b"\r\n".join(lines)) - len(b"\r\nP: \r\n\r\n")
        lines.append(b"P: " + b"p" * max(0, rest + draw(st.integers(-1, 2) | st.just(1000))))
    return b"\r\n" * draw(st.sampled_from([0, 0, 0, 1, 3])) + b"\r\n".join([*lines, b"", b""]) + body


def replaced(data: bytes, at: int, length: int, by: bytes) -> bytes:
    return data[:at] + by + data[at + length :]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return a request, complete or with one thing wrong."""
    data: bytes = draw(heads_and_bodies())
    # More often among the first bytes, where the head is.
    at = min(draw(st.integers(0, 80) | st.integers(0, 3000)), len(data) - 1)
    ends = [found.start() for found in re.finditer(b"\r\n", data)]
    end = ends[at % len(ends)]
    match draw(st.sampled_from([""] * 24 + ["change", "drop", "double", "LF", "CR", "no host", "framing", "framing"])):
        case "change":
            data = replaced(data, at, 1, draw(st.sampled_from(BYTES)))
        case "drop":
            data = replaced(data, at, 1, b"")
        case "double":
            data = replaced(data, at, 1, data[at : at + 1] * 2)
        case "LF":
            data = replaced(data, end, 1, b"")
        case "CR":
            data = replaced(data, end + 1, 1, b"")
        case "no host":
            data = data.replace(b"Host: taskd\r\n", b"", 1)
        case "framing":
            data = data.replace(b"Host: taskd\r\n", b"Host: taskd\r\n" + draw(st.sampled_from(FRAMINGS)) + b"\r\n", 1)
    return data


BYTES = [b"\0", b"\n", b"\r", b" ", b"\t", b":", b"0", b"a", b"/", b"#", b"?", b";", b"\x7f", b"\x80", b"\x0b", b"\x01"]
PLANS = st.builds(
    Plan,
    queues=st.booleans(),
    reads=st.sampled_from([1000, 1000, 0, 1, 2]),
    polls=st.sampled_from([False, False, True]),
    is_slow=st.sampled_from([False, False, True]),
    listens=st.sampled_from([False, False, True]),
    status=st.sampled_from([200, 200, 204, 404]),
    pieces=st.lists(st.sampled_from([0, 1, 100, 3000, LARGEST_RESPONSE]), min_size=1, max_size=4).map(tuple),
    is_streamed=st.booleans(),
    reads_late=st.sampled_from([False, False, True]),
    closes=st.sampled_from([False] * 5 + [True]),
    failure=st.sampled_from([""] * 12 + ["before", "between", "silent", "endless"]),
)


class RandomConversation(RuleBasedStateMachine):
    """Return what either side does next."""

    def __init__(self, conversation: Conversation) -> None:
        super().__init__()
        self.it = conversation

    @initialize(
        first=st.lists(st.tuples(requests(), PLANS), min_size=1, max_size=3),
        ending=st.sampled_from(["half close", "half close", "silent", "deaf", "gone"]),
    )
    def begin(self, first: list[tuple[bytes, Plan]], ending: str) -> None:
        for data, plan in first:
            self.it.write(data, plan)
        self.it.ending = ending

    @precondition(lambda self: not self.it.is_half_closed and len(self.it.app.plans) < 6)
    @rule(data=requests(), plan=PLANS)
    def write(self, data: bytes, plan: Plan) -> None:
        self.it.write(data, plan)

    @precondition(lambda self: self.it.unsent)
    @rule(count=st.integers(1, 100) | st.integers(1, 4000))
    def send(self, count: int) -> None:
        self.it.send(count)

    @rule(count=st.sampled_from([1, 1000, 100_000]))
    def read(self, count: int) -> None:
        self.it.read(count)

    @precondition(lambda self: self.it.app.is_waiting)
    @rule()
    def let_the_application_go_on(self) -> None:
        self.it.let_the_application_go_on()

    @precondition(lambda self: self.it.app.turn.begin)
    @rule()
    def let_its_turn_come(self) -> None:
        self.it.let_its_turn_come()

    @precondition(lambda self: self.it.has_begun and not self.it.is_half_closed)
    @rule()
    def half_close(self) -> None:
        self.it.half_close()

    @precondition(lambda self: self.it.has_begun and not self.it.is_closed)
    @rule()
    def close(self) -> None:
        self.it.close()

    @precondition(lambda self: self.it.sent and self.it.clock.next_at() is not None)
    @rule()
    def let_time_pass(self) -> None:
        self.it.let_time_pass()

    @precondition(lambda self: self.it.has_begun and not self.it.protocol.is_lost)
    @rule()
    def stop_the_server(self) -> None:
        self.it.stop_the_server()

    def teardown(self) -> None:
        self.it.end()


def examples(is_thorough: bool, count: int) -> settings:
    """
    Return how many examples to try.

    Ordinary runs always try the same ones, so that an existing bug does not stop somebody who changes something else.
    Thorough runs try others.
    """
    return settings(
        max_examples=count * 200 if is_thorough else count,
        stateful_step_count=25,
        deadline=None,
        derandomize=not is_thorough,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )


@pytest.mark.parametrize("loop", LOOPS)
def test_any_conversation_is_understood_and_ends(loop: str, is_thorough: bool) -> None:
    """The application sees the same as h11, the client reads a response to each request, and nothing is left over."""
    with conversations(LOOPS[loop]) as start:
        # A callable will do, whatever its annotation says.
        machine: Any = lambda: RandomConversation(start())  # noqa: E731
        run_state_machine_as_test(machine, settings=examples(is_thorough, 50))


def test_chunks_are_decoded_wherever_the_network_splits_them(is_thorough: bool) -> None:
    """The content is complete, whatever lies between the chunks."""

    @examples(is_thorough, 100)
    @given(chunks=CHUNKS, trailers=TRAILERS, cuts=st.lists(st.integers(0, 4000)), most=st.integers(1, 5000))
    def check(chunks: list[tuple[bytes, bytes, str]], trailers: bytes, cuts: list[int], most: int) -> None:
        data = chunked(chunks, trailers)
        decoder, buffer, content = ChunkedDecoder(100_000), bytearray(), b""
        edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        for start, end in itertools.pairwise(edges):
            assert not decoder.is_complete
            buffer += data[start:end]
            while piece := decoder.decode(buffer, most):
                content += piece
        assert decoder.is_complete
        assert b"" == buffer
        assert b"".join(piece for piece, _, _ in chunks) == content

    check()
