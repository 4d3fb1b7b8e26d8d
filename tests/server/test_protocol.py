"""What comes over a connection that is not an ordinary request, byte by byte, against a real server."""

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
    """One server for all: none of them may do it any harm."""
    folder: Path = tmp_path_factory.mktemp("server")
    with running_server(environ_in(folder), cwd=folder) as running:
        assert 200 == httpx.get(f"{running.url}/readyz").status_code
        yield running
        running.stop(signal.SIGINT)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that waits for anything as long as a request may well take."""
    folder: Path = tmp_path_factory.mktemp("impatient")
    program = serve_with(
        head_timeout_s=1.0, body_timeout_s=1.0, send_timeout_s=1.0, linger_timeout_s=1.0, linger_total_s=2.0
    )
    with running_server(environ_in(folder), program, cwd=folder) as running:
        assert 200 == httpx.get(f"{running.url}/readyz").status_code
        yield running
        running.stop(signal.SIGINT)


def head_of(size: int) -> bytes:
    """Write the head of a request, *size* bytes with its end, which closes the connection."""
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
    def test_what_is_not_http_is_refused_in_the_form_of_all_errors(self, server: RunningServer, sent: bytes) -> None:
        """What never reaches the application gets a JSON error, too, as soon as it is clear, and then the end."""
        [response] = responses_to(server, sent)

        assert_refused(response, 400)

    @pytest.mark.parametrize(
        "hosts",
        [(), ("Host:",), ("Host: a", "Host: a"), ("Host: a b",), ("Host: a/b",), ("Host: a@b",), ("Host: a:b",)],
    )
    def test_a_request_names_one_host(self, server: RunningServer, hosts: tuple[str, ...]) -> None:
        """RFC 9112, section 3.2."""
        [response] = responses_to(server, "\r\n".join(["GET /livez HTTP/1.1", *hosts, "", ""]).encode())

        assert_refused(response, 400)

    @pytest.mark.parametrize("host", ["taskd", "taskd:80", "127.0.0.1:8000", "[::1]:8000", "a_b.example", "x:"])
    def test_any_host_will_do(self, server: RunningServer, host: str) -> None:
        """The server does not know by which names it is reached."""
        sent = f"GET /livez HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\n\r\n".encode()

        assert [200] == [response.status for response in responses_to(server, sent)]

    def test_a_request_of_http_1_0_needs_no_host_and_is_the_last(self, server: RunningServer) -> None:
        """RFC 9112, section 3.2, appendix C.2."""
        [response] = responses_to(server, b"GET /livez HTTP/1.0\r\n\r\n")

        assert (200, "close") == (response.status, response.headers["connection"])

    @pytest.mark.parametrize("method", ["FOO", "get", "DELETE", "M-SEARCH", "DESCRIBE", "CONNECT"])
    def test_a_method_that_the_path_does_not_have_is_refused_as_such(self, server: RunningServer, method: str) -> None:
        """Whether the parser has heard of it or not, and in the case in which it came (RFC 9110, section 9.1)."""
        [response] = responses_to(server, f"{method} /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

        assert (405, {"GET", "HEAD"}) == (response.status, set(response.headers["allow"].split(", ")))

    @pytest.mark.parametrize(
        ("target", "status"),
        [("http://taskd/livez", 200), ("http://taskd/livez?a=b", 200), ("http://taskd", 200), ("/livez#a", 200)],
    )
    def test_a_target_may_have_other_forms(self, server: RunningServer, target: str, status: int) -> None:
        """RFC 9112, section 3.2.2: a proxy's form, too."""
        [response] = responses_to(server, LAST_LIVEZ.replace(b"/livez", target.encode(), 1))

        assert status == response.status

    def test_a_target_that_is_the_whole_server_is_not_found(self, server: RunningServer) -> None:
        """RFC 9112, section 3.2.4."""
        [response] = responses_to(server, LAST_LIVEZ.replace(b"GET /livez", b"OPTIONS *", 1))

        assert 404 == response.status

    @pytest.mark.parametrize("piece_bytes", [MAX_HEAD_BYTES * 2, 16 * 1024, 999])
    @pytest.mark.parametrize(
        ("size", "status"), [(MAX_HEAD_BYTES, 200), (MAX_HEAD_BYTES + 1, 431), (80_000, 431), (100_000, 431)]
    )
    def test_64_kib_of_a_head_are_read_and_no_byte_more(
        self, server: RunningServer, piece_bytes: int, size: int, status: int
    ) -> None:
        """However it comes, the limit is exact; who is refused can read why, whatever they still send."""
        head = head_of(size)
        assert size == len(head)
        pieces = [head[start : start + piece_bytes] for start in range(0, size, piece_bytes)]
        [response] = responses_to(server, *pieces)

        assert status == response.status
        if status == 431:
            assert_refused(response, 431)

    @pytest.mark.parametrize(("count", "status"), [(100, 200), (101, 431), (16_000, 431)])
    def test_100_headers_are_read_and_no_more(self, server: RunningServer, count: int, status: int) -> None:
        """Reading thousands of tiny ones would hold up everybody else."""
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
        """RFC 9112, section 2.2, in one piece with the request or not."""
        for pieces in ([b"\r\n\r\n" + LAST_LIVEZ], [b"\r\n", b"\r", b"\n", LAST_LIVEZ], [b"\r\n\r\n", LAST_LIVEZ]):
            assert [200] == [response.status for response in responses_to(server, *pieces)]

    def test_a_head_may_come_byte_by_byte(self, server: RunningServer) -> None:
        """Wherever the network cuts it."""
        pieces = [LAST_LIVEZ[at : at + 1] for at in range(len(LAST_LIVEZ))]

        assert [200] == [response.status for response in responses_to(server, *pieces)]


