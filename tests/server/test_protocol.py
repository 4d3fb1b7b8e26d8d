"""Unusual requests and connections, byte by byte, against a real server."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import signal
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from taskd.testing import RunningServer, running_server
from tests.conftest import ORIGIN, token_for
from tests.support.processes import descriptors, resident_bytes, until_descriptors
from tests.support.raw import (
    MAX_HEAD_BYTES,
    assert_refused,
    connected,
    environ_in,
    received,
    request,
    responses_in,
    responses_to,
    serve_with,
)

MIB = 1024 * 1024
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: taskd\r\n\r\n"
LAST_LIVEZ = b"GET /livez HTTP/1.1\r\nHost: taskd\r\nConnection: close\r\n\r\n"
JSON_BODY = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all tests: none of them may harm it."""
    folder: Path = tmp_path_factory.mktemp("server")
    with running_server(environ_in(folder), cwd=folder) as running:
        assert 200 == httpx.get(f"{running.url}/readyz").status_code
        yield running
        running.stop(signal.SIGINT)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that waits as long as any request could take."""
    folder: Path = tmp_path_factory.mktemp("impatient")
    program = serve_with(head_timeout_s=1.0, body_timeout_s=1.0, linger_timeout_s=1.0, linger_total_s=2.0)
    with running_server(environ_in(folder, TASKD_SEND_TIMEOUT="1"), program, cwd=folder) as running:
        assert 200 == httpx.get(f"{running.url}/readyz").status_code
        yield running
        running.stop(signal.SIGINT)


def head_of(size: int) -> bytes:
    """Return the head of a request that closes the connection, *size* bytes including its end."""
    return LAST_LIVEZ[:-4] + b"\r\nA: " + b"a" * (size - len(LAST_LIVEZ) - 5) + b"\r\n\r\n"


class TestHeads:
    """RFC 9112, sections 2 to 5."""

    @pytest.mark.parametrize(
        "sent",
        [
            b"\x00\x01\x02\r\n\r\n",
            b"\x16\x03\x01\x00",
            b"(GET) /livez HTTP/1.1\r\nHost: taskd\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: taskd\r\nA b: c\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: taskd\r\nA: b\r\n folded\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: taskd\r\nA: b\0\r\n\r\n",
            b"GET /livez HTTP/1.1\nHost: taskd\n\n",
            b"GET /livez HTTP/1.1\r\nHost: taskd\r\nA: b\n\r\n",
            b"GET /livez\r\n\r\n",
            b"GET /livez HTTP/0.9\r\n\r\n",
            b"GET /livez HTTP/2.0\r\nHost: taskd\r\n\r\n",
            b"GET /livez RTSP/1.0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET  /livez HTTP/1.1\r\nHost: taskd\r\n\r\n",
            b"GET livez HTTP/1.1\r\nHost: taskd\r\n\r\n",
            b"GET http://taskd::80 HTTP/1.1\r\nHost: taskd\r\n\r\n",
            b"GET /\xc3\xa4 HTTP/1.1\r\nHost: taskd\r\n\r\n",
            b"CONNECT /\xc3\xa4 HTTP/1.1\r\nHost: taskd\r\n\r\n",
        ],
    )
    def test_malformed_requests_are_refused_in_the_form_of_all_errors(self, server: RunningServer, sent: bytes) -> None:
        """Even requests that never reach the application get a JSON error as soon as possible, and then the end."""
        [response] = responses_to(server, sent)

        assert_refused(response, 400)

    @pytest.mark.parametrize(
        "hosts",
        [(), ("Host:",), ("Host: a", "Host: a"), ("Host: a b",), ("Host: a/b",), ("Host: a@b",), ("Host: a:b",)],
    )
    def test_a_request_must_name_one_host(self, server: RunningServer, hosts: tuple[str, ...]) -> None:
        """RFC 9112, section 3.2."""
        [response] = responses_to(server, "\r\n".join(["GET /livez HTTP/1.1", *hosts, "", ""]).encode())

        assert_refused(response, 400)

    @pytest.mark.parametrize("host", ["taskd", "taskd:80", "127.0.0.1:8000", "[::1]:8000", "a_b.example", "x:"])
    def test_any_host_is_accepted(self, server: RunningServer, host: str) -> None:
        """The server does not know the names by which it is reached."""
        sent = f"GET /livez HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\n\r\n".encode()

        assert [200] == [response.status for response in responses_to(server, sent)]

    def test_an_http_1_0_request_needs_no_host_and_is_the_last(self, server: RunningServer) -> None:
        """RFC 9112, section 3.2, appendix C.2."""
        [response] = responses_to(server, b"GET /livez HTTP/1.0\r\n\r\n")

        assert (200, "close") == (response.status, response.headers["connection"])

    @pytest.mark.parametrize("method", ["FOO", "get", "DELETE", "M-SEARCH", "DESCRIBE", "CONNECT"])
    def test_an_unsupported_method_leads_to_a_405(self, server: RunningServer, method: str) -> None:
        """This holds whether or not the parser knows it, and its case is kept (RFC 9110, section 9.1)."""
        [response] = responses_to(server, f"{method} /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

        assert (405, {"GET", "HEAD"}) == (response.status, set(response.headers["allow"].split(", ")))

    @pytest.mark.parametrize(
        ("target", "status"),
        [("http://taskd/livez", 200), ("http://taskd/livez?a=b", 200), ("http://taskd", 200), ("/livez#a", 200)],
    )
    def test_a_target_may_be_absolute(self, server: RunningServer, target: str, status: int) -> None:
        """RFC 9112, section 3.2.2: proxies use this form."""
        [response] = responses_to(server, LAST_LIVEZ.replace(b"/livez", target.encode(), 1))

        assert status == response.status

    def test_a_target_that_is_an_asterisk_is_not_found(self, server: RunningServer) -> None:
        """RFC 9112, section 3.2.4."""
        [response] = responses_to(server, LAST_LIVEZ.replace(b"GET /livez", b"OPTIONS *", 1))

        assert 404 == response.status

    @pytest.mark.parametrize("piece_bytes", [MAX_HEAD_BYTES * 2, 16 * 1024, 999])
    @pytest.mark.parametrize(
        ("size", "status"), [(MAX_HEAD_BYTES, 200), (MAX_HEAD_BYTES + 1, 431), (80_000, 431), (100_000, 431)]
    )
    def test_a_head_has_at_most_64_kib(self, server: RunningServer, piece_bytes: int, size: int, status: int) -> None:
        """The limit is exact however the head arrives; a refused client can read why, whatever it is still sending."""
        head = head_of(size)
        assert size == len(head)
        pieces = [head[start : start + piece_bytes] for start in range(0, size, piece_bytes)]
        [response] = responses_to(server, *pieces)

        assert status == response.status
        if status == 431:
            assert_refused(response, 431)

    @pytest.mark.parametrize(("count", "status"), [(100, 200), (101, 431), (16_000, 431)])
    def test_a_request_has_at_most_100_headers(self, server: RunningServer, count: int, status: int) -> None:
        """Reading thousands of tiny ones would block everybody else."""
        others = b"a:\r\n" * (count - 2)
        [response] = responses_to(server, LAST_LIVEZ[:-2] + others + b"\r\n")

        assert status == response.status

    def test_a_refusal_of_head_has_no_content(self, server: RunningServer) -> None:
        """RFC 9110, section 9.3.2."""
        with connected(server) as connection:
            connection.sendall(b"HEAD /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            head, separator, content = received(connection).partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 400 ")
        assert (b"\r\n\r\n", b"") == (separator, content)

    def test_empty_lines_before_a_request_are_ignored(self, server: RunningServer) -> None:
        """RFC 9112, section 2.2, whether they arrive together with the request or not."""
        for pieces in ([b"\r\n\r\n" + LAST_LIVEZ], [b"\r\n", b"\r", b"\n", LAST_LIVEZ], [b"\r\n\r\n", LAST_LIVEZ]):
            assert [200] == [response.status for response in responses_to(server, *pieces)]

    def test_a_head_may_arrive_byte_by_byte(self, server: RunningServer) -> None:
        """It does not matter where the network splits it."""
        pieces = [LAST_LIVEZ[at : at + 1] for at in range(len(LAST_LIVEZ))]

        assert [200] == [response.status for response in responses_to(server, *pieces)]


class TestPipelines:
    """RFC 9112, section 9.3.2."""

    @pytest.mark.parametrize("count", [3_000])
    def test_pipelined_requests_get_responses_in_order(self, server: RunningServer, count: int) -> None:
        """The limits apply to each of them separately, and nothing is cut off."""
        sent = [
            f"GET /nowhere{at} HTTP/1.1\r\nHost: taskd\r\nX-Request-ID: {at}\r\n\r\n".encode() for at in range(count)
        ]
        with connected(server) as connection:
            connection.sendall(b"".join(sent))
            connection.shutdown(socket.SHUT_WR)
            responses = responses_in(received(connection))

        assert [str(at) for at in range(count)] == [response.headers["x-request-id"] for response in responses]
        assert {404} == {response.status for response in responses}

    @pytest.mark.parametrize("reads", [False, True], ids=["unread", "read"])
    def test_a_pipelining_connection_uses_little_memory(self, server: RunningServer, reads: bool) -> None:
        """It holds at most 1 MiB, including what was sent and what has not been read."""
        count = 4
        with contextlib.ExitStack() as stack:
            self.flood(stack.enter_context(connected(server)), reads=reads)
            before = resident_bytes(server.process.pid)
            for _ in range(count):
                self.flood(stack.enter_context(connected(server)), reads=reads)
            after = resident_bytes(server.process.pid)

        assert after - before < count * MIB

    @staticmethod
    def flood(connection: socket.socket, *, reads: bool) -> None:
        """Send up to 32 MiB of requests, or until the server stops reading."""
        connection.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            for _ in range(1000 if not reads else 10):
                connection.sendall(LIVEZ * 1000)
                while reads and select.select([connection], [], [], 0)[0]:
                    connection.recv(MIB)

    def test_data_after_a_request_is_parsed_afterwards(self, server: RunningServer) -> None:
        """If a request is followed by garbage, both get a response, one after the other."""
        body = json.dumps({"title": "t"})
        sent = request("POST", "/api/alice/tasks", JSON_BODY, body=body) + b"\0rubbish"
        created, refused = responses_to(server, sent)

        assert 201 == created.status
        assert_refused(refused, 400)

    def test_reading_stops_while_a_request_is_running(self, tmp_path: Path) -> None:
        """If a client sends an endless head behind a slow request, reading stops at some point."""
        with running_server(environ_in(tmp_path), cwd=tmp_path) as server, connected(server) as connection:
            assert 200 == httpx.get(f"{server.url}/readyz").status_code
            with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)) as holder:
                holder.execute("BEGIN IMMEDIATE")
                sent = request("POST", "/api/alice/tasks", JSON_BODY, body=json.dumps({"title": "t"}))
                connection.sendall(sent + b"GET /livez HTTP/1.1\r\nA: ")
                # Fills the kernel's buffers, until nothing more can be sent.
                connection.settimeout(1)
                with pytest.raises(TimeoutError):
                    connection.sendall(b"a" * 2000 * MAX_HEAD_BYTES)
                holder.execute("ROLLBACK")
            connection.settimeout(30)
            created, refused = responses_in(received(connection))

        assert 201 == created.status
        assert_refused(refused, 431)


class TestBodies:
    """RFC 9112, sections 6 and 7."""

    @pytest.mark.parametrize(
        "framing",
        [
            ("Transfer-Encoding: gzip",),
            ("Transfer-Encoding: gzip, chunked",),
            ("Transfer-Encoding: chunked, identity",),
            (CHUNKED, CHUNKED),
            (CHUNKED, "Content-Length: 2"),
            ("Content-Length: 2", "Content-Length: 2"),
            ("Content-Length: 2, 2",),
            ("Content-Length: +2",),
            ("Content-Length:",),
            ("Content-Length: 99999999999999999999999",),
            ("Content-Length: " + "0" * 5_000 + "2",),
            (CHUNKED, "Content-Length: 2", "Connection: Upgrade", "Upgrade: h2c"),
            ("Transfer-Encoding: gzip", "Connection: Upgrade", "Upgrade: h2c"),
        ],
    )
    def test_a_body_whose_end_is_ambiguous_is_refused(self, server: RunningServer, framing: tuple[str, ...]) -> None:
        """Anything that two recipients may understand differently could be smuggled past one of them."""
        [response] = responses_to(server, request("POST", "/api/alice/tasks", JSON_BODY, *framing) + b"{}")

        assert_refused(response, 400)

    @pytest.mark.parametrize(
        "rest",
        [
            b"zz\r\n",
            b"-1\r\n",
            b"0x1\r\n",
            b"1\n}\n",
            b"1\r\n}}\r\n",
            b"1\r\n}\n0\r\n\r\n",
            b"1;a\0b\r\n",
            b"0\r\nnot a trailer\r\n\r\n",
            b"0\r\nA: b\n\r\n",
            b"1234567890abcdef\r\n",
        ],
    )
    def test_malformed_chunks_are_refused(self, server: RunningServer, rest: bytes) -> None:
        """The response comes as soon as possible, has the usual headers, and the connection is closed."""
        before = descriptors(server.process.pid)
        sent = request("POST", "/api/alice/tasks", JSON_BODY, CHUNKED, f"Origin: {ORIGIN}")
        with connected(server) as connection:
            connection.sendall(sent + b"1\r\n{\r\n")
            connection.sendall(rest)
            [response] = responses_in(received(connection))

        assert_refused(response, 400)
        assert ORIGIN == response.headers["access-control-allow-origin"]
        until_descriptors(server.process.pid, before)

    @pytest.mark.parametrize(
        "start", [b"0\r\nX: ", b"1;a=", b"0\r\n", b"0" * 20], ids=["trailer", "extension", "trailers", "size"]
    )
    @pytest.mark.parametrize("piece", [b"a" * 1000, b"A: b\r\n" * 100], ids=["one line", "many lines"])
    def test_lines_between_chunks_have_the_same_limit_as_heads(
        self, server: RunningServer, start: bytes, piece: bytes
    ) -> None:
        """A client cannot make the server keep an endless line, or search it again and again."""
        sent = request("POST", "/api/alice/tasks", JSON_BODY, CHUNKED)
        with connected(server) as connection:
            connection.sendall(sent + start)
            while not select.select([connection], [], [], 0)[0]:
                connection.sendall(piece)
            [response] = responses_in(received(connection))

        assert_refused(response, 400)

    def test_tiny_chunks_with_long_extensions_are_limited(self, server: RunningServer) -> None:
        """Little content must not cost much."""
        sent = request("POST", "/api/alice/tasks", JSON_BODY, CHUNKED)
        with connected(server) as connection:
            connection.sendall(sent)
            while not select.select([connection], [], [], 0)[0]:
                connection.sendall(b"1;" + b"a" * 1000 + b"\r\n \r\n")
            [response] = responses_in(received(connection))

        assert_refused(response, 400)

    def test_a_body_may_arrive_in_chunks_of_one_byte(self, server: RunningServer) -> None:
        """However many there are, the event loop does other work in between."""
        body = json.dumps({"title": "t", "description": "d" * 9_000}).encode()
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        sent = request("POST", "/api/alice/tasks", JSON_BODY, CHUNKED, "Connection: close")
        [response] = responses_to(server, sent + chunks + b"0\r\n\r\n")

        assert (201, "d" * 9_000) == (response.status, json.loads(response.body)["description"])

    def test_a_body_may_arrive_in_chunks_of_any_size(self, server: RunningServer) -> None:
        """They may have extensions, trailers and digits in either case, and arrive byte by byte."""
        body = json.dumps({"title": "t" * 100}).encode()
        pieces = [body[:1], body[1:11], body[11:]]
        chunks = b"".join(b'%X;ext="a;b"\r\n%b\r\n' % (len(piece), piece) for piece in pieces)
        sent = request("POST", "/api/alice/tasks", JSON_BODY, CHUNKED, "Connection: close")
        whole = sent + chunks + b"000\r\nX-Trailer: a\r\n\r\n"
        for step in (len(whole), 1):
            parts = [whole[at : at + step] for at in range(0, len(whole), step)]
            [response] = responses_to(server, *parts)

            assert (201, "t" * 100) == (response.status, json.loads(response.body)["title"])

    def test_trailers_are_not_headers(self, server: RunningServer) -> None:
        """RFC 9110, section 6.5.1: a token in a trailer does not authenticate, and does not affect one in the head."""
        trailer = f"2\r\n{{}}\r\n0\r\nAuthorization: Bearer {token_for('alice')}\r\n\r\n"
        good = request("POST", "/api/alice/tasks", CHUNKED, "Connection: close").decode()
        without_token = "\r\n".join(line for line in good.split("\r\n") if not line.startswith("Authorization"))
        statuses = [responses_to(server, (head + trailer).encode())[0].status for head in (without_token, good)]

        assert [401, 415] == statuses

    @pytest.mark.parametrize(
        ("token", "status"), [(token_for("alice"), 413), ("bad", 401)], ids=["too large", "unauthorized"]
    )
    def test_a_refusal_reaches_a_client_that_sends_its_whole_body_first(
        self, server: RunningServer, token: str, status: int
    ) -> None:
        """RFC 9112, section 9.6: the connection is not reset before the client has read the response."""
        url = urlsplit(server.url)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Connection": "close"}
        statuses = []
        for _ in range(5):
            client = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
            client.request("POST", "/api/alice/tasks", b"x" * 16 * MIB, headers)
            statuses.append(client.getresponse().status)
            client.close()

        assert [status] * 5 == statuses

    def test_a_response_before_the_end_of_the_body_is_the_last(self, server: RunningServer) -> None:
        """What follows an unread body is not taken for a request."""
        sent = request("POST", "/api/bob/tasks", JSON_BODY, "Content-Length: 100")
        [response] = responses_to(server, sent, b"GET /livez HTTP/1.1\r\nHost: taskd\r\n\r\n")

        assert (401, "close") == (response.status, response.headers["connection"])


class TestExpectations:
    """RFC 9110, section 10.1.1."""

    def test_a_waiting_client_is_asked_for_the_body(self, server: RunningServer) -> None:
        """If the application reads the body, the server asks for it once."""
        body = json.dumps({"title": "t"})
        whole = request("POST", "/api/alice/tasks", JSON_BODY, "Expect: 100-continue", "Connection: close", body=body)
        with connected(server) as connection:
            connection.sendall(whole[: -len(body)])
            interim = connection.recv(65536)
            connection.sendall(body.encode())
            [response] = responses_in(received(connection))

        assert b"HTTP/1.1 100 Continue\r\n\r\n" == interim
        assert 201 == response.status

    def test_a_refused_client_is_not_asked_for_the_body(self, server: RunningServer) -> None:
        """Nobody knows whether the body or another request would follow, so the connection is closed."""
        sent = request("POST", "/api/bob/tasks", JSON_BODY, "Expect: 100-continue", "Content-Length: 9")
        [response] = responses_to(server, sent)

        assert (401, "close") == (response.status, response.headers["connection"])

    def test_an_http_1_0_client_is_not_asked_for_the_body(self, server: RunningServer) -> None:
        """It would not understand the request for it."""
        body = json.dumps({"title": "t"})
        sent = request("POST", "/api/alice/tasks", JSON_BODY, "Expect: 100-continue", body=body)
        old = sent.replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        [response] = responses_to(server, old[: -len(body)], old[-len(body) :])

        assert 201 == response.status


class TestUpgrades:
    """RFC 9110, section 7.8: an upgrade may be ignored, and is."""

    H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")

    @pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.0"])
    def test_an_upgrade_is_ignored(self, server: RunningServer, upgrade: str) -> None:
        """The request gets its response, and so does another one in the same packet."""
        asking = LIVEZ[:-2] + f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n".encode()
        responses = responses_to(server, asking + LAST_LIVEZ)

        assert [200, 200] == [response.status for response in responses]

    @pytest.mark.parametrize(
        "headers", [H2C, ("Connection: Upgrade", "Upgrade: 0"), ("Upgrade:",)], ids=["h2c", "0", "empty"]
    )
    @pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
    def test_the_body_of_an_upgrade_request_is_a_body(
        self, server: RunningServer, headers: tuple[str, ...], chunked: bool
    ) -> None:
        """A request inside the body of another one is not run, no matter which proxy forwarded it."""
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {token_for('alice')}"}) as client:
            location = client.post("/api/alice/tasks", json={"title": "t"}).headers["Location"]
            hidden = request("DELETE", location).decode()
            body = json.dumps({"title": "t", "description": hidden})
            framing = (CHUNKED,) if chunked else ()
            sent = request("POST", "/api/alice/tasks", JSON_BODY, *headers, *framing, body="" if chunked else body)
            if chunked:
                sent += f"{len(body):x}\r\n{body}\r\n0\r\n\r\n".encode()
            responses = responses_to(server, sent + LAST_LIVEZ)

            assert [201, 200] == [response.status for response in responses]
            assert hidden == json.loads(responses[0].body)["description"]
            assert 200 == client.get(location).status_code

    def test_the_body_of_a_connect_is_not_taken_for_a_request(self, server: RunningServer) -> None:
        """RFC 9110, section 9.3.6: what follows a CONNECT is its body, if its headers say so."""
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {token_for('alice')}"}) as client:
            location = client.post("/api/alice/tasks", json={"title": "t"}).headers["Location"]
            sent = request("CONNECT", "/livez", body=request("DELETE", location).decode())
            [response] = responses_to(server, sent)

            assert_refused(response, 400)
            assert 200 == client.get(location).status_code

    def test_many_upgrade_requests_are_logged_once(self, tmp_path: Path) -> None:
        """Clients cannot fill the log, and nobody is advised to install a WebSocket library."""
        asking = LIVEZ[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        with running_server(environ_in(tmp_path), cwd=tmp_path) as server:
            responses = responses_to(server, asking * 200 + LAST_LIVEZ)
            for _ in range(20):
                responses_to(server, b"rubbish\n")
            output = server.stop()

        assert {200} == {response.status for response in responses}
        assert 1 == output.count("asked to change to another protocol")
        assert 1 == output.count("was refused with 400")
        assert "WebSocket" not in output


class TestEnds:
    """RFC 9112, section 9.6: either side may close its half."""

    def test_a_client_that_has_closed_its_half_gets_its_responses(self, server: RunningServer) -> None:
        """This holds for requests with a body, and for pipelined requests."""
        sent = request("POST", "/api/alice/tasks", JSON_BODY, body=json.dumps({"title": "t"}))
        with connected(server) as connection:
            connection.sendall(sent + LIVEZ)
            connection.shutdown(socket.SHUT_WR)
            responses = responses_in(received(connection))

        assert [201, 200] == [response.status for response in responses]

    @pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET /livez HT"], ids=["nothing", "empty line", "half a head"])
    def test_an_incomplete_head_before_the_end_gets_no_response(self, server: RunningServer, sent: bytes) -> None:
        """There is no request to respond to."""
        with connected(server) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)

            assert b"" == received(connection)

    def test_an_incomplete_body_before_the_end_is_not_stored(self, server: RunningServer) -> None:
        """The connection is closed."""
        before = descriptors(server.process.pid)
        sent = request("POST", "/api/carol/tasks", JSON_BODY, "Content-Length: 100", user="carol")
        with connected(server) as connection:
            connection.sendall(sent + b'{"title": "half"}')
            connection.shutdown(socket.SHUT_WR)

            assert b"" == received(connection)
        until_descriptors(server.process.pid, before)
        tasks = httpx.get(f"{server.url}/api/carol/tasks", headers={"Authorization": f"Bearer {token_for('carol')}"})
        assert [] == tasks.json()


class TestPatience:
    """The server waits for its clients for a limited time."""

    def test_a_connection_without_a_request_is_closed(self, impatient: RunningServer) -> None:
        """A client that only connects gets no response to a request that it has not sent."""
        with connected(impatient) as silent, connected(impatient) as blank:
            blank.sendall(b"\r\n")

            assert (b"", b"") == (received(silent), received(blank))

    def test_an_unfinished_head_is_refused(self, impatient: RunningServer) -> None:
        """RFC 9110, section 15.5.9: this also holds on a reused connection, and however slowly the head arrives."""
        begun = b"GET /livez HTTP/1.1\r\nA: "
        for first in (b"", LIVEZ):
            with connected(impatient) as connection:
                connection.sendall(first + begun)
                drip(connection, b"a")
                *answered, refused = responses_in(received(connection))

            assert len(answered) == bool(first)
            assert_refused(refused, 408)

    @pytest.mark.parametrize(
        ("framing", "piece"),
        [("Content-Length: 1000", b"{"), (CHUNKED, b"1\r\n{\r\n"), (CHUNKED, b"")],
        ids=["length", "chunked", "nothing"],
    )
    def test_a_body_that_arrives_too_slowly_is_refused(
        self, impatient: RunningServer, framing: str, piece: bytes
    ) -> None:
        """It may stall or drip; pages may read the response, and no descriptor is left open."""
        before = descriptors(impatient.process.pid)
        sent = request("POST", "/api/alice/tasks", JSON_BODY, framing, f"Origin: {ORIGIN}")
        with connected(impatient) as connection:
            connection.sendall(sent)
            drip(connection, piece)
            [response] = responses_in(received(connection))

        assert_refused(response, 408)
        assert ORIGIN == response.headers["access-control-allow-origin"]
        until_descriptors(impatient.process.pid, before)

    def test_a_body_may_take_longer_than_the_time_limit_if_it_keeps_arriving(self, impatient: RunningServer) -> None:
        """What counts is how much arrives in each period."""
        body = json.dumps({"title": "t"}).rjust(60_000)
        whole = request("POST", "/api/alice/tasks", JSON_BODY, "Connection: close", body=body)
        with connected(impatient) as connection, connected(impatient) as silent:
            connection.sendall(whole[:10_000])
            at = 10_000
            # The silent client shows when the time limit is over.
            while not select.select([silent], [], [], 0.1)[0]:
                connection.sendall(whole[at : at + 1_000])
                at += 1_000
            connection.sendall(whole[at:])

            assert [201] == [response.status for response in responses_in(received(connection))]

    def test_an_unread_response_is_cut_off(self, impatient: RunningServer) -> None:
        """The memory that it used is released."""
        headers = {"Authorization": f"Bearer {token_for('dave')}"}
        with httpx.Client(base_url=impatient.url, headers=headers) as client:
            for _ in range(250):
                client.post("/api/dave/tasks", json={"title": "large", "description": "\U0001f389" * 10_000})
        before = descriptors(impatient.process.pid)
        with connected(impatient, receive_buffer_bytes=4096) as connection:
            connection.sendall(request("GET", "/api/dave/tasks", user="dave"))
            # Without reading, a client can only wait for the connection to be reset.
            hang_up = select.poll()
            hang_up.register(connection, 0)

            assert [] != hang_up.poll(30_000)
        until_descriptors(impatient.process.pid, before)

    def test_a_client_that_reads_is_not_cut_off_because_of_others(self, tmp_path: Path) -> None:
        """If too much data is unread, the clients that have not read for the longest time are cut off."""
        headers = {"Authorization": f"Bearer {token_for('dave')}"}
        # One and a half times as much as one such client may leave unread.
        program = serve_with(unsent_bytes=3 * MIB // 2, stall_s=0.001)
        listing = request("GET", "/api/dave/tasks", user="dave")
        with (
            running_server(environ_in(tmp_path, TASKD_SEND_TIMEOUT="300"), program, cwd=tmp_path) as server,
            httpx.Client(base_url=server.url, headers=headers, timeout=30) as client,
        ):
            for _ in range(100):
                client.post("/api/dave/tasks", json={"title": "large", "description": "\U0001f389" * 10_000})
            with (
                connected(server, receive_buffer_bytes=4096) as stalled,
                connected(server, receive_buffer_bytes=4096) as later,
            ):
                hang_ups = {each: select.poll() for each in (stalled, later)}
                for each, hang_up in hang_ups.items():
                    hang_up.register(each, 0)
                    each.sendall(listing)
                    # A response that has started to arrive stalls before the next request is served.
                    assert b"H" == each.recv(1)
                    answered = len(client.get("/api/dave/tasks").json())

                    assert 100 == answered
                assert [] != hang_ups[stalled].poll(30_000)
                assert [] == hang_ups[later].poll(0)

    @pytest.mark.parametrize("goes_on", [False, True], ids=["silent", "endless"])
    def test_lingering_ends(self, impatient: RunningServer, goes_on: bool) -> None:
        """The server does not wait forever for a refused client to close the connection."""
        before = descriptors(impatient.process.pid)
        with connected(impatient) as connection:
            connection.sendall(b"rubbish\n")
            with contextlib.suppress(ConnectionError):
                while goes_on:
                    connection.sendall(b"rubbish\n" * 1000)
            until_descriptors(impatient.process.pid, before)


def drip(connection: socket.socket, piece: bytes) -> None:
    """Send *piece* ten times a second until there is a response."""
    while not select.select([connection], [], [], 0.1)[0]:
        connection.sendall(piece)
