"""Networks and servers that misbehave: a TCP proxy, a name resolver, a server without TLS, and any other server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Self
from urllib.parse import urlsplit

import attrs

LOOPBACK = "127.0.0.1"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_SSL_REQUEST_LENGTH = 8
# With a linger time of zero, the kernel closes a connection with a RST, and drops unsent data.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@attrs.define(eq=False)
class Proxy:
    """
    A TCP proxy in the event loop of the test, in front of a server at port *target*.

    Attributes:
        port: The port of the proxy itself.
        accepted: How many connections it has accepted.
    """

    target: int
    target_host: str = LOOPBACK
    port: int = attrs.field(init=False, default=0)
    accepted: int = attrs.field(init=False, default=0)
    _listener: socket.socket = attrs.field(init=False)
    _ends: set[_End] = attrs.field(init=False, factory=set)
    _joining: set[asyncio.Task[None]] = attrs.field(init=False, factory=set)
    _is_stalled: bool = attrs.field(init=False, default=False)
    _is_fatal: Callable[[_End, bytes], bool] | None = attrs.field(init=False, default=None)

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return sum(end.is_client for end in self._ends)

    def url_through(self, url: str) -> str:
        """Return *url* with the proxy's port and the same host, so that the certificate still matches."""
        parts = urlsplit(url)
        user, at, address = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}{address.partition(':')[0]}:{self.port}").geturl()

    async def accept(self) -> None:
        """Listen, on the same port as before."""
        # Not with an asyncio.Server: see `listening`.
        self._listener = socket.create_server((LOOPBACK, self.port), backlog=100)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._admit)

    async def refuse(self) -> None:
        """Cut all connections and refuse new ones."""
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        await asyncio.gather(*self._joining)
        self.cut()
        await _closed(self._ends)

    def cut(self) -> None:
        """Reset all connections, on both sides."""
        for end in self._ends:
            end.reset()

    def stall(self) -> None:
        """Pass nothing on, from either side: neither data nor the end of a connection."""
        self._is_stalled = True

    def resume(self) -> None:
        self._is_stalled = False
        for end in self._ends:
            end.flush()

    def cut_on_next_response(self, holding: bytes = b"") -> None:
        """
        Cut all connections when data that contains *holding* arrives from the server, without passing it on.

        A driver may use a separate round trip to prepare a statement.  To make sure that the statement has run, wait
        for the server's response to running it, such as `b"INSERT 0 1"`.
        """
        self._is_fatal = lambda end, data: not end.is_client and holding in data

    def cut_on_next_request(self, holding: bytes = b"") -> None:
        """Cut all connections when data that contains *holding* arrives from a client, without passing it on."""
        self._is_fatal = lambda end, data: end.is_client and holding in data

    def show_requests(self, see: Callable[[_End, bytes], None]) -> None:
        """Call *see* with each client's end, and the data that arrives there, from now on."""

        def look(end: _End, data: bytes) -> bool:
            if end.is_client:
                see(end, data)
            return False

        self._is_fatal = look

    def _admit(self) -> None:
        accepted, _ = self._listener.accept()
        self.accepted += 1
        task = asyncio.create_task(self._join(accepted))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    async def _join(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        client = _End(self, is_client=True)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: client, accepted)
        try:
            await loop.create_connection(lambda: client.other, self.target_host, self.target)
        except OSError:
            # The client may have disconnected meanwhile.
            for end in self._ends & {client}:
                end.reset()


class _End(asyncio.Protocol):
    """One end of a connection through a proxy: what it receives is sent at the other end."""

    def __init__(self, proxy: Proxy, *, is_client: bool, other: _End | None = None) -> None:
        self.proxy = proxy
        self.is_client = is_client
        self.other: _End = other or _End(proxy, is_client=not is_client, other=self)
        self.closed = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._outgoing = bytearray()
        self._is_ending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.proxy._ends.add(self)
        self.flush()

    def data_received(self, data: bytes) -> None:
        is_fatal = self.proxy._is_fatal
        if is_fatal is not None and is_fatal(self, data):
            self.proxy._is_fatal = None
            self.proxy.cut()
        else:
            self.other._outgoing += data
            self.other.flush()

    def connection_lost(self, _: Exception | None) -> None:
        self.proxy._ends.discard(self)
        self.closed.set_result(None)
        self.other._is_ending = True
        self.other.flush()

    def flush(self) -> None:
        """Send pending data if this end is connected and the proxy is not stalled."""
        if self._transport is not None and not self._transport.is_closing() and not self.proxy._is_stalled:
            self._transport.write(bytes(self._outgoing))
            self._outgoing.clear()
            if self._is_ending:
                self._transport.close()

    def reset(self) -> None:
        """Close with a RST: asyncio's abort alone would close the connection properly."""
        assert self._transport is not None
        connected = self._transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()


