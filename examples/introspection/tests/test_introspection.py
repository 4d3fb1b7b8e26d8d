"""Tokens are accepted only while the authorization server says that they are active and for this server."""

import asyncio
import base64
import contextlib
import gzip
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs

import attrs
import httpx
import pytest
import respx
from taskd_introspection.backend import IntrospectionBackend
from taskd_introspection.endpoint import Endpoint
from taskd_introspection.verdicts import Rules, Verdict, VerdictCache

from taskd import build_app
from taskd.checks import Outcome
from taskd.settings import Secret, SettingsError
from taskd.testing import AuthContract

URL = "https://sso.example.com/oauth2/introspect"
PASSWORD = "p:w +%\u00e9"
JSON = {"Content-Type": "application/json"}
NOW_S = 1_800_000_000.0
ISSUER = "https://sso.example.com"
ALICE = {"active": True, "sub": "alice", "aud": ["tasks", "other"], "iss": ISSUER, "exp": NOW_S + 600}


@attrs.define
class Clock:
    """A clock that stands still until a test moves it."""

    now_s: float = NOW_S

    def time(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


@attrs.define
class Server:
    """
    An authorization server.

    Attributes:
        route: Its introspection endpoint.
        tokens: What it says about tokens.
    """

    route: respx.Route
    tokens: dict[str, dict[str, Any]] = attrs.field(factory=dict)

    def respond(self, request: httpx.Request) -> httpx.Response:
        [token] = parse_qs(request.content.decode())["token"]
        return httpx.Response(200, json=self.tokens.get(token, {"active": False}))

    @property
    def calls(self) -> int:
        return self.route.call_count


@pytest.fixture
def server() -> Iterator[Server]:
    with respx.mock(assert_all_called=False) as mock:
        made = Server(mock.post(URL))
        made.route.side_effect = made.respond
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timeout_s() -> float:
    return 2.5


@pytest.fixture
def backend(clock: Clock, server: Server, timeout_s: float) -> IntrospectionBackend:
    endpoint = Endpoint(URL, "tasks app", Secret(PASSWORD), timeout_s)
    rules = Rules(audience="tasks", issuer=ISSUER)
    return IntrospectionBackend(endpoint, rules, VerdictCache(30, clock), clock)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class TestIntrospection(AuthContract):
    @pytest.fixture
    def credentials(self, server: Server):
        def issue(user: str) -> dict[str, str]:
            token = f"token-of-{user}-9f86d081884c7d65"
            server.tokens[token] = {**ALICE, "sub": user}
            return bearer(token)

        return issue

    @pytest.fixture
    def revoke(self, server: Server, clock: Clock):
        """A function that revokes all tokens, and waits until the old verdicts are forgotten."""

        def revoked(_: str) -> None:
            server.tokens.clear()
            clock.now_s += 30

        return revoked

    @pytest.fixture
    def outage(self, server: Server):
        """A function that returns a context manager, in which the authorization server cannot be reached."""

        @contextlib.asynccontextmanager
        async def unreachable() -> AsyncIterator[None]:
            server.route.side_effect = httpx.ConnectError("refused")
            yield
            server.route.side_effect = server.respond

        return unreachable

    @pytest.fixture
    def alice(self, credentials) -> dict[str, str]:
        return credentials("alice")

    async def status(self, client: httpx.AsyncClient, headers: dict[str, str]) -> int:
        return (await client.get("/api/alice", headers=headers)).status_code

    async def test_the_server_knows_who_asks(self, client, alice, server: Server) -> None:
        """The token is in the body, and the client's credentials are encoded as RFC 6749, section 2.3.1, says."""
        await client.get("/api/alice", headers=alice)

        request = server.route.calls.last.request
        scheme, _, encoded = request.headers["Authorization"].partition(" ")
        assert ("Basic", b"tasks+app:p%3Aw+%2B%25%C3%A9") == (scheme, base64.b64decode(encoded))
        token = alice["Authorization"].removeprefix("Bearer ")
        assert {"token": [token], "token_type_hint": ["access_token"]} == parse_qs(request.content.decode())

    async def test_a_verdict_is_remembered_for_a_short_time(self, client, alice, server: Server, clock: Clock) -> None:
        """A revoked token is refused when that time is over, however often it is used meanwhile."""
        assert 200 == await self.status(client, alice)
        server.tokens.clear()
        clock.now_s += 29
        assert [200, 200] == [await self.status(client, alice) for _ in range(2)]
        clock.now_s += 1
        assert [401, 401] == [await self.status(client, alice) for _ in range(2)]
        assert 2 == server.calls

    async def test_a_refusal_is_remembered_as_long(self, client, alice, server: Server, clock: Clock) -> None:
        """Programs that repeat a refused request do not pass their load on."""
        known, server.tokens = server.tokens, {}
        assert [401] * 3 == [await self.status(client, alice) for _ in range(3)]
        assert 1 == server.calls
        server.tokens = known
        clock.now_s += 30
        assert 200 == await self.status(client, alice)

    async def test_a_token_is_not_accepted_beyond_its_exp(self, client, server: Server, clock: Clock) -> None:
        """Not even if the verdict on it is still remembered."""
        server.tokens["short"] = {**ALICE, "exp": NOW_S + 10}
        assert 200 == await self.status(client, bearer("short"))
        clock.now_s += 10

        response = await client.get("/api/alice", headers=bearer("short"))

        assert (401, "expired_token") == (response.status_code, response.json()["code"])

    @pytest.mark.parametrize(
        ("claims", "reason"),
        [
            ({"aud": "other"}, "audience"),
            ({"aud": ["other"]}, "audience"),
            ({"aud": None}, "audience"),
            ({"aud": "tasks-and-more"}, "audience"),
            ({"iss": "https://evil.example.com"}, "issuer"),
            ({"iss": None}, "issuer"),
            ({"sub": None}, "sub"),
            ({"sub": ""}, "sub"),
            ({"sub": 5}, "sub"),
            ({"nbf": NOW_S + 1}, "not valid yet"),
            ({"token_type": "DPoP"}, "not a bearer token"),
            ({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, "not a bearer token"),
            ({"exp": NOW_S}, "expired"),
        ],
        ids=repr,
    )
    async def test_an_active_token_may_not_be_for_this_server(self, client, server, claims, reason: str) -> None:
        """Its audience, issuer and type must be right, and it must say who the user is."""
        server.tokens["t"] = {**ALICE, **claims}

        response = await client.get("/api/alice", headers=bearer("t"))

        assert 401 == response.status_code
        assert reason in response.json()["detail"]
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]

    @pytest.mark.parametrize("audience", ["tasks", ["tasks"]])
    async def test_an_audience_may_be_a_text_or_a_list(self, client, server: Server, audience: object) -> None:
        """RFC 7662, section 2.2, allows both."""
        server.tokens["t"] = {**ALICE, "aud": audience}

        assert 200 == await self.status(client, bearer("t"))

    @pytest.mark.parametrize("token", ["", "a b", "a\u00e9", "=", "a=b", "x" * 8193, '"quoted"'])
    async def test_what_is_no_token_is_not_asked_about(self, client, server: Server, token: str) -> None:
        """Only what RFC 6750 allows as a token is sent to the authorization server."""
        response = await client.get("/api/alice", headers={b"Authorization": f"Bearer {token}".encode()})

        assert (401, "invalid_token") == (response.status_code, response.json()["code"])
        assert 0 == server.calls

    async def test_there_must_be_one_header_with_a_bearer_token(self, client, alice, server: Server) -> None:
        """Two headers are ambiguous, and another scheme is for somebody else."""
        twice = await client.get("/api/alice", headers=[*alice.items()] * 2)
        basic = await client.get("/api/alice", headers={"Authorization": "Basic YTpi"})

        assert ["invalid_token", "missing_credentials"] == [twice.json()["code"], basic.json()["code"]]
        assert 0 == server.calls

    @pytest.mark.parametrize(
        "response",
        [
            httpx.Response(500),
            httpx.Response(401, json={"active": True, "sub": "alice"}),
            httpx.Response(429),
            httpx.Response(302, headers={"Location": "https://evil.example.com"}),
            httpx.Response(201, json=ALICE),
            httpx.Response(200, text='{"active": true, "sub": "alice"}'),
            httpx.Response(200, json=ALICE, headers={"Content-Type": "application/token-introspection+jwt"}),
            httpx.Response(200, content=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip", **JSON}),
            httpx.Response(200, content=b"{", headers=JSON),
            httpx.Response(200, content=b"\xff", headers=JSON),
            httpx.Response(200, content=b'{"a":' * 9999, headers=JSON),
            httpx.Response(200, json=[ALICE]),
            httpx.Response(200, json={"sub": "alice"}),
            httpx.Response(200, json={**ALICE, "active": "true"}),
            httpx.Response(200, json={**ALICE, "active": 1}),
            httpx.Response(200, json={**ALICE, "exp": "never"}),
            httpx.Response(200, json={**ALICE, "exp": None}),
            httpx.Response(200, json={**ALICE, "nbf": True}),
            httpx.Response(200, json={**ALICE, "padding": "x" * 65536}),
            httpx.ConnectError("refused"),
            httpx.ReadTimeout("slow"),
            httpx.RemoteProtocolError("gone"),
        ],
        ids=repr,
    )
    async def test_without_a_clear_answer_nobody_is_admitted(self, client, alice, server: Server, response) -> None:
        """The response is a 503 until the endpoint responds again; the token itself is not at fault."""
        server.route.side_effect = [response]
        refused = await client.get("/api/alice", headers=alice)
        server.route.side_effect = server.respond

        assert (503, "unavailable") == (refused.status_code, refused.json()["code"])
        assert int(refused.headers["Retry-After"]) >= 1
        assert 200 == await self.status(client, alice)

    @pytest.mark.parametrize("timeout_s", [0.01])
    async def test_an_endpoint_that_hangs_is_not_waited_for(self, client, alice, server: Server) -> None:
        """The limit is for the whole call, whatever the endpoint sends meanwhile."""

        async def hang(_: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

        server.route.side_effect = hang

        assert 503 == await self.status(client, alice)

    async def test_requests_with_one_token_share_a_call(self, client, alice, server: Server) -> None:
        """A page that sends ten requests at once causes one call, even if the client cancels the first of them."""
        asked, answered = asyncio.Event(), asyncio.Event()

        async def respond(request: httpx.Request) -> httpx.Response:
            asked.set()
            await answered.wait()
            return server.respond(request)

        server.route.side_effect = respond
        async with asyncio.TaskGroup() as group:
            requests = [group.create_task(client.get("/api/alice", headers=alice)) for _ in range(10)]
            await asked.wait()
            requests[0].cancel()
            answered.set()

        assert [200] * 9 == [request.result().status_code for request in requests[1:]]
        assert 1 == server.calls

    async def test_an_outage_is_logged_once_and_without_secrets(self, client, alice, server, caplog) -> None:
        """The log names the endpoint and the reason, but no token and no password."""
        caplog.set_level(logging.DEBUG, "taskd")
        server.route.side_effect = [httpx.Response(502)] * 3
        for _ in range(3):
            await client.get("/api/alice", headers=alice)
        server.route.side_effect = server.respond
        await client.get("/api/alice", headers=alice)

        down, up = [record.getMessage() for record in caplog.records if record.name.startswith("taskd")]
        assert f"The introspection endpoint at {URL} is unavailable: the response is 502" == down
        assert "is available again" in up
        assert not any(secret in caplog.text for secret in ("token-of-alice", PASSWORD, "Basic"))

    async def test_secrets_are_not_shown(self, backend: IntrospectionBackend) -> None:
        """Tracebacks and debuggers show the `repr` of objects."""
        assert PASSWORD not in repr(backend)

    async def test_the_endpoint_can_be_diagnosed(self, backend: IntrospectionBackend, server: Server) -> None:
        """`taskd doctor` tells whether the endpoint can be used, and whether it can be trusted."""
        fine = [check async for check in backend.diagnose()]
        server.route.side_effect = [httpx.Response(200, json=ALICE), httpx.Response(401)]
        gullible = [check async for check in backend.diagnose()]
        refused = [check async for check in backend.diagnose()]

        assert [Outcome.OK, Outcome.FAILED, Outcome.FAILED] == [each.outcome for [each] in (fine, gullible, refused)]
        assert "CLIENT_ID" in refused[0].finding

    @pytest.mark.usefixtures("server")
    async def test_tokens_for_other_services_are_noted(self) -> None:
        """Without an audience, each service that gets a user's token could use it."""
        backend = IntrospectionBackend(Endpoint(URL, "id", Secret("s")), Rules(), VerdictCache(30))

        checks = [check async for check in backend.diagnose()]

        assert [("introspection", Outcome.OK), ("audience", Outcome.NOTE)] == [(c.name, c.outcome) for c in checks]

    async def test_closing_stops_what_is_running(self, backend: IntrospectionBackend, client, alice, server) -> None:
        """The server stops, even if the endpoint hangs; whoever still waits is not admitted."""
        asked = asyncio.Event()

        async def hang(_: httpx.Request) -> httpx.Response:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        server.route.side_effect = hang
        waiting = asyncio.create_task(client.get("/api/alice", headers=alice))
        await asked.wait()
        await backend.close()

        with pytest.raises(asyncio.CancelledError):
            await waiting


class TestVerdictCache:
    def test_it_is_bounded(self) -> None:
        """However many tokens are refused, those of users are still known."""
        cache = VerdictCache(30, Clock())
        good, *bad = [cache.digest(str(number)) for number in range(10_002)]
        cache.keep(good, Verdict(object()), NOW_S)
        for digest in bad:
            cache.keep(digest, Verdict(None, "?"), NOW_S)

        assert [True, False, True] == [cache.get(digest) is not None for digest in (good, bad[0], bad[-1])]

    def test_it_keeps_no_tokens(self) -> None:
        """The keys are different in each process."""
        assert VerdictCache(30).digest("t") != VerdictCache(30).digest("t")


ENVIRON = {
    "TASKD_AUTH": "introspection",
    "TASKD_STORAGE": "memory",
    "INTROSPECTION_URL": URL,
    "INTROSPECTION_CLIENT_ID": "tasks app",
    "INTROSPECTION_CLIENT_SECRET": PASSWORD,
    "INTROSPECTION_AUDIENCE": "tasks",
    "INTROSPECTION_ISSUER": ISSUER,
}


@pytest.mark.anyio
async def test_taskd_serves_with_it(server: Server) -> None:
    """The settings select the plugin, and the API document says how to send tokens."""
    server.tokens["t"] = {**ALICE, "exp": 2**40}
    transport = httpx.ASGITransport(build_app(ENVIRON))
    async with httpx.AsyncClient(transport=transport, base_url="http://taskd", headers=bearer("t")) as client:
        responses = [await client.get(f"/api/{user}/tasks") for user in ("alice", "bob")]
        document = (await client.get("/openapi.json")).json()

    assert [200, 401] == [response.status_code for response in responses]
    assert ["bearer"] == [scheme["scheme"] for scheme in document["components"]["securitySchemes"].values()]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("INTROSPECTION_URL", "", "is not set"),
        ("INTROSPECTION_CLIENT_ID", "", "is not set"),
        ("INTROSPECTION_CLIENT_SECRET", "", "is not set"),
        ("INTROSPECTION_URL", "sso.example.com", "must be a URL"),
        ("INTROSPECTION_URL", f"{URL}?key=s3cret", "must be a URL"),
        ("INTROSPECTION_URL", "https://me:s3cret@sso.example.com/", "must be a URL"),
        ("INTROSPECTION_URL", "http://sso.example.com/introspect", "must begin with https://"),
        ("INTROSPECTION_CACHE", "0", "must be a number of seconds from 1 to 300"),
        ("INTROSPECTION_CACHE", "3600", "must be a number of seconds from 1 to 300"),
    ],
)
def test_wrong_settings_stop_the_start(variable: str, value: str, message: str) -> None:
    """The error names the variable, but shows no secret."""
    environ = {name: text for name, text in {**ENVIRON, variable: value}.items() if text}

    with pytest.raises(SettingsError, match=f"{variable}: {message}.*introspection") as caught:
        build_app(environ)

    assert not any(secret in str(caught.value) for secret in ("s3cret", PASSWORD))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