class TestPipelines:
    """RFC 9112, section 9.3.2."""

    @pytest.mark.parametrize("count", [3_000])
    def test_many_requests_at_once_are_answered_in_order(self, server: RunningServer, count: int) -> None:
        """Each is counted for itself, and nothing is cut off."""
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
    def test_a_connection_holds_little_however_much_it_pipelines(self, server: RunningServer, reads: bool) -> None:
        """At most 1 MiB, of what is sent as of what is not read."""
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
        """Send up to 32 MiB of requests, or until no more goes for a while."""
        connection.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            for _ in range(1000 if not reads else 10):
                connection.sendall(LIVEZ * 1000)
                while reads and select.select([connection], [], [], 0)[0]:
                    connection.recv(MIB)

    def test_what_follows_a_request_is_looked_at_afterwards(self, server: RunningServer) -> None:
        """A request with rubbish behind it has its response, and then the rubbish has one."""
        body = json.dumps({"title": "t"})
        sent = request("POST", "/api/alice/tasks", JSON_BODY, body=body) + b"\0rubbish"
        created, refused = responses_to(server, sent)

        assert 201 == created.status
        assert_refused(refused, 400)

    def test_no_more_of_a_head_is_read_while_another_request_is_answered(self, tmp_path: Path) -> None:
        """A client that sends a head without an end behind a request that takes its time is not read any further."""
        with running_server(environ_in(tmp_path), cwd=tmp_path) as server, connected(server) as connection:
            assert 200 == httpx.get(f"{server.url}/readyz").status_code
            with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)) as holder:
                holder.execute("BEGIN IMMEDIATE")
                sent = request("POST", "/api/alice/tasks", JSON_BODY, body=json.dumps({"title": "t"}))
                connection.sendall(sent + b"GET /livez HTTP/1.1\r\nA: ")
                # Fills what the kernel keeps between the two, and no more goes.
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
    def test_a_body_whose_end_is_in_doubt_is_refused(self, server: RunningServer, framing: tuple[str, ...]) -> None:
        """What two recipients may understand differently may be smuggled past one of them."""
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
    def test_chunks_that_are_none_are_refused(self, server: RunningServer, rest: bytes) -> None:
        """As soon as that is clear, with headers as any error has, and nothing stays open."""
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
    def test_lines_between_chunks_are_bounded_as_heads_are(
        self, server: RunningServer, start: bytes, piece: bytes
    ) -> None:
        """A client cannot make the server keep, or search again and again, a line without an end."""
        sent = request("POST", "/api/alice/tasks", JSON_BODY, CHUNKED)
        with connected(server) as connection:
            connection.sendall(sent + start)
            while not select.select([connection], [], [], 0)[0]:
                connection.sendall(piece)
            [response] = responses_in(received(connection))

        assert_refused(response, 400)

    def test_tiny_chunks_with_long_extensions_are_bounded(self, server: RunningServer) -> None:
        """What carries little must not cost much."""
        sent = request("POST", "/api/alice/tasks", JSON_BODY, CHUNKED)
        with connected(server) as connection:
            connection.sendall(sent)
            while not select.select([connection], [], [], 0)[0]:
                connection.sendall(b"1;" + b"a" * 1000 + b"\r\n \r\n")
            [response] = responses_in(received(connection))

        assert_refused(response, 400)

    def test_a_body_may_come_in_chunks_of_one_byte(self, server: RunningServer) -> None:
        """However many they are: the event loop does other things in between."""
        body = json.dumps({"title": "t", "description": "d" * 9_000}).encode()
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        sent = request("POST", "/api/alice/tasks", JSON_BODY, CHUNKED, "Connection: close")
        [response] = responses_to(server, sent + chunks + b"0\r\n\r\n")

        assert (201, "d" * 9_000) == (response.status, json.loads(response.body)["description"])

    def test_a_body_may_come_in_chunks_of_any_size(self, server: RunningServer) -> None:
        """With extensions, trailers and digits of either case, and in pieces of one byte."""
        body = json.dumps({"title": "t" * 100}).encode()
        pieces = [body[:1], body[1:11], body[11:]]
        chunks = b"".join(b'%X;ext="a;b"\r\n%b\r\n' % (len(piece), piece) for piece in pieces)
        sent = request("POST", "/api/alice/tasks", JSON_BODY, CHUNKED, "Connection: close")
        whole = sent + chunks + b"000\r\nX-Trailer: a\r\n\r\n"
        for step in (len(whole), 1):
            parts = [whole[at : at + step] for at in range(0, len(whole), step)]
            [response] = responses_to(server, *parts)

            assert (201, "t" * 100) == (response.status, json.loads(response.body)["title"])

    def test_what_comes_behind_the_body_is_no_header(self, server: RunningServer) -> None:
        """RFC 9110, section 6.5.1: a token in a trailer lets nobody in, and does no harm to one in the head."""
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
        """RFC 9112, section 9.6: the connection is not reset under a client that has not read yet."""
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
        """What follows a body that was refused unread is not taken for a request."""
        sent = request("POST", "/api/bob/tasks", JSON_BODY, "Content-Length: 100")
        [response] = responses_to(server, sent, b"GET /livez HTTP/1.1\r\nHost: taskd\r\n\r\n")

        assert (401, "close") == (response.status, response.headers["connection"])


