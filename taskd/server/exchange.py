"""Run the application for one request and its response (ASGI specification, "HTTP")."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Scope

from taskd.routes.errors import INTERNAL_ERROR
from taskd.server.body import BodyDecoder
from taskd.server.head import Head
from taskd.server.middleware import RESPONSE_HEADERS
from taskd.server.response import Headers, ResponseHead, error_bytes

__all__ = ["Connection", "Exchange"]

# How many parts of a response are sent before yielding to other tasks.
PARTS_AT_ONCE = 16
STOPPING = "The server is stopping; try again later."

# uvicorn's logger, which uvicorn's configuration already sets up.
logger = logging.getLogger("uvicorn.error")


class Connection(Protocol):
    """What an exchange needs from its connection."""

    @property
    def default_headers(self) -> Headers:
        """Return the headers that all responses have."""
        ...

    def write(self, data: bytes) -> None:
        """Send *data*."""
        ...

    @property
    def has_eof(self) -> bool:
        """Return whether the client has stopped sending."""
        ...

    @property
    def drained(self) -> asyncio.Future[None] | None:
        """Return what to wait for before writing more; None if the client keeps up."""
        ...

    def await_body(self) -> None:
        """Pass received data of the body to the exchange, or start waiting for the client if there is none."""
        ...

    def end_exchange(self) -> None:
        """Continue with the next request, or close the connection, now that the response is complete."""
        ...

    def close(self) -> None:
        """Close the connection once everything has been sent."""
        ...

    def abort(self) -> None:
        """End the connection at once; data that was sent may never arrive."""
        ...


class Exchange:
    """
    A request and its response, for which the application runs once.

    Attributes:
        head: The head of the request.
        decoder: Decodes the body from received data; None if the request has no body.
        body: The part of the body that was received but has not been passed to the application yet.
        failure: The error that made the server stop reading the body, if there was one.
        is_complete: Whether the whole response has been sent.
        keep_alive: Whether another request may follow the response.
    """

    __slots__ = (
        "_connection", "_has_body", "_is_continue_due", "_is_disconnected", "_is_end_delivered", "_length",
        "_parts", "_response", "_unsent_head", "_waiters", "body", "decoder", "failure", "head", "is_complete",
        "keep_alive",
    )  # fmt: skip

    def __init__(self, connection: Connection, head: Head, decoder: BodyDecoder | None, *, keep_alive: bool) -> None:
        self._connection = connection
        self.head = head
        self.decoder = decoder
        self.body = bytearray()
        self.keep_alive = keep_alive
        self.is_complete = False
        self._is_continue_due = head.framing.expects_continue and decoder is not None
        self._is_disconnected = False
        self._is_end_delivered = False
        self.failure: HTTPException | None = None
        # An application may wait in several tasks, as Starlette's StreamingResponse does.
        self._waiters: list[asyncio.Future[None]] = []
        self._response: ResponseHead | None = None
        # Sent together with the first part of the body: each write is a system call, and perhaps a packet.
        self._unsent_head = b""
        self._has_body = True
        self._length = self._parts = 0

    @property
    def has_all(self) -> bool:
        """Whether the whole request has been received."""
        return self.decoder is None or self.decoder.is_complete

    @property
    def has_more(self) -> bool:
        """Whether more of the body has been received but not decoded yet."""
        return self.decoder is not None and self.decoder.has_more

    @property
    def can_end_without_client(self) -> bool:
        """
        Whether a client that sends nothing more may still get a response.

        It gets none if the body is incomplete, if the response may be endless, or if the application is waiting for the
        client to leave: most clients that close their half have left.
        """
        is_stream = self._response is not None and self._response.length is None
        return not is_stream and not self._waiters

    @property
    def can_go_on(self) -> bool:
        """Whether the application can read the body without waiting for the client."""
        return bool(self.body) or self.has_all or self.has_more or self.failure is not None

    @property
    def unsent_bytes(self) -> int:
        """How many bytes of a response of known length are still to be sent."""
        return self._length

    @property
    def is_reading(self) -> bool:
        """Whether the application is waiting for the client to send more of the body."""
        return bool(self._waiters) and not self._is_end_delivered

    def has_left(self) -> bool:
        """Return whether the client has closed its half of the connection, or the whole connection."""
        return self._is_disconnected or self._connection.has_eof

    def cut_off(self) -> None:
        """End the connection, so that the client notices that its response is incomplete."""
        # Do not abort: the client may not have read the previous responses yet.
        self._connection.close()

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run *app* with *scope*; if it fails, respond in its place, or cut its response off."""
        try:
            await app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            if _is_being_cancelled():
                self._stop(scope)
                raise
            # The application was waiting for something else, which was cancelled.
            logger.exception("Exception in ASGI application\n")
        except (SystemExit, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException:
            logger.exception("Exception in ASGI application\n")
        else:
            if self.is_complete or self._is_disconnected:
                return
            logger.error("The ASGI application returned without completing its response.")
        self._end_with(scope, 500, INTERNAL_ERROR)

    def _stop(self, scope: Scope) -> None:
        """End the exchange, because the server is stopping and will wait no longer."""
        if self._response is None or self._unsent_head:
            self._end_with(scope, 503, STOPPING, (b"retry-after", b"2"))
        else:
            self._connection.abort()

    def _end_with(self, scope: Scope, status: int, detail: str, *headers: tuple[bytes, bytes]) -> None:
        """Respond with an error if the application has not started to respond; cut off an incomplete response."""
        if self.is_complete or self._is_disconnected:
            return
        if self._response is not None and not self._unsent_head:
            self.cut_off()
            return
        self.keep_alive = False
        headers = (*self._connection.default_headers, *scope.get(RESPONSE_HEADERS, ()), *headers)
        has_body = self.head.method != "HEAD"
        self._connection.write(error_bytes(status, detail, headers=headers, has_body=has_body))
        self._complete()

    async def receive(self) -> Message:
        """Return the next part of the body, or a disconnect message."""
        while not (self._is_disconnected or self.is_complete):
            if not self._is_end_delivered:
                self._connection.await_body()
                if self.failure is not None:
                    self._is_end_delivered = True
                    raise self.failure
                if self.has_more:
                    # Other requests are served in the meantime.
                    await asyncio.sleep(0)
                    continue
                if self.body or self.has_all:
                    return self._next_part()
            await self._wait()
        return {"type": "http.disconnect"}

    def _next_part(self) -> Message:
        content, self.body = bytes(self.body), bytearray()
        self._is_end_delivered = self.has_all
        return {"type": "http.request", "body": content, "more_body": not self._is_end_delivered}

    async def _wait(self) -> None:
        if self._is_disconnected:
            return
        if self._is_continue_due and not self._is_end_delivered:
            self._is_continue_due = False
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    async def send(self, message: Message) -> None:
        """Send the next part of the response, once the client has read enough of the previous ones."""
        if self._connection.drained is not None:
            await asyncio.shield(self._connection.drained)
        if self._is_disconnected:
            # An application that never stops sending can notice this, or be cancelled, only if it yields.
            await asyncio.sleep(0)
            return
        kind = message["type"]
        if self._response is None and kind == "http.response.start":
            self._start(message["status"], message.get("headers", ()))
        elif self._response is not None and kind == "http.response.body" and self._has_body and not self.is_complete:
            self._send_body(self._response, message.get("body", b""), more=message.get("more_body", False))
            self._parts += 1
            if self._parts % PARTS_AT_ONCE == 0:
                # An application may send without ever waiting.
                await asyncio.sleep(0)
        elif self._has_body or kind != "http.response.body":
            raise RuntimeError(f"{kind} must not be sent now")

    def _start(self, status: int, headers: Headers) -> None:
        self._is_continue_due = False
        # Before another request, the rest of the body would have to be read; closing tells the client to stop sending
        # it.
        closes = not (self.keep_alive and self.has_all)
        self._has_body = self.head.method != "HEAD" and status not in (204, 304)
        response = ResponseHead.of(
            status,
            headers,
            self._connection.default_headers,
            http_version=self.head.framing.http_version,
            has_body=self._has_body,
            closes=closes,
        )
        self.keep_alive = not response.closes
        self._response, self._length = response, response.length or 0
        if self._has_body:
            self._unsent_head = response.data
        else:
            self._connection.write(response.data)
            self._complete()

    def _send_body(self, response: ResponseHead, content: bytes, *, more: bool) -> None:
        if response.is_chunked:
            content = b"%x\r\n%b\r\n" % (len(content), content) if content else b""
            if not more:
                content += b"0\r\n\r\n"
        elif response.length is not None:
            self._length -= len(content)
            if self._length < 0:
                raise RuntimeError("the response is longer than its Content-Length")
        if self._unsent_head:
            content, self._unsent_head = self._unsent_head + content, b""
        self._connection.write(content)
        if not more:
            if self._length:
                raise RuntimeError("the response is shorter than its Content-Length")
            self._complete()

    def _complete(self) -> None:
        self.is_complete = True
        self.wake()
        self._connection.end_exchange()

    def fail(self, failure: HTTPException) -> None:
        """Stop reading the body because of *failure*, which `receive` raises if the application wants more of it."""
        self.failure, self.keep_alive = failure, False
        self._is_continue_due = False
        self.wake()

    def disconnect(self) -> None:
        """Note that the client has disconnected."""
        self._is_disconnected = True
        self.wake()

    def wake(self) -> None:
        """Wake the application if it is waiting."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def _is_being_cancelled() -> bool:
    """Return whether this task itself is being cancelled, which only the server does."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
