"""Outages of the key endpoint: who is served, who is refused, and what is logged."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl

import httpx
import pytest

from taskd import build_app
from taskd.testing import lifespan
from tests.conftest import client_of, token_for
from tests.support.clock import Clock
from tests.support.issuer import JWKS_URL, LIFETIME_S, URL, Issuer
from tests.support.key_endpoint import (
    COOLDOWN_S,
    IMPATIENT,
    KIND,
    MIN_INTERVAL_S,
    Endpoint,
    fetched,
    keys_of,
    logged,
    response_to,
    status,
    unknown,
)
from tests.support.serving import application_of, until

pytestmark = pytest.mark.anyio

DAY_S = 24 * 60 * 60
LIMIT = 1024 * 1024
FAULTS: dict[str, tuple[httpx.Response | Exception, str]] = {
    "500": (httpx.Response(500), "the response is 500"),
    "404": (httpx.Response(404, json={"keys": []}), "the response is 404. If the keys are elsewhere, as"),
    "204": (httpx.Response(204), "the response is 204"),
    "a redirect": (
        httpx.Response(302, headers={"Location": "/elsewhere?code=x"}),
        f"a redirect to {URL}/elsewhere. Red",
    ),
    "no connection": (httpx.ConnectError("All connection attempts failed"), "All connection attempts failed"),
    "an error without a message": (httpx.ReadError(""), "ReadError"),
    "an invalid TLS record": (ssl.SSLError(1, "[SSL] record layer failure"), "record layer failure"),
    "a broken pipe": (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
    "a time-out": (httpx.ReadTimeout("slow"), "no response in time"),
    "nonsense": (httpx.RemoteProtocolError("illegal status line"), "illegal status line"),
    "HTML": (httpx.Response(200, html="<h1>Welcome</h1>"), "not a JSON Web Key Set"),
    "half a document": (httpx.Response(200, content=b'{"keys": [{"kty":'), "not a JSON Web Key Set"),
    "nothing": (httpx.Response(200), "not a JSON Web Key Set"),
    "too many keys": (httpx.Response(200, json={"keys": [0] * 5001}), "more than 5000 keys"),
    "too many bytes": (httpx.Response(200, content=b" " * LIMIT + b'{"keys": []}'), "more than 1048576 bytes"),
    "gzip": (
        httpx.Response(200, content=gzip.compress(b'{"keys": []}'), headers={"Content-Encoding": "gzip"}),
        "a content encoding that was not requested",
    ),
}


class TestOutage:
    @pytest.mark.parametrize(("fault", "reason"), FAULTS.values(), ids=FAULTS)
    async def test_keys_are_used_for_a_day(
        self,
        caller: httpx.AsyncClient,
        endpoint: Endpoint,
        clock: Clock,
        fault: httpx.Response | Exception,
        reason: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Old keys are used for 24 hours; the beginning and the end of the outage are logged once."""
        token = endpoint.issuer.sign()
        assert 200 == await status(caller, token)
        endpoint.fault = fault
        logged(caplog)
        for hour in range(24):
            clock.now_s = 1000 + (hour + 0.99) * 3600
            assert 200 == await status(caller, token)
            await fetched()
        [line] = logged(caplog)
        assert line.startswith(f"The key set at {JWKS_URL} is unavailable: ")
        assert reason in line
        clock.now_s = 1000 + DAY_S
        assert [503, 503] == [await status(caller, token), await status(caller, endpoint.issuer.sign(kind=KIND))]
        assert 200 == await status(caller, token_for("alice", LIFETIME_S))
        assert [f"The keys from {JWKS_URL} are a day old, and not used until they are fetched again"] == logged(caplog)
        endpoint.fault = None
        clock.now_s += COOLDOWN_S
        assert 200 == await status(caller, token)
        assert f"The key set at {JWKS_URL} is available again after " in " ".join(logged(caplog))

    async def test_a_token_that_expires_during_the_fetch_is_refused(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """A token that was valid when it came may have expired when the keys arrive (RFC 7519, section 4.1.4)."""
        endpoint.gate.clear()
        waiting = asyncio.create_task(status(caller, endpoint.issuer.sign({"exp": clock.time() + 1})))
        await until(lambda: endpoint.fetches == 1)
        clock.now_s += 1
        endpoint.gate.set()

        assert 401 == await waiting

    async def test_an_unknown_key_may_be_a_new_one(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """While the keys cannot be fetched, a user with an unknown key gets a 503, not a 401."""
        assert 200 == await status(caller, endpoint.issuer.sign())
        endpoint.fault = httpx.Response(500)
        clock.now_s += MIN_INTERVAL_S
        token = unknown(endpoint.issuer, 1)
        assert [503, 503] == [await status(caller, token) for _ in range(2)]
        endpoint.fault = None
        clock.now_s += COOLDOWN_S

        assert 401 == await status(caller, token)
        assert 3 == endpoint.fetches

    async def test_log_lines_about_an_endpoint_are_short(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Text from the endpoint is truncated."""
        endpoint.fault = httpx.RemoteProtocolError("x" * 60_000)
        assert 503 == await status(caller, endpoint.issuer.sign())

        [line] = logged(caplog)
        assert line.endswith(f": {'x' * 200}")

    async def test_a_redirect_is_not_followed(self, caller: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """Only the settings say where the keys are."""
        endpoint.fault = httpx.Response(302, headers={"Location": JWKS_URL})

        assert 503 == await status(caller, endpoint.issuer.sign())
        assert 1 == endpoint.fetches

    async def test_a_document_of_the_maximum_size_is_read(self, caller: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """A key set may be as large as a mebibyte."""
        content = json.dumps(endpoint.issuer.document()).encode()
        endpoint.fault = httpx.Response(200, content=content.ljust(LIMIT))

        assert 200 == await status(caller, endpoint.issuer.sign())

    @pytest.mark.parametrize(("fault", "reason"), FAULTS.values(), ids=FAULTS)
    async def test_without_keys_the_token_is_not_blamed(
        self,
        caller: httpx.AsyncClient,
        endpoint: Endpoint,
        clock: Clock,
        fault: httpx.Response | Exception,
        reason: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Clients get a 503, the other token scheme works, and once the keys are back the token is accepted."""
        endpoint.fault = fault
        token = endpoint.issuer.sign()
        response = await response_to(caller, token)
        assert 503 == response.status_code
        detail = "The credentials cannot be verified now; try again later."
        assert {"detail": detail, "code": "unavailable"} == response.json()
        assert str(MIN_INTERVAL_S) == response.headers["Retry-After"]
        assert 503 == await status(caller, token)
        assert 200 == await status(caller, token_for("alice", LIFETIME_S))
        assert 401 == await status(caller, token_for("bob"))
        assert 1 == endpoint.fetches
        [line] = logged(caplog)
        assert reason in line
        endpoint.fault = None
        clock.now_s += COOLDOWN_S

        assert 200 == await status(caller, token)
        assert 2 == endpoint.fetches

    async def test_no_request_waits_for_a_failing_endpoint(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """After a failure, a slow fetch delays no request that old keys can serve."""
        token = endpoint.issuer.sign()
        assert 200 == await status(caller, token)
        endpoint.fault = httpx.Response(500)
        clock.now_s += 601
        assert 200 == await status(caller, token)
        endpoint.fault = None
        endpoint.gate.clear()
        clock.now_s += COOLDOWN_S
        # These get their responses before the gate is opened.
        assert [200] * 3 == [await status(caller, token) for _ in range(3)]
        await until(lambda: endpoint.fetches == 3)
        endpoint.gate.set()
        await fetched()

        assert 200 == await status(caller, token)
        assert 3 == endpoint.fetches

    async def test_a_slow_fetch_continues_without_the_request(
        self, caller: httpx.AsyncClient, endpoint: Endpoint
    ) -> None:
        """The request gets its response in time, and the fetch serves the next request."""
        keys_of(application_of(caller)).timing = IMPATIENT
        endpoint.gate.clear()
        token = endpoint.issuer.sign()
        assert [503, 503] == [await status(caller, token) for _ in range(2)]
        await until(lambda: endpoint.fetches == 1)
        endpoint.gate.set()
        await fetched()

        assert 200 == await status(caller, token)
        assert 1 == endpoint.fetches

    async def test_a_token_is_not_refused_while_the_keys_are_fetched(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """A slow fetch may still bring its key."""
        old = endpoint.issuer.sign()
        assert 200 == await status(caller, old)
        keys_of(application_of(caller)).timing = IMPATIENT
        endpoint.issuer.rotate()
        endpoint.gate.clear()
        clock.now_s += COOLDOWN_S

        assert [503, 200] == [await status(caller, token) for token in (endpoint.issuer.sign(), old)]

    async def test_old_keys_are_used_when_the_fetch_is_slow(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """The first request that finds them too old waits briefly, and is then served with them."""
        token = endpoint.issuer.sign()
        assert 200 == await status(caller, token)
        keys_of(application_of(caller)).timing = IMPATIENT
        endpoint.gate.clear()
        clock.now_s += 3600

        assert 200 == await status(caller, token)
        await until(lambda: endpoint.fetches == 2)

    async def test_a_failure_counts_for_ten_minutes(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """After that, the first request waits for a fetch, so that a withdrawn key is not used again."""
        token = endpoint.issuer.sign()
        assert 200 == await status(caller, token)
        endpoint.fault = httpx.Response(500)
        clock.now_s += 601
        assert 200 == await status(caller, token)
        await fetched()
        endpoint.fault = None
        endpoint.issuer.rotate()
        clock.now_s += 601

        assert 401 == await status(caller, token)
        assert 3 == endpoint.fetches

    async def test_a_bug_is_handled_like_an_outage(
        self,
        caller: httpx.AsyncClient,
        endpoint: Endpoint,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """An unexpected exception is logged once, with its traceback, and old keys are still used."""
        # Signed only once: a token that is signed a second later is different.
        token, forged = endpoint.issuer.sign(), unknown(endpoint.issuer, 1)
        assert 200 == await status(caller, token)
        logged(caplog)
        endpoint.fault = RuntimeError("nobody foresaw this")
        for _ in range(2):
            clock.now_s += 601
            assert [200, 503] == [await status(caller, each) for each in (token, forged)]
            await fetched()
        assert ["RuntimeError: nobody foresaw this"] == [
            record.exc_text.splitlines()[-1] for record in caplog.records if record.exc_text
        ]
        assert [
            f"Fetching the key set at {JWKS_URL} failed because of a bug; please report it",
            f"The key set at {JWKS_URL} is unavailable: a bug, RuntimeError",
        ] == logged(caplog)
        endpoint.fault = None
        clock.now_s += COOLDOWN_S

        assert [200, 401] == [await status(caller, each) for each in (token, forged)]

    @pytest.mark.parametrize("url", ["https://a..b", f"https://{'a' * 64}.example", "https://xn--a/keys"])
    async def test_an_impossible_host_name_is_an_outage(
        self, both_schemes: dict[str, str], issuer: Issuer, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is handled like a server that does not respond."""
        app = build_app({**both_schemes, "TASKD_JWKS_URL": url})
        async with lifespan(app), client_of(app) as client:
            assert 503 == await status(client, issuer.sign())
            [line] = logged(caplog)
            assert line.startswith(f"The key set at {url} is unavailable: ")


class TestLog:
    async def test_an_ignored_key_is_logged_once(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """There is one line for each, again only when the key set has changed."""
        caplog.set_level("DEBUG")
        weak = {"kty": "oct", "k": "AAAA", "kid": "weak"}
        endpoint.document = {"keys": [*endpoint.issuer.document()["keys"], weak, {"kty": "EC"}]}
        ignored = [
            f"Ignoring a key from {JWKS_URL}: weak: it is a secret, which must not be published",
            f"Ignoring a key from {JWKS_URL}: a key without a valid kid: no token can name it",
        ]
        token = endpoint.issuer.sign()
        assert 200 == await status(caller, token)
        assert [*ignored, f"Using 2 keys from {JWKS_URL}"] == logged(caplog)
        clock.now_s += 601
        assert 200 == await status(caller, token)
        assert (2, []) == (endpoint.fetches, logged(caplog))
        endpoint.document["keys"].pop()
        clock.now_s += 601
        assert 200 == await status(caller, token)

        assert [ignored[0], f"Using 2 keys from {JWKS_URL}"] == logged(caplog)

    async def test_only_some_of_many_ignored_keys_are_logged(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Twenty have a line of their own, and another line gives the number."""
        endpoint.document = {"keys": [*endpoint.issuer.document()["keys"], *[{"kty": "oct"}] * 21]}
        assert 200 == await status(caller, endpoint.issuer.sign())

        lines = logged(caplog)
        assert 20 == sum(line.startswith("Ignoring a key from ") for line in lines)
        assert f"Ignoring 21 keys from {JWKS_URL} in all" == lines[20]

    async def test_an_outage_is_logged_in_two_lines(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """There is one when it begins and one when it ends, and neither contains a token."""
        caplog.set_level("DEBUG", "taskd_jwt")
        token = endpoint.issuer.sign()
        endpoint.fault = httpx.Response(503)
        for _ in range(50):
            assert 503 == await status(caller, token)
            clock.now_s += 5
        endpoint.fault = None
        clock.now_s += COOLDOWN_S
        assert [200] * 10 == [await status(caller, token) for _ in range(10)]

        assert not [piece for piece in token.split(".") if piece in caplog.text]
        assert [
            f"The key set at {JWKS_URL} is unavailable: the response is 503",
            f"Using 2 keys from {JWKS_URL}",
            f"The key set at {JWKS_URL} is available again after {250 + COOLDOWN_S}.0 s",
        ] == logged(caplog)

    async def test_a_day_without_requests_is_not_an_outage(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Keys that have become too old are fetched again, and no outage is logged."""
        token = endpoint.issuer.sign()
        assert 200 == await status(caller, token)
        logged(caplog)
        clock.now_s += DAY_S + 1

        assert 200 == await status(caller, token)
        assert "is unavailable" not in " ".join(logged(caplog))