# The length of the message, and its code.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_SSL_REFUSAL = b"N"
_PASSWORD_PLEASE = b"R" + struct.pack("!ii", 8, 3)


@attrs.define(eq=False)
class ServerWithoutTLS:
    """
    A server that refuses TLS, asks for the password in plain text, and disconnects once it has the password.

    Attributes:
        port: Its port on 127.0.0.1.
        received: Everything that clients sent, except requests for TLS.
    """

    port: int = attrs.field(init=False)
    received: bytes = attrs.field(init=False, default=b"")
    _running: contextlib.AsyncExitStack = attrs.field(init=False, factory=contextlib.AsyncExitStack)

    async def __aenter__(self) -> Self:
        self.port = await self._running.enter_async_context(listening(self._ask))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_asked = False
        while data := await reader.read(1024):
            if data == _SSL_REQUEST:
                writer.write(_SSL_REFUSAL)
                continue
            self.received += data
            if is_asked:
                return
            is_asked = True
            writer.write(_PASSWORD_PLEASE)


def leading_to(port: int) -> Callable[..., Any]:
    """Return a `getaddrinfo` that resolves every name and port to *port* on this machine."""

    async def getaddrinfo(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (LOOPBACK, port))]

    return getaddrinfo


@contextlib.asynccontextmanager
async def listening(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """
    Run a server in the event loop of the test that calls *handle* for each connection, and yield its port.

    A connection ends when its handler does, and all connections end when the server does.  This is not an
    asyncio.Server, which does not close a connection that is made while the server is closing.
    """
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def admit() -> None:
        accepted, _ = listener.accept()
        task = loop.create_task(_handled(accepted, handle, tls))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = socket.create_server((LOOPBACK, 0), backlog=100)
    listener.setblocking(False)
    loop.add_reader(listener, admit)
    try:
        yield listener.getsockname()[1]
    finally:
        loop.remove_reader(listener)
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Read everything, and never respond: a handler for `listening`."""
    while await reader.read(1024):
        pass


# What servers that are not PostgreSQL may send: nothing, another protocol, or broken messages.
FOREIGN_DATA = (
    b"",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"R" + struct.pack("!i", 4),
    b"E" + struct.pack("!i", 9) + b"SFATA",
    b"R" + struct.pack("!ii", 8, 99),
    b"Z" + struct.pack("!i", -5),
    bytes(range(256)),
)


def sending(data: bytes) -> Handler:
    """Return a handler for `listening` that sends *data* as soon as it has received anything."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(data)

    return send


async def _handled(accepted: socket.socket, handle: Handler, tls: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = loop.create_future()
    # The callback makes this the server's side of the connection, which TLS has to know.
    protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(), lambda *streams: connected.set_result(streams))
    accepted.setblocking(False)
    try:
        await loop.connect_accepted_socket(lambda: protocol, accepted, ssl=tls)
    except OSError:
        # The client does not trust the certificate, and has disconnected.
        return
    reader, writer = await connected
    try:
        await handle(reader, writer)
    # The client has disconnected, or the server is closing.
    except (OSError, EOFError, asyncio.CancelledError):
        writer.transport.abort()
    else:
        writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _closed(ends: Iterable[_End]) -> None:
    """Wait until the connections of all *ends*, which have been aborted, are closed."""
    await asyncio.gather(*[end.closed for end in ends])


@contextlib.asynccontextmanager
async def listening_like_postgres(tls: ssl.SSLContext) -> AsyncIterator[int]:
    """Run a server that starts TLS like PostgreSQL and does nothing else, and yield its port."""

    async def admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(_SSL_REQUEST_LENGTH)
        writer.write(b"S")
        await writer.start_tls(tls)
        await reader.read(1)

    async with listening(admit) as port:
        yield port
