"""Fetching an issuer's keys: which tokens they verify, and when they are fetched."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
import respx
from starlette.types import ASGIApp

import taskd_jwt.jwks.fetch
from taskd import build_app
from taskd.testing import lifespan
from taskd.time_limit import Timeouts
from taskd_jwt.jwks.cache import RemoteKeySet
from taskd_jwt.jwks.keys import KeySet, read_key_set
from taskd_jwt.jwks.timing import Timing
from taskd_jwt.jws import Token
from tests.conftest import client_of, token_for
from tests.support.applications import build_verifying
from tests.support.clock import Clock
from tests.support.issuer import JWKS_URL, KINDS, LIFETIME_S, URL, Issuer, KeyPair
from tests.support.key_endpoint import (
    COOLDOWN_S,
    IMPATIENT,
    KIND,
    MIN_INTERVAL_S,
    QUIET_S,
    Endpoint,
    fetched,
    keys_of,
    logged,
    response_to,
    status,
    unknown,
)
from tests.support.serving import until

pytestmark = pytest.mark.anyio


class TestAcceptedTokens:
    async def test_a_token_of_each_algorithm_is_accepted(self, both_schemes: dict[str, str], clock: Clock) -> None:
        """All keys arrive with a single fetch."""
        endpoint = Endpoint(Issuer(), clock)
        endpoint.gate.set()
        app = build_verifying(both_schemes, clock=clock)
        with respx.mock() as router:
            router.get(JWKS_URL).mock(side_effect=endpoint.response)
            async with lifespan(app), client_of(app) as client:
                assert [200] * 5 == [await status(client, endpoint.issuer.sign(kind=kind)) for kind in KINDS]
        assert 1 == endpoint.fetches

    @pytest.mark.parametrize(
        ("auth_url", "keys_url", "origin"),
        [
            ("https://auth.example.com/", JWKS_URL, URL),
            ("HTTPS://Auth.Example.COM", JWKS_URL, URL),
            ("https://auth.example.com:443", JWKS_URL, URL),
            ("https://auth.example.com:8443/", "https://auth.example.com:8443/api/auth/jwks", f"{URL}:8443"),
            ("https://auth.example.com/auth", "https://auth.example.com/auth/jwks", URL),
            ("https://auth.example.com/api/auth/", JWKS_URL, URL),
            ("http://localhost:3000", "http://localhost:3000/api/auth/jwks", "http://localhost:3000"),
            ("http://[::1]:3000/v1/auth", "http://[::1]:3000/v1/auth/jwks", "http://[::1]:3000"),
        ],
    )
    async def test_the_base_url_is_read_as_better_auth_reads_it(
        self, both_schemes: dict[str, str], issuer: Issuer, auth_url: str, keys_url: str, origin: str
    ) -> None:
        """The keys are below its path, and its origin is the expected `iss` and `aud`."""
        app = build_app({**both_schemes, "BETTER_AUTH_URL": auth_url})
        with respx.mock() as router:
            router.get(keys_url).respond(json=issuer.document())
            async with lifespan(app), client_of(app) as client:
                assert 200 == await status(client, issuer.sign({"iss": origin, "aud": origin}))
                assert 401 == await status(client, issuer.sign({"iss": f"{origin}/", "aud": origin}))

    @pytest.mark.parametrize(
        ("settings", "claims", "is_valid"),
        [
            ({"TASKD_JWT_AUDIENCE": "api"}, {"aud": "api"}, True),
            ({"TASKD_JWT_AUDIENCE": "api"}, {"aud": URL}, False),
            ({"TASKD_JWT_ISSUER": "us"}, {"iss": "us"}, True),
            ({"TASKD_JWT_ISSUER": "us"}, {"iss": URL}, False),
            ({"TASKD_JWT_AUDIENCE": "", "TASKD_JWT_ISSUER": ""}, {}, True),
            ({}, {"aud": [URL, "other"]}, True),
            ({}, {"aud": "other"}, False),
            ({}, {"aud": None}, False),
            ({}, {"iss": "other"}, False),
            ({}, {"iss": None}, False),
        ],
    )
    async def test_audience_and_issuer(
        self,
        both_schemes: dict[str, str],
        issuer: Issuer,
        settings: dict[str, str],
        claims: dict[str, Any],
        is_valid: bool,
    ) -> None:
        """They are required, and default to the base URL's origin."""
        app = build_app({**both_schemes, **settings})
        with respx.mock(assert_all_called=False) as router:
            router.get(JWKS_URL).respond(json=issuer.document())
            async with lifespan(app), client_of(app) as client:
                assert (200 if is_valid else 401) == await status(client, issuer.sign(claims))

    async def test_the_keys_may_be_elsewhere(self, both_schemes: dict[str, str], issuer: Issuer) -> None:
        """`TASKD_JWKS_URL` says where, and does not change the issuer and audience."""
        app = build_app({**both_schemes, "TASKD_JWKS_URL": "https://cdn.example.com/keys.json"})
        with respx.mock() as router:
            router.get("https://cdn.example.com/keys.json").respond(json=issuer.document())
            async with lifespan(app), client_of(app) as client:
                assert 200 == await status(client, issuer.sign())

    async def test_the_request_for_the_keys(self, both_schemes: dict[str, str], issuer: Issuer) -> None:
        """It asks for an uncompressed, uncached response and carries no credentials."""
        app = build_app(both_schemes)
        with respx.mock() as router:
            route = router.get(JWKS_URL).respond(json=issuer.document())
            async with lifespan(app), client_of(app) as client:
                assert 200 == await status(client, issuer.sign())
            headers = route.calls.last.request.headers

        assert ("identity", "application/json") == (headers["Accept-Encoding"], headers["Accept"])
        # A cached response may lack the newest key.
        assert "no-cache" == headers["Cache-Control"]
        assert not {"Authorization", "Cookie"} & set(headers)


