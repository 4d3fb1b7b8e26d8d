"""Endless streaming responses from a plugin, against a real server."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from taskd.testing import RunningServer, running_server
from tests.support.processes import descriptors, make_distribution, until_descriptors, until_seen
from tests.support.raw import connected, environ_in, request

STREAMS = 40
PLUGIN = """
import asyncio
from pathlib import Path
from starlette.responses import StreamingResponse
from starlette.routing import Route
import taskd

async def quiet():
    yield b"data: first\\n\\n"
    await asyncio.sleep(3600)

async def busy():
    while True:
        yield b"data: again\\n\\n"

async def events(request):
    lines = busy() if request.query_params else quiet()
    return StreamingResponse(lines, media_type="text/event-stream")

async def patient(request):
    has_left = request.scope["extensions"]["taskd.has_left"]
    Path("came").write_text(str(has_left()))
    while not has_left():
        await asyncio.sleep(0.005)
    Path("left").touch()

@taskd.hookimpl
def taskd_routes():
    return [Route("/api/{user_id}/events", events), Route("/api/{user_id}/patient", patient)]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("streams")
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    environ = {**environ_in(folder), **make_distribution(folder / "site", "events", PLUGIN)}
    with running_server(environ, cwd=folder) as running:
        assert 200 == httpx.get(f"{running.url}/readyz").status_code
        yield running
        running.stop(signal.SIGINT)


def test_nothing_is_left_of_a_client_that_has_disconnected(server: RunningServer) -> None:
    """This holds even if nothing more is sent to it, so that no write can fail."""
    before = descriptors(server.process.pid)
    for _ in range(STREAMS):
        with connected(server) as connection:
            connection.sendall(request("GET", "/api/alice/events"))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    until_descriptors(server.process.pid, before)


def test_the_response_to_head_ends_with_its_head(server: RunningServer) -> None:
    """Whatever the application continues to send, the next request on the connection is served."""
    before = descriptors(server.process.pid)
    with connected(server) as connection:
        connection.sendall(request("HEAD", "/api/alice/events") * 2 + request("GET", "/livez"))
        received = b""
        while not received.endswith(b'{"status":"ok"}'):
            received += connection.recv(65536)
    until_descriptors(server.process.pid, before)

    assert 3 == received.count(b"HTTP/1.1 200 ")


def test_others_are_served_while_clients_listen(server: RunningServer) -> None:
    """Their streams may be quiet, or send as fast as they can."""
    headers = {"Authorization": request("GET", "/").decode().split("Authorization: ")[1].split("\r\n")[0]}
    with contextlib.ExitStack() as stack:
        for number in range(STREAMS):
            query = "?busy=1" if number == 0 else ""
            stack.enter_context(connected(server)).sendall(request("GET", f"/api/alice/events{query}"))
        statuses = [httpx.get(f"{server.url}/api/alice/tasks", headers=headers).status_code for _ in range(20)]

    assert [200] * 20 == statuses


def test_an_application_can_ask_whether_its_client_has_left(server: RunningServer, folder: Path) -> None:
    """It does so through an ASGI extension, without waiting."""
    with connected(server) as connection:
        connection.sendall(request("GET", "/api/alice/patient"))
        until_seen((folder / "came").exists)
    until_seen((folder / "left").exists)

    assert "False" == (folder / "came").read_text()
