"""Regression tests for bugs found by random conversations, or while writing them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from taskd.server.protocol import HTTPProtocol
from tests.support.conversations import LIMITS, LOOPS, Conversation, Plan, conversations

GET = b"GET / HTTP/1.1\r\nHost: taskd\r\n\r\n"
LAST_GET = b"GET / HTTP/1.1\r\nHost: taskd\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: taskd\r\nContent-Length: %d\r\n\r\n"
EXPECTING = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
CHUNKED = b"POST / HTTP/1.1\r\nHost: taskd\r\nTransfer-Encoding: chunked\r\n\r\n"
# From the size of the kernel's buffers to a size that makes the application wait.
UNREAD_SIZES = range(0, 14_000, 500)
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


@pytest.fixture(params=LOOPS)
def start(request: pytest.FixtureRequest) -> Iterator[Callable[[], Conversation]]:
    """Start a conversation."""
    with conversations(LOOPS[request.param]) as start:
        yield start


@pytest.mark.parametrize("half_closes", [False, True])
@pytest.mark.parametrize("sent", [GET, LAST_GET])
def test_a_client_that_does_not_read_the_end_of_a_response_is_cut_off(
    start: Callable[[], Conversation], sent: bytes, half_closes: bool
) -> None:
    """However little is left: there used to be no time limit once the connection was closing."""
    for size in UNREAD_SIZES:
        it = start()
        it.ending = "deaf"
        it.write(sent, Plan(pieces=(size,)))
        it.send()
        if half_closes:
            it.half_close()

        it.end()


def test_a_slow_reader_gets_the_whole_last_response(start: Callable[[], Conversation]) -> None:
    """It has as much time for it as for any other response, not only as long as lingering takes."""
    waited_s = []
    for size in UNREAD_SIZES:
        it = start()
        it.write(LAST_GET, Plan(pieces=(size,)))
        it.send()
        if not it.protocol.transport.get_write_buffer_size():
            it.end()
            continue
        before = it.clock.now
        while not it.protocol.is_lost:
            it.let_time_pass()
        waited_s.append(it.clock.now - before)
        it.end()

    assert LIMITS.send_timeout_s == min(waited_s)


def test_sending_a_body_does_not_excuse_a_client_from_reading(start: Callable[[], Conversation]) -> None:
    """If an application reads and sends alternately, each has its own time limit."""
    it = start()
    it.ending = "deaf"
    it.write(POST % 10, Plan(reads=0, pieces=(20_000, 20_000), reads_late=True))
    it.send()
    it.write(b"0123456789", Plan())
    it.send()
    assert b"0123456789" == it.app.seen[0].content

    it.end()


def test_half_an_empty_line_does_not_start_a_request(start: Callable[[], Conversation]) -> None:
    """Such a connection is closed in time, without refusing a head that never came."""
    it = start()
    it.ending = "silent"
    for piece in (b"\r", b"\n"):
        it.write(piece, Plan())
        it.send()
    it.end()

    assert b"" == it.received


def test_several_tasks_may_wait_for_the_client_to_disconnect(start: Callable[[], Conversation]) -> None:
    """Starlette's StreamingResponse does so if its content calls `Request.is_disconnected()`."""
    it = start()
    it.write(GET, Plan(listens=True, polls=True))
    it.send()
    it.end()

    assert it.app.seen[0].is_gone


def test_the_time_limit_for_a_body_pauses_while_the_application_is_busy(start: Callable[[], Conversation]) -> None:
    """This holds even if it has started to read the body before, and given up."""
    it = start()
    it.write(POST % 5, Plan(reads=0, polls=True, is_slow=True, pieces=(1, 1), reads_late=True))
    it.send()
    it.let_time_pass()
    it.write(b"12345", Plan())
    it.send()
    it.end()

    assert (0, b"12345") == (it.app.seen[0].refusal, it.app.seen[0].content)


def test_a_failure_to_respond_to_head_has_no_content(start: Callable[[], Conversation]) -> None:
    """RFC 9110, section 9.3.2."""
    it = start()
    it.write(GET.replace(b"GET", b"HEAD"), Plan(failure="before"))
    it.send()
    it.end()

    assert it.received.startswith(b"HTTP/1.1 500 ")
    assert it.received.endswith(b"\r\n\r\n")


def test_a_truncated_response_does_not_lose_earlier_ones(start: Callable[[], Conversation]) -> None:
    """A client that pipelines may not have read the earlier responses yet."""
    for size in UNREAD_SIZES:
        it = start()
        it.write(GET, Plan(pieces=(size,)))
        it.write(GET, Plan(pieces=(1, 1), failure="between"))
        it.send()
        it.end()

        assert size < len(it.received)


