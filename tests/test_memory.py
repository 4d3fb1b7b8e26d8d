"""Remembering verified tokens: for how long, how many, and what is in memory then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import respx
from jwt.algorithms import Algorithm, HMACAlgorithm, OKPAlgorithm

from taskd import AuthUnavailable, InvalidCredentials, User, build_app
from taskd.testing import lifespan
from taskd_jwt.fetch_limit import COOLDOWN_S
from taskd_jwt.jwks import MAX_AGE_S, MAX_STALE_AGE_S
from taskd_jwt.memory import VerifiedTokens
from taskd_jwt.plugin import taskd_auth
from taskd_jwt.verification import Verifier
from tests.attacks import ATTACKS, ISSUER
from tests.clock import Clock
from tests.conftest import SECRET, client_of, token_for
from tests.issuer import URL, Issuer, published

pytestmark = pytest.mark.anyio

BOTH = {"BETTER_AUTH_SECRET": SECRET, "BETTER_AUTH_URL": URL}
ALICE, BOB = User("alice"), User("bob")
FUTURE_S = 10.0**11


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What signatures are verified of."""
    texts = []

    def counting(verify: Callable[..., bool]) -> Callable[..., bool]:
        def counted(self: Algorithm, signed: bytes, *rest: Any) -> bool:
            texts.append(signed)
            return verify(self, signed, *rest)

        return counted

    for algorithm in (HMACAlgorithm, OKPAlgorithm):
        monkeypatch.setattr(algorithm, "verify", counting(algorithm.verify))
    return texts


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(("EdDSA",))


@pytest.fixture
def keys(issuer: Issuer) -> Iterator[respx.Route]:
    with published(issuer) as route:
        yield route


@pytest.fixture
def verifier() -> Verifier:
    return taskd_auth(BOTH).verifier


def held(memory: VerifiedTokens) -> dict[bytes, tuple[User, float, float]]:
    return dict(memory._users)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("kind", ["HS256", "EdDSA"])
async def test_a_signature_is_verified_once(tmp_path: Path, issuer: Issuer, verified: list[bytes], kind: str) -> None:
    """However often a token comes, its user is known, and a path of another user is refused."""
    app = build_app({"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", **BOTH})
    token = token_for("alice") if kind == "HS256" else issuer.sign()
    async with lifespan(app), client_of(app) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        for user, status in (("alice", 200), ("bob", 401), ("alice", 200)):
            assert status == (await client.get(f"/api/{user}/tasks")).status_code

    assert 1 == len(verified)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("kind", ["HS256", "EdDSA"])
async def test_no_token_is_remembered_past_its_end(
    verifier: Verifier, issuer: Issuer, verified: list[bytes], clock: Clock, kind: str
) -> None:
    """In its last second it is good, and then it is not."""
    end_s = int(clock.time()) + 60
    hs256 = jwt.encode({"sub": "alice", "exp": end_s}, SECRET, "HS256")
    token = hs256 if kind == "HS256" else issuer.sign({"exp": end_s})
    assert ALICE == await verifier.verify(token)
    clock.now_s += end_s - clock.time() - 0.5
    assert ALICE == await verifier.verify(token)
    assert 1 == len(verified)
    clock.now_s += 0.5

    with pytest.raises(InvalidCredentials, match=r"^The token expired 1 s ago\.$"):
        await verifier.verify(token)
    assert 1 == len(verified)


@pytest.mark.usefixtures("keys")
async def test_a_token_is_not_remembered_for_longer_than_its_key(
    verifier: Verifier, issuer: Issuer, verified: list[bytes], clock: Clock
) -> None:
    """It is verified again when the keys have to be fetched again; one of the secret's lane is not."""
    token, of_secret = issuer.sign(), token_for("alice", 86_400)
    for seconds in (0, 300, 300, 0):
        clock.now_s += seconds
        assert [ALICE] * 2 == [await verifier.verify(each) for each in (token, of_secret)]

    assert 3 == len(verified)


async def test_under_old_keys_a_token_is_remembered_until_the_next_fetch(
    verifier: Verifier, issuer: Issuer, keys: respx.Route, verified: list[bytes], clock: Clock
) -> None:
    """While the endpoint is down, what it takes back must not be good for longer than it must."""
    token = issuer.sign()
    assert ALICE == await verifier.verify(token)
    keys.mock(return_value=httpx.Response(500))
    clock.now_s += MAX_AGE_S
    assert [ALICE] * 3 == [await verifier.verify(token) for _ in range(3)]
    assert 2 == len(verified)
    clock.now_s += COOLDOWN_S
    assert [ALICE] * 3 == [await verifier.verify(token) for _ in range(3)]

    assert 3 == len(verified)


