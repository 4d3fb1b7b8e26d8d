"""The processes of a server: where they listen, how they handle signals, and that none outlives the others."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import httpx
import pytest

from taskd.server.sockets import Listener, ListenError
from taskd.testing import RunningServer, running_server
from tests.conftest import SECRET
from tests.support.commands import run_python
from tests.support.connections import address, client_of, half_a_request, read_all, request_head
from tests.support.postgres import children_of
from tests.support.processes import DEV, SERVE, SERVE_WITH_WORKERS, make_distribution
from tests.support.requirements import permitted

STOP_TIMEOUT_S = 60
BODY = b'{"title": "in flight"}'
# Too long for the server to stop on its own during a test.
PATIENT = (*SERVE, "--grace", "3600")
PATIENT_WITH_WORKERS = (*SERVE_WITH_WORKERS, "--grace", "3600")
NAMESPACE = ("--pid", "--fork", "--kill-child", "--mount-proc")
# With this plugin, only the parent can start, but no worker.
FAILING_PLUGIN = """
import multiprocessing
import taskd

if multiprocessing.parent_process() is not None:
    raise RuntimeError("not in a worker")

@taskd.hookimpl
def taskd_routes():
    return []
"""
# Blocks the event loop for an hour.
BLOCKING_PLUGIN = """
import time
from starlette.routing import Route
import taskd

async def block(request):
    print("Blocking", flush=True)
    time.sleep(3600)

@taskd.hookimpl
def taskd_routes():
    return [Route("/api/{user_id}/block", block, methods=["GET"])]
"""
# Starts taskd like a shell with a low limit on open files.
LOW_LIMIT = """
import resource, sys
from taskd.cli.main import main

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
main(sys.argv[1:])
"""
LOW_HARD_LIMIT = LOW_LIMIT.replace("(256, hard)", "(256, 256)")


def worker_ids(output: str) -> list[int]:
    """Return the ids of the processes that started to serve, according to *output*."""
    return [int(found) for found in re.findall(r"Started server process \[(\d+)\]", output)]


def cut_off(output: str) -> set[int]:
    """Return the ids of the processes that served and did not stop gracefully, according to *output*."""
    return set(worker_ids(output)) - {int(found) for found in re.findall(r"Finished server process \[(\d+)\]", output)}


def all_ended(server: RunningServer) -> str:
    """Wait until *server*, which has received its signal, and all of its workers have ended; return their output."""
    server.process.wait(STOP_TIMEOUT_S)
    return server.stop()


def read_until_all_serve(server: RunningServer, count: int = 2) -> str:
    """Wait until *count* workers serve, and return the server's output."""
    return "".join(server.read_until("Application startup complete") for _ in range(count))


@pytest.fixture
def with_workers(embedded_child: dict[str, str]) -> Iterator[RunningServer]:
    """A server whose two workers finish requests however long these take."""
    with running_server(embedded_child, PATIENT_WITH_WORKERS) as server:
        yield server


@pytest.fixture
def _ipv6() -> None:
    """Skip the test unless this machine has IPv6."""
    listening = "import socket; socket.create_server(('::1', 0), family=socket.AF_INET6)"
    permitted("there is no IPv6", sys.executable, "-c", listening)


