"""taskd behind nginx and Caddy, as examples/deploy configures them."""

from __future__ import annotations

import gzip
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import httpx
import pytest

from tests.conftest import ORIGIN, SECRET, token_for
from tests.support.fronts import FRONTS, Front, front, until_line
from tests.support.processes import child_environ, until_seen
from tests.support.recipes import Activated, activated, arguments_of_unit

ANOTHER_ADDRESS = "127.0.0.7"
SPOOFED = "203.0.113.9"
WRITERS = 4
# nginx itself refuses these requests, with 400: `%00` in a path, and several lines of these headers.
REFUSED = {
    "nginx": {
        "An id that is not a UUID is a task that does not exist.",
        "If-None-Match on a task gets a 304 without a body while the version is the same, compared weakly.",
        "If-Match with the task's version, alone, in a list, on one of several lines or as *, lets a write happen.",
        "Two Authorization headers are invalid_token, even if both are good.",
    },
    "caddy": set(),
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that the proxies' users can read."""
    with tempfile.TemporaryDirectory(prefix="taskd-proxies-", ignore_cleanup_errors=True) as name:
        made = Path(name)
        made.chmod(0o755)
        yield made


def settings(folder: Path) -> dict[str, str]:
    return child_environ({
        "DATABASE_URL": f"sqlite:///{folder}/tasks.db",
        "BETTER_AUTH_SECRET": SECRET,
        "FRONTEND_URL": ORIGIN,
        "TASKD_ACCESS_LOG": "1",
        "TASKD_QUEUE_TIMEOUT": "60",
    })  # fmt: skip


@pytest.fixture(scope="module")
def taskd(folder: Path) -> Iterator[Activated]:
    """taskd as the service of systemd runs it."""
    with activated(folder, settings(folder), arguments_of_unit()) as running:
        until_line(running.log, "running on")
        yield running


def in_front(name: str, folder: Path, upstream: Path) -> Iterator[Front]:
    place = folder / name
    place.mkdir()
    place.chmod(0o777)
    with front(name, place, upstream) as running:
        yield running


@pytest.fixture(scope="module")
def nginx(folder: Path, taskd: Activated) -> Iterator[Front]:
    yield from in_front("nginx", folder, taskd.path)


@pytest.fixture(scope="module")
def caddy(folder: Path, taskd: Activated) -> Iterator[Front]:
    yield from in_front("caddy", folder, taskd.path)


@pytest.fixture(params=list(FRONTS))
def proxy(request: pytest.FixtureRequest) -> Front:
    running: Front = request.getfixturevalue(request.param)
    return running


def test_the_contract_is_kept(proxy: Front) -> None:
    """Behind the proxy, all checks of `taskd conformance` pass, except that nginx refuses some requests itself."""
    tokens = {"TASKD_TOKEN": token_for("alice"), "TASKD_OTHER_TOKEN": token_for("bob")}
    done = subprocess.run(
        [sys.executable, "-m", "taskd", "conformance", proxy.url, "--origin", ORIGIN, "--json"],
        env=child_environ({**tokens, "SSL_CERT_FILE": str(proxy.authority)}),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )

    failed = {check["promise"]: check for check in json.loads(done.stdout)["checks"] if check["outcome"] == "failed"}
    assert REFUSED[proxy.name] == set(failed), failed
    assert {"400"} >= {check["response"]["start"] for check in failed.values()}
    assert all("bad_request" in check["response"]["body"] for check in failed.values())


def test_a_request_id_reaches_all_logs(proxy: Front, taskd: Activated, user_id: str) -> None:
    """A client's own request id is kept; a wrong one is replaced; either is in both logs and in the response."""
    given = uuid.uuid4().hex
    with proxy.client(token_for(user_id)) as client:
        kept = client.get(f"/api/{user_id}/tasks", headers={"X-Request-ID": given})
        made = client.get(f"/api/{user_id}/tasks", headers={"X-Request-ID": "not valid"})

    assert given == kept.headers["x-request-id"]
    assert re.fullmatch("[A-Za-z0-9._-]{16,}", made.headers["x-request-id"])
    for response in (kept, made):
        request_id = response.headers["x-request-id"]
        assert "/api/" in proxy.logged(request_id)
        assert user_id in until_line(taskd.log, request_id)


def test_the_client_s_address_cannot_be_spoofed(proxy: Front, taskd: Activated, user_id: str) -> None:
    """taskd logs the address that the client connects from, whatever the client says."""
    spoofed = {"X-Forwarded-For": SPOOFED, "Forwarded": f"for={SPOOFED}", "X-Real-IP": SPOOFED}
    with proxy.client(token_for(user_id), source=ANOTHER_ADDRESS) as client:
        request_id = client.get(f"/api/{user_id}/tasks", headers=spoofed).headers["x-request-id"]

    assert f"{ANOTHER_ADDRESS} {user_id} GET" in until_line(taskd.log, request_id)


def test_no_access_log_has_queries_or_credentials(proxy: Front, taskd: Activated, user_id: str) -> None:
    """What a client searches for, and its token, are in neither log."""
    token = token_for(user_id)
    with proxy.client(token) as client:
        request_id = client.get(f"/api/{user_id}/tasks?search=hunter2").headers["x-request-id"]
    proxy.logged(request_id)
    until_line(taskd.log, request_id)

    for log in (proxy.log, taskd.log):
        assert "hunter2" not in log.read_text()
        assert token not in log.read_text()


def test_lists_are_compressed_once(proxy: Front, user_id: str) -> None:
    """A long list is gzipped for clients that accept it, by taskd alone."""
    with proxy.client(token_for(user_id)) as client:
        client.post(f"/api/{user_id}/tasks", json={"title": "long", "description": "x" * 10_000})
        plain = client.get(f"/api/{user_id}/tasks", headers={"Accept-Encoding": "identity"})
        with client.stream("GET", f"/api/{user_id}/tasks", headers={"Accept-Encoding": "gzip"}) as compressed:
            received = b"".join(compressed.iter_raw())
        one = client.get(f"/api/{user_id}/tasks/{plain.json()[0]['id']}", headers={"Accept-Encoding": "gzip"})

    assert ["gzip"] == compressed.headers.get_list("content-encoding")
    assert json.loads(gzip.decompress(received)) == plain.json()
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in one.headers, "nor does the proxy compress what taskd does not"


@pytest.mark.parametrize("size", [70_000, 200_000])
def test_a_large_body_is_refused_in_json(proxy: Front, user_id: str, size: int) -> None:
    """Whether taskd or the proxy refuses it."""
    with proxy.client(token_for(user_id)) as client:
        response = client.post(f"/api/{user_id}/tasks", json={"title": "t", "description": "x" * size})

    assert 413 == response.status_code
    assert "body_too_large" == response.json()["code"]


def test_plain_http_is_redirected(proxy: Front) -> None:
    """Nobody sends a token in the clear twice."""
    response = httpx.get(f"http://localhost:{proxy.plain_port}/docs")

    assert response.is_redirect
    assert response.headers["location"].startswith("https://localhost")


def test_the_server_names_no_version(proxy: Front) -> None:
    """Neither taskd's nor the proxy's."""
    with proxy.client() as client:
        server = client.get("/livez").headers.get("server", "")

    assert not re.search(r"\d", server)


@pytest.mark.parametrize("name", FRONTS)
def test_taskd_can_be_below_a_path(name: str, folder: Path, user_id: str) -> None:
    """Paths, `Location`, `Link` and the API document have the prefix; encoded slashes stay as they are."""
    place = Path(tempfile.mkdtemp(dir=folder))
    place.chmod(0o777)
    arguments = [*arguments_of_unit(), "--root-path", "/tasks", "--workers", "1"]
    owner = f"a/{user_id}"
    with (
        activated(place, settings(place), arguments) as taskd,
        front(name, place, taskd.path, is_below=True) as proxy,
        proxy.client(token_for(owner)) as client,
    ):
        created = client.post(f"/tasks/api/a%2F{user_id}/tasks", json={"title": "t"})
        client.post(f"/tasks/api/a%2F{user_id}/tasks", json={"title": "u"})
        assert 201 == created.status_code, created.text
        location = created.headers["location"]
        read = client.get(location)
        page = client.get(f"/tasks/api/a%2F{user_id}/tasks?limit=1")
        following = client.get(str(page.url.join(page.links["next"]["url"])))
        docs = client.get("/tasks/docs")
        document = client.get("/tasks/openapi.json").json()
        redirected = client.get("/tasks")

    assert 200 == read.status_code
    assert location.startswith("/tasks/api/a%2F")
    assert ["t"] == [task["title"] for task in following.json()]
    assert (200, 308) == (docs.status_code, redirected.status_code)
    assert ["."] == [server["url"] for server in document["servers"]], "where the document is"


@pytest.mark.parametrize("name", FRONTS)
def test_a_response_is_passed_on_as_it_comes(name: str, folder: Path) -> None:
    """The client has the beginning before the server has sent the end."""
    place = Path(tempfile.mkdtemp(dir=folder))
    place.chmod(0o777)
    has_read = threading.Event()

    def respond(listening: socket.socket) -> bool:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n[{")
            in_time = has_read.wait(30)
            connection.sendall(b"}]")
        return in_time

    with socket.socket(socket.AF_UNIX) as listening, ThreadPoolExecutor() as pool:
        listening.bind(str(place / "taskd.sock"))
        (place / "taskd.sock").chmod(0o666)
        listening.listen()
        listening.settimeout(30)
        with front(name, place, place / "taskd.sock") as proxy, proxy.client() as client:
            responding = pool.submit(respond, listening)
            with client.stream("GET", "/api/alice/tasks") as response:
                parts = response.iter_raw()
                first = next(parts)
                has_read.set()
                rest = b"".join(parts)

    assert responding.result()
    assert (b"[{", b"}]") == (first, rest)


@attrs.define
class Writer:
    """A client that creates tasks, one after the other, until it is told to stop."""

    proxy: Front
    is_over: threading.Event
    user_id: str = attrs.field(init=False, factory=lambda: uuid.uuid4().hex)
    statuses: list[int] = attrs.field(init=False, factory=list)
    ids: set[str] = attrs.field(init=False, factory=set)

    def run(self) -> set[str]:
        """Return the ids of the tasks that are there in the end."""
        tasks = f"/api/{self.user_id}/tasks"
        with self.proxy.client(token_for(self.user_id)) as client:
            while not self.is_over.is_set():
                response = client.post(tasks, json={"title": "t"})
                self.statuses.append(response.status_code)
                self.ids.add(response.json()["id"])
            return {task["id"] for task in client.get(tasks).json()}


def test_a_restart_loses_nothing(nginx: Front, caddy: Front, taskd: Activated) -> None:
    """While taskd restarts, every request of busy clients succeeds, through either proxy, and each task is there."""
    is_over = threading.Event()
    writers = [Writer(proxy, is_over) for proxy in (nginx, caddy) for _ in range(WRITERS)]

    def until_each_has_written(count: int) -> None:
        before = [len(writer.statuses) for writer in writers]
        until_seen(lambda: all(len(writer.statuses) >= b + count for writer, b in zip(writers, before, strict=True)))

    with ThreadPoolExecutor(len(writers)) as pool:
        running = [pool.submit(writer.run) for writer in writers]
        try:
            until_each_has_written(5)
            taskd.restart()
            until_each_has_written(5)
        finally:
            is_over.set()

    for writer, there in zip(writers, running, strict=True):
        assert writer.ids == there.result()
        assert [201] * len(writer.ids) == writer.statuses


@pytest.mark.parametrize("name", FRONTS)
def test_without_taskd_clients_are_told_to_try_again(name: str, folder: Path) -> None:
    """If nothing listens on the socket, the response is a 503 in JSON, as taskd would send it."""
    place = Path(tempfile.mkdtemp(dir=folder))
    place.chmod(0o777)
    with front(name, place, place / "taskd.sock") as proxy, proxy.client() as client:
        response = client.get("/api/alice/tasks")

    assert (503, "unavailable") == (response.status_code, response.json()["code"])
    assert int(response.headers["retry-after"]) > 0
    assert "application/json" == response.headers["content-type"]
