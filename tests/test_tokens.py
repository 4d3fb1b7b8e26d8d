"""What gets in with both lanes open, and what does not: attacks on tokens, and the answers to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import respx
from starlette.types import ASGIApp

from taskd import build_app
from taskd.testing import lifespan
from taskd_jwt.strictness import decode_base64url
from tests.applications import answer_to
from tests.attacks import (
    ACCEPTED,
    ATTACKS,
    CLAIMS,
    ED_HEADER,
    FOREIGN,
    GOOD,
    ISSUER,
    LANES,
    NOW_S,
    besieged,
    by_secret,
    refusal,
    with_claims,
    with_header,
)
from tests.clock import Clock
from tests.conftest import SECRET, client_of
from tests.issuer import KINDS, URL, published

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def keys() -> Iterator[respx.Route]:
    """The keys of the issuer are where taskd looks for them."""
    with published(ISSUER) as route:
        yield route


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ASGIApp]:
    async with besieged(tmp_path_factory.mktemp("tokens")) as application:
        yield application


@pytest.mark.parametrize(("token", "reason"), ATTACKS.values(), ids=ATTACKS)
async def test_an_attack_is_answered_by_what_is_wrong(
    app: ASGIApp, token: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever integrates a frontend reads what to do; nobody reads the token, in the answer or in the log."""
    caplog.set_level("DEBUG")
    answer = await answer_to(app, token)

    assert reason in refusal(answer)
    shown = f"{answer.text} {answer.headers} {caplog.text}"
    assert not [piece for piece in (token, *token.split(".")) if len(piece) > 8 and piece in shown]


@pytest.mark.parametrize("token", ACCEPTED.values(), ids=ACCEPTED)
async def test_what_is_within_the_rules_is_accepted(app: ASGIApp, token: str) -> None:
    """Strictness refuses nothing that a good issuer makes, the second time neither."""
    assert [200, 200] == [(await answer_to(app, token)).status_code for _ in range(2)]


@pytest.mark.parametrize(
    "claims",
    [
        {"x": [1] * 1500},
        {f"claim{number}": number for number in range(300)},
        {"bio": "," * 5000},
        {"roles": [f"project-{number}:write" for number in range(200)]},
        {"image": f"data:image/png;base64,{'A' * 2000}"},
    ],
    ids=["numbers", "members", "a text of commas", "roles", "a long text"],
)
async def test_claims_may_be_as_many_as_there_is_room_for(app: ASGIApp, claims: dict[str, Any]) -> None:
    """What an issuer has signed is read, and what others have made up is not even looked at."""
    good, expired = with_claims(**claims), with_claims(**claims, exp=NOW_S - 60)
    others = ".".join([*expired.split(".")[:2], good.split(".")[2]])

    assert 200 == (await answer_to(app, good)).status_code
    assert "expired" in refusal(await answer_to(app, expired))
    assert "signature is wrong" in refusal(await answer_to(app, others))


@pytest.mark.parametrize(("length", "reason"), [(2048, "expired"), (2049, "signature is wrong")])
async def test_a_few_claims_are_read_before_the_signature(app: ASGIApp, length: int, reason: str) -> None:
    """A token of the usual size that has expired costs no verification."""
    _, payload, signature = with_claims(exp=NOW_S - 60, x="").split(".")
    header, longer, _ = with_claims(exp=NOW_S - 60, x="a" * (length - len(decode_base64url(payload)))).split(".")

    assert length == len(decode_base64url(longer))
    assert reason in refusal(await answer_to(app, f"{header}.{longer}.{signature}"))


@pytest.mark.parametrize(("members", "status"), [(9, 200), (10, 401)])
async def test_a_header_has_less_of_it(app: ASGIApp, members: int, status: int) -> None:
    """Twelve of them are read: Better Auth's has three members."""
    token = with_header(**{f"x{number}": "x" for number in range(members)})

    assert status == (await answer_to(app, token)).status_code


@pytest.mark.parametrize(("ahead_s", "status"), [(30, 200), (30.5, 401)])
async def test_clocks_may_differ_by_half_a_minute(tmp_path: Path, clock: Clock, ahead_s: float, status: int) -> None:
    """An issuer whose clock is that much ahead is believed, and no other."""
    async with besieged(tmp_path) as app:
        for name in ("iat", "nbf"):
            token = with_claims(**{name: clock.time() + ahead_s})

            assert status == (await answer_to(app, token)).status_code


async def test_two_good_headers_are_refused(app: ASGIApp) -> None:
    """Whichever of two tokens is meant, another part of the way may have looked at the other."""
    async with client_of(app) as client:
        tokens = [GOOD, ACCEPTED["HS256"]]
        for headers in (tokens, [GOOD, GOOD], [GOOD, "x"]):
            answer = await client.get(
                "/api/alice/tasks", headers=[("Authorization", f"Bearer {token}") for token in headers]
            )

            assert "exactly one Authorization header" in refusal(answer)