class TestFetches:
    async def test_keys_are_kept_for_ten_minutes(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """After ten minutes they are fetched again before a token is accepted."""
        token = endpoint.issuer.sign()
        for _ in range(9):
            assert 200 == await status(caller, token)
            clock.now_s += 59.9
        assert 1 == endpoint.fetches
        clock.now_s += 61
        endpoint.issuer.rotate()

        assert 401 == await status(caller, token)
        assert 2 == endpoint.fetches

    async def test_nothing_is_fetched_before_it_is_needed(self, caller: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """The start, tokens of the other scheme and malformed tokens cause no fetch."""
        assert 200 == await status(caller, token_for("alice", LIFETIME_S))
        assert 401 == await status(caller, endpoint.issuer.sign({"exp": 1}))
        assert 401 == await status(caller, endpoint.issuer.sign(kid=None))

        assert 0 == endpoint.fetches

    async def test_keys_are_refreshed_in_the_background(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """Between nine and ten minutes, a request starts the fetch and is served with the cached keys."""
        old, other = endpoint.issuer.sign(), endpoint.issuer.sign(kind=KIND)
        assert 200 == await status(caller, old)
        clock.now_s += 541
        endpoint.gate.clear()
        endpoint.issuer.rotate()
        # These get their responses before the gate is opened.
        assert [200] * 3 == [await status(caller, token) for token in (other, other, old)]
        await until(lambda: endpoint.fetches == 2)
        endpoint.gate.set()
        await fetched()

        assert 200 == await status(caller, endpoint.issuer.sign())

    async def test_an_unknown_key_is_looked_for_once(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """The first token of a new key is accepted."""
        assert 200 == await status(caller, endpoint.issuer.sign())
        endpoint.issuer.rotate()
        # This holds even soon after the keys were fetched for another reason.
        clock.now_s += MIN_INTERVAL_S

        assert 200 == await status(caller, endpoint.issuer.sign())
        assert 2 == endpoint.fetches

    async def test_a_flood_of_unknown_keys_causes_few_fetches(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """A thousand in five minutes cause at most five fetches a minute, and nobody else is refused."""
        draw = random.Random(4)
        good = endpoint.issuer.sign()
        for _ in range(1000):
            assert await status(caller, endpoint.issuer.sign(kid=f"{draw.getrandbits(128):x}")) in (401, 503)
            clock.now_s += draw.uniform(0, 0.6)
        assert 200 == await status(caller, good)

        busiest = max(sum(begin <= other <= begin + 60 for other in endpoint.fetched_s) for begin in endpoint.fetched_s)
        assert 5 == busiest
        assert 18 <= endpoint.fetches <= 25

    async def test_first_requests_share_one_fetch(self, caller: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """A hundred concurrent requests share the same fetch."""
        endpoint.gate.clear()
        token = endpoint.issuer.sign()
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(status(caller, token)) for _ in range(100)]
            await until(lambda: endpoint.fetches == 1)
            endpoint.gate.set()

        assert [200] * 100 == [task.result() for task in waiting]
        assert 1 == endpoint.fetches

    async def test_a_client_that_disconnects_does_not_stop_the_fetch(
        self, caller: httpx.AsyncClient, endpoint: Endpoint
    ) -> None:
        """The other clients that wait for it are served."""
        endpoint.gate.clear()
        token = endpoint.issuer.sign()
        leaving, staying = (asyncio.create_task(status(caller, token)) for _ in range(2))
        await until(lambda: endpoint.fetches == 1)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        endpoint.gate.set()

        assert 200 == await staying
        assert 1 == endpoint.fetches


FLOODS: dict[str, Callable[[Issuer, int], str]] = {
    "unknown keys": unknown,
    "an unknown key": lambda issuer, number: issuer.sign({"jti": str(number)}, kid="unknown"),
    "one token": lambda issuer, _: unknown(issuer, 0),
    "a key before it is published": lambda issuer, number: issuer.sign({"jti": str(number)}, kid="foreseen"),
}


class TestNewKeys:
    """A token with an unknown key is refused only once the keys have been fetched after it arrived."""

    @pytest.mark.parametrize("flood", FLOODS)
    @pytest.mark.parametrize("rotated_s", [0, 5, 14])
    async def test_no_flood_signs_out_users_with_a_new_key(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, flood: str, rotated_s: int
    ) -> None:
        """Whatever arrives every second, other users get a 503, never a 401, until their key has been fetched."""
        forger, forge = Issuer(("EdDSA",)), FLOODS[flood]
        assert 200 == await status(caller, endpoint.issuer.sign())
        for number in range(40 + rotated_s):
            clock.now_s += 1
            assert await status(caller, forge(forger, number)) in (401, 503)
        endpoint.issuer.keys["EdDSA"] = KeyPair.generate("EdDSA", "foreseen")
        seen: list[int] = []
        while 200 not in seen:
            clock.now_s += 1
            assert await status(caller, forge(forger, len(seen))) in (401, 503)
            seen.append(await status(caller, endpoint.issuer.sign({"jti": str(len(seen))})))

        assert {503} >= set(seen[:-1])
        longest_s = {"unknown keys": COOLDOWN_S, "a key before it is published": QUIET_S}.get(flood, MIN_INTERVAL_S + 1)
        assert len(seen) <= longest_s
        assert 5 >= max(
            sum(begin <= other <= begin + 60 for other in endpoint.fetched_s) for begin in endpoint.fetched_s
        )

    @pytest.mark.parametrize("is_valid", [True, False])
    async def test_after_retry_after_the_token_can_be_judged(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, is_valid: bool
    ) -> None:
        """After `Retry-After` seconds, the key is looked for, even if other requests come first."""
        assert 200 == await status(caller, endpoint.issuer.sign())
        clock.now_s += MIN_INTERVAL_S
        assert 401 == await status(caller, unknown(endpoint.issuer, 1))
        endpoint.issuer.rotate()
        token = endpoint.issuer.sign() if is_valid else unknown(endpoint.issuer, 2)
        response = await response_to(caller, token)
        assert (503, str(COOLDOWN_S)) == (response.status_code, response.headers["Retry-After"])
        clock.now_s += COOLDOWN_S
        assert 401 == await status(caller, unknown(endpoint.issuer, 3))

        assert [200 if is_valid else 401] * 2 == [await status(caller, token) for _ in range(2)]
        assert 3 == endpoint.fetches

    async def test_a_fetch_that_was_running_proves_nothing(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The key set may have been read before the new key was published."""
        asked_for = []

        async def watched(self: RemoteKeySet, key_id: str, token: Token) -> jwt.PyJWK:
            asked_for.append(key_id)
            return await key(self, key_id, token)

        key = RemoteKeySet.key
        monkeypatch.setattr(RemoteKeySet, "key", watched)
        assert 200 == await status(caller, endpoint.issuer.sign())
        endpoint.document = endpoint.issuer.document()
        endpoint.gate.clear()
        clock.now_s += COOLDOWN_S
        forged = asyncio.create_task(status(caller, unknown(endpoint.issuer, 1)))
        await until(lambda: endpoint.fetches == 2)
        endpoint.issuer.rotate()
        good = asyncio.create_task(status(caller, endpoint.issuer.sign()))
        await until(lambda: len(asked_for) == 3)
        endpoint.gate.set()
        assert [401, 503] == [await forged, await good]
        endpoint.document = None
        clock.now_s += COOLDOWN_S

        assert 200 == await status(caller, endpoint.issuer.sign())

    async def test_a_missing_key_is_not_looked_for_again_at_once(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """The same token is refused at once, and another token with this key only after another fetch."""
        first, second = (endpoint.issuer.sign({"jti": name}, kid="gone") for name in ("first", "second"))
        assert 401 == await status(caller, first)
        clock.now_s += COOLDOWN_S
        responses = [await response_to(caller, token) for token in (first, second)]
        assert [401, 503] == [response.status_code for response in responses]
        assert str(QUIET_S - COOLDOWN_S) == responses[1].headers["Retry-After"]
        assert 1 == endpoint.fetches
        clock.now_s += QUIET_S - COOLDOWN_S

        assert [401, 401] == [await status(caller, token) for token in (first, second)]
        assert 2 == endpoint.fetches


class TestRotation:
    async def test_tokens_of_a_withdrawn_key_are_refused(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """They are refused after the next fetch, even if they were accepted before."""
        old = endpoint.issuer.sign()
        assert [200, 200] == [await status(caller, old) for _ in range(2)]
        endpoint.issuer.rotate()
        clock.now_s += COOLDOWN_S
        assert 200 == await status(caller, endpoint.issuer.sign())

        assert "does not contain the key" in (await response_to(caller, old)).json()["detail"]

    async def test_a_key_may_be_replaced_under_the_same_kid(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """Tokens of the previous key are refused."""
        old = endpoint.issuer.sign()
        assert 200 == await status(caller, old)
        endpoint.issuer.keys["EdDSA"] = KeyPair.generate("EdDSA", endpoint.issuer.keys["EdDSA"].key_id)
        clock.now_s += 601

        assert [401, 200] == [await status(caller, token) for token in (old, endpoint.issuer.sign())]

    @pytest.mark.parametrize("keys", [[], [{"kty": "oct", "k": "AAAA", "kid": "a"}]], ids=["no key", "unusable keys"])
    async def test_without_usable_keys_nobody_gets_in(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, keys: list[object]
    ) -> None:
        """If an issuer withdraws its keys, tokens that were accepted before are refused."""
        token = endpoint.issuer.sign()
        assert [200, 200] == [await status(caller, token) for _ in range(2)]
        endpoint.document = {"keys": keys}
        clock.now_s += 601
        assert [503, 503] == [await status(caller, token) for _ in range(2)]
        assert 200 == await status(caller, token_for("alice", LIFETIME_S))
        endpoint.document = None
        clock.now_s += COOLDOWN_S

        assert 200 == await status(caller, token)

    async def test_reordered_keys_are_not_a_change(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The same keys in another order are not logged again."""
        caplog.set_level("INFO")
        assert 200 == await status(caller, endpoint.issuer.sign())
        logged(caplog)
        endpoint.document = {"keys": endpoint.issuer.document()["keys"][::-1]}
        clock.now_s += 601
        assert 200 == await status(caller, endpoint.issuer.sign())

        assert (2, []) == (endpoint.fetches, logged(caplog))


def test_each_request_may_have_its_own_event_loop(
    both_schemes: dict[str, str], endpoint: Endpoint, clock: Clock
) -> None:
    """Some serverless adapters do this; a fetch that ended with its loop is started again in the next one."""
    app, token = build_verifying(both_schemes, IMPATIENT, clock), endpoint.issuer.sign()
    assert 503 == asyncio.run(ask(app, endpoint, token, is_open=False))
    keys_of(app).timing = Timing()
    clock.now_s += COOLDOWN_S

    assert [200, 200] == [asyncio.run(ask(app, endpoint, token, is_open=True)) for _ in range(2)]
    assert 2 == endpoint.fetches


def test_a_fetch_in_a_paused_event_loop_does_not_delay_others(
    both_schemes: dict[str, str], endpoint: Endpoint, clock: Clock
) -> None:
    """An adapter may pause a loop; other loops do not wait for its fetch."""
    app, token = build_verifying(both_schemes, IMPATIENT, clock), endpoint.issuer.sign()
    with asyncio.Runner() as stopped:
        assert 503 == stopped.run(ask(app, endpoint, token, is_open=False))
        keys_of(app).timing = Timing()
        clock.now_s += COOLDOWN_S

        assert 200 == asyncio.run(ask(app, endpoint, token, is_open=True))


def test_a_late_fetch_does_not_replace_newer_keys(
    both_schemes: dict[str, str], endpoint: Endpoint, clock: Clock
) -> None:
    """Keys fetched in a paused event loop do not replace those fetched later."""
    app, old = build_verifying(both_schemes, IMPATIENT, clock), endpoint.issuer.document()
    with asyncio.Runner() as stopped:
        assert 503 == stopped.run(ask(app, endpoint, endpoint.issuer.sign(), is_open=False))
        keys_of(app).timing = Timing()
        gate = endpoint.gate
        clock.now_s += COOLDOWN_S
        endpoint.issuer.rotate()
        assert 200 == asyncio.run(ask(app, endpoint, endpoint.issuer.sign(), is_open=True))
        endpoint.document = old

        async def end() -> None:
            gate.set()
            await fetched()

        stopped.run(end())

        assert 200 == asyncio.run(ask(app, endpoint, endpoint.issuer.sign({"jti": "another"}), is_open=True))
    assert 2 == endpoint.fetches


async def ask(app: ASGIApp, endpoint: Endpoint, token: str, *, is_open: bool) -> int:
    """Send a request in its own event loop, which ends only after the endpoint has been asked."""
    endpoint.gate = asyncio.Event()
    if is_open:
        endpoint.gate.set()
    async with client_of(app) as client:
        answered = await status(client, token)
    await until(lambda: endpoint.fetches > 0)
    return answered


async def test_keys_are_read_in_a_thread(
    caller: httpx.AsyncClient, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a mebibyte of keys does not block the event loop."""
    threads = []

    def watched(document: bytes) -> KeySet:
        threads.append(threading.current_thread())
        return read_key_set(document)

    monkeypatch.setattr(taskd_jwt.jwks.fetch, "read_key_set", watched)

    assert 200 == await status(caller, endpoint.issuer.sign())
    assert 1 == len(threads)
    assert threading.current_thread() not in threads


def test_a_fetch_ends_before_the_next_one_may_start() -> None:
    """A slow fetch does not delay the next one."""
    assert Timing().fetch_timeout_s < COOLDOWN_S


def test_a_request_waits_less_than_the_core_allows() -> None:
    """The plugin's own 503, with its `Retry-After`, comes first."""
    assert Timing().wait_s < Timeouts().auth_s