@attrs.define
class Load:
    """Continuous requests from several threads."""

    url: str
    statuses: list[int] = attrs.field(factory=list)
    faults: list[str] = attrs.field(factory=list)
    _ended: threading.Event = attrs.field(factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send requests over new and persistent connections for the duration of the block."""
        headers: list[dict[str, str]] = [{}, {"Connection": "close"}]
        with ThreadPoolExecutor(len(headers)) as threads:
            sending = [threads.submit(self._send, each) for each in headers]
            try:
                yield
            finally:
                self._ended.set()
        self.faults += [repr(error) for each in sending if (error := each.exception())]

    def _send(self, headers: dict[str, str]) -> None:
        with httpx.Client(base_url=self.url, headers=headers, timeout=30) as client:
            while not self._ended.is_set():
                self.statuses += [client.get(path).status_code for path in ("/livez", "/readyz")]


class TestListening:
    @pytest.mark.usefixtures("_ipv6")
    @pytest.mark.parametrize("command", [SERVE, SERVE_WITH_WORKERS], ids=["one", "workers"])
    def test_all_ipv6_interfaces_include_ipv4(self, embedded_child: dict[str, str], command: tuple[str, ...]) -> None:
        """With `--host ::`, the server can be reached over IPv6, over IPv4 and at the URL that it prints."""
        with running_server(embedded_child, (*command, "--host", "::")) as server:
            port = httpx.URL(server.url).port
            urls = [server.url, f"http://[::1]:{port}", f"http://127.0.0.1:{port}"]
            statuses = [httpx.get(f"{url}/livez", timeout=30).status_code for url in urls]

        assert f"http://[::]:{port}" == server.url
        assert [200] * 3 == statuses

    @pytest.mark.usefixtures("_ipv6")
    def test_a_host_has_the_same_port_at_all_of_its_addresses(self, resolve: Callable[..., None]) -> None:
        """If a name has an IPv6 and an IPv4 address, the chosen port is free at both."""
        resolve("::1", "127.0.0.1")
        with contextlib.closing(Listener.open("localhost", 0)) as listener:
            names = [listening.getsockname()[:2] for listening in listener.sockets]
            url = listener.url

        port = httpx.URL(url).port
        assert [("::1", port), ("127.0.0.1", port)] == names
        assert f"http://localhost:{port}" == url

    @pytest.mark.usefixtures("_ipv6")
    def test_another_port_is_tried_if_one_is_free_at_the_first_address_only(
        self, resolve: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Port 0 finds a port, even if the first choice is in use at the second address."""
        resolve("::1", "127.0.0.1")
        tried = []
        bind = socket.socket.bind

        def bind_at_second_try(self: socket.socket, name: tuple[str, int]) -> None:
            tried.append(name[0])
            if tried == ["::1", "127.0.0.1"]:
                raise OSError(errno.EADDRINUSE, "Address already in use")
            bind(self, name)

        monkeypatch.setattr(socket.socket, "bind", bind_at_second_try)
        Listener.open("localhost", 0).close()

        assert ["::1", "127.0.0.1"] * 2 == tried

    def test_a_machine_without_ipv6_listens_on_ipv4(self, resolve: Callable[..., None]) -> None:
        """An IPv6 address that this machine does not have is left out, if there are others."""
        resolve("2001:db8::1", "127.0.0.1")
        with contextlib.closing(Listener.open("localhost", 0)) as listener:
            hosts = [listening.getsockname()[0] for listening in listener.sockets]

        assert ["127.0.0.1"] == hosts

    def test_an_only_ipv6_address_is_not_left_out(self, resolve: Callable[..., None]) -> None:
        """If there is no other address, the message gives the reason."""
        resolve("2001:db8::1")

        with pytest.raises(ListenError, match=r"^cannot listen on \[2001:db8::1\]:0: "):
            Listener.open("2001:db8::1", 0)

    @pytest.mark.parametrize(
        ("workers", "host", "reason"),
        [
            ("1", "192.0.2.1", "Cannot assign requested address"),
            ("2", "x" * 64, "this is not a valid host name"),
        ],
        ids=["address", "name"],
    )
    def test_a_host_that_is_not_this_machine_stops_the_start(self, workers: str, host: str, reason: str) -> None:
        """One line says where it cannot listen, why, and what to do."""
        ended = run_python(*SERVE, "--host", host, "--workers", workers, settings={"BETTER_AUTH_SECRET": SECRET})

        remedy = "set --host to one of this machine's addresses (0.0.0.0 for all)"
        assert (1, "", f"taskd: cannot listen on {host}:0: {reason}: {remedy}\n") == (
            ended.returncode,
            ended.stdout,
            ended.stderr,
        )

    def test_an_unknown_host_name_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whether or not there is a name server, the advice is to change the name."""

        def refuse(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", refuse)

        with pytest.raises(ListenError, match=r"^cannot listen on taskd\.invalid:80: Name or .* known: set --host "):
            Listener.open("taskd.invalid", 80)

    def test_a_privileged_port_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The message suggests higher ports."""

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(socket.socket, "bind", refuse)

        with pytest.raises(ListenError) as caught:
            Listener.open("127.0.0.1", 80)

        assert (
            "cannot listen on 127.0.0.1:80: Permission denied: only root, and processes with the capability"
            " CAP_NET_BIND_SERVICE, may use ports below 1024: choose a higher one with --port"
        ) == str(caught.value)

    def test_too_few_open_files_are_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The message says where the limit is set."""

        def refuse(*_: object) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(socket.socket, "bind", refuse)

        with pytest.raises(ListenError, match=r": Too many open files: raise the limit, with LimitNOFILE= in systemd"):
            Listener.open("127.0.0.1", 0)

    @pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells who listens on a port")
    @pytest.mark.parametrize(
        ("held", "wanted"),
        [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("::1", "::1")],  # noqa: S104
        ids=["all by another", "one by another", "IPv6"],
    )
    @pytest.mark.usefixtures("_ipv6")
    def test_the_holder_of_a_port_is_found_whatever_its_address(self, held: str, wanted: str) -> None:
        """A process that listens on all addresses holds each of them, and the other way round."""
        with contextlib.closing(Listener.open(held, 0)) as listener:
            _, port, *_ = listener.sockets[0].getsockname()
            with pytest.raises(ListenError, match=rf"in use by process {os.getpid()} \("):
                Listener.open(wanted, port)

    def test_a_holder_that_is_not_known_is_not_named(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Other users' processes, and other systems, hide it; the message still says what to do."""
        monkeypatch.setattr("taskd.server.port_holder.PROC", tmp_path)
        with contextlib.closing(Listener.open("127.0.0.1", 0)) as listener:
            _, port = listener.sockets[0].getsockname()
            with pytest.raises(ListenError, match=r"Address already in use: stop the process that listens there, or"):
                Listener.open("127.0.0.1", port)

    @pytest.fixture
    def resolve(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """Set the addresses to which every host name resolves."""
        getaddrinfo = socket.getaddrinfo

        def resolve(*hosts: str) -> None:
            monkeypatch.setattr(
                socket, "getaddrinfo", lambda _, *args, **kwargs: [
                    found for host in hosts for found in getaddrinfo(host, *args, **kwargs)
                ],
            )  # fmt: skip

        return resolve


class TestHangup:
    def test_a_single_worker_reads_its_settings_again(
        self, embedded_child: dict[str, str], user_id: str, tmp_path: Path
    ) -> None:
        """A new process takes over, with a new secret, while all requests are served, and signals still reach it."""
        del embedded_child["BETTER_AUTH_SECRET"]
        settings = tmp_path / ".env"
        settings.write_text(f"BETTER_AUTH_SECRET='not {SECRET}'\n")
        with (
            running_server(embedded_child, (*PATIENT, "--drain", "3600")) as server,
            client_of(server, user_id) as client,
        ):
            before = client.get("/tasks").status_code
            settings.write_text(f"BETTER_AUTH_SECRET='{SECRET}'\n")
            load = Load(server.url)
            with load.running():
                server.process.send_signal(signal.SIGHUP)
                said = server.read_until("Restarted the workers")
            after = client.get("/tasks").status_code
            os.kill(worker_ids(said)[-1], signal.SIGKILL)
            said += read_until_all_serve(server, 1)
            rest = server.stop(signal.SIGINT)

        assert [401, 200] == [before, after]
        assert ({200}, []) == (set(load.statuses), load.faults)
        assert server.process.pid not in worker_ids(said)
        assert 0 == server.process.returncode
        assert "Traceback" not in said + rest

    @pytest.mark.parametrize(
        "send",
        [pytest.param(os.kill, id="parent", marks=pytest.mark.thorough), pytest.param(os.killpg, id="group")],
    )
    def test_workers_are_replaced_without_losing_requests(
        self, embedded_child: dict[str, str], send: Callable[[int, int], None]
    ) -> None:
        """After SIGHUP, even from a closing terminal, there are two other workers, and the server is always ready."""
        with running_server(embedded_child, (*PATIENT_WITH_WORKERS, "--drain", "3600")) as server:
            first = worker_ids(read_until_all_serve(server))
            load = Load(server.url)
            with load.running():
                send(server.process.pid, signal.SIGHUP)
                said = server.read_until("Restarted the workers")
            rest = server.stop(signal.SIGINT)

        assert 2 == len(set(worker_ids(said)) - set(first))
        assert ({200}, []) == (set(load.statuses), load.faults)
        for worker in first:
            with pytest.raises(ProcessLookupError):
                os.kill(worker, 0)
        assert "Traceback" not in said + rest

    def test_workers_stay_if_new_ones_cannot_start(self, embedded_child: dict[str, str], tmp_path: Path) -> None:
        """If a setting has become wrong, the log says so, and the old workers continue to serve."""
        del embedded_child["BETTER_AUTH_SECRET"]
        settings = tmp_path / ".env"
        settings.write_text(f"BETTER_AUTH_SECRET='{SECRET}'\n")
        with running_server(embedded_child, SERVE_WITH_WORKERS) as server:
            workers = worker_ids(read_until_all_serve(server))
            settings.write_text("BETTER_AUTH_SECRET=short\n")
            server.process.send_signal(signal.SIGHUP)
            said = server.read_until("A new worker did not start")
            response = httpx.get(f"{server.url}/livez")
            for worker in workers:
                os.kill(worker, 0)

        assert "taskd: BETTER_AUTH_SECRET: " in said
        assert 200 == response.status_code

    def test_a_stop_interrupts_a_restart(self, with_workers: RunningServer) -> None:
        """SIGTERM in the middle of a restart stops both old and new workers."""
        read_until_all_serve(with_workers)
        with_workers.process.send_signal(signal.SIGHUP)
        said = with_workers.read_until("Received SIGHUP")
        said += with_workers.stop()

        assert -signal.SIGTERM == with_workers.process.returncode
        assert "Traceback" not in said


class TestSecondSignal:
    @pytest.mark.parametrize(
        ("command", "number"),
        [
            pytest.param(PATIENT, signal.SIGTERM, id="one, SIGTERM"),
            pytest.param(PATIENT_WITH_WORKERS, signal.SIGINT, id="workers, SIGINT"),
            pytest.param(DEV, signal.SIGINT, id="dev, SIGINT"),
            pytest.param(PATIENT, signal.SIGINT, id="one, SIGINT", marks=pytest.mark.thorough),
            pytest.param(PATIENT_WITH_WORKERS, signal.SIGTERM, id="workers, SIGTERM", marks=pytest.mark.thorough),
            pytest.param(DEV, signal.SIGTERM, id="dev, SIGTERM", marks=pytest.mark.thorough),
        ],
    )
    def test_a_second_signal_ends_all_processes_at_once(
        self, embedded_child: dict[str, str], user_id: str, command: tuple[str, ...], number: int
    ) -> None:
        """Requests in flight are cut off, no process is left, and the exit status is that of the signal."""
        with running_server(embedded_child, command) as server, half_a_request(server, user_id, BODY) as connection:
            server.process.send_signal(number)
            said = server.output + server.read_until("Waiting for connections to close")
            said += server.stop(number)
            with contextlib.suppress(ConnectionResetError):
                assert b"" == read_all(connection)

        assert -number == server.process.returncode
        assert cut_off(said)
        assert "Traceback" not in said

    @pytest.mark.parametrize("command", [PATIENT, PATIENT_WITH_WORKERS], ids=["one", "workers"])
    def test_a_second_signal_does_not_wait_for_locks(
        self, embedded_child: dict[str, str], user_id: str, command: tuple[str, ...], tmp_path: Path
    ) -> None:
        """A statement that waits for another process's lock does not delay the end."""
        file = tmp_path / embedded_child["DATABASE_URL"].removeprefix("sqlite:///")
        with running_server(embedded_child, command) as server, client_of(server, user_id) as client:
            assert 200 == client.get(f"{server.url}/readyz").status_code
            with (
                contextlib.closing(sqlite3.connect(file, isolation_level=None)) as holder,
                half_a_request(server, user_id, BODY) as connection,
            ):
                holder.execute("BEGIN EXCLUSIVE")
                connection.sendall(BODY[len(BODY) // 2 :])
                server.process.terminate()
                said = server.output + server.read_until("Waiting for connections to close")
                said += server.stop()

        assert -signal.SIGTERM == server.process.returncode
        assert cut_off(said)
        assert "Traceback" not in said


class TestFirstProcess:
    """In a container, the server is usually the first process, which the kernel protects from signals."""

    @pytest.fixture
    def contained(self) -> str:
        """The program that starts another one as the first process of a namespace."""
        permitted("no namespace can be made", "unshare", *NAMESPACE, "true")
        return "unshare"

    @pytest.mark.parametrize("command", [SERVE, SERVE_WITH_WORKERS], ids=["one", "workers"])
    def test_it_stops_gracefully(
        self, embedded_child: dict[str, str], contained: str, command: tuple[str, ...]
    ) -> None:
        """The exit status is that of the signal, as a shell would report it."""
        arguments = (*NAMESPACE, sys.executable, *command)
        with running_server(embedded_child, arguments, python=contained) as server:
            [first] = children_of(server.process.pid)
            os.kill(first, signal.SIGTERM)
            server.process.wait(STOP_TIMEOUT_S)
            said = server._rest()

        assert 128 + signal.SIGTERM == server.process.returncode
        assert "Traceback" not in said

    def test_a_second_signal_ends_it_at_once(
        self, embedded_child: dict[str, str], contained: str, user_id: str
    ) -> None:
        """It does not wait for requests in flight."""
        arguments = (*NAMESPACE, sys.executable, *PATIENT)
        with (
            running_server(embedded_child, arguments, python=contained) as server,
            half_a_request(server, user_id, BODY) as connection,
        ):
            [first] = children_of(server.process.pid)
            os.kill(first, signal.SIGTERM)
            server.read_until("Waiting for connections to close")
            os.kill(first, signal.SIGTERM)
            server.process.wait(STOP_TIMEOUT_S)
            with contextlib.suppress(ConnectionResetError):
                assert b"" == read_all(connection)

        assert 128 + signal.SIGTERM == server.process.returncode


class TestWorkers:
    @pytest.mark.parametrize(
        ("send", "number", "status"),
        [
            pytest.param(os.kill, signal.SIGTERM, -signal.SIGTERM, id="parent, SIGTERM"),
            pytest.param(os.killpg, signal.SIGINT, 0, id="group, SIGINT"),
            pytest.param(os.kill, signal.SIGINT, 0, id="parent, SIGINT", marks=pytest.mark.thorough),
            pytest.param(os.killpg, signal.SIGTERM, -signal.SIGTERM, id="group, SIGTERM", marks=pytest.mark.thorough),
        ],
    )
    def test_workers_finish_requests_and_accept_no_more(
        self, with_workers: RunningServer, user_id: str, send: Callable[[int, int], None], number: int, status: int
    ) -> None:
        """After SIGTERM or SIGINT, even to all processes, requests in flight are served, and no others."""
        read_until_all_serve(with_workers)
        with half_a_request(with_workers, user_id, BODY) as connection:
            send(with_workers.process.pid, number)
            for _ in range(2):
                with_workers.read_until("Shutting down")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address(with_workers), timeout=30)
            connection.sendall(BODY[len(BODY) // 2 :])
            response = read_all(connection)
        said = all_ended(with_workers)

        assert response.startswith(b"HTTP/1.1 201 ")
        assert status == with_workers.process.returncode
        assert "Traceback" not in said

    def test_a_killed_worker_is_replaced(self, with_workers: RunningServer) -> None:
        """There are two workers again, and the log says why."""
        first = worker_ids(read_until_all_serve(with_workers))
        # By then, the parent knows that workers can serve.
        assert 200 == httpx.get(f"{with_workers.url}/livez").status_code
        os.kill(first[0], signal.SIGKILL)
        said = read_until_all_serve(with_workers, 1)

        assert f"Worker process [{first[0]}] has ended unexpectedly" in said
        assert 1 == len(set(worker_ids(said)) - set(first))

    def test_the_server_ends_if_no_worker_can_start(self, embedded_child: dict[str, str], tmp_path: Path) -> None:
        """If a plugin fails only in workers, the parent does not restart them forever."""
        child = {**embedded_child, **make_distribution(tmp_path / "site", "failing", FAILING_PLUGIN)}
        with running_server(child, SERVE_WITH_WORKERS) as server:
            with pytest.raises(EOFError, match="not in a worker"):
                server.read_until("Application startup complete")
            server.process.wait(STOP_TIMEOUT_S)

        assert 3 == server.process.returncode

    def test_the_port_is_free_when_the_parent_was_killed(
        self, with_workers: RunningServer, embedded_child: dict[str, str], user_id: str
    ) -> None:
        """Workers without a parent finish requests in flight and end, while a new server uses the port."""
        read_until_all_serve(with_workers)
        port = str(httpx.URL(with_workers.url).port)
        with half_a_request(with_workers, user_id, BODY) as connection:
            with_workers.process.kill()
            for _ in range(2):
                with_workers.read_until("The parent process has ended")
            with (
                running_server(embedded_child, ("-m", "taskd", "serve", "--port", port)) as successor,
                client_of(successor, user_id) as client,
            ):
                connection.sendall(BODY[len(BODY) // 2 :])
                response = read_all(connection)
                titles = [task["title"] for task in client.get("/tasks").json()]
                said = all_ended(with_workers)

        assert response.startswith(b"HTTP/1.1 201 ")
        assert ["in flight"] == titles
        assert "Traceback" not in said

    def test_a_blocked_worker_does_not_outlive_its_parent(
        self, embedded_child: dict[str, str], user_id: str, tmp_path: Path
    ) -> None:
        """If a plugin blocks the event loop of a worker whose parent was killed, the worker is killed, too."""
        child = {**embedded_child, **make_distribution(tmp_path / "site", "blocking", BLOCKING_PLUGIN)}
        with running_server(child, (*SERVE_WITH_WORKERS, "--grace", "0")) as server:
            read_until_all_serve(server)
            with socket.create_connection(address(server), timeout=30) as connection:
                connection.sendall(request_head("GET", user_id).replace(b"/tasks", b"/block"))
                server.read_until("Blocking")
                server.process.kill()
                # The output is complete once all of its processes have ended.
                said = all_ended(server)

        assert 1 == said.count("killing the process")


class TestOpenFiles:
    def test_a_low_hard_limit_is_logged(self, embedded_child: dict[str, str]) -> None:
        """Few clients could take up all of them."""
        with running_server(embedded_child, ("-c", LOW_HARD_LIMIT, "serve", "--port", "0")) as server:
            pass

        assert (
            "Only 256 files may be open, and each client takes one: raise the limit, with LimitNOFILE=" in server.output
        )

    @pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux shows the limits of another process")
    @pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.thorough), 2])
    def test_there_may_be_as_many_connections_as_the_hard_limit_allows(
        self, embedded_child: dict[str, str], workers: int
    ) -> None:
        """The server raises its limit, and its workers inherit it."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        command = ("-c", LOW_LIMIT, "serve", "--port", "0", "--workers", str(workers))
        with running_server(embedded_child, command) as server:
            said = server.output + (read_until_all_serve(server) if workers > 1 else "")
            processes = {server.process.pid, *worker_ids(said)}
            limits = {process: resource.prlimit(process, resource.RLIMIT_NOFILE) for process in processes}

        assert dict.fromkeys(processes, (hard, hard)) == limits
        assert "files may be open" not in said
        assert len(processes) == (1 if workers == 1 else 1 + workers)
