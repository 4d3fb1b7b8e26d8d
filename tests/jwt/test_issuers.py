"""Several issuers, each with its own keys: a token is verified with those of the issuer that it names, or refused."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import jwt
import pytest
import respx
from starlette.types import ASGIApp

from taskd import build_app
from taskd.settings import SettingsError, load_settings
from taskd.testing import lifespan
from taskd_jwt.settings import JWTSettings
from tests.conftest import PATIENT, SECRET
from tests.support.applications import response_to
from tests.support.doctor import examined
from tests.support.issuer import JWKS_URL, URL, Issuer, KeyPair

pytestmark = pytest.mark.anyio

OTHER_URL = "https://other.example.com"
OTHER_JWKS_URL = f"{OTHER_URL}/api/auth/jwks"
OURS = {"BETTER_AUTH_URL": f"{URL}, {OTHER_URL}", "BETTER_AUTH_SECRET": SECRET, **PATIENT}
OTHER = {"iss": OTHER_URL, "aud": OTHER_URL}


@attrs.frozen
class Issuers:
    """Two issuers whose keys have the same ids, and where they publish them."""

    one: Issuer
    other: Issuer
    other_route: respx.Route


@pytest.fixture
def issuers() -> Iterator[Issuers]:
    one, other = Issuer(("EdDSA", "ES256")), Issuer(("EdDSA",))
    other.keys["EdDSA"] = KeyPair.generate("EdDSA", one.keys["EdDSA"].key_id)
    with respx.mock(assert_all_called=False) as router:
        router.get(JWKS_URL).mock(side_effect=lambda _: httpx.Response(200, json=one.document()))
        route = router.get(OTHER_JWKS_URL).mock(side_effect=lambda _: httpx.Response(200, json=other.document()))
        yield Issuers(one, other, route)


@pytest.fixture
async def app(tmp_path: Path, issuers: Issuers) -> AsyncIterator[ASGIApp]:
    """An application that accepts both issuers' tokens."""
    del issuers
    made = build_app({**OURS, "DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db"})
    async with lifespan(made):
        yield made


async def outcome(app: ASGIApp, token: str) -> tuple[int, str]:
    response = await response_to(app, token)
    return response.status_code, "" if response.status_code == 200 else response.json()["detail"]


class TestTokens:
    @pytest.mark.parametrize("claims", [{}, {"bio": "[{," * 1000}], ids=["small", "large"])
    async def test_each_issuer_s_are_accepted(self, app: ASGIApp, issuers: Issuers, claims: dict[str, Any]) -> None:
        """The first time and again; it does not matter that their keys have the same id."""
        tokens = [issuers.one.sign(claims), issuers.other.sign({**OTHER, **claims})]
        expected = [(200, "")] * 4

        assert expected == [await outcome(app, token) for token in (*tokens, *tokens)]

    async def test_an_issuer_cannot_speak_for_another(self, app: ASGIApp, issuers: Issuers) -> None:
        """A token is verified with the keys of the issuer that it names, and its audience is that issuer's."""
        wrong = "The token's signature is wrong: it was not made with the key that its kid names."
        refusals = {
            issuers.other.sign(): wrong,
            issuers.one.sign(OTHER): wrong,
            issuers.one.sign({"aud": OTHER_URL}): f"The token's audience {OTHER_URL} is not {URL}.",
            issuers.other.sign({"iss": OTHER_URL}): f"The token's audience {URL} is not {OTHER_URL}.",
            issuers.one.sign({"aud": [URL, OTHER_URL]}): "",
            issuers.other.sign(OTHER, kid=issuers.one.keys["ES256"].key_id): (
                "The key set does not contain the key that the token's kid names."
            ),
        }
        # The keys of both are known before.
        await outcome(app, issuers.one.sign())
        await outcome(app, issuers.other.sign(OTHER))
        # A token with an unknown key is refused only once the keys have been fetched after it.
        found = {token: (await outcome(app, token))[1] for token in refusals}
        unknown = [*refusals][-1]

        assert {**refusals, unknown: found[unknown]} == found
        assert "" != found[unknown]

    @pytest.mark.parametrize(
        ("claims", "reason"),
        [
            ({"iss": "https://third.example.com"}, f"issuer https://third.example.com is not {URL} or {OTHER_URL}."),
            ({"iss": None}, "The token has no iss claim."),
            ({"iss": [URL]}, "its iss cannot be read"),
            ({"nested": {"iss": URL}, "iss": None}, "The token has no iss claim."),
        ],
        ids=["unknown", "missing", "list", "elsewhere"],
    )
    async def test_an_unclear_issuer_is_refused(
        self, app: ASGIApp, issuers: Issuers, claims: dict[str, Any], reason: str
    ) -> None:
        """The response says which issuers are accepted."""
        status, detail = await outcome(app, issuers.one.sign(claims))

        assert (401, True) == (status, reason in detail), detail

    @pytest.mark.parametrize("payload", ["[" * 5000, "not json", '{"iss":"\\ud800"}', '{"iss":"' + URL + '","iss":1}'])
    async def test_a_malformed_payload_is_refused(self, app: ASGIApp, issuers: Issuers, payload: str) -> None:
        """Nothing that a token contains is an error of the server."""
        key = issuers.one.keys["EdDSA"]
        header = {"alg": "EdDSA", "kid": key.key_id}

        assert 401 == (await outcome(app, key.sign(header, payload)))[0]

    async def test_one_issuer_s_outage_is_not_the_other_s(self, app: ASGIApp, issuers: Issuers) -> None:
        """Tokens of an issuer whose keys cannot be fetched get a 503, and all others are served."""
        issuers.other_route.mock(return_value=httpx.Response(500))
        statuses = [
            (await outcome(app, token))[0]
            for token in (issuers.other.sign(OTHER), issuers.one.sign(), issuers.other.sign())
        ]

        assert [503, 200, 401] == statuses

    @pytest.mark.parametrize(("claims", "status"), [({}, 200), ({"iss": URL}, 200), ({"iss": OTHER_URL}, 401)])
    async def test_the_secret_is_the_first_issuer_s(self, app: ASGIApp, claims: dict[str, str], status: int) -> None:
        """A token that is signed with it does not speak for another issuer."""
        token = jwt.encode({"sub": "alice", "exp": time.time() + 60, **claims}, SECRET, "HS256")

        assert status == (await outcome(app, token))[0]


