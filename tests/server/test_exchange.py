"""Requests whose application is cancelled, or fails before it responds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
from starlette.types import Receive, Scope, Send

from taskd.server.exchange import Exchange
from taskd.server.head import Head
from taskd.server.middleware import HTTPMiddleware
from tests.conftest import ORIGIN

pytestmark = pytest.mark.anyio

HEADERS = [(b"origin", ORIGIN.encode()), (b"x-request-id", b"find-me")]


@attrs.define
class Connection:
    """A connection that records what is written, and how it ended."""

    written: bytes = b""
    ends: list[str] = attrs.field(factory=list)
    default_headers: Any = ((b"date", b"today"),)
    drained: None = None
    has_eof: bool = False

    def write(self, data: bytes) -> None:
        """Record *data*."""
        self.written += data

    def await_body(self) -> None:
        """Have no body."""

    def end_exchange(self) -> None:
        """Record that the response is complete."""
        self.ends.append("complete")

    def close(self) -> None:
        """Fail: these tests never call this method."""
        raise NotImplementedError

    def abort(self) -> None:
        """Record that the connection was cut off."""
        self.ends.append("aborted")


def exchange_on(connection: Connection, method: str = "GET") -> Exchange:
    """Return an exchange for a request."""
    head = Head.parse(f"{method} /api/alice/tasks HTTP/1.1\r\nHost: taskd\r\n\r\n".encode(), 10)
    return Exchange(connection, head, None, keep_alive=True)


async def run(connection: Connection, inner: Callable[..., Awaitable[None]], method: str = "GET") -> None:
    """Run *inner*, inside the middleware, for a request from a page."""
    scope = {"type": "http", "method": method, "path": "/api/alice/tasks", "headers": HEADERS}
    await exchange_on(connection, method).run(HTTPMiddleware(inner, [ORIGIN]), scope)


async def stopped(connection: Connection, begin: Callable[[Send], Awaitable[None]], method: str = "GET") -> None:
    """Cancel an application that has started its response up to this point, as a stopping server does."""
    begun = asyncio.Event()

    async def inner(_: Scope, __: Receive, send: Send) -> None:
        await begin(send)
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run(connection, inner, method))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def nothing(_: Send) -> None:
    """Do not start the response."""


async def a_head(send: Send) -> None:
    """Start the response."""
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def a_part(send: Send) -> None:
    """Start the response, and send some of its body."""
    await a_head(send)
    await send({"type": "http.response.body", "body": b"some", "more_body": True})


def parsed(written: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return the status line, the headers and the body of a response."""
    head, _, body = written.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    fields = {name: value for name, _, value in (line.lower().partition(": ") for line in lines)}
    assert len(lines) == len(fields)
    return status, fields, body


async def test_a_stopping_server_responds_with_a_503_and_all_headers() -> None:
    """A page may read why its request was not served and when to retry, as with any response."""
    connection = Connection()
    await stopped(connection, nothing)
    status, headers, body = parsed(connection.written)

    assert "HTTP/1.1 503 Service Unavailable" == status
    assert {"detail": "The server is stopping; try again later.", "code": "unavailable"} == json.loads(body)
    expected = {
        "access-control-allow-credentials": "true",
        "access-control-allow-origin": ORIGIN,
        "cache-control": "no-store",
        "connection": "close",
        "content-length": str(len(body)),
        "content-type": "application/json",
        "date": "today",
        "retry-after": "2",
        "vary": "origin",
        "x-content-type-options": "nosniff",
        "x-request-id": "find-me",
    }
    assert expected == {name: value for name, value in headers.items() if name != "access-control-expose-headers"}
    assert ["complete"] == connection.ends


async def test_a_stopping_server_sends_no_body_to_head() -> None:
    """This is the same as for any response to HEAD."""
    connection = Connection()
    await stopped(connection, nothing, "HEAD")
    _, headers, body = parsed(connection.written)

    assert (b"", True) == (body, int(headers["content-length"]) > 0)


async def test_a_stopping_server_cuts_off_a_started_response() -> None:
    """The client could not tell otherwise that the response is incomplete, and might not be reading."""
    connection = Connection()
    await stopped(connection, a_part)

    assert connection.written.startswith(b"HTTP/1.1 200 ")
    assert ["aborted"] == connection.ends


async def test_a_head_is_sent_with_the_first_part_of_the_body() -> None:
    """Until then, an application that fails, or a server that stops, can still say so."""
    connection = Connection()
    await stopped(connection, a_head)
    status, _, _ = parsed(connection.written)

    assert "HTTP/1.1 503 Service Unavailable" == status
    assert ["complete"] == connection.ends


async def test_the_cancellation_of_another_task_leads_to_a_500(caplog: pytest.LogCaptureFixture) -> None:
    """If something that an application awaits is cancelled, the application has failed; the server is not stopping."""
    caplog.set_level("INFO", "uvicorn.error")

    async def inner(*_: object) -> None:
        other = asyncio.create_task(asyncio.Event().wait())
        other.cancel()
        await other

    connection = Connection()
    await run(connection, inner)
    status, headers, body = parsed(connection.written)

    assert ("HTTP/1.1 500 Internal Server Error", ORIGIN) == (status, headers["access-control-allow-origin"])
    assert {"detail": "Internal server error", "code": "internal_error"} == json.loads(body)
    assert "Exception in ASGI application" in caplog.text


@pytest.mark.parametrize(
    "header", [(b"location", b"/a\r\nset-cookie: a=b"), (b"vary", b"a\r\nb: c"), (b"a: b\r\nc", b"d")]
)
async def test_a_header_cannot_add_others(header: tuple[bytes, bytes]) -> None:
    """A value with a line break in it leads to a 500, even if what follows looks like another header."""

    async def inner(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-first", b"1"), header]})
        await send({"type": "http.response.body"})

    connection = Connection()
    await run(connection, inner)
    status, headers, _ = parsed(connection.written)

    assert "HTTP/1.1 500 Internal Server Error" == status
    assert not {"set-cookie", "b", "c"} & set(headers)


async def test_any_exception_leads_to_a_500(caplog: pytest.LogCaptureFixture) -> None:
    """The client does not wait for ever if it is none that programs usually handle."""

    async def inner(*_: object) -> None:
        raise BaseExceptionGroup("several", [asyncio.CancelledError()])

    connection = Connection()
    await run(connection, inner)

    assert "HTTP/1.1 500 Internal Server Error" == parsed(connection.written)[0]
    assert "Exception in ASGI application" in caplog.text


async def test_an_application_that_does_not_respond_leads_to_a_500() -> None:
    """Pages may read this response, too."""

    async def inner(*_: object) -> None:
        return

    connection = Connection()
    await run(connection, inner)
    status, headers, _ = parsed(connection.written)

    assert ("HTTP/1.1 500 Internal Server Error", "find-me") == (status, headers["x-request-id"])
