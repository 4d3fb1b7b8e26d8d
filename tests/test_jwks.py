"""Fetching the keys of an issuer: who is accepted with them, and when the issuer is asked for them."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import httpx
import pytest
import respx
from starlette.types import ASGIApp

import taskd_jwt.jwks
from taskd import build_app
from taskd.auth import AUTH_TIMEOUT_S
from taskd.testing import lifespan
from taskd_jwt.download import FETCH_TIMEOUT_S
from taskd_jwt.keys import KeySet, read_key_set
from tests.clock import Clock
from tests.conftest import client_of, token_for
from tests.issuer import JWKS_URL, KINDS, LIFETIME_S, URL, Issuer, KeyPair
from tests.key_endpoint import COOLDOWN_S, KIND, MIN_INTERVAL_S, Endpoint, answer_to, fetched, status, told, unknown
from tests.serving import until

pytestmark = pytest.mark.anyio


class TestWhoIsAccepted:
    async def test_each_algorithm(self, both_lanes: dict[str, str], clock: Clock) -> None:
        """A token of each kind of key is accepted, with one fetch for all."""
        endpoint = Endpoint(Issuer(), clock)
        endpoint.gate.set()
        app = build_app(both_lanes)
        with respx.mock() as router:
            router.get(JWKS_URL).mock(side_effect=endpoint.answer)
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
        self, both_lanes: dict[str, str], issuer: Issuer, auth_url: str, keys_url: str, origin: str
    ) -> None:
        """The keys are below its path, and its origin is `iss` and `aud`."""
        app = build_app({**both_lanes, "BETTER_AUTH_URL": auth_url})
        with respx.mock() as router:
            router.get(keys_url).respond(json=issuer.document())
            async with lifespan(app), client_of(app) as client:
                assert 200 == await status(client, issuer.sign({"iss": origin, "aud": origin}))
                assert 401 == await status(client, issuer.sign({"iss": f"{origin}/", "aud": origin}))

    @pytest.mark.parametrize(
        ("settings", "claims", "is_good"),
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
        both_lanes: dict[str, str],
        issuer: Issuer,
        settings: dict[str, str],
        claims: dict[str, Any],
        is_good: bool,
    ) -> None:
        """They are the base URL's origin unless they are set, and must be there."""
        app = build_app({**both_lanes, **settings})
        with respx.mock(assert_all_called=False) as router:
            router.get(JWKS_URL).respond(json=issuer.document())
            async with lifespan(app), client_of(app) as client:
                assert (200 if is_good else 401) == await status(client, issuer.sign(claims))

    async def test_the_keys_may_be_elsewhere(self, both_lanes: dict[str, str], issuer: Issuer) -> None:
        """`TASKD_JWKS_URL` says where; issuer and audience remain."""
        app = build_app({**both_lanes, "TASKD_JWKS_URL": "https://cdn.example.com/keys.json"})
        with respx.mock() as router:
            router.get("https://cdn.example.com/keys.json").respond(json=issuer.document())
            async with lifespan(app), client_of(app) as client:
                assert 200 == await status(client, issuer.sign())

    async def test_what_is_asked(self, both_lanes: dict[str, str], issuer: Issuer) -> None:
        """No compression is asked for, and nothing is told."""
        app = build_app(both_lanes)
        with respx.mock() as router:
            route = router.get(JWKS_URL).respond(json=issuer.document())
            async with lifespan(app), client_of(app) as client:
                assert 200 == await status(client, issuer.sign())
            headers = route.calls.last.request.headers

        assert ("identity", "application/json") == (headers["Accept-Encoding"], headers["Accept"])
        assert not {"Authorization", "Cookie"} & set(headers)