class TestSettings:
    def test_each_issuer_may_have_settings_of_its_own(self) -> None:
        """They are in the same order as the URLs; one audience may be for all."""
        environ = {
            **OURS,
            "TASKD_JWKS_URL": "http://localhost:1/a, http://localhost:2/b",
            "TASKD_JWT_ISSUER": "https://a.example,https://b.example",
            "TASKD_JWT_AUDIENCE": "tasks",
        }
        issuers = load_settings(JWTSettings, environ).issuers()

        assert [
            ("http://localhost:1/a", "https://a.example", "tasks"),
            ("http://localhost:2/b", "https://b.example", "tasks"),
        ] == [(each.key_set_url, each.rules.issuer, each.rules.audience) for each in issuers]
        several = load_settings(JWTSettings, {**environ, "TASKD_JWT_AUDIENCE": "https://a.example,https://c.example"})
        assert ["https://a.example", "https://c.example"] == [each.rules.audience for each in several.issuers()]

    @pytest.mark.parametrize(
        ("environ", "message"),
        [
            ({"TASKD_JWKS_URL": "https://a.example/keys"}, "TASKD_JWKS_URL: must have one value for each URL in"),
            ({"TASKD_JWT_ISSUER": "https://a.example"}, "TASKD_JWT_ISSUER: must have one value for each URL in"),
            (
                {"TASKD_JWT_AUDIENCE": "https://a.example,https://b.example,https://c.example"},
                "TASKD_JWT_AUDIENCE: must have one value for each URL in",
            ),
            (
                {"BETTER_AUTH_URL": f"{URL}/a,{URL}/b"},
                f"BETTER_AUTH_URL: has the issuer {URL} twice: set TASKD_JWT_ISSUER",
            ),
            ({"BETTER_AUTH_URL": f"{URL},http://b.example"}, "BETTER_AUTH_URL: must begin with https://"),
            ({"BETTER_AUTH_URL": f"{URL};{OTHER_URL}"}, "BETTER_AUTH_URL: must be a URL such as"),
        ],
    )
    def test_it_must_be_clear_which_value_is_whose(self, environ: dict[str, str], message: str) -> None:
        """Otherwise, taskd does not start."""
        with pytest.raises(SettingsError) as caught:
            build_app({**OURS, **environ})

        assert str(caught.value).startswith(message)

    def test_the_doctor_names_each_issuer(self, issuers: Issuers) -> None:
        """The check of each key set says whose it is."""
        issuers.other_route.mock(return_value=httpx.Response(404))
        report = examined("sqlite:///tasks.db", BETTER_AUTH_URL=OURS["BETTER_AUTH_URL"])

        assert [f"key set of {OTHER_URL}"] == report.failed()
        assert "ok" == report.outcomes[f"key set of {URL}"]
