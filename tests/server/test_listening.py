"""Where `taskd serve` listens besides a host and a port, and what proxies in front of it change."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import pytest
from starlette.routing import Route

from taskd.cli.listening import check_prefix
from taskd.server import unix_sockets
from taskd.server.inherited import listen_on
from taskd.server.sockets import ListenError
from taskd.server.unix_sockets import listen_at
from taskd.testing import RunningServer, running_server
from tests.conftest import SECRET, token_for
from tests.support.commands import invoke
from tests.support.processes import child_environ

# Opens two sockets, as systemd would, and becomes a server with them.
ACTIVATOR = """
import os, socket, sys
first = socket.create_server(("127.0.0.1", 0))
second = socket.socket(socket.AF_UNIX)
second.bind(sys.argv[1])
second.listen()
# Both may be at 3 or 4 already.
copies = [os.dup(each.fileno()) for each in (first, second)]
for number, each in enumerate(copies, 3):
    os.dup2(each, number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:local"}
os.execv(sys.executable, [sys.executable, "-m", "taskd", "serve", *sys.argv[2:]])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("behind")


@pytest.fixture(scope="module")
def behind_proxy(folder: Path) -> Iterator[RunningServer]:
    """A server at the path /tasks of a proxy, to which only a Unix socket leads."""
    settings = {
        "DATABASE_URL": f"sqlite:///{folder}/tasks.db",
        "BETTER_AUTH_SECRET": SECRET,
        "TASKD_ACCESS_LOG": "1",
    }
    options = ("--uds", str(folder / "taskd.sock"), "--root-path", "/tasks/", "--keep-alive", "1")
    with running_server(child_environ(settings), ("-m", "taskd", "serve", *options)) as server:
        yield server
        server.stop()
    assert not (folder / "taskd.sock").exists()


@contextlib.contextmanager
def client_at(path: Path | str, user: str = "alice") -> Iterator[httpx.Client]:
    """A client of the server that listens on the Unix socket at *path*."""
    transport = httpx.HTTPTransport(uds=str(path), retries=6)
    headers = {"Authorization": f"Bearer {token_for(user)}"}
    with httpx.Client(transport=transport, base_url="http://taskd.example", headers=headers, timeout=30) as client:
        yield client


@contextlib.contextmanager
def listening_at(path: Path, mode: int = 0o660) -> Iterator[None]:
    """Listen on a Unix socket in the block."""
    listener = listen_at(path, mode)
    try:
        yield
    finally:
        listener.close()
        listener.release()


class TestUnixSocket:
    def test_it_serves_those_who_may_write_to_it(self, behind_proxy: RunningServer, folder: Path) -> None:
        """By default, these are its owner and group."""
        with client_at(folder / "taskd.sock") as client:
            status = client.get("/readyz").status_code

        assert (200, f"unix:{folder}/taskd.sock") == (status, behind_proxy.url)
        assert 0o660 == stat.S_IMODE((folder / "taskd.sock").stat().st_mode)

    def test_an_idle_connection_is_closed_after_a_while(self, behind_proxy: RunningServer) -> None:
        """The time is that of --keep-alive, so that a proxy can be the one that closes first."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(behind_proxy.url.removeprefix("unix:"))
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: taskd\r\n\r\n")
            received = b"".join(iter(lambda: connection.recv(65536), b""))

        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" not in received

    def test_the_file_is_removed_at_the_stop(self, tmp_path: Path) -> None:
        """Nobody shall try to connect to it."""
        listener = listen_at(tmp_path / "taskd.sock", 0o600)
        listener.close()
        listener.release()

        assert [] == list(tmp_path.iterdir())

    def test_the_file_of_another_server_is_not_removed(self, tmp_path: Path) -> None:
        """A new server may already have taken the place of one that is still stopping."""
        path = tmp_path / "taskd.sock"
        old = listen_at(path, 0o600)
        old.close()
        with listening_at(path, 0o666):
            old.release()
            mode = stat.S_IMODE(path.stat().st_mode)

        assert 0o666 == mode

    def test_what_a_crashed_server_has_left_behind_is_replaced(self, tmp_path: Path) -> None:
        """Nobody listens there, so nobody misses it."""
        path = tmp_path / "taskd.sock"
        with socket.socket(socket.AF_UNIX) as crashed:
            crashed.bind(str(path))
            crashed.listen()
        with listening_at(path), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))

    def test_a_locked_folder_does_not_hang_the_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Anyone who can read the folder can lock it; one line says so, and what to do."""
        monkeypatch.setattr(unix_sockets, "LOCK_TIMEOUT_S", 0.0)
        folder = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_SH)
            with pytest.raises(ListenError, match="another process keeps its folder locked"):
                listen_at(tmp_path / "taskd.sock", 0o660)
        finally:
            os.close(folder)

    def test_a_server_that_listens_is_not_replaced(self, tmp_path: Path) -> None:
        """One line says so, and what to do; the other server is still there."""
        path = tmp_path / "taskd.sock"
        with listening_at(path):
            with pytest.raises(ListenError) as caught:
                listen_at(path, 0o660)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))

        reason = "Address already in use: stop the process that listens there, or choose another path with --uds"
        assert f"cannot listen on unix:{path}: {reason}" == str(caught.value)

    def test_a_full_queue_is_not_taken_for_a_crash(self, tmp_path: Path) -> None:
        """A server that is too busy to accept connections is still there."""
        path = tmp_path / "taskd.sock"
        with contextlib.ExitStack() as stack:
            busy = stack.enter_context(socket.socket(socket.AF_UNIX))
            busy.bind(str(path))
            busy.listen(0)
            for _ in range(2):
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect_ex(str(path))
            with pytest.raises(ListenError, match="Address already in use"):
                listen_at(path, 0o660)

    def test_no_other_file_is_replaced(self, tmp_path: Path) -> None:
        """A file that is not a socket stays as it is."""
        path = tmp_path / "taskd.sock"
        path.write_text("precious")
        with pytest.raises(ListenError, match=r"File exists: it is not a socket: choose another path with --uds$"):
            listen_at(path, 0o660)

        assert "precious" == path.read_text()

    @pytest.mark.parametrize(
        ("name", "reason"), [("missing/taskd.sock", "make its folder first"), ("x" * 200, "path too long")]
    )
    def test_an_impossible_path_is_refused(self, tmp_path: Path, name: str, reason: str) -> None:
        """One line says why."""
        with pytest.raises(ListenError, match=f"^cannot listen on unix:.*{reason}$"):
            listen_at(tmp_path / name, 0o660)


