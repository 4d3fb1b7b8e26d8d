"""`taskd healthcheck` against servers of all kinds; tests/server/test_drain.py runs it against taskd itself."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.commands import invoke

HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
DOWN = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nDown"
DETAIL = b'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 24\r\n\r\n{"detail": "It is down"}'


@contextlib.contextmanager
def responding(listening: socket.socket, response: bytes) -> Iterator[list[str]]:
    """Send *response* to the first client of *listening*; yield a list to which its request line is added."""
    seen: list[str] = []

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, connection.makefile("rb") as request:
            seen.append(request.readline().decode())
            connection.sendall(response)

    with listening, ThreadPoolExecutor(1) as thread:
        served = thread.submit(serve)
        yield seen
        served.result(timeout=30)


def on_port() -> tuple[socket.socket, str]:
    """Return a socket that listens on a port of this machine, and its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}"


class TestHealthy:
    @pytest.mark.parametrize(
        ("prefix", "options", "path"),
        [("", (), "/readyz"), ("/", ("--live",), "/livez"), ("/tasks/", (), "/tasks/readyz")],
        ids=["ready", "live", "prefix"],
    )
    def test_a_url_is_asked(self, prefix: str, options: tuple[str, ...], path: str) -> None:
        """The path of the URL comes before that of the health check."""
        listening, url = on_port()
        with responding(listening, HEALTHY) as seen:
            result = invoke("healthcheck", url + prefix, *options, settings={})

        assert (0, "") == (result.exit_code, result.output)
        assert [f"GET {path} HTTP/1.1\r\n"] == seen

    def test_a_server_on_all_addresses_is_asked_at_this_machine(self) -> None:
        """The options are those of `taskd serve`."""
        listening, url = on_port()
        with responding(listening, HEALTHY) as seen:
            port = url.rpartition(":")[2]
            result = invoke("healthcheck", "--host", "0.0.0.0", "--port", port, settings={})  # noqa: S104

        assert (0, 1) == (result.exit_code, len(seen))

    def test_a_unix_socket_is_asked(self, tmp_path: Path) -> None:
        """The option is that of `taskd serve`."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(tmp_path / "taskd.sock"))
        listening.listen()
        with responding(listening, HEALTHY) as seen:
            result = invoke("healthcheck", "--uds", str(tmp_path / "taskd.sock"), settings={})

        assert (0, "") == (result.exit_code, result.output)
        assert ["GET /readyz HTTP/1.1\r\n"] == seen


class TestNotHealthy:
    @pytest.mark.parametrize(
        ("response", "fault"),
        [
            (DETAIL, "503: It is down"),
            (DOWN, "503: Service Unavailable"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "not a response in HTTP (BadStatusLine)"),
            (b"", "Remote end closed connection without response"),
        ],
        ids=["detail", "no detail", "another protocol", "closed"],
    )
    def test_the_response_is_reported(self, response: bytes, fault: str) -> None:
        """One line says where the server was asked and what is wrong."""
        listening, url = on_port()
        with responding(listening, response):
            result = invoke("healthcheck", url, settings={})

        assert (1, f"taskd: {url}/readyz: {fault}\n") == (result.exit_code, result.output)

    def test_a_server_that_does_not_respond_is_not_waited_for(self) -> None:
        """A supervisor needs an answer soon."""
        listening, url = on_port()
        with listening:
            result = invoke("healthcheck", url, "--timeout", "0.1", settings={})

        assert (1, f"taskd: {url}/readyz: no response in 0.1 s\n") == (result.exit_code, result.output)

    def test_a_server_that_responds_slowly_is_not_waited_for(self) -> None:
        """The limit is for the whole response, not for each part of it."""
        listening, url = on_port()
        ended = threading.Event()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                while not ended.wait(0.02):
                    connection.sendall(b"H")

        with listening, ThreadPoolExecutor(1) as thread:
            thread.submit(serve)
            try:
                result = invoke("healthcheck", url, "--timeout", "0.3", settings={})
            finally:
                ended.set()

        assert (1, f"taskd: {url}/readyz: no response in 0.3 s\n") == (result.exit_code, result.output)

    def test_nothing_listens(self) -> None:
        """The reason is the operating system's, for a port and for a socket."""
        listening, url = on_port()
        listening.close()
        port = invoke("healthcheck", url, settings={})
        path = invoke("healthcheck", "--uds", "/none/taskd.sock", "--live", settings={})

        assert (1, f"taskd: {url}/readyz: Connection refused\n") == (port.exit_code, port.output)
        assert (1, "taskd: /none/taskd.sock: /livez: No such file or directory\n") == (path.exit_code, path.output)

    @pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://[::1", "http://a:b"])
    def test_a_wrong_url_is_refused(self, url: str) -> None:
        """The message shows what a URL looks like."""
        result = invoke("healthcheck", url, settings={})

        assert 2 == result.exit_code
        assert "must be like http://127.0.0.1:8000" in result.output

    @pytest.mark.parametrize("url", ["http://user:hunter2@127.0.0.1", "http://127.0.0.1/?token=hunter2"])
    def test_a_url_with_a_secret_is_refused(self, url: str) -> None:
        """It would not be sent, and messages would show it."""
        result = invoke("healthcheck", url, settings={})

        assert 2 == result.exit_code
        assert "hunter2" not in result.output