class TestWhenItIsAsked:
    async def test_keys_are_kept_for_ten_minutes(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """Up to nine minutes nothing is fetched; after ten they are fetched before a token is believed."""
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
        """Neither the start, nor a token of the other lane, nor a bad one makes a fetch."""
        assert 200 == await status(caller, token_for("alice", LIFETIME_S))
        assert 401 == await status(caller, endpoint.issuer.sign({"exp": 1}))
        assert 401 == await status(caller, endpoint.issuer.sign(kid=None))

        assert 0 == endpoint.fetches

    async def test_keys_are_fetched_again_before_anybody_has_to_wait(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """Between nine and ten minutes a request starts the fetch, and is answered by the keys that are there."""
        old, other = endpoint.issuer.sign(), endpoint.issuer.sign(kind=KIND)
        assert 200 == await status(caller, old)
        clock.now_s += 541
        endpoint.gate.clear()
        endpoint.issuer.rotate()
        # The gate is only opened when these are answered, by a key that is to be looked for.
        assert [200] * 3 == [await status(caller, token) for token in (other, other, old)]
        await until(lambda: endpoint.fetches == 2)
        endpoint.gate.set()
        await fetched()

        assert 200 == await status(caller, endpoint.issuer.sign())

    async def test_an_unknown_key_is_looked_for_once(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """An issuer publishes a new key with the first token of it, which is accepted."""
        assert 200 == await status(caller, endpoint.issuer.sign())
        endpoint.issuer.rotate()
        # Even if that is soon after the keys were fetched for another reason.
        clock.now_s += MIN_INTERVAL_S

        assert 200 == await status(caller, endpoint.issuer.sign())
        assert 2 == endpoint.fetches
        clock.now_s += MIN_INTERVAL_S
        assert [401, 401] == [await status(caller, unknown(endpoint.issuer, number)) for number in range(2)]
        assert 2 == endpoint.fetches

    async def test_a_flood_of_unknown_keys_is_not_passed_on(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """A thousand in five minutes make at most three fetches in any minute, and nobody else is refused."""
        draw = random.Random(4)
        good = endpoint.issuer.sign()
        for _ in range(1000):
            assert 401 == await status(caller, endpoint.issuer.sign(kid=f"{draw.getrandbits(128):x}"))
            clock.now_s += draw.uniform(0, 0.6)
        assert 200 == await status(caller, good)

        busiest = max(sum(begin <= other <= begin + 60 for other in endpoint.fetched_s) for begin in endpoint.fetched_s)
        assert 3 == busiest
        assert 10 <= endpoint.fetches <= 16

    async def test_first_requests_share_one_fetch(self, caller: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """A hundred at once wait for the same."""
        endpoint.gate.clear()
        token = endpoint.issuer.sign()
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(status(caller, token)) for _ in range(100)]
            await until(lambda: endpoint.fetches == 1)
            endpoint.gate.set()

        assert [200] * 100 == [task.result() for task in waiting]
        assert 1 == endpoint.fetches

    async def test_who_leaves_does_not_stop_the_fetch(self, caller: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """A client that goes away takes nothing from the others who wait."""
        endpoint.gate.clear()
        token = endpoint.issuer.sign()
        leaving, staying = (asyncio.create_task(status(caller, token)) for _ in range(2))
        await until(lambda: endpoint.fetches == 1)
        leaving.cancel()
        assert 503 == await leaving
        endpoint.gate.set()

        assert 200 == await staying
        assert 1 == endpoint.fetches


class TestRotation:
    async def test_tokens_of_a_key_that_is_gone_are_refused(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """After the next fetch they are, even those that were accepted before."""
        old = endpoint.issuer.sign()
        assert [200, 200] == [await status(caller, old) for _ in range(2)]
        endpoint.issuer.rotate()
        clock.now_s += COOLDOWN_S
        assert 200 == await status(caller, endpoint.issuer.sign())

        assert "not, or no longer, in the key set" in (await answer_to(caller, old)).json()["detail"]

    async def test_a_key_of_the_same_name_is_another_key(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """Tokens of the key that had its name before are refused."""
        old = endpoint.issuer.sign()
        assert 200 == await status(caller, old)
        endpoint.issuer.keys["EdDSA"] = KeyPair.generate("EdDSA", endpoint.issuer.keys["EdDSA"].key_id)
        clock.now_s += 601

        assert [401, 200] == [await status(caller, token) for token in (old, endpoint.issuer.sign())]

    @pytest.mark.parametrize("keys", [[], [{"kty": "oct", "k": "AAAA", "kid": "a"}]], ids=["no key", "unusable keys"])
    async def test_without_usable_keys_nobody_gets_in(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, keys: list[object]
    ) -> None:
        """An issuer that takes its keys back is believed, and tokens that were accepted before are not."""
        token = endpoint.issuer.sign()
        assert [200, 200] == [await status(caller, token) for _ in range(2)]
        endpoint.document = {"keys": keys}
        clock.now_s += 601
        assert [503, 503] == [await status(caller, token) for _ in range(2)]
        assert 200 == await status(caller, token_for("alice", LIFETIME_S))
        endpoint.document = None
        clock.now_s += COOLDOWN_S

        assert 200 == await status(caller, token)

    async def test_the_order_of_keys_is_no_change(
        self, caller: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The same keys in another order are the same."""
        caplog.set_level("INFO")
        assert 200 == await status(caller, endpoint.issuer.sign())
        told(caplog)
        endpoint.document = {"keys": endpoint.issuer.document()["keys"][::-1]}
        clock.now_s += 601
        assert 200 == await status(caller, endpoint.issuer.sign())

        assert (2, []) == (endpoint.fetches, told(caplog))


def test_a_loop_for_each_call_is_no_obstacle(
    both_lanes: dict[str, str], endpoint: Endpoint, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As serverless adapters have it: a fetch that ended with its loop is begun again in another."""
    app, token = build_app(both_lanes), endpoint.issuer.sign()
    with monkeypatch.context() as impatient:
        impatient.setattr(taskd_jwt.jwks, "WAIT_S", 0.05)
        assert 503 == asyncio.run(ask(app, endpoint, token, is_open=False))
    clock.now_s += COOLDOWN_S

    assert [200, 200] == [asyncio.run(ask(app, endpoint, token, is_open=True)) for _ in range(2)]
    assert 2 == endpoint.fetches


def test_a_fetch_of_a_loop_that_stands_still_is_nobody_else_s(
    both_lanes: dict[str, str], endpoint: Endpoint, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter may stop a loop and keep it: another loop does not wait for what is under way there."""
    app, token = build_app(both_lanes), endpoint.issuer.sign()
    with asyncio.Runner() as stopped:
        with monkeypatch.context() as impatient:
            impatient.setattr(taskd_jwt.jwks, "WAIT_S", 0.05)
            assert 503 == stopped.run(ask(app, endpoint, token, is_open=False))
        clock.now_s += COOLDOWN_S

        assert 200 == asyncio.run(ask(app, endpoint, token, is_open=True))


async def ask(app: ASGIApp, endpoint: Endpoint, token: str, *, is_open: bool) -> int:
    """Ask in a loop that has no other request, and that does not end before the endpoint was asked."""
    endpoint.gate = asyncio.Event()
    if is_open:
        endpoint.gate.set()
    async with client_of(app) as client:
        answered = await status(client, token)
    await until(lambda: endpoint.fetches > 0)
    return answered


async def test_keys_are_read_beside_the_event_loop(
    caller: httpx.AsyncClient, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mebibyte of them takes a while, in which others are answered."""
    threads = []

    def watched(document: bytes) -> KeySet:
        threads.append(threading.current_thread())
        return read_key_set(document)

    monkeypatch.setattr(taskd_jwt.jwks, "read_key_set", watched)

    assert 200 == await status(caller, endpoint.issuer.sign())
    assert 1 == len(threads)
    assert threading.current_thread() not in threads


def test_a_fetch_ends_before_the_next_may_begin() -> None:
    """None that hangs keeps the keys from being fetched by one that does not."""
    assert FETCH_TIMEOUT_S < COOLDOWN_S


def test_a_request_waits_for_keys_for_less_than_the_core_waits_for_it() -> None:
    """What is answered then says when to come again."""
    assert taskd_jwt.jwks.WAIT_S < AUTH_TIMEOUT_S
