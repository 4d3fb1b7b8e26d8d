"""What comes over a connection that is not an ordinary request, byte by byte, against a real server."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from taskd.protocol import MAX_HEAD_BYTES
from taskd.testing import RunningServer, running_server
from tests.conftest import ORIGIN, SECRET, token_for
from tests.processes import child_environ


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all: none of them may do it any harm."""
    folder: Path = tmp_path_factory.mktemp("server")
    with running_server(environ_in(folder), cwd=folder) as running:
        yield running
        running.stop(signal.SIGINT)


def environ_in(folder: Path) -> dict[str, str]:
    """Return the environment of a server that has its tasks in *folder*."""
    database = f"sqlite:///{folder}/tasks.db"
    return child_environ({"DATABASE_URL": database, "BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN})


@contextlib.contextmanager
def connected(server: RunningServer) -> Iterator[socket.socket]:
    """Connect to the server."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        yield connection


def received(connection: socket.socket) -> bytes:
    """Return all that the server sends until it closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def request(method: str, path: str, *headers: str, body: str = "") -> bytes:
    """Write a request of alice's in HTTP/1.1."""
    length = [f"Content-Length: {len(body)}"] if body else []
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: taskd",
        f"Authorization: Bearer {token_for('alice')}",
        *length,
        *headers,
    ]
    return "\r\n".join([*head, "", body]).encode()


def assert_refused(answer: bytes, status: int) -> None:
    """The answer is an error of taskd's form."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().lower().splitlines()

    assert lines[0].startswith(f"http/1.1 {status} ")
    assert {"content-type: application/json", "x-content-type-options: nosniff", "connection: close"} <= set(lines)
    assert ["detail"] == list(json.loads(body))


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"FOO /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nA b: c\r\n\r\n",
        b"\x16\x03\x01\x00",
    ],
)
def test_what_is_not_http_is_refused_in_the_form_of_all_errors(server: RunningServer, sent: bytes) -> None:
    """Also what never reaches the application is answered in JSON."""
    with connected(server) as connection:
        connection.sendall(sent)

        assert_refused(received(connection), 400)


def test_a_head_without_an_end_is_refused(server: RunningServer) -> None:
    """A client cannot make the server read, and keep, a head of any length."""
    with connected(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nA: ".ljust(MAX_HEAD_BYTES + 1, b"a"))

        assert_refused(received(connection), 431)
    assert 200 == httpx.get(f"{server.url}/livez").status_code


def test_no_more_of_a_head_is_read_while_another_request_is_answered(tmp_path: Path) -> None:
    """A client that sends a head without an end behind a request that takes its time is not read any further."""
    with running_server(environ_in(tmp_path), cwd=tmp_path) as server, connected(server) as connection:
        assert 200 == httpx.get(f"{server.url}/readyz").status_code
        with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            body = json.dumps({"title": "t"})
            connection.sendall(
                request("POST", "/api/alice/tasks", "Content-Type: application/json", body=body)
                + b"GET /livez HTTP/1.1\r\nA: "
            )
            # Fills what the kernel keeps between the two, and no more goes.
            connection.settimeout(1)
            with pytest.raises(TimeoutError):
                connection.sendall(b"a" * 2000 * MAX_HEAD_BYTES)
            holder.execute("ROLLBACK")
        connection.settimeout(30)
        answer = first_answer(connection)

    assert answer.startswith(b"HTTP/1.1 201 ")
    assert 1 == answer.count(b"HTTP/1.1")


class TestPatience:
    """For a short while the server waits for the head of a request."""

    @pytest.fixture
    def impatient(self, tmp_path: Path) -> Iterator[RunningServer]:
        """A server that waits for a head as long as a request may well take."""
        program = (
            f"import taskd.protocol; taskd.protocol.HEAD_TIMEOUT_S = {self.TIMEOUT_S};"
            " from taskd.cli import main; main(['serve', '--port', '0'])"
        )
        with running_server(environ_in(tmp_path), ("-c", program), cwd=tmp_path) as running:
            yield running
            running.stop(signal.SIGINT)

    TIMEOUT_S = 1

    def test_a_connection_without_a_request_is_closed(self, impatient: RunningServer) -> None:
        """Whoever only connects is forgotten, without an answer to a question that was not put."""
        with connected(impatient) as silent, connected(impatient) as blank:
            blank.sendall(b"\r\n")

            assert (b"", b"") == (received(silent), received(blank))

    def test_a_head_that_does_not_end_is_refused(self, impatient: RunningServer) -> None:
        """RFC 9110, section 15.5.9; on a connection that was used before, too."""
        begun = b"GET /livez HTTP/1.1\r\nA: "
        with connected(impatient) as fresh:
            fresh.sendall(begun)
            assert_refused(received(fresh), 408)
        with connected(impatient) as used:
            used.sendall(request("GET", "/livez"))
            answer = b""
            while not answer.endswith(b'{"status":"ok"}'):
                answer += used.recv(65536) or pytest.fail("The server has closed the connection.")
            used.sendall(begun)
            assert_refused(received(used), 408)

    def test_a_body_may_take_longer(self, impatient: RunningServer) -> None:
        """What is waited for is the head, not what follows."""
        body = json.dumps({"title": "t"})
        whole = request("POST", "/api/alice/tasks", "Content-Type: application/json", "Connection: close", body=body)
        with connected(impatient) as connection, connected(impatient) as silent:
            connection.sendall(whole[:-1])
            assert b"" == received(silent)
            connection.sendall(whole[-1:])

            assert received(connection).startswith(b"HTTP/1.1 201 ")


def test_what_comes_behind_the_body_is_no_header(server: RunningServer) -> None:
    """RFC 9110, section 6.5.1: a token in a trailer lets nobody in, and does no harm to one in the head."""
    chunk = "2\r\n{}\r\n0\r\n"
    trailer = f"{chunk}Authorization: Bearer {token_for('alice')}\r\n\r\n"
    good = request("POST", "/api/alice/tasks", "Transfer-Encoding: chunked", "Connection: close").decode()
    without_token = "\r\n".join(line for line in good.split("\r\n") if not line.startswith("Authorization"))
    statuses = []
    for head in (without_token, good):
        with connected(server) as connection:
            connection.sendall((head + trailer).encode())
            statuses.append(received(connection).split()[1])

    assert [b"401", b"415"] == statuses


def test_a_large_head_that_ends_is_read(server: RunningServer) -> None:
    """A token and cookies of tens of kilobytes are no attack."""
    answer = httpx.get(f"{server.url}/livez", headers={"Cookie": "a" * 60_000})

    assert 200 == answer.status_code


def test_an_upgrade_that_is_not_offered_is_ignored(server: RunningServer) -> None:
    """RFC 9110, section 7.8: a request without a body is answered as if it had not asked."""
    for upgrade in ("h2c", "websocket"):
        answer = httpx.get(f"{server.url}/livez", headers={"Connection": "Upgrade", "Upgrade": upgrade})

        assert (200, "nosniff") == (answer.status_code, answer.headers["X-Content-Type-Options"])


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/livez", ("Connection: Upgrade", "Upgrade: h2c")),
        ("POST", "/livez", ("Connection: Upgrade", "Upgrade: 0")),
        ("CONNECT", "/livez", ()),
    ],
    ids=["h2c", "0", "CONNECT"],
)
def test_a_body_behind_an_upgrade_is_not_taken_for_a_request(
    server: RunningServer, method: str, path: str, headers: tuple[str, ...]
) -> None:
    """A request in the body of another one is not run, whoever has forwarded it, and a page may read the refusal."""
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {token_for('alice')}"}) as client:
        location = client.post("/api/alice/tasks", json={"title": "t"}).headers["Location"]
        hidden = request("DELETE", location).decode()
        whole = request(method, path, *headers, f"Origin: {ORIGIN}", body=hidden)
        head, separator, body = whole.partition(b"\r\n\r\n")
        for pieces in ([whole], [head + separator, body]):
            with connected(server) as connection:
                for piece in pieces:
                    with contextlib.suppress(ConnectionError):
                        connection.sendall(piece)
                answer = first_answer(connection)

            assert_refused(answer, 400)
            assert f"access-control-allow-origin: {ORIGIN}".encode() in answer
            assert 200 == client.get(location).status_code


def test_a_body_behind_a_preflight_that_asks_for_an_upgrade_is_no_request(server: RunningServer) -> None:
    """What a page asks for in advance is answered at once, and nothing is read behind it."""
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {token_for('alice')}"}) as client:
        location = client.post("/api/alice/tasks", json={"title": "t"}).headers["Location"]
        headers = (f"Origin: {ORIGIN}", "Access-Control-Request-Method: GET", "Connection: Upgrade", "Upgrade: h2c")
        whole = request("OPTIONS", "/livez", *headers, body=request("DELETE", location).decode())
        head, separator, body = whole.partition(b"\r\n\r\n")
        with connected(server) as connection:
            connection.sendall(head + separator)
            answer = connection.recv(65536)
            with contextlib.suppress(ConnectionError):
                connection.sendall(body)
            answer += first_answer(connection)

        assert answer.startswith(b"HTTP/1.1 204 ")
        assert 1 == answer.count(b"HTTP/1.1")
        assert 200 == client.get(location).status_code


def first_answer(connection: socket.socket) -> bytes:
    """Return what the server sends until it closes, or resets because it has not read all."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            answer += piece
    return answer


def test_an_answer_is_not_lost_to_what_follows_its_request(server: RunningServer) -> None:
    """A request with rubbish behind it is answered itself, and then the connection ends."""
    with connected(server) as connection:
        body = json.dumps({"title": "t"})
        connection.sendall(
            request("POST", "/api/alice/tasks", "Content-Type: application/json", body=body) + b"\0rubbish"
        )
        answer = received(connection)

    assert answer.startswith(b"HTTP/1.1 201 ")
    assert 1 == answer.count(b"HTTP/1.1")
