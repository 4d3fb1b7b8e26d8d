"""A request may be authenticated by an API key or by a JWT, but never in spite of wrong credentials."""

import time
from collections.abc import AsyncIterator, Mapping

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from taskd_either.plugin import EitherBackend

from taskd import PluginError, build_app
from taskd.settings import SettingsError
from taskd.testing import AuthContract

SECRET = "0123456789abcdef0123456789abcdef"
KEYS = {"alice": "A" * 16 + "b" * 16 + "3", "bob": "C" * 16 + "d" * 16 + "4"}
ISSUER = "http://127.0.0.1:1"
ENVIRON = {
    "TASKD_AUTH": "either",
    "TASKD_STORAGE": "memory",
    "ACME_KEYS": ",".join(f"{user}:{key}" for user, key in KEYS.items()),
    "BETTER_AUTH_SECRET": SECRET,
    # Nothing listens there.
    "BETTER_AUTH_URL": ISSUER,
}


def key_of(user: str) -> dict[str, str]:
    return {"X-API-Key": KEYS[user]}


def token_of(user: str, key: object = SECRET, algorithm: str = "HS256") -> dict[str, str]:
    claims = {"sub": user, "exp": int(time.time()) + 600, "iss": ISSUER, "aud": ISSUER}
    return {"Authorization": f"Bearer {jwt.encode(claims, key, algorithm, {'kid': 'k'})}"}


@pytest.fixture
def environ() -> dict[str, str]:
    return dict(ENVIRON)


def client_of(environ: Mapping[str, str]) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(build_app(environ)), base_url="http://taskd")


@pytest.fixture
async def client(environ: Mapping[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(environ) as made:
        yield made


class BothContracts(AuthContract):
    @pytest.fixture
    def backend(self) -> EitherBackend:
        return build_app(ENVIRON).backend


class TestWithKeys(BothContracts):
    @pytest.fixture
    def credentials(self):
        return key_of


class TestWithTokens(BothContracts):
    @pytest.fixture
    def credentials(self):
        return token_of


@pytest.mark.anyio
class TestEither:
    @pytest.mark.parametrize("credentials", [key_of, token_of])
    async def test_either_kind_of_credentials_is_enough(self, client: httpx.AsyncClient, credentials) -> None:
        """The task belongs to the user, however the user is known."""
        created = await client.post("/api/alice/tasks", json={"title": "t"}, headers=credentials("alice"))
        listed = await client.get("/api/alice/tasks", headers=credentials("alice"))

        assert (201, [created.json()]) == (created.status_code, listed.json())
        assert {"X-API-Key", "Authorization"} <= set(listed.headers["Vary"].split(", "))

    @pytest.mark.parametrize(
        "headers",
        [{**token_of("alice"), "X-API-Key": "?"}, {**key_of("alice"), "Authorization": "Bearer ?"}],
        ids=["the key", "the token"],
    )
    async def test_wrong_credentials_are_final(self, environ: dict[str, str], headers: dict[str, str]) -> None:
        """Right credentials for the next plugin do not make up for them."""
        environ["EITHER_AUTH"] = "apikey,jwt" if headers["X-API-Key"] == "?" else "jwt,apikey"
        async with client_of(environ) as client:
            response = await client.get("/api/alice/tasks", headers=headers)

        assert (401, "invalid_token") == (response.status_code, response.json()["code"])

    async def test_credentials_for_another_user_are_refused(self, client: httpx.AsyncClient) -> None:
        """The first plugin decides who the user is, and a token for another user changes nothing."""
        response = await client.get("/api/bob/tasks", headers={**key_of("alice"), **token_of("bob")})

        assert (401, "wrong_user") == (response.status_code, response.json()["code"])

    async def test_without_credentials_both_challenges_are_sent(self, client: httpx.AsyncClient) -> None:
        """Clients are told of both ways to send credentials."""
        response = await client.get("/api/alice/tasks")

        assert (401, "missing_credentials") == (response.status_code, response.json()["code"])
        assert 'ApiKey realm="acme", Bearer realm="taskd"' == response.headers["WWW-Authenticate"]

    async def test_an_outage_is_no_reason_to_accept_other_credentials(self, environ: dict[str, str]) -> None:
        """While the token's key cannot be fetched, the response is a 503, even if the API key is right."""
        environ["EITHER_AUTH"] = "jwt,apikey"
        token = token_of("alice", Ed25519PrivateKey.generate(), "EdDSA")
        sent = (token | key_of("alice"), token)
        async with client_of(environ) as client:
            responses = [await client.get("/api/alice/tasks", headers=headers) for headers in sent]

        assert [503, 503] == [response.status_code for response in responses]
        assert all(int(response.headers["Retry-After"]) >= 1 for response in responses)

    async def test_the_document_has_both_schemes(self, client: httpx.AsyncClient) -> None:
        """A generated client may use either of them."""
        document = (await client.get("/openapi.json")).json()

        schemes = document["components"]["securitySchemes"]
        assert ["apiKey", "http"] == [scheme["type"] for scheme in schemes.values()]
        assert [{name: []} for name in schemes] == document["paths"]["/api/{user_id}/tasks"]["get"]["security"]


def test_the_plugin_that_can_issues_tokens() -> None:
    """`taskd token` works if one of the plugins supports it."""
    backend = build_app(ENVIRON).backend

    claims = jwt.decode(backend.issue_token("alice", 60), SECRET, ["HS256"], options={"verify_aud": False})
    assert "alice" == claims["sub"]
    assert not hasattr(EitherBackend([]), "issue_token")


@pytest.mark.parametrize("names", ["jwt", "jwt,jwt", ","])
def test_there_must_be_several_plugins(names: str) -> None:
    """One plugin alone can be selected with TASKD_AUTH itself."""
    with pytest.raises(SettingsError, match="EITHER_AUTH"):
        build_app({**ENVIRON, "EITHER_AUTH": names})


@pytest.mark.parametrize("names", ["either,jwt", "jwt,memory", "jwt,unknown"])
def test_each_plugin_must_be_an_auth_plugin(names: str) -> None:
    """Otherwise, the server does not start."""
    with pytest.raises(PluginError, match="either"):
        build_app({**ENVIRON, "EITHER_AUTH": names})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
