"""Connections to a real server, byte by byte."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from taskd.server.limits import Limits
from taskd.testing import RunningServer
from tests.conftest import ORIGIN, SECRET, token_for
from tests.support.processes import child_environ

# The codes of errors that the server itself returns.
CODES = {400: "bad_request", 408: "request_timeout", 431: "headers_too_large"}
MAX_HEAD_BYTES = Limits().head_bytes
READ_BYTES = 65536


def environ_in(folder: Path, **settings: str) -> dict[str, str]:
    """Return the environment of a server that keeps its tasks in *folder*, with other *settings*."""
    database = f"sqlite:///{folder}/tasks.db"
    return child_environ({"DATABASE_URL": database, "BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN, **settings})


def serve_with(**limits: float) -> tuple[str, str]:
    """Return the arguments with which Python runs a server that has other connection limits."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in limits.items())
    program = (
        "from taskd.server.limits import Limits; from taskd.server.protocol import HTTPProtocol;"
        f" HTTPProtocol.limits = Limits({arguments});"
        " from taskd.cli.main import main; main(['serve', '--port', '0'])"
    )
    return "-c", program


@contextlib.contextmanager
def connected(server: RunningServer, receive_buffer_bytes: int | None = None) -> Iterator[socket.socket]:
    """Connect to the server; give *receive_buffer_bytes* if it matters how much the kernel buffers for the client."""
    address = urlsplit(server.url)
    assert address.hostname
    assert address.port
    with socket.socket() as connection:
        connection.settimeout(30)
        if receive_buffer_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        connection.connect((address.hostname, address.port))
        yield connection


def received(connection: socket.socket) -> bytes:
    """Return everything that the server sends until it closes the connection."""
    return b"".join(iter(lambda: connection.recv(READ_BYTES), b""))


def responses_to(server: RunningServer, *pieces: bytes) -> list[Received]:
    """Send *pieces* one by one, and return the responses until the server disconnects."""
    with connected(server) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return responses_in(received(connection))


def request(method: str, path: str, *headers: str, body: str = "", user: str = "alice") -> bytes:
    """Return an HTTP/1.1 request as bytes."""
    length = [f"Content-Length: {len(body)}"] if body else []
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: taskd",
        f"Authorization: Bearer {token_for(user)}",
        *length,
        *headers,
    ]
    return "\r\n".join([*head, "", body]).encode()


@attrs.frozen
class Received:
    """A response as a client reads it."""

    status: int
    headers: dict[str, str]
    body: bytes


def responses_in(data: bytes) -> list[Received]:
    """Split what was received into responses, each of which has a `Content-Length` or no body."""
    found = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, head
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers.get("content-length", 0))
        assert length <= len(data), "the last response is cut off"
        found.append(Received(int(status_line.split(" ")[1]), headers, data[:length]))
        data = data[length:]
    return found


def assert_refused(response: Received, status: int) -> None:
    """Assert that the response is an error in taskd's form, and the last on its connection."""
    expected = {"content-type": "application/json", "x-content-type-options": "nosniff", "connection": "close"}

    assert status == response.status
    assert expected == {name: value for name, value in response.headers.items() if name in expected}
    body = json.loads(response.body)
    assert ["detail", "code"] == list(body)
    assert CODES[status] == body["code"]
