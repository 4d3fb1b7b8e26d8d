"""While the keys of an issuer cannot be fetched: who is served, who is refused, and what is told."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import Callable

import httpx
import pytest

from taskd import build_app
from taskd.testing import lifespan
from tests.clock import Clock
from tests.conftest import client_of, token_for
from tests.issuer import JWKS_URL, LIFETIME_S, URL, Issuer
from tests.key_endpoint import COOLDOWN_S, KIND, MIN_INTERVAL_S, Endpoint, answer_to, fetched, status, told, unknown
from tests.serving import until

pytestmark = pytest.mark.anyio

DAY_S = 24 * 60 * 60
LIMIT = 1024 * 1024
FAULTS: dict[str, tuple[httpx.Response | Exception, str]] = {
    "500": (httpx.Response(500), "it answers 500"),
    "404": (httpx.Response(404, json={"keys": []}), "it answers 404"),
    "204": (httpx.Response(204), "it answers 204"),
    "a redirect": (httpx.Response(302, headers={"Location": f"{URL}/elsewhere"}), "it answers 302"),
    "no connection": (httpx.ConnectError("All connection attempts failed"), "All connection attempts failed"),
    "a fault without words": (httpx.ReadError(""), "ReadError"),
    "a record of TLS that is none": (ssl.SSLError(1, "[SSL] record layer failure"), "record layer failure"),
    "a broken pipe": (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
    "a time-out": (httpx.ReadTimeout("slow"), "no answer in time"),
    "nonsense": (httpx.RemoteProtocolError("illegal status line"), "illegal status line"),
    "HTML": (httpx.Response(200, html="<h1>Welcome</h1>"), "not a JSON Web Key Set"),
    "half a document": (httpx.Response(200, content=b'{"keys": [{"kty":'), "not a JSON Web Key Set"),
    "nothing": (httpx.Response(200), "not a JSON Web Key Set"),
    "too many keys": (httpx.Response(200, json={"keys": [0] * 5001}), "more than 5000 keys"),
    "too much": (httpx.Response(200, content=b" " * LIMIT + b'{"keys": []}'), "more than 1048576 bytes"),
    "gzip": (
        httpx.Response(200, content=gzip.compress(b'{"keys": []}'), headers={"Content-Encoding": "gzip"}),
        "in an encoding that was not asked for",
    ),
}


class TestWhileItFails:
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
        """Whatever is wrong, old keys serve for 24 hours, and then none do; it is said once, and the end of it, too."""
        token = endpoint.issuer.sign()
        assert 200 == await status(caller, token)
        endpoint.fault = fault
        told(caplog)
        for hour in range(24):
            clock.now_s = 1000 + (hour + 0.99) * 3600
            assert 200 == await status(caller, token)
            await fetched()
        [line] = told(caplog)
        assert line.startswith(f"The key set at {JWKS_URL} does not serve: ")
        assert reason in line
        clock.now_s = 1000 + DAY_S
        assert [503, 503] == [await status(caller, token), await status(caller, endpoint.issuer.sign(kind=KIND))]
        assert 200 == await status(caller, token_for("alice", LIFETIME_S))
        assert [f"The keys from {JWKS_URL} are a day old, and not used until they are fetched again"] == told(caplog)
        endpoint.fault = None
        clock.now_s += COOLDOWN_S
        assert 200 == await status(caller, token)
        assert f"The key set at {JWKS_URL} serves again, after " in " ".join(told(caplog))

    async def test_a_token_that_expires_meanwhile_is_refused(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """RFC 7519, section 4.1.4: what was good when it came may have ended when the keys have come."""
        endpoint.gate.clear()
        waiting = asyncio.create_task(status(caller, endpoint.issuer.sign({"exp": clock.time() + 1})))
        await until(lambda: endpoint.fetches == 1)
        clock.now_s += 1
        endpoint.gate.set()

        assert 401 == await waiting

    async def test_an_unknown_key_may_be_a_new_one(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """While the keys cannot be fetched nobody can tell, and its user is not signed out for that."""
        assert 200 == await status(caller, endpoint.issuer.sign())
        endpoint.fault = httpx.Response(500)
        clock.now_s += MIN_INTERVAL_S
        token = unknown(endpoint.issuer, 1)
        assert [503, 503] == [await status(caller, token) for _ in range(2)]
        endpoint.fault = None
        clock.now_s += COOLDOWN_S

        assert 401 == await status(caller, token)
        assert 3 == endpoint.fetches

    async def test_what_an_endpoint_says_does_not_fill_the_log(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its words, which may be in the library's error, are cut."""
        endpoint.fault = httpx.RemoteProtocolError("x" * 60_000)
        assert 503 == await status(caller, endpoint.issuer.sign())

        [line] = told(caplog)
        assert line.endswith(f": {'x' * 200}")

    async def test_a_redirect_is_not_followed(self, caller: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """Not even to good keys: where they are is for the settings to say."""
        endpoint.fault = httpx.Response(302, headers={"Location": JWKS_URL})

        assert 503 == await status(caller, endpoint.issuer.sign())
        assert 1 == endpoint.fetches

    async def test_as_much_as_may_be_is_read(self, caller: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """A mebibyte is not too much."""
        content = json.dumps(endpoint.issuer.document()).encode()
        endpoint.fault = httpx.Response(200, content=content.ljust(LIMIT))

        assert 200 == await status(caller, endpoint.issuer.sign())

    @pytest.mark.parametrize(("fault", "reason"), FAULTS.values(), ids=FAULTS)
    async def test_without_keys_it_is_no_fault_of_the_token(
        self,
        caller: httpx.AsyncClient,
        endpoint: Endpoint,
        clock: Clock,
        fault: httpx.Response | Exception,
        reason: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Clients are told to come again, the other lane serves, and when the keys are back the first token is good."""
        endpoint.fault = fault
        token = endpoint.issuer.sign()
        answer = await answer_to(caller, token)
        assert 503 == answer.status_code
        assert {"detail": "The credentials cannot be verified now; try again later."} == answer.json()
        assert str(MIN_INTERVAL_S) == answer.headers["Retry-After"]
        assert 503 == await status(caller, token)
        assert 200 == await status(caller, token_for("alice", LIFETIME_S))
        assert 401 == await status(caller, token_for("bob"))
        assert 1 == endpoint.fetches
        [line] = told(caplog)
        assert reason in line
        endpoint.fault = None
        clock.now_s += COOLDOWN_S

        assert 200 == await status(caller, token)
        assert 2 == endpoint.fetches

    async def test_nobody_waits_for_what_fails(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """Once it failed, a fetch that hangs holds up no request that old keys can answer."""
        token = endpoint.issuer.sign()
        assert 200 == await status(caller, token)
        endpoint.fault = httpx.Response(500)
        clock.now_s += 601
        assert 200 == await status(caller, token)
        endpoint.fault = None
        endpoint.gate.clear()
        clock.now_s += COOLDOWN_S
        # The gate is only opened when these are answered.
        assert [200] * 3 == [await status(caller, token) for _ in range(3)]
        await until(lambda: endpoint.fetches == 3)
        endpoint.gate.set()
        await fetched()

        assert 200 == await status(caller, token)
        assert 3 == endpoint.fetches

    async def test_a_fetch_that_takes_long_goes_on_without_the_request(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, lose_patience: Callable[[], None]
    ) -> None:
        """The request is answered in time, and what it began serves the next."""
        lose_patience()
        endpoint.gate.clear()
        token = endpoint.issuer.sign()
        assert [503, 503] == [await status(caller, token) for _ in range(2)]
        await until(lambda: endpoint.fetches == 1)
        endpoint.gate.set()
        await fetched()

        assert 200 == await status(caller, token)
        assert 1 == endpoint.fetches

    async def test_a_new_key_that_is_on_its_way_is_no_unknown_one(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, lose_patience: Callable[[], None]
    ) -> None:
        """While the fetch takes long, its token may yet turn out good."""
        old = endpoint.issuer.sign()
        assert 200 == await status(caller, old)
        lose_patience()
        endpoint.issuer.rotate()
        endpoint.gate.clear()
        clock.now_s += COOLDOWN_S

        assert [503, 200] == [await status(caller, token) for token in (endpoint.issuer.sign(), old)]

    async def test_old_keys_serve_when_the_fetch_takes_long(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, lose_patience: Callable[[], None]
    ) -> None:
        """The first that finds them too old waits for a moment, and is then answered by them."""
        token = endpoint.issuer.sign()
        assert 200 == await status(caller, token)
        lose_patience()
        endpoint.gate.clear()
        clock.now_s += 3600

        assert 200 == await status(caller, token)
        await until(lambda: endpoint.fetches == 2)

    async def test_after_ten_minutes_a_failure_is_no_longer_news(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """Who then comes first waits for the fetch, and a key that was taken back meanwhile is not believed again."""
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

    async def test_a_defect_is_like_an_outage(
        self,
        caller: httpx.AsyncClient,
        endpoint: Endpoint,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """What nobody foresaw is told once, with where it comes from; old keys serve, and new ones may be good."""
        token = endpoint.issuer.sign()
        assert 200 == await status(caller, token)
        told(caplog)
        endpoint.fault = RuntimeError("nobody foresaw this")
        for _ in range(2):
            clock.now_s += 601
            assert [200, 503] == [await status(caller, each) for each in (token, unknown(endpoint.issuer, 1))]
            await fetched()
        assert ["RuntimeError: nobody foresaw this"] == [
            record.exc_text.splitlines()[-1] for record in caplog.records if record.exc_text
        ]
        assert [
            f"Fetching the key set at {JWKS_URL} failed by a defect; report it",
            f"The key set at {JWKS_URL} does not serve: a defect, RuntimeError",
        ] == told(caplog)
        endpoint.fault = None
        clock.now_s += COOLDOWN_S

        assert [200, 401] == [await status(caller, each) for each in (token, unknown(endpoint.issuer, 1))]

    @pytest.mark.parametrize(
        "url", ["https://a..b", f"https://{'a' * 64}.example", "https://[::::]", "https://xn--a/keys"]
    )
    async def test_an_address_that_nobody_can_have(
        self, both_lanes: dict[str, str], issuer: Issuer, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is like one where nobody answers."""
        app = build_app({**both_lanes, "TASKD_JWKS_URL": url})
        async with lifespan(app), client_of(app) as client:
            assert 503 == await status(client, issuer.sign())
            [line] = told(caplog)
            assert line.startswith(f"The key set at {url} does not serve: ")


class TestLog:
    async def test_a_key_that_is_not_used_is_told_once(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One line for each, again only when the key set is another one."""
        caplog.set_level("DEBUG")
        weak = {"kty": "oct", "k": "AAAA", "kid": "weak"}
        endpoint.document = {"keys": [*endpoint.issuer.document()["keys"], weak, {"kty": "EC"}]}
        dropped = [
            f"A key from {JWKS_URL} is not used: weak: it is a secret, and published",
            f"A key from {JWKS_URL} is not used: one without a good kid: no token can name it",
        ]
        token = endpoint.issuer.sign()
        assert 200 == await status(caller, token)
        assert [*dropped, f"2 keys from {JWKS_URL} are used"] == told(caplog)
        clock.now_s += 601
        assert 200 == await status(caller, token)
        assert (2, []) == (endpoint.fetches, told(caplog))
        endpoint.document["keys"].pop()
        clock.now_s += 601
        assert 200 == await status(caller, token)

        assert [dropped[0], f"2 keys from {JWKS_URL} are used"] == told(caplog)

    async def test_of_many_keys_that_are_not_used_some_are_told(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Twenty have a line of their own, and one says how many they are."""
        endpoint.document = {"keys": [*endpoint.issuer.document()["keys"], *[{"kty": "oct"}] * 21]}
        assert 200 == await status(caller, endpoint.issuer.sign())

        lines = told(caplog)
        assert 20 == sum(line.startswith("A key from ") for line in lines)
        assert f"21 keys from {JWKS_URL} are not used" == lines[20]

    async def test_an_outage_is_told_by_two_lines(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One when it begins and one when it ends, however many requests there are, and no token in any."""
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
            f"The key set at {JWKS_URL} does not serve: it answers 503",
            f"2 keys from {JWKS_URL} are used",
            f"The key set at {JWKS_URL} serves again, after 281.0 s",
        ] == told(caplog)

    async def test_a_day_without_requests_is_no_outage(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Keys that have become too old meanwhile are fetched again, and the endpoint is not said to be down."""
        token = endpoint.issuer.sign()
        assert 200 == await status(caller, token)
        told(caplog)
        clock.now_s += DAY_S + 1

        assert 200 == await status(caller, token)
        assert "does not serve" not in " ".join(told(caplog))
