"""Draining: a server that is stopping tells its load balancer first, and loses no request."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import signal
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest
import uvicorn
from starlette.applications import Starlette

from taskd.server.uvicorn import Server
from taskd.testing import RunningServer, running_server
from tests.conftest import token_for
from tests.support.commands import invoke
from tests.support.connections import address
from tests.support.processes import SERVE, SERVE_WITH_WORKERS, until_seen

# Longer than any test takes.
FOR_EVER = ("--drain", "3600")
# How many tasks each client creates before the server is stopped.
BEFORE = 20


@attrs.frozen
class Response:
    """What a server has responded."""

    status: int
    body: bytes
    closes: bool


def ask(connection: http.client.HTTPConnection, path: str) -> Response:
    """Send a GET request."""
    connection.request("GET", path)
    response = connection.getresponse()
    return Response(response.status, response.read(), response.will_close)


def ask_once(server: RunningServer, path: str) -> Response:
    """Send a GET request over a connection of its own."""
    with contextlib.closing(http.client.HTTPConnection(*address(server), timeout=30)) as connection:
        return ask(connection, path)


@attrs.define
class Balancer:
    """Clients behind a load balancer, which opens no connection once `/readyz` has said that the server is stopping."""

    server: RunningServer
    user_id: str
    acknowledged: list[str] = attrs.field(factory=list)
    faults: list[str] = attrs.field(factory=list)
    is_ready: bool = True

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """Create tasks over persistent and over new connections, during the block and until the server says stop."""
        with ThreadPoolExecutor(5) as threads:
            polling = threads.submit(self._poll)
            sending = [threads.submit(self._create, number, keeps=number % 2 == 0) for number in range(4)]
            yield
        self.faults += [repr(error) for each in (polling, *sending) if (error := each.exception())]

    def _poll(self) -> None:
        while ask_once(self.server, "/readyz").status == 200:
            threading.Event().wait(0.01)
        self.is_ready = False

    def _create(self, client: int, *, keeps: bool) -> None:
        number = 0
        while self.is_ready:
            with contextlib.closing(http.client.HTTPConnection(*address(self.server), timeout=30)) as connection:
                may_go_on = True
                while may_go_on:
                    may_go_on = self._create_one(connection, f"{client}-{number}") and keeps
                    number += 1

    def _create_one(self, connection: http.client.HTTPConnection, title: str) -> bool:
        """Create a task, and return whether the server keeps the connection open."""
        headers = {"Authorization": f"Bearer {token_for(self.user_id)}", "Content-Type": "application/json"}
        connection.request("POST", f"/api/{self.user_id}/tasks", json.dumps({"title": title}), headers)
        response = connection.getresponse()
        response.read()
        assert 201 == response.status
        self.acknowledged.append(title)
        return not response.will_close


class TestDrain:
    def test_a_load_balancer_notices_and_no_request_is_lost(
        self, embedded_child: dict[str, str], user_id: str, sqlite_file: Path
    ) -> None:
        """Each request that was sent before `/readyz` said stop, or on a connection from before, has its response."""
        with running_server(embedded_child, (*SERVE_WITH_WORKERS, "--drain", "2")) as server:
            for _ in range(2):
                server.read_until("Application startup complete")
            balancer = Balancer(server, user_id)
            with balancer.sending():
                until_seen(lambda: len(balancer.acknowledged) >= 4 * BEFORE or bool(balancer.faults))
                server.process.terminate()
            rest = server.stop() if server.process.poll() is None else ""
        with contextlib.closing(sqlite3.connect(sqlite_file)) as database:
            kept = [title for (title,) in database.execute("SELECT title FROM tasks")]

        assert [] == balancer.faults
        assert sorted(balancer.acknowledged) == sorted(kept)
        assert -signal.SIGTERM == server.process.returncode
        assert "Traceback" not in rest

    @pytest.mark.parametrize("command", [SERVE, SERVE_WITH_WORKERS], ids=["one", "workers"])
    def test_everything_but_readyz_is_still_served(
        self, embedded_child: dict[str, str], command: tuple[str, ...]
    ) -> None:
        """All processes drain at once, health checks say what happens, and a second signal ends it."""
        processes = 1 if command is SERVE else 2
        with running_server(embedded_child, (*command, *FOR_EVER)) as server:
            for _ in range(processes if processes > 1 else 0):
                server.read_until("Application startup complete")
            before = [ask_once(server, path).status for path in ("/readyz", "/livez")]
            healthy = invoke("healthcheck", server.url, settings={})
            server.process.terminate()
            for _ in range(processes):
                server.read_until("Draining for 3600 s")
            ready, live = ([ask_once(server, path) for _ in range(10)] for path in ("/readyz", "/livez"))
            checks = [invoke("healthcheck", server.url, *options, settings={}) for options in ((), ("--live",))]
            server.stop()

        stopping = "The server is stopping; send requests to another one."
        assert [200, 200] == before
        assert (0, "") == (healthy.exit_code, healthy.output)
        assert {(503, stopping)} == {(each.status, json.loads(each.body)["detail"]) for each in ready}
        assert {(200, True)} == {(each.status, each.closes) for each in live}
        assert [1, 0] == [each.exit_code for each in checks]
        assert f"taskd: {server.url}/readyz: 503: {stopping}\n" == checks[0].output
        assert -signal.SIGTERM == server.process.returncode

    def test_a_unix_socket_is_there_until_the_end(self, embedded_child: dict[str, str], tmp_path: Path) -> None:
        """While the server drains, clients can connect; afterwards, the file is gone."""
        file = tmp_path / "taskd.sock"
        # Long enough for both checks on a busy machine.
        command = ("-m", "taskd", "serve", "--uds", str(file), "--drain", "5")
        with running_server(embedded_child, command) as server:
            server.process.terminate()
            server.read_until("Draining for 5 s")
            checks = [invoke("healthcheck", "--uds", str(file), *options, settings={}) for options in ((), ("--live",))]
            server.process.wait(60)

        assert [1, 0] == [each.exit_code for each in checks]
        assert not file.exists()

    @pytest.mark.anyio
    async def test_a_signal_just_after_the_start_drains_too(self, caplog: pytest.LogCaptureFixture) -> None:
        """The load balancer may have seen the server already."""
        caplog.set_level(logging.INFO)
        config = uvicorn.Config(Starlette(), log_config=None, lifespan="off")
        server = Server(config, lambda: server.begin_stop(drains=True), drain_s=1)

        await server._serve([])
        server.has_stopped()

        assert ["Draining for 1 s", "Shutting down"] == [
            record.getMessage().partition(":")[0]
            for record in caplog.records
            if record.getMessage().startswith(("Draining", "Shutting"))
        ]

    def test_ctrl_c_does_not_drain(self, embedded_child: dict[str, str]) -> None:
        """Whoever presses Ctrl+C is waiting."""
        with running_server(embedded_child, (*SERVE_WITH_WORKERS, *FOR_EVER)) as server:
            for _ in range(2):
                server.read_until("Application startup complete")
            said = server.stop(signal.SIGINT)

        assert 0 == server.process.returncode
        assert "Draining" not in said