async def test_no_token_outlives_keys_that_are_a_day_old(
    verifier: Verifier, issuer: Issuer, keys: respx.Route, clock: Clock
) -> None:
    """Under keys that serve for five seconds more it is remembered for no longer."""
    token = issuer.sign()
    assert ALICE == await verifier.verify(token)
    keys.mock(return_value=httpx.Response(500))
    clock.now_s += MAX_STALE_AGE_S - 5
    assert [ALICE] * 2 == [await verifier.verify(token) for _ in range(2)]
    clock.now_s += 5

    with pytest.raises(AuthUnavailable):
        await verifier.verify(token)


@pytest.mark.usefixtures("keys")
async def test_other_keys_empty_it(verifier: Verifier, issuer: Issuer, clock: Clock) -> None:
    """What was verified by keys that are gone is forgotten, and with it all the rest."""
    tokens = [issuer.sign(), token_for("alice")]
    assert [ALICE] * 2 == [await verifier.verify(token) for token in tokens]
    assert 2 == len(held(verifier.verified))
    issuer.rotate()
    clock.now_s += COOLDOWN_S
    assert ALICE == await verifier.verify(issuer.sign())

    assert 1 == len(held(verifier.verified))
    with pytest.raises(InvalidCredentials, match="not, or no longer, in the key set"):
        await verifier.verify(tokens[0])


async def test_what_is_refused_is_not_remembered(verifier: Verifier) -> None:
    """A flood of forged tokens takes no memory, and pushes no good one out."""
    of_core = [token for token, reason in ATTACKS.values() if "user must be neither" in reason]
    with published(ISSUER):
        for token, _ in ATTACKS.values():
            if token not in of_core:
                with pytest.raises(InvalidCredentials):
                    await verifier.verify(token)

    assert {} == held(verifier.verified)


@pytest.mark.usefixtures("keys")
async def test_what_is_remembered_opens_nothing(verifier: Verifier, issuer: Issuer) -> None:
    """There is a digest, the user and two times, and neither a token nor a part of one."""
    tokens = [issuer.sign(), token_for("alice")]
    for token in tokens:
        await verifier.verify(token)
    memory = held(verifier.verified)

    assert {(32, ALICE)} == {(len(digest), user) for digest, (user, _, _) in memory.items()}
    shown = repr([verifier, verifier.verified, memory, [bytes(digest) for digest in memory]])
    assert not [part for token in tokens for part in (token, *token.split(".")) if part in shown]
    assert "VerifiedTokens()" == repr(verifier.verified)
    assert SECRET not in shown


def test_each_memory_has_digests_of_its_own() -> None:
    """What is seen in one process tells nothing about another."""
    memories = [VerifiedTokens() for _ in range(2)]
    for memory in memories:
        memory.remember("a token", ALICE, FUTURE_S, FUTURE_S)
    first, second = (list(held(memory)) for memory in memories)

    assert first != second
    assert [ALICE, ALICE] == [memory.user("a token") for memory in memories]


def test_of_too_many_the_least_recently_used_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is bounded, and those who come often stay."""
    monkeypatch.setattr("taskd_jwt.memory.MAX_TOKENS", 3)
    memory = VerifiedTokens()
    for token in "abc":
        memory.remember(token, ALICE, FUTURE_S, FUTURE_S)
    assert ALICE == memory.user("a")
    memory.remember("d", BOB, FUTURE_S, FUTURE_S)

    assert [ALICE, None, ALICE, BOB] == [memory.user(token) for token in "abcd"]
    assert 3 == len(held(memory))


def test_a_user_is_remembered_up_to_a_moment(clock: Clock) -> None:
    """Not at that moment, and not after it."""
    memory = VerifiedTokens()
    memory.remember("a token", ALICE, clock.time() + 10, FUTURE_S)
    found = [memory.user("a token")]
    for seconds in (9.75, 0.25, 3600):
        clock.now_s += seconds
        found.append(memory.user("a token"))

    assert [ALICE, ALICE, None, None] == found


def test_a_clock_that_is_set_back_keeps_nobody(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """For how long keys may be relied upon does not depend on what time it is said to be."""
    memory = VerifiedTokens()
    memory.remember("a token", ALICE, clock.time() + 3600, 10)
    monkeypatch.setattr(clock, "_began_s", clock._began_s - 86_400)
    found = [memory.user("a token")]
    clock.now_s += 10
    found.append(memory.user("a token"))

    assert [ALICE, None] == found


def test_tokens_are_told_apart_and_forgotten() -> None:
    """Any other token is another one, whatever it begins with."""
    memory = VerifiedTokens()
    memory.remember("a.b.c", ALICE, FUTURE_S, FUTURE_S)
    assert [None] * 4 == [memory.user(token) for token in ("a.b.C", "a.b.", "", "a.b.c ")]
    memory.forget_all()

    assert memory.user("a.b.c") is None
