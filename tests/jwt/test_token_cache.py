"""The cache of verified tokens: how long it keeps them, how many, and what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import respx
from jwt.algorithms import Algorithm, HMACAlgorithm, OKPAlgorithm

from taskd import build_app
from taskd.auth import AuthUnavailable, ExpiredCredentials, InvalidCredentials, User
from taskd.settings import load_settings
from taskd.testing import lifespan
from taskd_jwt.jwks.timing import Timing
from taskd_jwt.settings import JWTSettings
from taskd_jwt.token_cache import TokenCache
from taskd_jwt.verifier import Verifier
from tests.conftest import SECRET, client_of, token_for
from tests.support.attacks import ATTACKS, EAGER, ISSUER
from tests.support.clock import Clock
from tests.support.issuer import URL, Issuer, published

pytestmark = pytest.mark.anyio

BOTH = {"BETTER_AUTH_SECRET": SECRET, "BETTER_AUTH_URL": URL}
ALICE, BOB = User("alice"), User("bob")
TIMING = Timing()
FUTURE_S = 10.0**11


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Record the bytes whose signatures are verified."""
    recorded = []

    def counting(verify: Callable[..., bool]) -> Callable[..., bool]:
        def counted(self: Algorithm, signed: bytes, *rest: Any) -> bool:
            recorded.append(signed)
            return verify(self, signed, *rest)

        return counted

    for algorithm in (HMACAlgorithm, OKPAlgorithm):
        monkeypatch.setattr(algorithm, "verify", counting(algorithm.verify))
    return recorded


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(("EdDSA",))


@pytest.fixture
def keys(issuer: Issuer) -> Iterator[respx.Route]:
    with published(issuer) as route:
        yield route


@pytest.fixture
def verifier(clock: Clock) -> Verifier:
    return Verifier.of(load_settings(JWTSettings, BOTH), clock=clock)


def contents(cache: TokenCache) -> dict[bytes, tuple[User, float, float]]:
    return dict(cache._users)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("kind", ["HS256", "EdDSA"])
async def test_a_signature_is_verified_once(tmp_path: Path, issuer: Issuer, verified: list[bytes], kind: str) -> None:
    """A token that is sent again is accepted from the cache, and still refused for another user's path."""
    app = build_app({"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", **BOTH})
    token = token_for("alice") if kind == "HS256" else issuer.sign()
    async with lifespan(app), client_of(app) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        for user, status in (("alice", 200), ("bob", 401), ("alice", 200)):
            assert status == (await client.get(f"/api/{user}/tasks")).status_code

    assert 1 == len(verified)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("kind", ["HS256", "EdDSA"])
async def test_no_token_is_cached_past_its_expiry(
    verifier: Verifier, issuer: Issuer, verified: list[bytes], clock: Clock, kind: str
) -> None:
    """It is accepted until its last second, and refused after that."""
    end_s = int(clock.time()) + 60
    hs256 = jwt.encode({"sub": "alice", "exp": end_s}, SECRET, "HS256")
    token = hs256 if kind == "HS256" else issuer.sign({"exp": end_s})
    assert ALICE == await verifier.verify(token)
    clock.now_s += end_s - clock.time() - 0.5
    assert ALICE == await verifier.verify(token)
    assert 1 == len(verified)
    clock.now_s += 0.5

    with pytest.raises(ExpiredCredentials, match=r"^The token expired 1 s ago\.$"):
        await verifier.verify(token)
    assert 1 == len(verified)


@pytest.mark.usefixtures("keys")
async def test_a_token_is_cached_no_longer_than_its_key(
    verifier: Verifier, issuer: Issuer, verified: list[bytes], clock: Clock
) -> None:
    """It is verified again when the keys are due to be fetched; a token signed with the secret is not."""
    token, by_secret = issuer.sign(), token_for("alice", 86_400)
    for seconds in (0, 300, 300, 0):
        clock.now_s += seconds
        assert [ALICE] * 2 == [await verifier.verify(each) for each in (token, by_secret)]

    assert 3 == len(verified)


async def test_under_stale_keys_a_token_is_cached_until_the_next_fetch(
    verifier: Verifier, issuer: Issuer, keys: respx.Route, verified: list[bytes], clock: Clock
) -> None:
    """While the endpoint is down, a withdrawn key is used no longer than necessary."""
    token = issuer.sign()
    assert ALICE == await verifier.verify(token)
    keys.mock(return_value=httpx.Response(500))
    clock.now_s += TIMING.max_age_s
    assert [ALICE] * 3 == [await verifier.verify(token) for _ in range(3)]
    assert 2 == len(verified)
    clock.now_s += TIMING.cooldown_s
    assert [ALICE] * 3 == [await verifier.verify(token) for _ in range(3)]

    assert 3 == len(verified)