class TestProxy:
    @pytest.mark.parametrize("sent", ["", "/tasks"], ids=["removed", "kept"])
    def test_links_lead_through_the_proxy(self, behind_proxy: RunningServer, sent: str) -> None:
        """They have the prefix, whether or not the proxy removes it from requests."""
        with client_at(behind_proxy.url.removeprefix("unix:"), "bob") as client:
            created = [client.post(f"{sent}/api/bob/tasks", json={"title": str(n)}) for n in range(2)]
            page = client.get(f"{sent}/api/bob/tasks", params={"limit": 1})
            home = client.get(f"{sent}/", headers={"Accept": "text/html"})
            document = client.get(f"{sent}/openapi.json")
            statuses = {client.get(f"{sent}{path}").status_code for path in ("/livez", "/readyz", "/docs", "/docs/")}
            private = client.get(f"{sent}/api/bob/tasks").headers["cache-control"]

        assert {201} == {response.status_code for response in created}
        assert f"/tasks/api/bob/tasks/{created[0].json()['id']}" == created[0].headers["location"]
        # RFC 3986, section 5.2: relative to the URL that the client has used.
        public = httpx.URL("http://taskd.example/tasks/api/bob/tasks")
        assert "/tasks/api/bob/tasks" == public.join(page.links["next"]["url"]).path
        assert 'href="/tasks/openapi.json"' in home.text
        assert (
            "/tasks/"
            == httpx.URL("http://taskd.example/tasks/openapi.json").join(document.json()["servers"][0]["url"]).path
        )
        assert ({200}, "private, no-cache") == (statuses, private)

    def test_the_client_is_known_by_its_own_address(self, behind_proxy: RunningServer) -> None:
        """It is what the proxy reports at the end of X-Forwarded-For."""
        with client_at(behind_proxy.url.removeprefix("unix:"), "carol") as client:
            client.get("/api/carol/tasks", headers={"X-Forwarded-For": "192.0.2.66, 203.0.113.7"})
            line = behind_proxy.read_until(" carol GET ")
            client.get("/api/carol/tasks?limit=1")
            unknown = behind_proxy.read_until(" carol GET ")

        assert "203.0.113.7 carol GET /api/{user_id}/tasks 200 " in line
        assert "- carol GET /api/{user_id}/tasks 200 " in unknown

    @pytest.mark.parametrize(
        "prefix", ["tasks", "//", "/a//b", "/..", "/a/./b", "/a b", "/%41", "/a?b", "https://a.example"]
    )
    def test_a_wrong_prefix_stops_the_start(self, prefix: str) -> None:
        """It must be what clients and proxies write in the same way."""
        result = invoke("serve", "--root-path", prefix, settings={})

        assert 2 == result.exit_code
        assert "Invalid value for '--root-path': must be a path such as /tasks" in result.output

    @pytest.mark.parametrize("prefix", ["/api", "/livez", "/docs/static"])
    def test_a_prefix_of_our_own_paths_is_refused(self, prefix: str) -> None:
        """It would not be clear whether a proxy has removed it."""
        routes = [Route(path, print) for path in ("/api/{user_id}/tasks", "/livez", "/docs/static/{name}")]

        with pytest.raises(click.BadParameter, match="is already"):
            check_prefix(prefix, routes)
        for allowed in ("", "/ap", "/live", "/docs-of", "/tasks"):
            check_prefix(allowed, routes)