class TestExpectations:
    """RFC 9110, section 10.1.1."""

    def test_a_client_that_waits_is_asked_for_the_body(self, server: RunningServer) -> None:
        """A body that is wanted is asked for, once."""
        body = json.dumps({"title": "t"})
        whole = request("POST", "/api/alice/tasks", JSON_BODY, "Expect: 100-continue", "Connection: close", body=body)
        with connected(server) as connection:
            connection.sendall(whole[: -len(body)])
            interim = connection.recv(65536)
            connection.sendall(body.encode())
            [response] = responses_in(received(connection))

        assert b"HTTP/1.1 100 Continue\r\n\r\n" == interim
        assert 201 == response.status

    def test_a_client_that_is_refused_is_not_asked(self, server: RunningServer) -> None:
        """Whether a body or another request would follow nobody knows: so nothing follows."""
        sent = request("POST", "/api/bob/tasks", JSON_BODY, "Expect: 100-continue", "Content-Length: 9")
        [response] = responses_to(server, sent)

        assert (401, "close") == (response.status, response.headers["connection"])

    def test_a_client_of_http_1_0_is_not_asked(self, server: RunningServer) -> None:
        """It would not know what that means."""
        body = json.dumps({"title": "t"})
        sent = request("POST", "/api/alice/tasks", JSON_BODY, "Expect: 100-continue", body=body)
        old = sent.replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        [response] = responses_to(server, old[: -len(body)], old[-len(body) :])

        assert 201 == response.status


