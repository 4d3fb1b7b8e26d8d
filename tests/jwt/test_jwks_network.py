"""Fetching an issuer's keys over a real network: proxies, certificates and time-outs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from taskd import build_app
from taskd.testing import lifespan
from taskd_jwt.jwks.timing import Timing
from tests.conftest import client_of, token_for
from tests.support.applications import build_verifying
from tests.support.issuer import LIFETIME_S, Issuer
from tests.support.key_endpoint import fetched, logged, status
from tests.support.proxy import Handler, listening, silent

pytestmark = pytest.mark.anyio


def answering(content: bytes) -> Handler:
    """Return the handler of a server that responds to every request with *content*."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()

    async def response(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + content)

    return response


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send one byte after the other, forever."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" ")
        await asyncio.sleep(0.01)


class TestOverTheNetwork:
    async def test_waiting_for_keys_does_not_block_other_requests(
        self, both_schemes: dict[str, str], issuer: Issuer
    ) -> None:
        """Other requests are served while the endpoint does not respond."""
        asked, is_over = asyncio.Event(), asyncio.Event()

        async def hold(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
            asked.set()
            await is_over.wait()

        async with listening(hold) as port:
            origin = f"http://127.0.0.1:{port}"
            app = build_app({**both_schemes, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client:
                waiting = asyncio.create_task(status(client, issuer.sign({"iss": origin, "aud": origin})))
                await asked.wait()
                assert 200 == (await client.get("/livez")).status_code
                assert 200 == await status(client, token_for("alice", LIFETIME_S))
                is_over.set()

                assert 503 == await waiting

    @pytest.mark.parametrize("handle", [silent, drip])
    async def test_a_fetch_has_a_time_limit(
        self,
        both_schemes: dict[str, str],
        issuer: Issuer,
        caplog: pytest.LogCaptureFixture,
        handle: Handler,
    ) -> None:
        """The limit covers the whole response, so even a slow sender cannot prolong a fetch forever."""
        async with listening(handle) as port:
            origin = f"http://127.0.0.1:{port}"
            app = build_verifying({**both_schemes, "BETTER_AUTH_URL": origin}, Timing(fetch_timeout_s=0.2))
            async with lifespan(app), client_of(app) as client:
                assert 503 == await status(client, issuer.sign({"iss": origin, "aud": origin}))
                await fetched()

        assert [f"The key set at {origin}/api/auth/jwks is unavailable: no response in time"] == logged(caplog)

    async def test_an_unfinished_handshake_leaves_no_connection(
        self, both_schemes: dict[str, str], issuer: Issuer
    ) -> None:
        """If an endpoint is silent during the TLS handshake, the connection to it is closed."""
        is_hung_up = asyncio.Event()

        async def watch(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()
            is_hung_up.set()

        async with listening(watch) as port:
            origin = f"https://127.0.0.1:{port}"
            app = build_verifying({**both_schemes, "BETTER_AUTH_URL": origin}, Timing(fetch_timeout_s=0.2))
            async with lifespan(app), client_of(app) as client, asyncio.timeout(10):
                assert 503 == await status(client, issuer.sign({"iss": origin, "aud": origin}))
                await is_hung_up.wait()

    async def test_no_proxy_is_used(
        self, both_schemes: dict[str, str], issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server that responds decides who gets in, so the environment's proxies are ignored."""
        asked: list[bytes] = []

        async def proxy(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            asked.append(await reader.read(1024))

        async with listening(proxy) as proxy_port, listening(answering(json.dumps(issuer.document()).encode())) as port:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy_port}")
            origin = f"http://127.0.0.1:{port}"
            # The variables do have an effect.
            async with httpx.AsyncClient() as trusting:
                with pytest.raises(httpx.RemoteProtocolError):
                    await trusting.get(origin)
            app = build_app({**both_schemes, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client:
                assert 200 == await status(client, issuer.sign({"iss": origin, "aud": origin}))

        assert 1 == len(asked)

    @pytest.mark.parametrize("is_trusted", [True, False])
    async def test_the_certificate_is_verified(
        self,
        both_schemes: dict[str, str],
        issuer: Issuer,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        is_trusted: bool,
    ) -> None:
        """Keys from a server without a trusted certificate are refused; `SSL_CERT_FILE` names the authorities."""
        authority = trustme.CA()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authorities = authority if is_trusted else trustme.CA()
        authorities.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with listening(answering(json.dumps(issuer.document()).encode()), tls) as port:
            origin = f"https://127.0.0.1:{port}"
            app = build_app({**both_schemes, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client:
                token = issuer.sign({"iss": origin, "aud": origin})

                assert (200 if is_trusted else 503) == await status(client, token)
        assert is_trusted == ("CERTIFICATE_VERIFY_FAILED" not in caplog.text)

    async def test_an_endpoint_that_requires_a_client_certificate_fails(
        self,
        both_schemes: dict[str, str],
        issuer: Issuer,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """In TLS 1.3 it says so only after the handshake; clients get a 503."""
        authority = trustme.CA()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version, tls.verify_mode = ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # asyncio's own TLS would close the connection without an alert.
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            server = tls.wrap_bio(incoming, outgoing, server_side=True)
            while received := await reader.read(65536):
                incoming.write(received)
                with contextlib.suppress(ssl.SSLError):
                    server.do_handshake()
                writer.write(outgoing.read())

        async with listening(refuse) as port:
            origin = f"https://127.0.0.1:{port}"
            app = build_app({**both_schemes, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client:
                token = issuer.sign({"iss": origin, "aud": origin})

                assert [503, 503] == [await status(client, token) for _ in range(2)]
        [line] = logged(caplog)
        assert line.startswith(f"The key set at {origin}/api/auth/jwks is unavailable: ")
        assert "alert certificate required" in line.lower().replace("_", " ")
