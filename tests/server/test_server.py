"""Real server processes: what survives a crash, how they stop, and what they log."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from taskd.testing import RunningServer, running_server
from tests.conftest import ORIGIN, SECRET, token_for
from tests.support.connections import address, client_of, half_a_request, read_all, request_head
from tests.support.processes import PLAIN_UVICORN, SERVE, SERVE_WITH_WORKERS, child_environ, make_distribution

MAX_BODY_BYTES = 64 * 1024
FAILING_PLUGIN = """
from starlette.routing import Route
import taskd

async def fail(request):
    await request.body()
    raise RuntimeError("the endpoint failed")

@taskd.hookimpl
def taskd_routes():
    return [Route("/api/{user_id}/failure", fail, methods=["POST"])]
"""


@pytest.fixture
def child(environ: dict[str, str]) -> dict[str, str]:
    """Return the environment of a server over `database_url`."""
    return child_environ(environ)


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server for tests that do not change it."""
    database = f"sqlite:///{tmp_path_factory.mktemp('shared')}/tasks.db"
    with running_server(child_environ({"DATABASE_URL": database, "BETTER_AUTH_SECRET": SECRET})) as server:
        yield server


@contextlib.asynccontextmanager
async def async_client_of(server: RunningServer, user_id: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a valid token and many connections, for a running server."""
    headers = {"Authorization": f"Bearer {token_for(user_id)}"}
    transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=50))
    url = f"{server.url}/api/{user_id}"
    async with httpx.AsyncClient(base_url=url, headers=headers, transport=transport, timeout=30) as client:
        yield client


def titles(client: httpx.Client) -> set[str]:
    """Return the titles of all tasks of the client's user."""
    return {task["title"] for task in client.get("/tasks").json()}


@contextlib.contextmanager
def unread_responses(server: RunningServer, user_id: str) -> Iterator[socket.socket]:
    """A connection that has requested more data than the buffers can hold, and reads none of it."""
    with client_of(server, user_id) as client:
        for _ in range(20):
            client.post("/tasks", json={"title": "large", "description": "\U0001f389" * 10_000})
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(address(server))
        connection.sendall(request_head("GET", user_id) * 20)
        assert b"H" == connection.recv(1)
        yield connection


@contextlib.contextmanager
def half_a_head(server: RunningServer, user_id: str) -> Iterator[socket.socket]:
    """A connection that has sent the first half of a request's head."""
    with socket.create_connection(address(server), timeout=30) as connection:
        connection.sendall(request_head("GET", user_id)[:40])
        yield connection


class TestStop:
    def test_a_request_in_flight_gets_its_response(self, child: dict[str, str], user_id: str) -> None:
        """After SIGTERM, new connections are refused, but a request that has started is completed."""
        body = b'{"title": "in flight"}'
        with running_server(child) as server:
            with half_a_request(server, user_id, body) as connection:
                server.process.terminate()
                server.read_until("Waiting for connections to close")
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(address(server), timeout=30)
                connection.sendall(body[len(body) // 2 :])
                response = read_all(connection)
            server.stop()
        with running_server(child) as server, client_of(server, user_id) as client:
            kept = titles(client)

        assert response.startswith(b"HTTP/1.1 201 ")
        assert {"in flight"} == kept

    def test_an_incomplete_body_does_not_delay_the_stop(self, embedded_child: dict[str, str], user_id: str) -> None:
        """If a client stalls in its body, the server stops after the seconds of --grace."""
        with (
            running_server(embedded_child, (*SERVE, "--grace", "1")) as server,
            half_a_request(server, user_id, b'{"title": "stalled"}'),
        ):
            server.stop()

        assert -signal.SIGTERM == server.process.returncode

    def test_a_request_that_exceeds_the_grace_period_is_refused(
        self, embedded_child: dict[str, str], user_id: str, tmp_path: Path
    ) -> None:
        """If the database takes longer than the server may wait, pages can read why; there is no traceback."""
        body = b'{"title": "late"}'
        file = embedded_child["DATABASE_URL"].removeprefix("sqlite:///")
        with (
            running_server(embedded_child, (*SERVE, "--grace", "1")) as server,
            client_of(server, user_id) as client,
            contextlib.closing(sqlite3.connect(tmp_path / file, isolation_level=None)) as holder,
        ):
            assert 200 == client.get(f"{server.url}/readyz").status_code
            holder.execute("BEGIN EXCLUSIVE")
            with half_a_request(server, user_id, body) as connection:
                connection.sendall(body[len(body) // 2 :])
                server.process.terminate()
                response = read_all(connection)
            holder.execute("ROLLBACK")
            output = server.stop()

        assert response.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 2\r\n" in response
        assert f"\r\naccess-control-allow-origin: {ORIGIN}\r\n".encode() in response
        assert "Traceback" not in output

    @pytest.mark.parametrize("client", [half_a_head, unread_responses], ids=["head", "answer"])
    def test_a_stalled_client_does_not_delay_the_stop(
        self,
        embedded_child: dict[str, str],
        user_id: str,
        client: Callable[[RunningServer, str], contextlib.AbstractContextManager[socket.socket]],
    ) -> None:
        """Neither half a head nor unread responses delay the stop beyond the seconds of --grace."""
        with running_server(embedded_child, (*SERVE, "--grace", "1")) as server, client(server, user_id):
            server.stop()

        assert -signal.SIGTERM == server.process.returncode

    @pytest.mark.parametrize(("stop", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)], ids=str)
    def test_an_idle_server_stops_silently(
        self, embedded_child: dict[str, str], user_id: str, stop: int, status: int
    ) -> None:
        """After SIGTERM or SIGINT, the process ends, even with open persistent connections."""
        with running_server(embedded_child) as server, client_of(server, user_id) as client:
            client.get("/tasks")
            output = server.stop(stop)

        assert status == server.process.returncode
        assert "Application shutdown complete" in output
        assert "Traceback" not in output

    @pytest.mark.parametrize(
        ("stop", "status"),
        [(signal.SIGTERM, -signal.SIGTERM), pytest.param(signal.SIGINT, 0, marks=pytest.mark.thorough)],
        ids=str,
    )
    def test_it_ends_without_a_lifespan(self, child: dict[str, str], user_id: str, stop: int, status: int) -> None:
        """It works with another server and without the lifespan protocol, and nothing keeps the process alive."""
        with running_server(child, (*PLAIN_UVICORN, "--lifespan", "off")) as server:
            with client_of(server, user_id) as client:
                response = client.post("/tasks", json={"title": "t"})
            output = server.stop(stop)

        assert 201 == response.status_code
        assert status == server.process.returncode
        assert "Traceback" not in output


class TestConnections:
    def test_a_client_that_disconnects_is_not_an_error(self, embedded_child: dict[str, str], user_id: str) -> None:
        """If a connection ends in the middle of a body, there is no task, no 500 and no traceback."""
        with running_server(embedded_child) as server:
            with half_a_request(server, user_id, b'{"title": "never whole"}'):
                pass
            with client_of(server, user_id) as client:
                kept = titles(client)
            output = server.stop()

        assert set() == kept
        assert "Traceback" not in output
        assert "ERROR" not in output

    def test_the_response_to_a_large_body_can_be_read(self, shared_server: RunningServer, user_id: str) -> None:
        """Each body of a mebibyte gets a 413 on an intact connection, with a declared length or in chunks."""
        body = b'{"title": "' + b"x" * 2**20 + b'"}'
        headers = {"Content-Type": "application/json"}
        with client_of(shared_server, user_id) as client:
            responses = []
            for _ in range(5):
                responses.append(client.post("/tasks", content=body, headers=headers))
                pieces = (body[start : start + 5_000] for start in range(0, len(body), 5_000))
                responses.append(client.post("/tasks", content=pieces, headers=headers))
            kept = titles(client)

        assert [413] * 10 == [response.status_code for response in responses]
        refusal = {"detail": "The body must not be larger than 65536 bytes.", "code": "body_too_large"}
        assert [refusal] * 10 == [response.json() for response in responses]
        assert set() == kept

    @pytest.mark.parametrize(("surplus_bytes", "status"), [(0, 201), (1, 413)], ids=["64 KiB", "one more"])
    @pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
    def test_a_body_has_at_most_64_kib(
        self, shared_server: RunningServer, user_id: str, surplus_bytes: int, status: int, chunked: bool
    ) -> None:
        """The limit is exact, however the body arrives."""
        body = b'{"title": "t"}'.ljust(MAX_BODY_BYTES + surplus_bytes)
        with client_of(shared_server, user_id) as client:
            response = client.post(
                "/tasks",
                content=iter([body[:1000], body[1000:]]) if chunked else body,
                headers={"Content-Type": "application/json"},
            )

        assert status == response.status_code

    def test_head_sends_no_body(self, shared_server: RunningServer, user_id: str) -> None:
        """The response to HEAD has the headers of GET, and ends there."""
        with client_of(shared_server, user_id) as client:
            client.post("/tasks", json={"title": "t"})
            length = client.get("/tasks").headers["Content-Length"]
        with socket.create_connection(address(shared_server), timeout=30) as connection:
            connection.sendall(request_head("HEAD", user_id, "Connection: close"))
            head, _, body = read_all(connection).partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 200 ")
        assert f"content-length: {length}" in head.decode().lower().splitlines()
        assert b"" == body

    @pytest.mark.parametrize("path", ["/livez", "/nowhere", "/api/u/tasks"])
    def test_no_response_names_the_server(self, shared_server: RunningServer, path: str) -> None:
        """There is no Server header, not even on errors."""
        assert "Server" not in httpx.get(f"{shared_server.url}{path}").headers

    def test_a_request_that_is_not_http_gets_a_400(self, shared_server: RunningServer) -> None:
        """Garbage is refused, and the server continues."""
        with socket.create_connection(address(shared_server), timeout=30) as connection:
            connection.sendall(b"\x16\x03\x01 rubbish\r\n\r\n")
            response = read_all(connection)

        assert response.startswith(b"HTTP/1.1 400 ")
        assert 200 == httpx.get(f"{shared_server.url}/livez").status_code


class TestProcesses:
    def test_two_servers_on_one_database_see_each_other_s_tasks(self, child: dict[str, str], user_id: str) -> None:
        """When one process has acknowledged a task, the other one lists it at once."""
        with (
            running_server(child) as one,
            running_server(child) as other,
            client_of(one, user_id) as first,
            client_of(other, user_id) as second,
        ):
            first.post("/tasks", json={"title": "by the first"})
            seen_by_second = titles(second)
            second.post("/tasks", json={"title": "by the second"})
            seen_by_first = titles(first)

        assert {"by the first"} == seen_by_second
        assert {"by the first", "by the second"} == seen_by_first

    @pytest.mark.anyio
    async def test_concurrent_toggles_are_all_counted(self, child: dict[str, str], user_id: str) -> None:
        """An even number of concurrent toggles, over two workers, leaves a task as it was."""
        count = 60
        # However slow the machine is, no request is given up early.
        patience = {"TASKD_SQL_ACQUIRE_TIMEOUT": "60", "TASKD_SQL_STATEMENT_TIMEOUT": "60"}
        with running_server({**child, **patience}, SERVE_WITH_WORKERS) as server:
            for _ in range(2):
                server.read_until("Application startup complete")
            async with async_client_of(server, user_id) as client:
                task = (await client.post("/tasks", json={"title": "t"})).json()
                toggles = [client.patch(f"/tasks/{task['id']}/complete") for _ in range(count)]
                responses = await asyncio.gather(*toggles)
                after = (await client.get(f"/tasks/{task['id']}")).json()

        assert [200] * count == [response.status_code for response in responses]
        assert not after["is_completed"]
        # Each toggle returns the state that it has set.
        assert count // 2 == sum(response.json()["is_completed"] for response in responses)


class TestOutput:
    def test_an_error_is_logged_with_its_request_id_but_no_secret(
        self, embedded_child: dict[str, str], tmp_path: Path, user_id: str
    ) -> None:
        """The client gets the same id, and the log contains neither token, secret, title nor query."""
        child = {**embedded_child, **make_distribution(tmp_path / "site", "failing", FAILING_PLUGIN)}
        with running_server(child) as server, client_of(server, user_id) as client:
            client.post("/tasks", json={"title": "a private title"})
            client.post("/tasks", json={"title": "a private title", "status": "a private title"})
            response = client.post("/failure?token=a-token-in-a-query", json={"title": "a private title"})
            token = client.headers["Authorization"].removeprefix("Bearer ")
            output = server.output + server.stop()

        assert (500, {"detail": "Internal server error", "code": "internal_error"}) == (
            response.status_code,
            response.json(),
        )
        [line] = [line for line in output.splitlines() if response.headers["X-Request-ID"] in line]
        assert f"POST /api/{user_id}/failure failed" in line
        assert "RuntimeError: the endpoint failed" in output
        secrets = [token, SECRET, "a private title", "a-token-in-a-query"]
        assert [] == [secret for secret in secrets if secret in output]

    def test_an_unavailable_storage_is_reported_without_its_password(self, user_id: str) -> None:
        """The server starts and returns 503s; neither the response nor the log contains the password."""
        settings = {
            "DATABASE_URL": "postgresql://somebody:hunter2@127.0.0.1:1/tasks",
            "BETTER_AUTH_SECRET": SECRET,
            "TASKD_SQL_CONNECT_TIMEOUT": "0.1",
            "TASKD_SQL_ACQUIRE_TIMEOUT": "0.1",
        }
        with running_server(child_environ(settings)) as server, client_of(server, user_id) as client:
            responses = [client.get("/tasks"), client.get(f"{server.url}/readyz")]
            alive = client.get(f"{server.url}/livez")
            output = server.output + server.stop()

        assert [(503, True)] * 2 == [
            (response.status_code, "Retry-After" in response.headers) for response in responses
        ]
        assert 200 == alive.status_code
        assert 1 == output.count("PostgreSQL at 127.0.0.1:1 is unavailable: ConnectionRefusedError")
        assert "hunter2" not in output + "".join(response.text for response in responses)


class TestRunningServer:
    def test_a_server_that_does_not_start_is_reported_with_its_output(self) -> None:
        """The error contains what the process printed."""
        with contextlib.ExitStack() as stack, pytest.raises(RuntimeError, match="BETTER_AUTH_SECRET"):
            stack.enter_context(running_server(child_environ({})))

    def test_waiting_for_a_line_ends_with_the_server(self, embedded_child: dict[str, str]) -> None:
        """If the line never comes, the error contains what the server printed."""
        with running_server(embedded_child) as server:
            server.process.terminate()
            with pytest.raises(EOFError, match="Application shutdown complete"):
                server.read_until("what no server says")
