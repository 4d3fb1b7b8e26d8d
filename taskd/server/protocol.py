"""
A client's connection, for uvicorn: one request at a time, within the bounds of `Limits`.

uvicorn's own protocols parse all data as soon as it arrives, and queue the requests.  Here, data stays bytes until the
previous request has its response, and reading stops when enough has arrived.  The parser sees one whole head and
nothing else, so what it would do with less, or with more, does not matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import attrs
from starlette.exceptions import HTTPException
from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from taskd.logs import RateLimitedLog
from taskd.routes.lists import CUT_OFF
from taskd.server.admission import ENQUEUE, HAS_LEFT, PLACE, Enqueue
from taskd.server.body import BodyDecoder, ChunkedDecoder, LengthDecoder
from taskd.server.deadline import Deadline
from taskd.server.exchange import Exchange
from taskd.server.forwarded import TrustedProxies
from taskd.server.gates import Place
from taskd.server.head import BadRequest, Head
from taskd.server.head_reader import HeadReader
from taskd.server.limits import SEND_TIMEOUT, Limits
from taskd.server.response import Headers, error_bytes
from taskd.server.stalled import StalledConnections

__all__ = ["HTTPProtocol"]

logger = logging.getLogger("taskd.server")

# The value of SO_LINGER (socket(7)): on, for zero seconds.
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


@attrs.frozen
class _Shared:
    """What the connections of one server share."""

    limits: Limits
    proxies: TrustedProxies
    stalled: StalledConnections = attrs.field(factory=StalledConnections)
    malformed: RateLimitedLog = attrs.field(factory=lambda: RateLimitedLog(logger))
    upgrades: RateLimitedLog = attrs.field(factory=lambda: RateLimitedLog(logger))
    cut_off: RateLimitedLog = attrs.field(factory=lambda: RateLimitedLog(logger))


_shared_by: WeakKeyDictionary[ServerState, _Shared] = WeakKeyDictionary()


class HTTPProtocol(asyncio.Protocol):
    """
    A client's connection.

    It is always in one of the following states, each of which has *one* deadline: between requests, reading a head,
    running an exchange, waiting for a client that does not read its response, or lingering before the end.
    """

    limits = Limits()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Create a connection; uvicorn calls this."""
        if not config.loaded:
            config.load()
        self.config = config
        self.app = config.loaded_app
        self.app_state = app_state
        self.server_state = server_state
        self.loop = _loop or asyncio.get_event_loop()
        self.transport: asyncio.Transport
        if server_state not in _shared_by:
            send_timeout_s = app_state.get(SEND_TIMEOUT, self.limits.send_timeout_s)
            limits = attrs.evolve(self.limits, send_timeout_s=send_timeout_s)
            _shared_by[server_state] = _Shared(limits, _trusted_proxies(config))
        self._shared = _shared_by[server_state]
        self.limits = self._shared.limits
        self._scope_of_connection: Scope
        # Set if the connection is from a trusted proxy.
        self._proxies: TrustedProxies | None = None
        self._root_path = config.root_path
        self._deadline = Deadline(self.loop, self._on_deadline)
        # Data that has arrived but has not been processed.
        self._buffer = bytearray()
        self._heads = HeadReader(self._buffer, self.limits.head_bytes)
        self._is_in_head = False
        self._exchange: Exchange | None = None
        # The application's function that lets requests wait for their turn; the head of the request that is waiting,
        # and its place.
        self._enqueue: Enqueue | None = app_state.get(ENQUEUE)
        self._head = b""
        self._place: Place | None = None
        self._is_reading_paused = False
        self.has_eof = False
        # While the client is not reading: a future that is done when it reads again, and how much was unsent at the
        # last check.
        self.drained: asyncio.Future[None] | None = None
        self._unsent_bytes = 0
        # How much the client has sent, and how long the server has waited for it, since the last check.
        self._received_bytes = 0
        self._awaited_s = self._awaits_since = 0.0
        self._lingers_until: float | None = None
        self._is_stopping = False

    # What the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for a request."""
        self.transport = transport
        self.server_state.connections.add(self)  # type: ignore[arg-type]
        server, client = get_local_addr(transport), get_remote_addr(transport)
        self._scope_of_connection = {
            "type": "http",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.3"},
            "server": server,
            "client": client,
            "scheme": "https" if is_ssl(transport) else "http",
            "root_path": self._root_path,
        }
        # Only the name of a Unix socket has no port.
        if self._shared.proxies.include(client, is_unix=server is not None and server[1] is None):
            self._proxies = self._shared.proxies
        self._deadline.set(self.limits.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything that the connection held."""
        self.server_state.connections.discard(self)
        self._deadline.close()
        self._buffer.clear()
        self._shared.stalled.remove(self)
        if self.drained is not None:
            self.drained.set_result(None)
            self.drained = None
        self._disconnect()

    def data_received(self, data: bytes) -> None:
        """Take *data*, and stop reading when enough has arrived."""
        if self._lingers_until is not None:
            self._received_bytes += len(data)
        elif self._exchange is not None:
            self._buffer += data
            self._received_bytes += len(data)
            self._read_body(self._exchange)
        elif self._place is not None:
            self._buffer += data
        elif self._heads.is_one(data):
            self._start(data)
            return
        else:
            self._buffer += data
            self._read_head()
        self._regulate_reading()

    def eof_received(self) -> bool:
        """Keep going as long as there are whole requests to respond to: a client may close its half early."""
        self.has_eof = True
        exchange = self._exchange
        can_go_on = self._place is not None if exchange is None else exchange.can_end_without_client
        if can_go_on and self._lingers_until is None:
            return True
        self.close()
        return False

    def pause_writing(self) -> None:
        """Give the client some time to read its response."""
        self.drained = self.loop.create_future()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._deadline.set(self.limits.send_timeout_s)
        self._shared.stalled.add(self, self.loop.time())
        self._bound_unsent()

    def resume_writing(self) -> None:
        """Resume what had to stop because the client was not reading."""
        self._shared.stalled.remove(self)
        if self.drained is not None:
            self.drained.set_result(None)
            self.drained = None
        exchange = self._exchange
        if self._lingers_until is not None or self.transport.is_closing():
            self._await_end()
        elif exchange is None or exchange.is_complete:
            # Not at once: asyncio closes a transport twice if it is closed during this call.
            self.loop.call_soon(self._proceed)
        elif exchange.is_reading:
            self._awaits_since = self.loop.time()
            self._deadline.set(self.limits.body_timeout_s - self._awaited_s)
        else:
            self._deadline.clear()

    # What uvicorn calls

    def shutdown(self) -> None:
        """Close the connection, but if there is a request, only after its response."""
        self._is_stopping = True
        if self._exchange is not None:
            self._exchange.keep_alive = False
        elif self._place is not None:
            # Let the request wait in a task, which can be cancelled.
            self._leave_queue()
            self._run()
        else:
            self.close()

    # What an exchange calls

    @property
    def default_headers(self) -> Headers:
        """Return the headers that all responses have."""
        return self.server_state.default_headers

    def write(self, data: bytes) -> None:
        """Send *data*, unless the client has gone and the exchange is about to learn of it."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def await_body(self) -> None:
        """Pass what has arrived of the body to the exchange; if that is nothing, start waiting for the client."""
        exchange = self._exchange
        if exchange is None or exchange.has_all:
            return
        self._decode(exchange)
        if not exchange.can_go_on:
            if self.has_eof:
                self.close()
                return
            self._awaits_since = self.loop.time()
            # A client that does not read has its own deadline.
            if self.drained is None:
                self._deadline.set(self.limits.body_timeout_s - self._awaited_s)
        self._regulate_reading()

    def end_exchange(self) -> None:
        """Continue with the next request, or close the connection, once the client has read the response."""
        self.server_state.total_requests += 1
        self._deadline.clear()
        if self.drained is not None:
            self._deadline.set(self.limits.send_timeout_s)
        else:
            self._proceed()

    def close(self) -> None:
        """Close the connection once everything has been sent."""
        self.transport.close()
        self._disconnect()
        self._await_end()

    def abort(self) -> None:
        """End the connection at once; data that was sent may never arrive."""
        self.transport.abort()

    # Reading

    def _read_head(self) -> None:
        """Start an exchange if a whole head has arrived; otherwise wait for the rest of it."""
        try:
            data = self._heads.take()
        except BadRequest as error:
            self._refuse(error.status, str(error), self._buffer)
            return
        if data is not None:
            self._start(data)
        elif self._heads.has_begun and not self._is_in_head:
            self._is_in_head = True
            self._deadline.set(self.limits.head_timeout_s)

    def _start(self, data: bytes) -> None:
        """Run the application for the request with the head *data* when its turn comes."""
        self._is_in_head = False
        self._deadline.clear()
        self._head = data
        self._place = self._enqueue and self._enqueue(data, self.loop)
        if self._place is None:
            self._run()
        else:
            self._place.call_on_turn(self._run)

    def _run(self) -> None:
        """Run the application for a request that is no longer waiting."""
        place, self._place = self._place, None
        data, self._head = self._head, b""
        try:
            head = Head.parse(data, self.limits.headers)
        except BadRequest as error:
            if place is not None:
                place.leave()
            self._refuse(error.status, str(error), data)
            return
        exchange = self._exchange = self._exchange_for(head)
        self._received_bytes, self._awaited_s = 0, 0.0
        self._decode(exchange)
        scope = self._scope(head, exchange)
        if place is not None:
            scope[PLACE] = place
        task = self.loop.create_task(exchange.run(self.app, scope))
        self.server_state.tasks.add(task)
        task.add_done_callback(partial(self._forget, place))

    def _exchange_for(self, head: Head) -> Exchange:
        framing = head.framing
        if framing.asks_for_upgrade:
            self._shared.upgrades.warning("A client asked to change to another protocol, which is ignored")
        decoder: BodyDecoder | None = None
        if framing.is_chunked:
            decoder = ChunkedDecoder(self.limits.head_bytes)
        elif framing.length:
            decoder = LengthDecoder(framing.length)
        return Exchange(self, head, decoder, keep_alive=framing.keep_alive and not self._is_stopping)

    def _forget(self, place: Place | None, task: asyncio.Task[None]) -> None:
        """Remove a task that has ended, and give back its place in case the request never reached `Admission`."""
        self.server_state.tasks.discard(task)
        if place is not None:
            place.leave()

    def _scope(self, head: Head, exchange: Exchange) -> Scope:
        path, prefix = head.path, self._root_path
        # Some proxies remove the prefix that leads to this server, and some do not.
        if prefix and f"{path}/".startswith(f"{prefix}/"):
            prefix = ""
        return {
            **self._scope_of_connection,
            **(self._proxies.origin(head.headers) if self._proxies is not None else {}),
            "http_version": head.framing.http_version,
            "method": head.method,
            "path": prefix + path,
            "raw_path": prefix.encode("ascii") + head.raw_path,
            "query_string": head.query,
            "headers": head.headers,
            "state": self.app_state.copy(),
            "extensions": {HAS_LEFT: exchange.has_left, CUT_OFF: exchange.cut_off},
        }

    def _leave_queue(self) -> None:
        if self._place is not None:
            self._place.leave()
            self._place = None

    def _disconnect(self) -> None:
        """Tell the application that the client has gone; a request that is still waiting will not be run."""
        self._leave_queue()
        if self._exchange is not None:
            self._exchange.disconnect()

    def _read_body(self, exchange: Exchange) -> None:
        """Decode what has arrived of a body, and wake the application if it is waiting for that."""
        if not exchange.has_all:
            self._decode(exchange)
            if exchange.is_reading and exchange.can_go_on:
                self._awaited_s += self.loop.time() - self._awaits_since
                if self.drained is None:
                    self._deadline.clear()
                exchange.wake()

    def _decode(self, exchange: Exchange) -> None:
        if exchange.decoder is None:
            return
        if exchange.failure is not None:
            self._buffer.clear()
            return
        try:
            exchange.body += exchange.decoder.decode(self._buffer, self.limits.held_bytes - len(exchange.body))
        except BadRequest as error:
            # It is not known where the next request begins, if there is one.
            self._buffer.clear()
            exchange.fail(HTTPException(400, str(error)))

    def _regulate_reading(self) -> None:
        """Stop reading when enough has arrived, and resume when more is needed."""
        should_pause = self._is_busy and len(self._buffer) >= self.limits.held_bytes
        if should_pause == self._is_reading_paused or self.transport.is_closing():
            return
        self._is_reading_paused = should_pause
        if should_pause:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    # Between requests, and the end

    @property
    def _is_busy(self) -> bool:
        """Whether there is a request whose response is not complete."""
        return self._exchange is not None or self._place is not None

    def _proceed(self) -> None:
        """Start the next request if it has arrived; otherwise wait for one, or close the connection."""
        exchange, self._exchange = self._exchange, None
        if self.transport.is_closing():
            return
        if exchange is not None and not exchange.keep_alive:
            self._linger()
            return
        self._deadline.set(self.config.timeout_keep_alive)
        if self._buffer:
            self._read_head()
        if self.has_eof and not self._is_busy:
            self.close()
        self._regulate_reading()

    def _refuse(self, status: int, detail: str, head: bytes | bytearray) -> None:
        """Refuse a request that the application does not get to see, for its (incomplete) *head*, and close."""
        # RFC 9110, section 9.3.2.
        has_body = not head.startswith(b"HEAD ")
        self._shared.malformed.warning("A client's request was refused with %d: %s", status, detail)
        self.transport.write(error_bytes(status, detail, has_body=has_body))
        self._linger()

    def _linger(self) -> None:
        """
        Close our half of the connection, and keep reading for a while.

        Closing both halves at once would reset the connection if the client is still sending, and the client would lose
        any response that it has not read yet (RFC 9112, section 9.6).
        """
        self._buffer.clear()
        if self.has_eof or self._is_stopping or not self.transport.can_write_eof():
            self.close()
            return
        self._lingers_until = self.loop.time() + self.limits.linger_total_s
        self._received_bytes = 0
        # If the client has reset the connection, asyncio raises an error here, or when it reads.
        with contextlib.suppress(OSError):
            self.transport.write_eof()
        self._regulate_reading()
        self._await_end()

    def _await_end(self) -> None:
        """Wait until everything has been sent, and then for the client to close the connection."""
        if self.drained is None:
            self._unsent_bytes = self.transport.get_write_buffer_size()
            self._deadline.set(self.limits.send_timeout_s if self._unsent_bytes else self.limits.linger_timeout_s)

    def _on_deadline(self) -> None:
        """End whatever the client is taking too long over."""
        is_ending = self._lingers_until is not None or self.transport.is_closing()
        if self.drained is not None or (is_ending and self._unsent_bytes):
            self._check_sending()
        elif self._lingers_until is not None:
            self._check_lingering(self._lingers_until)
        elif self._exchange is not None:
            self._check_body(self._exchange)
        elif self._is_in_head:
            self._refuse(408, "The head of the request did not arrive in time.", self._buffer)
        else:
            self.close()

    def _check_sending(self) -> None:
        unsent_bytes = self.transport.get_write_buffer_size()
        if not unsent_bytes:
            self._await_end()
        elif self._unsent_bytes - unsent_bytes < self.limits.send_rate * self.limits.send_timeout_s:
            self.cut_off("it did not read its response")
        else:
            self._unsent_bytes = unsent_bytes
            self._deadline.set(self.limits.send_timeout_s)

    def _check_lingering(self, until: float) -> None:
        if self._received_bytes and self.loop.time() < until:
            self._received_bytes = 0
            self._deadline.set(self.limits.linger_timeout_s)
        else:
            self.transport.abort()

    def _check_body(self, exchange: Exchange) -> None:
        if not exchange.is_reading:
            # The application is no longer waiting.
            return
        if self._received_bytes < self.limits.body_rate * self.limits.body_timeout_s:
            exchange.fail(HTTPException(408, "The body of the request did not arrive in time."))
        else:
            self._received_bytes, self._awaited_s = 0, 0.0
            self._awaits_since = self.loop.time()
            self._deadline.set(self.limits.body_timeout_s)

    def _bound_unsent(self) -> None:
        """Cut off clients that read too little, if too much data is waiting for all of them together."""
        patient_until = self.loop.time() - self.limits.stall_s
        for worst in self._shared.stalled.excess(self.limits.unsent_bytes, patient_until, spared=self):
            worst.cut_off("too much was waiting for clients that do not read")

    @property
    def unsent_bytes(self) -> int:
        """How much of the response is still to be sent."""
        in_application = 0 if self._exchange is None else self._exchange.unsent_bytes
        return self.transport.get_write_buffer_size() + in_application

    def cut_off(self, why: str) -> None:
        """Reset the connection: otherwise the kernel would keep its part of the response for minutes."""
        self._shared.cut_off.warning("A client was cut off: %s", why)
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self.transport.abort()


def _trusted_proxies(config: Config) -> TrustedProxies:
    allowed = config.forwarded_allow_ips
    return TrustedProxies.parse(allowed if isinstance(allowed, str) else ",".join(allowed))