class TestUpgrades:
    """RFC 9110, section 7.8: an upgrade may be ignored, and is."""

    H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")

    @pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.0"])
    def test_it_is_answered_as_if_it_had_not_been_asked_for(self, server: RunningServer, upgrade: str) -> None:
        """A request without a body, and one that comes with it in the same piece."""
        asking = LIVEZ[:-2] + f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n".encode()
        responses = responses_to(server, asking + LAST_LIVEZ)

        assert [200, 200] == [response.status for response in responses]

    @pytest.mark.parametrize(
        "headers", [H2C, ("Connection: Upgrade", "Upgrade: 0"), ("Upgrade:",)], ids=["h2c", "0", "empty"]
    )
    @pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
    def test_the_body_of_the_request_is_its_body(
        self, server: RunningServer, headers: tuple[str, ...], chunked: bool
    ) -> None:
        """A request in the body of another one is not run, whoever has forwarded it."""
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

    def test_a_tunnel_s_body_is_not_taken_for_a_request(self, server: RunningServer) -> None:
        """RFC 9110, section 9.3.6: what follows a CONNECT is its body, if it says so."""
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {token_for('alice')}"}) as client:
            location = client.post("/api/alice/tasks", json={"title": "t"}).headers["Location"]
            sent = request("CONNECT", "/livez", body=request("DELETE", location).decode())
            [response] = responses_to(server, sent)

            assert_refused(response, 400)
            assert 200 == client.get(location).status_code

    def test_many_are_logged_once(self, tmp_path: Path) -> None:
        """No client decides how long the log gets, and nobody is advised to install a WebSocket library."""
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

    def test_a_client_that_has_closed_its_half_is_answered(self, server: RunningServer) -> None:
        """With a body, and with another request behind."""
        sent = request("POST", "/api/alice/tasks", JSON_BODY, body=json.dumps({"title": "t"}))
        with connected(server) as connection:
            connection.sendall(sent + LIVEZ)
            connection.shutdown(socket.SHUT_WR)
            responses = responses_in(received(connection))

        assert [201, 200] == [response.status for response in responses]

    @pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET /livez HT"], ids=["nothing", "empty line", "half a head"])
    def test_a_client_that_ends_early_gets_an_end(self, server: RunningServer, sent: bytes) -> None:
        """There is nothing to respond to."""
        with connected(server) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)

            assert b"" == received(connection)

    def test_a_body_that_ends_early_gets_an_end(self, server: RunningServer) -> None:
        """What was announced and did not come is not stored."""
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
    """For a while the server waits for its clients."""

    def test_a_connection_without_a_request_is_closed(self, impatient: RunningServer) -> None:
        """Whoever only connects is forgotten, without a response to a request that was not made."""
        with connected(impatient) as silent, connected(impatient) as blank:
            blank.sendall(b"\r\n")

            assert (b"", b"") == (received(silent), received(blank))

    def test_a_head_that_does_not_end_is_refused(self, impatient: RunningServer) -> None:
        """RFC 9110, section 15.5.9; on a connection that was used before, too, and however slowly more of it comes."""
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
    def test_a_body_that_comes_too_slowly_is_refused(
        self, impatient: RunningServer, framing: str, piece: bytes
    ) -> None:
        """Whether it stalls or drips; a page may read that, and no descriptor stays."""
        before = descriptors(impatient.process.pid)
        sent = request("POST", "/api/alice/tasks", JSON_BODY, framing, f"Origin: {ORIGIN}")
        with connected(impatient) as connection:
            connection.sendall(sent)
            drip(connection, piece)
            [response] = responses_in(received(connection))

        assert_refused(response, 408)
        assert ORIGIN == response.headers["access-control-allow-origin"]
        until_descriptors(impatient.process.pid, before)

    def test_a_body_may_take_longer_than_the_time_out_if_it_goes_on(self, impatient: RunningServer) -> None:
        """What counts is how much comes in each while."""
        body = json.dumps({"title": "t"}).rjust(60_000)
        whole = request("POST", "/api/alice/tasks", JSON_BODY, "Connection: close", body=body)
        with connected(impatient) as connection, connected(impatient) as silent:
            connection.sendall(whole[:10_000])
            at = 10_000
            # The one that says nothing tells when the time-out is over.
            while not select.select([silent], [], [], 0.1)[0]:
                connection.sendall(whole[at : at + 1_000])
                at += 1_000
            connection.sendall(whole[at:])

            assert [201] == [response.status for response in responses_in(received(connection))]

    def test_a_response_that_nobody_reads_is_cut_off(self, impatient: RunningServer) -> None:
        """And what it held is free."""
        headers = {"Authorization": f"Bearer {token_for('dave')}"}
        with httpx.Client(base_url=impatient.url, headers=headers) as client:
            for _ in range(250):
                client.post("/api/dave/tasks", json={"title": "large", "description": "\U0001f389" * 10_000})
        before = descriptors(impatient.process.pid)
        with connected(impatient, receive_buffer_bytes=4096) as connection:
            connection.sendall(request("GET", "/api/dave/tasks", user="dave"))
            # Without reading: only that the connection is reset can be waited for.
            hang_up = select.poll()
            hang_up.register(connection, 0)

            assert [] != hang_up.poll(30_000)
        until_descriptors(impatient.process.pid, before)

    def test_a_client_that_reads_is_not_cut_off_for_those_that_do_not(self, tmp_path: Path) -> None:
        """Of too much that is not read, those keep none that have not read for the longest."""
        headers = {"Authorization": f"Bearer {token_for('dave')}"}
        # As much as is kept for one such client and a half.
        program = serve_with(unsent_bytes=3 * MIB // 2, stall_s=0.001, send_timeout_s=300.0)
        listing = request("GET", "/api/dave/tasks", user="dave")
        with (
            running_server(environ_in(tmp_path), program, cwd=tmp_path) as server,
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
                    # What has begun to come stalls before the next request is answered.
                    assert b"H" == each.recv(1)
                    answered = len(client.get("/api/dave/tasks").json())

                    assert 100 == answered
                assert [] != hang_ups[stalled].poll(30_000)
                assert [] == hang_ups[later].poll(0)

    @pytest.mark.parametrize("goes_on", [False, True], ids=["silent", "endless"])
    def test_lingering_ends(self, impatient: RunningServer, goes_on: bool) -> None:
        """A client that was refused and does not close is not waited for without end."""
        before = descriptors(impatient.process.pid)
        with connected(impatient) as connection:
            connection.sendall(b"rubbish\n")
            with contextlib.suppress(ConnectionError):
                while goes_on:
                    connection.sendall(b"rubbish\n" * 1000)
            until_descriptors(impatient.process.pid, before)


def drip(connection: socket.socket, piece: bytes) -> None:
    """Send *piece* again and again, ten times a second, until something comes back."""
    while not select.select([connection], [], [], 0.1)[0]:
        connection.sendall(piece)