@pytest.mark.parametrize("kind", ["HS256", *KINDS])
@pytest.mark.parametrize("lanes", LANES)
async def test_a_lane_that_is_not_open_is_named(tmp_path: Path, lanes: str, kind: str) -> None:
    """A good token is accepted, or told which variable is to be set; no key is tried that is not of its lane."""
    app = build_app({"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", **LANES[lanes]})
    is_of_secret = kind == "HS256"
    variable = "BETTER_AUTH_SECRET" if is_of_secret else "BETTER_AUTH_URL"
    token = by_secret({"aud": None, "iss": None}) if is_of_secret else ISSUER.sign(kind=kind)
    async with lifespan(app):
        answer = await answer_to(app, token)

        if variable in LANES[lanes]:
            assert 200 == answer.status_code
        else:
            assert f"The token is signed with {kind}: set {variable}." == refusal(answer)


@pytest.mark.parametrize(
    ("settings_of", "claims", "reason"),
    [
        ({}, {}, None),
        ({}, {"iss": "anybody"}, None),
        ({}, {"aud": URL}, "set TASKD_JWT_AUDIENCE"),
        ({}, {"aud": ""}, "set TASKD_JWT_AUDIENCE"),
        ({"BETTER_AUTH_URL": URL}, {}, None),
        ({"BETTER_AUTH_URL": URL}, {"aud": URL, "iss": URL}, None),
        ({"BETTER_AUTH_URL": URL}, {"aud": "other"}, "audience other is not"),
        ({"BETTER_AUTH_URL": URL}, {"iss": "other"}, "issuer other is not"),
        ({"TASKD_JWT_AUDIENCE": "api"}, {}, "no aud claim"),
        ({"TASKD_JWT_AUDIENCE": "api"}, {"aud": "api"}, None),
        ({"TASKD_JWT_AUDIENCE": "api"}, {"aud": ["api", "b"], "iss": "anybody"}, None),
        ({"TASKD_JWT_AUDIENCE": "api"}, {"aud": "other"}, "audience other is not api"),
        ({"TASKD_JWT_ISSUER": "us"}, {}, "no iss claim"),
        ({"TASKD_JWT_ISSUER": "us"}, {"iss": "them"}, "issuer them is not us"),
        ({"TASKD_JWT_ISSUER": "us"}, {"iss": "us"}, None),
        ({"TASKD_JWT_AUDIENCE": "api", "TASKD_JWT_ISSUER": "us"}, {"iss": "us"}, "no aud claim"),
        ({"TASKD_JWT_AUDIENCE": "api", "TASKD_JWT_ISSUER": "us"}, {"aud": "api"}, "no iss claim"),
        ({"TASKD_JWT_AUDIENCE": "api", "TASKD_JWT_ISSUER": "us"}, {"aud": "api", "iss": "us"}, None),
        ({"BETTER_AUTH_URL": URL, "TASKD_JWT_AUDIENCE": "api"}, {"aud": URL}, f"audience {URL} is not api"),
        ({"BETTER_AUTH_URL": URL, "TASKD_JWT_AUDIENCE": "api"}, {"aud": "api"}, None),
    ],
)
async def test_audience_and_issuer_of_what_the_secret_signs(
    tmp_path: Path, settings_of: dict[str, str], claims: dict[str, Any], reason: str | None
) -> None:
    """They may be left out unless they are configured; those that are there must be right."""
    app = build_app({"DATABASE_URL": f"sqlite:///{tmp_path}/t.db", "BETTER_AUTH_SECRET": SECRET, **settings_of})
    async with lifespan(app):
        answer = await answer_to(app, by_secret({"aud": None, "iss": None, **claims}))

        assert 200 == answer.status_code if reason is None else reason in refusal(answer)


@pytest.mark.usefixtures("clock")
async def test_forged_tokens_do_not_reach_the_database(tmp_path: Path, keys: respx.Route) -> None:
    """However many come, each different, the file is not even made; the first good token makes it."""
    app = build_app({"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", **LANES["both"]})
    attacks = [token for token, reason in ATTACKS.values() if "user must be a text" not in reason]
    forged = [FOREIGN.seal({**ED_HEADER, "kid": f"k{number}"}, {**CLAIMS, "jti": number}) for number in range(100)]
    forged += [FOREIGN.seal(ED_HEADER, {**CLAIMS, "jti": number}) for number in range(100)]
    forged += [by_secret({"jti": number}, secret="x" * 32) for number in range(100)]
    for token in attacks + forged:
        refusal(await answer_to(app, token))

    assert [] == list(tmp_path.iterdir())
    assert 1 == keys.call_count
    async with lifespan(app):
        assert 200 == (await answer_to(app, GOOD)).status_code
    assert (tmp_path / "tasks.db").exists()
