"""Fetching the keys of an issuer over a real network: who is asked, trusted, and waited for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from pathlib import Path

import httpx
import pytest
import trustme

import taskd_jwt.download
from taskd import build_app
from taskd.testing import lifespan
from tests.conftest import client_of, token_for
from tests.issuer import LIFETIME_S, Issuer
from tests.key_endpoint import fetched, status, told
from tests.proxy import Handler, listening, silent

pytestmark = pytest.mark.anyio


def answering(content: bytes) -> Handler:
    """Return the handler of a server that sends *content*, whatever it is asked for."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + content)

    return answer


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send byte after byte, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" ")
        await asyncio.sleep(0.01)


class TestOverTheNetwork:
    async def test_waiting_for_keys_does_not_stop_the_process(self, both_lanes: dict[str, str], issuer: Issuer) -> None:
        """While an endpoint does not answer, others are served."""
        asked, is_over = asyncio.Event(), asyncio.Event()

        async def hold(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
            asked.set()
            await is_over.wait()

        async with listening(hold) as port:
            origin = f"http://127.0.0.1:{port}"
            app = build_app({**both_lanes, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client:
                waiting = asyncio.create_task(status(client, issuer.sign({"iss": origin, "aud": origin})))
                await asked.wait()
                assert 200 == (await client.get("/livez")).status_code
                assert 200 == await status(client, token_for("alice", LIFETIME_S))
                is_over.set()

                assert 503 == await waiting

    @pytest.mark.parametrize("handle", [silent, drip])
    async def test_an_endpoint_has_so_much_time(
        self,
        both_lanes: dict[str, str],
        issuer: Issuer,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        handle: Handler,
    ) -> None:
        """For all of its answer: one that sends a little now and then does not hold up a fetch for ever."""
        monkeypatch.setattr(taskd_jwt.download, "FETCH_TIMEOUT_S", 0.2)
        async with listening(handle) as port:
            origin = f"http://127.0.0.1:{port}"
            app = build_app({**both_lanes, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client:
                assert 503 == await status(client, issuer.sign({"iss": origin, "aud": origin}))
                await fetched()

        assert [f"The key set at {origin}/api/auth/jwks does not serve: no answer in time"] == told(caplog)

    async def test_a_handshake_without_an_end_leaves_no_connection(
        self, both_lanes: dict[str, str], issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An endpoint that is silent where it should speak TLS is hung up on."""
        monkeypatch.setattr(taskd_jwt.download, "FETCH_TIMEOUT_S", 0.2)
        is_hung_up = asyncio.Event()

        async def watch(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()
            is_hung_up.set()

        async with listening(watch) as port:
            origin = f"https://127.0.0.1:{port}"
            app = build_app({**both_lanes, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client, asyncio.timeout(10):
                assert 503 == await status(client, issuer.sign({"iss": origin, "aud": origin}))
                await is_hung_up.wait()

    async def test_no_proxy_is_asked(
        self, both_lanes: dict[str, str], issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who answers decides who gets in: a proxy of the environment's is not for that."""
        asked: list[bytes] = []

        async def proxy(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            asked.append(await reader.read(1024))

        async with listening(proxy) as proxy_port, listening(answering(json.dumps(issuer.document()).encode())) as port:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy_port}")
            origin = f"http://127.0.0.1:{port}"
            # That there is something to be ignored.
            async with httpx.AsyncClient() as trusting:
                with pytest.raises(httpx.RemoteProtocolError):
                    await trusting.get(origin)
            app = build_app({**both_lanes, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client:
                assert 200 == await status(client, issuer.sign({"iss": origin, "aud": origin}))

        assert 1 == len(asked)

    @pytest.mark.parametrize("is_trusted", [True, False])
    async def test_the_certificate_is_verified(
        self,
        both_lanes: dict[str, str],
        issuer: Issuer,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        is_trusted: bool,
    ) -> None:
        """Keys from whom no authority knows are refused; `SSL_CERT_FILE` names authorities."""
        authority = trustme.CA()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authorities = authority if is_trusted else trustme.CA()
        authorities.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with listening(answering(json.dumps(issuer.document()).encode()), tls) as port:
            origin = f"https://127.0.0.1:{port}"
            app = build_app({**both_lanes, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client:
                token = issuer.sign({"iss": origin, "aud": origin})

                assert (200 if is_trusted else 503) == await status(client, token)
        assert is_trusted == ("CERTIFICATE_VERIFY_FAILED" not in caplog.text)

    async def test_an_endpoint_that_wants_a_certificate_does_not_serve(
        self,
        both_lanes: dict[str, str],
        issuer: Issuer,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """In TLS 1.3 it says so when the handshake has succeeded; whoever asks is told to come again."""
        authority = trustme.CA()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version, tls.verify_mode = ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Not by asyncio's own TLS, which hangs up without a word.
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            server = tls.wrap_bio(incoming, outgoing, server_side=True)
            while received := await reader.read(65536):
                incoming.write(received)
                with contextlib.suppress(ssl.SSLError):
                    server.do_handshake()
                writer.write(outgoing.read())

        async with listening(refuse) as port:
            origin = f"https://127.0.0.1:{port}"
            app = build_app({**both_lanes, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client:
                token = issuer.sign({"iss": origin, "aud": origin})

                assert [503, 503] == [await status(client, token) for _ in range(2)]
        [line] = told(caplog)
        assert line.startswith(f"The key set at {origin}/api/auth/jwks does not serve: ")
        assert "alert certificate required" in line.lower().replace("_", " ")