def test_a_connection_is_closed_once_when_the_client_has_read_everything(start: Callable[[], Conversation]) -> None:
    """asyncio reports an error if a transport is closed while it reports that everything has been sent."""
    it = start()
    it.write(GET, Plan(pieces=(40_000,)))
    it.send()
    it.half_close()
    while not it.protocol.is_lost:
        it.read(1000)
    it.end()

    assert 200 == it.app.seen[0].status


def test_a_body_is_not_requested_from_a_client_that_has_left_or_sent_it(start: Callable[[], Conversation]) -> None:
    """Data that is written to a closed connection causes an error, or is lost."""

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        it.app.is_waiting = True
        await it.app.gate.wait()
        assert "http.disconnect" == (await receive())["type"]

    it = start()
    it.protocol.app = app
    it.write(EXPECTING % 5, Plan())
    it.send()
    it.close()
    it.let_the_application_go_on()
    assert it.protocol.is_lost

    it.end()

    it = start()
    it.write(EXPECTING % 5 + b"12345", Plan(polls=True))
    it.send()
    it.end()

    assert b"100 Continue" not in it.received


def test_a_client_that_pauses_within_a_body_is_asked_for_the_rest(start: Callable[[], Conversation]) -> None:
    """It may have sent as much as fits into a packet, and be waiting."""
    it = start()
    it.write(EXPECTING % 5 + b"12", Plan())
    it.send()
    it.read()
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == it.received
    it.write(b"345", Plan())
    it.send()
    it.end()

    assert b"12345" == it.app.seen[0].content


def test_an_application_that_keeps_sending_does_not_fill_the_log(start: Callable[[], Conversation]) -> None:
    """Until the event loop reports that the client has left, asyncio logs a warning for each write."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        it.leave()
        for _ in range(20):
            await send({"type": "http.response.body", "body": b"a", "more_body": True})

    it = start()
    it.protocol.app = app
    it.write(GET, Plan())
    it.send()
    it.end()

    assert it.protocol.is_lost


def test_a_stopping_server_closes_its_connections(start: Callable[[], Conversation]) -> None:
    """It responds to the current request first, and ignores what the client sends after that."""
    for slow in (False, True):
        it = start()
        it.write(GET, Plan(is_slow=slow))
        it.send()
        it.stop_the_server()
        it.write(GET, Plan())
        it.send()
        it.end()

        assert 1 == len(it.app.seen)


def test_a_client_that_half_closes_within_an_invalid_body_gets_the_reason(
    start: Callable[[], Conversation],
) -> None:
    """Whether or not the rest of the body arrives, nothing could make it valid."""
    it = start()
    it.write(GET, Plan())
    it.write(CHUNKED + b"0\n\r\n", Plan())
    it.ending = "half close"

    it.end()

    assert [200, 400] == [seen.status for seen in it.app.seen]
    assert b"HTTP/1.1 400 " in it.received


@pytest.mark.parametrize("sent", [b"HEAD / HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.1\n", b"HEAD / HTTP/1.1\r\n"])
def test_a_refused_head_request_gets_no_content(start: Callable[[], Conversation], sent: bytes) -> None:
    """A client would take it for the next response (RFC 9110, section 9.3.2)."""
    it = start()
    it.write(sent, Plan())
    it.send()
    if not it.protocol.is_lost and it.protocol._lingers_until is None:
        it.let_time_pass()
    it.read()

    assert bytes(it.received).endswith(b"\r\n\r\n")
    it.end()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET x HTTP/1.1\r\nHost: taskd\r\n\r\n",
        b"\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"1\r\na\n",
        CHUNKED + b"1 ;a\r\naa\r\n",
        CHUNKED + b"0\r\nA\r\n",
        CHUNKED + b"0\r\nA: b\n\r\n",
        CHUNKED + b"1\rb",
    ],
)
def test_invalid_requests_are_refused(start: Callable[[], Conversation], sent: bytes) -> None:
    """The server and the reference parser agree, wherever the network splits the data."""
    for count in (1000, 1):
        it = start()
        it.write(sent, Plan())
        while it.unsent:
            it.send(count)
        it.read()
        it.end()

        assert it.received.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_may_reset_the_connection_just_before_its_end(loop: str) -> None:
    """Over TCP, closing the server's half then fails, but that is not an error of the application."""
    has_ended: list[bool] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204})
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        client.close()
        await send({"type": "http.response.body"})
        has_ended.append(True)

    async def converse() -> None:
        await running.connect_accepted_socket(lambda: Protocol(config, state, {}, running), server)
        client.sendall(LAST_GET)
        async with asyncio.timeout(30):
            await lost.wait()

    class Protocol(HTTPProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    lost = asyncio.Event()
    state = ServerState()
    config = Config(app, lifespan="off", log_config=None, proxy_headers=False, interface="asgi3")
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.closing(LOOPS[loop]()) as running:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        running.run_until_complete(converse())

    assert [True] == has_ended
