"""Clients of a server process: with httpx, and with sockets for what no HTTP client does."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import httpx

from taskd.testing import RunningServer
from tests.conftest import ORIGIN, token_for


def client_of(server: RunningServer, user_id: str) -> httpx.Client:
    """Return a client with a valid token, which waits until the first worker is listening."""
    headers = {"Authorization": f"Bearer {token_for(user_id)}"}
    return httpx.Client(
        base_url=f"{server.url}/api/{user_id}", headers=headers, transport=httpx.HTTPTransport(retries=6), timeout=30
    )


def address(server: RunningServer) -> tuple[str, int]:
    """Return the address of *server*."""
    url = httpx.URL(server.url)
    assert url.port is not None
    return url.host, url.port


def request_head(method: str, user_id: str, *headers: str) -> bytes:
    """Return the head of a request for the tasks of *user_id*."""
    lines = [f"{method} /api/{user_id}/tasks HTTP/1.1", "Host: taskd", f"Authorization: Bearer {token_for(user_id)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


@contextlib.contextmanager
def half_a_request(server: RunningServer, user_id: str, body: bytes) -> Iterator[socket.socket]:
    """Yield a connection that has sent a request up to the middle of its *body*, and whose endpoint awaits the rest."""
    headers = (
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Expect: 100-continue",
        f"Origin: {ORIGIN}",
    )
    with socket.create_connection(address(server), timeout=30) as connection:
        connection.sendall(request_head("POST", user_id, *headers) + body[: len(body) // 2])
        # The server sends this when the endpoint asks for the body.
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        yield connection