class TestPassedSockets:
    def test_systemd_s_sockets_are_served(self, tmp_path: Path) -> None:
        """All of them, by several workers, without any option; they are not for processes that the workers start."""
        database = f"sqlite:///{tmp_path}/tasks.db"
        environ = child_environ({"DATABASE_URL": database, "BETTER_AUTH_SECRET": SECRET})
        path = tmp_path / "passed.sock"
        with running_server(environ, ("-c", ACTIVATOR, str(path), "--workers", "2")) as server:
            with client_at(path) as client:
                created = client.post("/api/alice/tasks", json={"title": "over the file"})
            headers = {"Authorization": f"Bearer {token_for('alice')}"}
            listed = httpx.get(f"{server.url}/api/alice/tasks", headers=headers, timeout=30)
            server.stop()

        assert f"http://127.0.0.1:{httpx.URL(server.url).port}, unix:{path} " in server.output
        assert [created.json()] == listed.json()
        # It is systemd's.
        assert path.exists()

    def test_other_ways_to_listen_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Clients that connect to systemd's sockets would wait forever."""
        environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        result = invoke("serve", "--port", "8001", settings={})

        assert 2 == result.exit_code
        assert "systemd has passed sockets to listen on: leave out --host and --port." in result.output

    def test_there_is_one_way_to_listen(self) -> None:
        """Options that contradict each other are refused."""
        result = invoke("serve", "--host", "::", "--uds", "taskd.sock", "--fd", "3", settings={})

        assert 2 == result.exit_code
        assert "Choose one way to listen: --host and --port, or --uds, or --fd." in result.output

    def test_only_listening_sockets_are_taken(self, tmp_path: Path) -> None:
        """One line says which descriptor is something else, and what systemd needs for it; it is left open."""
        connected, other = socket.socketpair()
        with connected, other, (tmp_path / "file").open("w") as file:
            with pytest.raises(ListenError, match=r"it is not a socket that listens .* ListenStream= and Accept=no$"):
                listen_on([connected.fileno()])
            with pytest.raises(ListenError, match=rf"file descriptor {file.fileno()}: Socket operation on non-socket$"):
                listen_on([file.fileno()])
            connected.getsockname()