async def test_no_token_outlives_keys_that_are_a_day_old(
    verifier: Verifier, issuer: Issuer, keys: respx.Route, clock: Clock
) -> None:
    """Under keys that may be used for five more seconds, it is cached no longer than that."""
    token = issuer.sign()
    assert ALICE == await verifier.verify(token)
    keys.mock(return_value=httpx.Response(500))
    clock.now_s += TIMING.max_stale_age_s - 5
    assert [ALICE] * 2 == [await verifier.verify(token) for _ in range(2)]
    clock.now_s += 5

    with pytest.raises(AuthUnavailable):
        await verifier.verify(token)


@pytest.mark.usefixtures("keys")
async def test_new_keys_clear_the_cache(verifier: Verifier, issuer: Issuer, clock: Clock) -> None:
    """When the key set changes, all tokens are forgotten."""
    tokens = [issuer.sign(), token_for("alice")]
    assert [ALICE] * 2 == [await verifier.verify(token) for token in tokens]
    assert 2 == len(contents(verifier.cache))
    issuer.rotate()
    clock.now_s += TIMING.cooldown_s
    assert ALICE == await verifier.verify(issuer.sign())

    assert 1 == len(contents(verifier.cache))
    with pytest.raises(InvalidCredentials, match="does not contain the key"):
        await verifier.verify(tokens[0])


async def test_refused_tokens_are_not_cached() -> None:
    """A flood of forged tokens takes no memory and displaces no valid token."""
    verifier = Verifier.of(load_settings(JWTSettings, BOTH), EAGER)
    refused_by_core = [token for token, reason in ATTACKS.values() if "user must be a text" in reason]
    with published(ISSUER):
        for token, _ in ATTACKS.values():
            if token not in refused_by_core:
                with pytest.raises(InvalidCredentials):
                    await verifier.verify(token)

    assert {} == contents(verifier.cache)


@pytest.mark.usefixtures("keys")
async def test_the_cache_holds_no_tokens(verifier: Verifier, issuer: Issuer) -> None:
    """It holds a digest, the user and two times, but no part of a token."""
    tokens = [issuer.sign(), token_for("alice")]
    for token in tokens:
        await verifier.verify(token)
    cache = contents(verifier.cache)

    assert {(32, ALICE)} == {(len(digest), user) for digest, (user, _, _) in cache.items()}
    shown = repr([verifier, verifier.cache, cache, [bytes(digest) for digest in cache]])
    assert not [part for token in tokens for part in (token, *token.split(".")) if part in shown]
    assert "TokenCache()" == repr(verifier.cache)
    assert SECRET not in shown


def test_each_cache_has_its_own_digests() -> None:
    """The contents of one process's cache say nothing about another's."""
    caches = [TokenCache() for _ in range(2)]
    for cache in caches:
        cache.add("a token", ALICE, FUTURE_S, FUTURE_S)
    first, second = (list(contents(cache)) for cache in caches)

    assert first != second
    assert [ALICE, ALICE] == [cache.get("a token") for cache in caches]


def test_the_least_recently_used_token_is_dropped() -> None:
    """The cache is bounded, and tokens in use stay."""
    cache = TokenCache(max_tokens=3)
    for token in "abc":
        cache.add(token, ALICE, FUTURE_S, FUTURE_S)
    assert ALICE == cache.get("a")
    cache.add("d", BOB, FUTURE_S, FUTURE_S)

    assert [ALICE, None, ALICE, BOB] == [cache.get(token) for token in "abcd"]
    assert 3 == len(contents(cache))


def test_a_token_is_cached_until_it_expires(clock: Clock) -> None:
    """It is not returned at that moment or later."""
    cache = TokenCache(clock)
    cache.add("a token", ALICE, clock.time() + 10, FUTURE_S)
    found = [cache.get("a token")]
    for seconds in (9.75, 0.25, 3600):
        clock.now_s += seconds
        found.append(cache.get("a token"))

    assert [ALICE, ALICE, None, None] == found


def test_setting_the_clock_back_keeps_no_token_cached(clock: Clock) -> None:
    """How long keys may be relied on does not depend on the system's clock."""
    cache = TokenCache(clock)
    cache.add("a token", ALICE, clock.time() + 3600, 10)
    clock.began_s -= 86_400
    found = [cache.get("a token")]
    clock.now_s += 10
    found.append(cache.get("a token"))

    assert [ALICE, None] == found


def test_tokens_are_kept_apart_and_cleared() -> None:
    """Similar tokens are different tokens."""
    cache = TokenCache()
    cache.add("a.b.c", ALICE, FUTURE_S, FUTURE_S)
    assert [None] * 4 == [cache.get(token) for token in ("a.b.C", "a.b.", "", "a.b.c ")]
    cache.clear()

    assert cache.get("a.b.c") is None
