"""Many slow clients at once must not block the others."""

from __future__ import annotations

import contextlib
import json
import resource
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from taskd.server.limits import Limits
from taskd.testing import RunningServer, running_server
from tests.conftest import token_for
from tests.support.processes import descriptors, resident_bytes, until_descriptors
from tests.support.raw import environ_in, request, serve_with
from tests.support.requirements import permitted

COUNT = 200
# Sockets on both sides, and everything else that each process has open.
NEEDED_DESCRIPTORS = 5 * COUNT + 200
POST = request("POST", "/api/alice/tasks", "Content-Type: application/json", "Content-Length: 1000")
# What each kind of slow client sends before it falls silent; dripping clients continue.
SLOW = {
    "silent": b"",
    "half a head": b"GET /livez HTTP/1.1\r\nHost: taskd\r\nA: ",
    "stalled body": POST + b"{",
    "dripping body": POST + b"{",
    "never reads": request("GET", "/api/bob/tasks", user="bob"),
}


@pytest.fixture
def _many_descriptors() -> Iterator[None]:
    """Raise the limit on open files for this process and its server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    permitted("this system allows too few descriptors", "sh", "-c", f"ulimit -n {NEEDED_DESCRIPTORS}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, NEEDED_DESCRIPTORS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[RunningServer]:
    """A server that does not cut anybody off during a test."""
    program = serve_with(head_timeout_s=300.0, body_timeout_s=300.0)
    with running_server(environ_in(tmp_path, TASKD_SEND_TIMEOUT="300"), program, cwd=tmp_path) as running:
        assert 200 == httpx.get(f"{running.url}/readyz").status_code
        yield running
        running.kill()


@contextlib.contextmanager
def slow_clients(server: RunningServer) -> Iterator[dict[str, list[socket.socket]]]:
    """Connect `COUNT` slow clients of each kind."""
    address = urlsplit(server.url)
    with contextlib.ExitStack() as stack:
        clients: dict[str, list[socket.socket]] = {kind: [] for kind in SLOW}
        for _ in range(COUNT):
            for kind, sent in SLOW.items():
                client = stack.enter_context(socket.socket())
                # Small, so that the kernel holds little of a response, and the server the rest.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
                client.connect((address.hostname, address.port))
                client.sendall(sent)
                clients[kind].append(client)
        yield clients


def unexpected(clients: dict[str, list[socket.socket]]) -> list[str]:
    """Return the kinds of clients that got a response or were cut off, except those that do not read."""
    events = select.poll()
    kinds = {}
    for kind, several in clients.items():
        for client in several:
            kinds[client.fileno()] = kind
            events.register(client, 0 if kind == "never reads" else select.POLLIN)
    return [kinds[descriptor] for descriptor, _ in events.poll(0)]


@pytest.mark.usefixtures("_many_descriptors")
def test_a_thousand_slow_clients_do_not_block_others(patient: RunningServer) -> None:
    """Two hundred of each kind use a limited amount of memory, and nothing is left when they have disconnected."""
    pid = patient.process.pid
    limits = Limits()
    with httpx.Client(base_url=patient.url, headers={"Authorization": f"Bearer {token_for('bob')}"}) as client:
        for _ in range(8):
            client.post("/api/bob/tasks", json={"title": "large", "description": "\U0001f389" * 10_000})
        base, before = descriptors(pid), resident_bytes(pid)

        with slow_clients(patient) as clients:
            statuses = []
            for dripping in clients["dripping body"]:
                dripping.sendall(b" ")
                statuses.append(client.get("/livez").status_code)
                statuses.append(client.post("/api/bob/tasks", json={"title": "t"}).status_code)
            connected, after = descriptors(pid), resident_bytes(pid)

            assert [200, 201] * COUNT == statuses
            assert [] == unexpected(clients)
            assert connected - base >= len(SLOW) * COUNT
        until_descriptors(pid, base)

        listed = json.loads(client.get("/api/bob/tasks").content)
    # The memory for unread responses is limited in total, and everything else per client.  Preparing many lists at once
    # takes more memory on slower machines, but must not need a second copy of each.
    assert after - before < 1.5 * limits.unsent_bytes + len(SLOW) * COUNT * 32 * 1024
    assert COUNT + 8 == len(listed)
