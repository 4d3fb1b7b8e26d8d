"""Which tokens are accepted and which are refused, with both token schemes configured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import respx
from starlette.types import ASGIApp

from taskd import build_app
from taskd.testing import lifespan
from taskd_jwt.strict_json import decode_base64url
from tests.conftest import SECRET, client_of
from tests.support.applications import build_verifying, response_to
from tests.support.attacks import (
    ACCEPTED,
    ATTACKS,
    CLAIMS,
    ED_HEADER,
    FOREIGN,
    GOOD,
    ISSUER,
    NOW_S,
    SCHEMES,
    by_secret,
    refusal,
    serving_attacks,
    with_claims,
    with_header,
)
from tests.support.clock import Clock
from tests.support.issuer import KINDS, URL, published

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def keys() -> Iterator[respx.Route]:
    """Publish the issuer's keys where taskd fetches them."""
    with published(ISSUER) as route:
        yield route


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ASGIApp]:
    async with serving_attacks(tmp_path_factory.mktemp("tokens")) as application:
        yield application


@pytest.mark.parametrize(("token", "reason"), ATTACKS.values(), ids=ATTACKS)
async def test_an_attack_is_refused_with_a_reason(
    app: ASGIApp, token: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The response says what is wrong, and no part of the token is in the response or in the log."""
    caplog.set_level("DEBUG")
    response = await response_to(app, token)

    assert reason in refusal(response)
    shown = f"{response.text} {response.headers} {caplog.text}"
    assert not [piece for piece in (token, *token.split(".")) if len(piece) > 8 and piece in shown]


@pytest.mark.parametrize("token", ACCEPTED.values(), ids=ACCEPTED)
async def test_a_valid_token_is_accepted(app: ASGIApp, token: str) -> None:
    """Unusual tokens that follow the rules are accepted, the first time and again."""
    assert [200, 200] == [(await response_to(app, token)).status_code for _ in range(2)]


@pytest.mark.parametrize(
    "claims",
    [
        {"x": [1] * 1500},
        {f"claim{number}": number for number in range(300)},
        {"bio": "," * 5000},
        {"roles": [f"project-{number}:write" for number in range(200)]},
        {"image": f"data:image/png;base64,{'A' * 2000}"},
    ],
    ids=["numbers", "members", "a string of commas", "roles", "a long string"],
)
async def test_a_signed_token_may_have_any_number_of_claims(app: ASGIApp, claims: dict[str, Any]) -> None:
    """Many claims are read if the issuer has signed them, and not even parsed if it has not."""
    valid, expired = with_claims(**claims), with_claims(**claims, exp=NOW_S - 60)
    forged = ".".join([*expired.split(".")[:2], valid.split(".")[2]])

    assert 200 == (await response_to(app, valid)).status_code
    assert "expired" in refusal(await response_to(app, expired))
    assert "signature is wrong" in refusal(await response_to(app, forged))


@pytest.mark.parametrize(("length", "reason"), [(2048, "expired"), (2049, "signature is wrong")])
async def test_a_few_claims_are_read_before_the_signature(app: ASGIApp, length: int, reason: str) -> None:
    """An expired token of the usual size is refused without verifying its signature."""
    _, payload, signature = with_claims(exp=NOW_S - 60, x="").split(".")
    header, longer, _ = with_claims(exp=NOW_S - 60, x="a" * (length - len(decode_base64url(payload)))).split(".")

    assert length == len(decode_base64url(longer))
    assert reason in refusal(await response_to(app, f"{header}.{longer}.{signature}"))


@pytest.mark.parametrize(("members", "status"), [(9, 200), (10, 401)])
async def test_the_number_of_header_parameters_is_limited(app: ASGIApp, members: int, status: int) -> None:
    """A header may have twelve members, four times as many as Better Auth's."""
    token = with_header(**{f"x{number}": "x" for number in range(members)})

    assert status == (await response_to(app, token)).status_code


@pytest.mark.parametrize(("ahead_s", "status"), [(30, 200), (30.5, 401)])
async def test_clocks_may_differ_by_half_a_minute(tmp_path: Path, clock: Clock, ahead_s: float, status: int) -> None:
    """A token is accepted if the issuer's clock is at most 30 seconds ahead."""
    async with serving_attacks(tmp_path, clock) as app:
        for name in ("iat", "nbf"):
            token = with_claims(**{name: clock.time() + ahead_s})

            assert status == (await response_to(app, token)).status_code


async def test_two_authorization_headers_are_refused(app: ASGIApp) -> None:
    """With two tokens, a proxy might check one and taskd the other."""
    async with client_of(app) as client:
        tokens = [GOOD, ACCEPTED["HS256"]]
        for headers in (tokens, [GOOD, GOOD], [GOOD, "x"]):
            response = await client.get(
                "/api/alice/tasks", headers=[("Authorization", f"Bearer {token}") for token in headers]
            )

            assert "exactly one Authorization header" in refusal(response)


@pytest.mark.parametrize("kind", ["HS256", *KINDS])
@pytest.mark.parametrize("configured", SCHEMES)
async def test_a_scheme_that_is_not_configured_is_named(tmp_path: Path, configured: str, kind: str) -> None:
    """A valid token is accepted, or the response names the variable to set; no other scheme's key is tried."""
    app = build_app({"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", **SCHEMES[configured]})
    is_by_secret = kind == "HS256"
    variable = "BETTER_AUTH_SECRET" if is_by_secret else "BETTER_AUTH_URL"
    token = by_secret({"aud": None, "iss": None}) if is_by_secret else ISSUER.sign(kind=kind)
    async with lifespan(app):
        response = await response_to(app, token)

        if variable in SCHEMES[configured]:
            assert 200 == response.status_code
        else:
            assert f"The token is signed with {kind}: set {variable}." == refusal(response)


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
async def test_audience_and_issuer_of_tokens_signed_with_the_secret(
    tmp_path: Path, settings_of: dict[str, str], claims: dict[str, Any], reason: str | None
) -> None:
    """They are optional unless configured, but must be right if present."""
    app = build_app({"DATABASE_URL": f"sqlite:///{tmp_path}/t.db", "BETTER_AUTH_SECRET": SECRET, **settings_of})
    async with lifespan(app):
        response = await response_to(app, by_secret({"aud": None, "iss": None, **claims}))

        assert 200 == response.status_code if reason is None else reason in refusal(response)


async def test_forged_tokens_do_not_reach_the_database(tmp_path: Path, keys: respx.Route, clock: Clock) -> None:
    """However many arrive, the database file is not created; the first valid token creates it."""
    app = build_verifying({"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", **SCHEMES["both"]}, clock=clock)
    attacks = [token for token, reason in ATTACKS.values() if "user must be a text" not in reason]
    forged = [FOREIGN.sign({**ED_HEADER, "kid": f"k{number}"}, {**CLAIMS, "jti": number}) for number in range(100)]
    forged += [FOREIGN.sign(ED_HEADER, {**CLAIMS, "jti": number}) for number in range(100)]
    forged += [by_secret({"jti": number}, secret="x" * 32) for number in range(100)]
    for token in attacks + forged:
        assert (await response_to(app, token)).status_code in (401, 503)

    assert [] == list(tmp_path.iterdir())
    assert 1 == keys.call_count
    async with lifespan(app):
        assert 200 == (await response_to(app, GOOD)).status_code
    assert (tmp_path / "tasks.db").exists()
