"""Requests that wait for their turn in the server, before the application sees them."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from taskd.server.protocol import RESET_AT_CLOSE
from taskd.testing import RunningServer, running_server
from tests.conftest import ORIGIN, PATIENT, token_for
from tests.support.raw import connected, environ_in, received, responses_in

# Serve one request of a user at a time, as if the store were overloaded, and let at most two wait.
PROGRAM = """
from taskd.asgi import app
from taskd.cli.main import main
from taskd.server.gates import GateLimits
app._asgi.app.limits = GateLimits(start=1, minimum=1, maximum=1, max_waiting=2)
main(["serve", "--port", "0"])
"""

# Always the same token: a user is known from the second request with it.
CREDENTIALS = {"Authorization": f"Bearer {token_for('alice')}"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server that knows alice, serves one of her requests at a time and lets two wait."""
    with running_server(environ_in(tmp_path) | PATIENT, ("-c", PROGRAM), cwd=tmp_path) as running:
        assert 201 == create(running, "known").status_code
        yield running
        running.kill()


@pytest.fixture
def locked(server: RunningServer, tmp_path: Path) -> Iterator[sqlite3.Connection]:  # noqa: ARG001  it makes the file
    """A lock on the database: requests that write stay in the store until it is rolled back."""
    with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def create(server: RunningServer, title: str) -> httpx.Response:
    return httpx.post(f"{server.url}/api/alice/tasks", json={"title": title}, headers=CREDENTIALS)


def titles(server: RunningServer) -> set[str]:
    response = httpx.get(f"{server.url}/api/alice/tasks", headers=CREDENTIALS)
    return {task["title"] for task in response.json()}


def post(title: str, *headers: str) -> bytes:
    body = json.dumps({"title": title}).encode()
    lines = [
        "POST /api/alice/tasks HTTP/1.1",
        "Host: taskd",
        f"Authorization: {CREDENTIALS['Authorization']}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def until_read(server: RunningServer) -> None:
    """Return when the server has read everything that was sent before."""
    for _ in range(2):
        assert 200 == httpx.get(f"{server.url}/livez").status_code


def test_requests_wait_and_are_served_in_order(server: RunningServer, locked: sqlite3.Connection) -> None:
    """This holds whatever arrives meanwhile, including bodies in pieces."""
    with connected(server) as first, connected(server) as second, connected(server) as third:
        first.sendall(post("first", "Connection: close"))
        until_read(server)
        whole = post("second", "Connection: close")
        second.sendall(whole[:-5])
        until_read(server)
        second.sendall(whole[-5:])
        third.sendall(post("third", "Connection: close"))
        until_read(server)
        locked.rollback()
        responses = [responses_in(received(client)) for client in (first, second, third)]

    assert [[201]] * 3 == [[response.status for response in each] for each in responses]
    assert {"known", "first", "second", "third"} == titles(server)


def statuses_of_those_who_stay(
    server: RunningServer, locked: sqlite3.Connection, leaving: int, *, by_reset: bool
) -> list[int]:
    """Let *leaving* clients come and leave between two that stay, and return the statuses of those two."""
    with connected(server) as first, connected(server) as last:
        first.sendall(post("first", "Connection: close"))
        until_read(server)
        for _ in range(leaving):
            with connected(server) as client:
                client.sendall(post("never"))
                until_read(server)
                if by_reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        until_read(server)
        last.sendall(post("last", "Connection: close"))
        until_read(server)
        locked.rollback()
        return [responses_in(received(client))[0].status for client in (first, last)]


def test_a_client_that_leaves_while_waiting_is_not_served(server: RunningServer, locked: sqlite3.Connection) -> None:
    """It does not take a place from the clients that stay."""
    assert [201, 201] == statuses_of_those_who_stay(server, locked, 1, by_reset=False)
    assert {"known", "first", "last"} == titles(server)


def test_clients_that_have_left_make_room_in_the_queue(server: RunningServer, locked: sqlite3.Connection) -> None:
    """A full queue refuses all further requests, so only clients that are still there may wait in it."""
    assert [201, 201] == statuses_of_those_who_stay(server, locked, 2, by_reset=True)
    assert {"known", "first", "last"} == titles(server)


def test_a_stopping_server_serves_waiting_requests(server: RunningServer, locked: sqlite3.Connection) -> None:
    """Each response is the last one on its connection."""
    with connected(server) as first, connected(server) as second:
        for client, title in ((first, "first"), (second, "second")):
            client.sendall(post(title))
            until_read(server)
        server.process.send_signal(signal.SIGTERM)
        server.read_until("Shutting down")
        locked.rollback()
        responses = [responses_in(received(client)) for client in (first, second)]

    assert [[(201, "close")]] * 2 == [
        [(response.status, response.headers["connection"]) for response in each] for each in responses
    ]
    assert server.process.wait(timeout=30) is not None


def test_a_malformed_request_that_has_waited_gives_up_its_place(
    server: RunningServer, locked: sqlite3.Connection
) -> None:
    """It is refused when its turn comes, and the next request is served."""
    with connected(server) as first, connected(server) as second, connected(server) as third:
        for client, data in (
            (first, post("first", "Connection: close")),
            (second, post("never", "Host: again")),
            (third, post("third", "Connection: close")),
        ):
            client.sendall(data)
            until_read(server)
        locked.rollback()
        responses = [responses_in(received(client)) for client in (first, second, third)]

    assert [[201], [400], [201]] == [[response.status for response in each] for each in responses]
    assert {"known", "first", "third"} == titles(server)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}),
        ("OPTIONS", {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}),
        ("POST", {"Upgrade": "h2c", "Connection": "Upgrade"}),
        ("CONNECT", {}),
    ],
    ids=["preflight", "preflight of others", "upgrade", "CONNECT"],
)
def test_a_request_that_the_application_never_sees_gives_up_its_place(
    server: RunningServer, method: str, headers: dict[str, str]
) -> None:
    """The middleware handles some requests itself; the same user's next requests are served."""
    for _ in range(3):
        httpx.request(method, f"{server.url}/api/alice/tasks", content=b"{}", headers=CREDENTIALS | headers)

    assert {"known"} == titles(server)
    assert 201 == create(server, "next").status_code
