"""Long lists whose clients read slowly, stop reading or disconnect, against a real server on both databases."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx

from taskd.testing import RunningServer, running_server
from tests.conftest import PATIENT, SECRET, token_for
from tests.support.databases import Place, PostgresPlace
from tests.support.filling import multiply
from tests.support.postgres import SCHEMA
from tests.support.processes import child_environ, descriptors, until_descriptors
from tests.support.raw import connected, received, request

MIB = 1024 * 1024
COUNT = 600
URL = "/api/alice/tasks"
LISTING = request("GET", URL, "Connection: close")
LARGE = "\U0001f389" * 10_000
HEADERS = {"Authorization": f"Bearer {token_for('alice')}"}
# Serve one request of a user at a time, as if the store were overloaded.
ONE_AT_A_TIME = """
from taskd.asgi import app
from taskd.cli.main import main
from taskd.server.gates import GateLimits
app._asgi.app.limits = GateLimits(start=1, minimum=1, maximum=1)
main(["serve", "--port", "0"])
"""


@contextlib.contextmanager
def serving(place: Place, count: int = COUNT, description: str = LARGE, **settings: str) -> Iterator[RunningServer]:
    """Serve one request at a time, with one connection to the database, in which alice has *count* tasks."""
    if isinstance(place, PostgresPlace):
        place.run(SCHEMA.read_text())
    database = {"DATABASE_URL": place.url, "TASKD_SQL_POOL_SIZE": "1"}
    environ = child_environ({**database, "BETTER_AUTH_SECRET": SECRET, **PATIENT, **settings})
    with running_server(environ, ("-c", ONE_AT_A_TIME)) as server:
        first = httpx.post(server.url + URL, json={"title": "1", "description": description}, headers=HEADERS)
        assert 201 == first.status_code
        multiply(place, count)
        yield server


@contextlib.contextmanager
def stalled(server: RunningServer) -> Iterator[socket.socket]:
    """Ask for the list, and read only its first byte."""
    with connected(server, receive_buffer_bytes=4096) as connection:
        connection.sendall(LISTING)
        assert b"H" == connection.recv(1)
        yield connection


def rest_of(connection: socket.socket) -> tuple[str, bytes]:
    """Return the head of a response whose first byte was read, and its decoded body."""
    head, _, body = (b"H" + received(connection)).partition(b"\r\n\r\n")
    return head.decode(), body


def dechunked(body: bytes) -> bytes:
    """Decode a body in chunks; the last one must be there."""
    content = []
    while (size := int(body.split(b"\r\n", 1)[0], 16)) or body != b"0\r\n\r\n":
        start = body.index(b"\r\n") + 2
        content.append(body[start : start + size])
        body = body[start + size + 2 :]
    return b"".join(content)


def test_others_are_served_while_a_client_does_not_read(place: Place) -> None:
    """It holds no connection to the database and no place in the server; its list shows changes made meanwhile."""
    with serving(place) as server, httpx.Client(base_url=server.url, headers=HEADERS, timeout=30) as client:
        oldest = client.get(f"{URL}?order=asc&limit=2").json()
        with stalled(server) as connection:
            for _ in range(3):
                assert 200 == client.get(f"{URL}?limit=1").status_code
            assert 201 == client.post(URL, json={"title": "created"}).status_code
            assert 204 == client.delete(f"{URL}/{oldest[0]['id']}").status_code
            assert 200 == client.put(f"{URL}/{oldest[1]['id']}", json={"title": "changed"}).status_code
            head, body = rest_of(connection)
        listed = json.loads(dechunked(body))

    assert "transfer-encoding: chunked" in head
    # The copies have later ids than any task that is created now.
    expected = [*(str(number) for number in range(COUNT, 2, -1)), "changed", "created"]
    assert expected == [task["title"] for task in listed]


def test_it_is_cut_off_if_the_store_fails(place: Place) -> None:
    """The client notices that the list is incomplete, and the log has a line for the outage, but no traceback."""
    with serving(place) as server:
        with stalled(server) as connection:
            place.run("ALTER TABLE tasks RENAME TO others")
            head, body = rest_of(connection)
        assert 503 == httpx.get(server.url + URL, headers=HEADERS).status_code
        output = server.kill()

    assert "transfer-encoding: chunked" in head
    assert not body.endswith(b"0\r\n\r\n")
    assert 1 == output.count("is unavailable")
    assert "ERROR" not in re.sub(r".* is unavailable: .*", "", output)


def test_a_client_that_does_not_read_is_cut_off(sqlite_place: Place) -> None:
    """This happens after as many seconds as the setting says, and nothing is left of it."""
    with serving(sqlite_place, TASKD_SEND_TIMEOUT="1") as server:
        before = descriptors(server.process.pid)
        with stalled(server) as connection:
            # Without reading, a client can only wait for the connection to be reset.
            hang_up = select.poll()
            hang_up.register(connection, 0)

            assert [] != hang_up.poll(30_000)
        with stalled(server):
            pass
        until_descriptors(server.process.pid, before)


def test_http_1_0(sqlite_place: Place) -> None:
    """The list ends with the connection, because HTTP/1.0 has no chunks."""
    with serving(sqlite_place) as server, connected(server) as connection:
        connection.sendall(LISTING.replace(b"HTTP/1.1", b"HTTP/1.0"))
        head, _, body = received(connection).partition(b"\r\n\r\n")

    assert b"transfer-encoding" not in head
    assert COUNT == len(json.loads(body))


def test_head(sqlite_place: Place) -> None:
    """The response has no body, and the next request on the connection is served."""
    with serving(sqlite_place) as server, connected(server) as connection:
        connection.sendall(request("HEAD", URL) + request("GET", "/livez", "Connection: close"))
        responses = received(connection).split(b"HTTP/1.1 200 ")[1:]

    assert 2 == len(responses)
    assert responses[0].endswith(b"\r\n\r\n")


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has used since `forget_peak`."""
    [kib] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kib) * 1024


def forget_peak(pid: int) -> None:
    # See proc_pid_clear_refs(5).
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def test_memory_does_not_grow_with_the_list(place: Place) -> None:
    """A list of 9 MB is sent with less than 4 MB."""
    with serving(place, 30_000, "short") as server:
        pid = server.process.pid
        assert 1000 == len(httpx.get(f"{server.url}{URL}?limit=1000", headers=HEADERS, timeout=30).json())
        forget_peak(pid)
        before = peak_bytes(pid)
        size = len(httpx.get(server.url + URL, headers=HEADERS, timeout=30).content)

        assert size > 9 * MIB
        assert peak_bytes(pid) - before < 4 * MIB
