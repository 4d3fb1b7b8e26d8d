"""Replacing the shared secret without signing anybody out."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from taskd import build_app
from taskd.settings import SettingsError
from tests.conftest import SECRET
from tests.support.applications import build, response_to
from tests.support.commands import invoke
from tests.support.doctor import examined

pytestmark = pytest.mark.anyio

OLD = "3f6b1c09e7d24a58b1c07d9e2f5a8643"
NEW = "c81e728d9d4c2f636f067f89cc14862c"
ROTATING = {"BETTER_AUTH_SECRET": NEW, "BETTER_AUTH_SECRET_PREVIOUS": OLD}


def signed(secret: str, **claims: Any) -> str:
    return jwt.encode({"sub": "alice", "exp": time.time() + 60, **claims}, secret, "HS256")


async def test_both_secrets_verify_tokens() -> None:
    """Until the old one is removed, tokens signed with it are accepted, the first time and again; no other is."""
    app = build(**ROTATING)
    tokens = [signed(NEW), signed(OLD)] * 2

    assert [200] * 4 == [(await response_to(app, token)).status_code for token in tokens]
    refused = [signed(SECRET), signed(OLD, exp=1), signed(f"{NEW}{OLD}")]
    assert [401] * 3 == [(await response_to(app, token)).status_code for token in refused]


async def test_without_the_old_secret_its_tokens_are_refused() -> None:
    """Rotation ends when it is removed."""
    after = [
        (await response_to(build(BETTER_AUTH_SECRET=NEW), token)).status_code for token in (signed(NEW), signed(OLD))
    ]

    assert [200, 401] == after


def test_new_tokens_are_signed_with_the_new_secret() -> None:
    """`taskd token` makes tokens that outlast the rotation."""
    token = invoke("token", "alice", settings=ROTATING).stdout.strip()

    assert "alice" == jwt.decode(token, NEW, ["HS256"])["sub"]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"BETTER_AUTH_SECRET_PREVIOUS": "short"}, "must have at least 32 bytes: openssl rand -hex 32"),
        (
            {"BETTER_AUTH_SECRET_PREVIOUS": NEW},
            "must be another secret than BETTER_AUTH_SECRET: the one that was used before",
        ),
        (
            {"BETTER_AUTH_SECRET": "", "BETTER_AUTH_URL": "https://auth.example.com"},
            "needs BETTER_AUTH_SECRET, the secret that takes its place",
        ),
    ],
)
def test_a_wrong_secret_stops_the_start(environ: dict[str, str], message: str) -> None:
    """The old one is under the same rules, and never alone."""
    with pytest.raises(SettingsError) as caught:
        build_app({**ROTATING, **environ})

    assert str(caught.value).startswith(f"BETTER_AUTH_SECRET_PREVIOUS: {message}")


def test_the_doctor_tells_that_a_rotation_is_not_complete() -> None:
    """It also checks how strong the old secret is, because it still lets people in."""
    report = examined("sqlite:///tasks.db", **ROTATING)
    weak = examined("sqlite:///tasks.db", **{**ROTATING, "BETTER_AUTH_SECRET_PREVIOUS": "a" * 40})

    assert ("ok", "note") == (report.outcomes["secret"], report.outcomes["previous secret"])
    assert "Remove BETTER_AUTH_SECRET_PREVIOUS when" in report.remedies["previous secret"]
    assert ["previous secret"] == weak.failed()
