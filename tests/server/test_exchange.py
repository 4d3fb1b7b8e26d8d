"""How a request ends whose application is cancelled, or fails before it responds."""

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
    """What an exchange is on: keeps what is written, and how it ended."""

    written: bytes = b""
    ends: list[str] = attrs.field(factory=list)
    default_headers: Any = ((b"date", b"today"),)
    drained: None = None
    has_eof: bool = False

    def write(self, data: bytes) -> None:
        """Keep *data*."""
        self.written += data

    def await_body(self) -> None:
        """Know of no body."""

    def end_exchange(self) -> None:
        """Note that the response is complete."""
        self.ends.append("complete")

    def close(self) -> None:
        """Never asked for here."""
        raise NotImplementedError

    def abort(self) -> None:
        """Note that the connection is cut off."""
        self.ends.append("aborted")


def exchange_on(connection: Connection, method: str = "GET") -> Exchange:
    """An exchange for a request."""
    head = Head.parse(f"{method} /api/alice/tasks HTTP/1.1\r\nHost: taskd\r\n\r\n".encode(), 10)
    return Exchange(connection, head, None, keep_alive=True)


async def run(connection: Connection, inner: Callable[..., Awaitable[None]], method: str = "GET") -> None:
    """Run *inner* for a request of a page, within what holds for all responses."""
    scope = {"type": "http", "method": method, "path": "/api/alice/tasks", "headers": HEADERS}
    await exchange_on(connection, method).run(HTTPMiddleware(inner, [ORIGIN]), scope)


async def stopped(connection: Connection, begin: Callable[[Send], Awaitable[None]], method: str = "GET") -> None:
    """Cancel, as the server does at its stop, an application that has begun its response so far."""
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
    """Do not begin to respond."""


async def a_head(send: Send) -> None:
    """Begin to respond."""
    await send({"type": "http.response.start", "status": 200, "headers": []})


def parsed(written: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return the status line, the headers and the body of a response."""
    head, _, body = written.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    fields = {name: value for name, _, value in (line.lower().partition(": ") for line in lines)}
    assert len(lines) == len(fields)
    return status, fields, body


async def test_the_server_s_stop_is_a_503_with_all_headers() -> None:
    """A page may read why its request was not served, and when to try again, as with any response."""
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


async def test_head_gets_no_body_at_the_stop() -> None:
    """As with any response to HEAD."""
    connection = Connection()
    await stopped(connection, nothing, "HEAD")
    _, headers, body = parsed(connection.written)

    assert (b"", True) == (body, int(headers["content-length"]) > 0)


async def test_a_response_that_has_begun_is_cut_off_at_the_stop() -> None:
    """Nothing else would tell the client that it is not complete; and it may not be reading."""
    connection = Connection()
    await stopped(connection, a_head)

    assert connection.written.startswith(b"HTTP/1.1 200 ")
    assert ["aborted"] == connection.ends


async def test_another_task_s_cancellation_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    """An application that waits for something which is cancelled has failed; the server does not stop."""
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


async def test_an_application_that_does_not_respond_is_a_500() -> None:
    """A page may read this, too."""

    async def inner(*_: object) -> None:
        return

    connection = Connection()
    await run(connection, inner)
    status, headers, _ = parsed(connection.written)

    assert ("HTTP/1.1 500 Internal Server Error", "find-me") == (status, headers["x-request-id"])
