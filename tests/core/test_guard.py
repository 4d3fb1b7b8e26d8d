"""The guard admits requests according to what the auth backend says."""

from __future__ import annotations

import pytest
from starlette.types import ASGIApp

from taskd.auth import DenyAll, challenge_of, request_headers_of
from taskd.time_limit import Timeouts
from tests.conftest import client_of, token_for
from tests.support.applications import build, get, refusal
from tests.support.third_parties import Site, auth_source, routes_source

pytestmark = pytest.mark.anyio

IMPATIENT = Timeouts(auth_s=0.01)
# What a backend may raise about credentials, and the code of the resulting 401.
REFUSALS = {
    "taskd.auth.MissingCredentials": "missing_credentials",
    "taskd.auth.InvalidCredentials": "invalid_token",
    "taskd.auth.ExpiredCredentials": "expired_token",
    "__import__('starlette').authentication.AuthenticationError": "invalid_token",
}


def answering(site: Site, *statements: str, timeouts: Timeouts | None = None) -> ASGIApp:
    """Return an application whose auth runs *statements*, with a protected route `/me`."""
    site.install("custom", auth_source(*statements) + routes_source("Route('/me', endpoint)"))
    return build(timeouts, TASKD_AUTH="custom")


class TestGuard:
    @pytest.mark.parametrize(
        "statement",
        [
            "raise RuntimeError('the key is hunter2')",
            "raise TimeoutError('its own')",
            "return taskd.auth.User('alice')",
            "return AuthCredentials(), object()",
            "return AuthCredentials(), None",
            "return AuthCredentials(), attrs.make_class('Other', {'identity': attrs.field(default='alice')})()",
            # A method instead of a property is always true.
            (
                "Odd = type('Odd', (taskd.auth.User,), {'is_authenticated': lambda self: False});"
                " return AuthCredentials(), Odd('alice')"
            ),
        ],
    )
    async def test_a_failing_backend_leads_to_a_500(self, site: Site, statement: str) -> None:
        """If a backend raises or returns anything unexpected, that is a server error, and nobody is admitted."""
        response = await get(answering(site, statement), "/me", "alice")

        assert (500, {"detail": "Internal server error", "code": "internal_error"}) == (
            response.status_code,
            response.json(),
        )

    async def test_a_backend_that_returns_none_admits_nobody(self, site: Site) -> None:
        """A request without a user is refused, not treated as anonymous."""
        response = await get(answering(site, "return None"), "/me", "alice")

        assert (401, 'Credentials realm="taskd"') == (response.status_code, response.headers["WWW-Authenticate"])
        assert {
            "detail": "The credentials are missing: the API document says how to send them.",
            "code": "missing_credentials",
        } == response.json()

    @pytest.mark.parametrize(
        "user", ["type('Guest', (taskd.auth.User,), {'is_authenticated': False})('alice')", "UnauthenticatedUser()"]
    )
    @pytest.mark.parametrize("path", ["/me", "/api/alice/tasks"])
    async def test_an_unauthenticated_user_is_refused(self, site: Site, user: str, path: str) -> None:
        """If a backend returns such a user, that is the same as no credentials."""
        statements = ("from starlette.authentication import UnauthenticatedUser", f"return AuthCredentials(), {user}")

        response = await get(answering(site, *statements), path)

        assert 401 == response.status_code
        assert "The credentials are missing" in response.json()["detail"]
        assert "missing_credentials" == response.json()["code"]

    @pytest.mark.parametrize(
        "statement",
        [
            "await asyncio.Event().wait()",
            "raise taskd.storage.StoreUnavailable('the sessions are away')",
        ],
    )
    async def test_a_backend_that_cannot_decide_leads_to_a_503(self, site: Site, statement: str) -> None:
        """If a backend hangs or loses its database, the request is refused within the time limit."""
        app = answering(site, statement, timeouts=IMPATIENT)

        response = await get(app, "/me", "alice")

        assert (503, True) == (response.status_code, response.headers["Retry-After"].isdecimal())
        assert "unavailable" == response.json()["code"]

    async def test_a_backend_that_hangs_is_named(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """The log names the plugin that does not respond."""
        await get(answering(site, "await asyncio.Event().wait()", timeouts=IMPATIENT), "/me")

        assert "plugin 'custom' of acme 1.0 did not respond in" in caplog.text

    @pytest.mark.parametrize(("error", "code"), REFUSALS.items())
    async def test_a_backend_s_refusal_reaches_the_client(self, site: Site, error: str, code: str) -> None:
        """The message of the exception becomes the detail of the 401, and its class determines the code."""
        detail = 'It is "worn out" \u2013 sorry.'

        response = await get(answering(site, f"raise {error}({detail!r})"), "/me", "alice")

        assert (401, {"detail": detail, "code": code}) == (response.status_code, response.json())

    @pytest.mark.parametrize(
        ("error", "detail"),
        [("Invalid", "are invalid."), ("Expired", "have expired."), ("Missing", "are missing: the API")],
    )
    async def test_a_refusal_without_a_message_gets_one(self, site: Site, error: str, detail: str) -> None:
        """Clients get a reason even if the backend gives none."""
        response = await get(answering(site, f"raise taskd.auth.{error}Credentials"), "/me")

        assert response.json()["detail"].startswith(f"The credentials {detail}")

    @pytest.mark.parametrize(
        ("challenge", "given"),
        [
            ("challenge = 'ApiKey realm=\"acme\"'", ['ApiKey realm="acme"'] * 4),
            (
                "def challenge(self, error): return f'Acme error=\"{error}\"'",
                [
                    'Acme error="None"',
                    'Acme error="It is worn out."',
                    'Acme error="It has expired."',
                    'Acme error="The credentials are for a user other than the one in the path."',
                ],
            ),
        ],
        ids=["a text", "a function"],
    )
    async def test_the_challenge_is_the_backend_s(self, site: Site, challenge: str, given: list[str]) -> None:
        """In each 401, the backend says how to send credentials and what was wrong with them."""
        source = auth_source(
            "if conn.headers['x'] == 'none': raise taskd.auth.MissingCredentials('Send X.')",
            "if conn.headers['x'] == 'bad': raise taskd.auth.InvalidCredentials('It is worn out.')",
            "if conn.headers['x'] == 'old': raise taskd.auth.ExpiredCredentials('It has expired.')",
            "return AuthCredentials(), taskd.auth.User('bob')",
        )
        site.install(
            "custom", source.replace("    async def authenticate", f"    {challenge}\n\n    async def authenticate")
        )
        app = build(TASKD_AUTH="custom")
        responses = [await get(app, "/api/alice/tasks", x=sent) for sent in ("none", "bad", "old", "bob's")]

        assert [401] * 4 == [response.status_code for response in responses]
        assert given == [response.headers["WWW-Authenticate"] for response in responses]

    @pytest.mark.parametrize(
        ("challenge", "given"),
        [("Acme", 'Acme where="there", who="them"'), ('Acme realm="a"', 'Acme realm="a", where="there", who="them"')],
    )
    async def test_an_endpoint_adds_to_the_challenge(self, site: Site, challenge: str, given: str) -> None:
        """The parameters of an endpoint appear in its 401s, and in no others."""
        marked = "taskd.routes.challenge_parameters(endpoint, where='there', who='them')"
        routes = routes_source("Route('/me', functools.partial(endpoint))", f"Route('/marked', {marked})")
        backend = auth_source("return None").replace("    async", f"    challenge = {challenge!r}\n\n    async")
        site.install("custom", f"import functools\n{backend}{routes}")
        app = build(TASKD_AUTH="custom")

        responses = [await get(app, path) for path in ("/me", "/marked")]

        assert [challenge, given] == [response.headers["WWW-Authenticate"] for response in responses]

    def test_an_endpoint_cannot_add_what_breaks_the_challenge(self, site: Site) -> None:
        """A value that would end its quotes is refused when the server starts."""
        marked = "taskd.routes.challenge_parameters(endpoint, where='\"')"
        site.install("custom", routes_source(f"Route('/marked', {marked})"))

        assert "must be printable ASCII, without quotes and backslashes" in refusal()

    @pytest.mark.parametrize("challenge", ["None", "5", "''", "'Acme\\r\\nX: y'", "'Acm\u00e9'", "b'Acme'"])
    async def test_an_invalid_challenge_leads_to_a_500(self, site: Site, challenge: str) -> None:
        """The request is not admitted, and nothing is added to the response that the backend did not mean."""
        source = auth_source("return None")
        site.install("custom", source.replace("    async def", f"    challenge = {challenge}\n\n    async def"))

        response = await get(build(TASKD_AUTH="custom"), "/api/alice/tasks")

        assert 500 == response.status_code
        assert "WWW-Authenticate" not in response.headers

    def test_a_backend_that_combines_others_sees_what_they_leave_out(self) -> None:
        """A backend that says nothing about challenges and headers has the defaults of the core."""
        plain, key = [type("Backend", (DenyAll,), {})() for _ in range(2)]
        key.challenge, key.request_headers = (lambda error: f"Key error={error}"), ["X-Key"]

        assert ['Credentials realm="taskd"', "Key error=None"] == [challenge_of(each, None) for each in (plain, key)]
        assert [("Authorization",), ("X-Key",)] == [request_headers_of(each) for each in (plain, key)]

    @pytest.mark.parametrize("identity", ["''", "None", "5", "b'alice'", "'a' * 256", "'a\\0'", "'a\\ud800'"])
    async def test_an_identity_that_cannot_own_tasks_is_refused(self, site: Site, identity: str) -> None:
        """An identity must be text that every store can hold."""
        app = answering(site, f"return AuthCredentials(), taskd.auth.User({identity})")

        response = await get(app, "/me")

        assert 401 == response.status_code
        assert response.json()["detail"].startswith("The user must be a text of")
        assert "invalid_token" == response.json()["code"]

    @pytest.mark.parametrize("identity", ["a", "a" * 255, "\U0001f389" * 255, " "])
    async def test_any_other_text_is_a_valid_identity(self, site: Site, identity: str) -> None:
        """An identity has 1 to 255 characters of any kind."""
        app = answering(site, f"return AuthCredentials(), taskd.auth.User({identity!r})")

        response = await get(app, "/me")

        assert (200, True) == (response.status_code, response.text.endswith(f": {identity}"))

    async def test_the_guard_asks_the_backend_once(self, site: Site) -> None:
        """A request is authenticated once, and not at all if the path does not support its method."""
        app = answering(
            site,
            "conn.app.state.asked = getattr(conn.app.state, 'asked', 0) + 1",
            "return AuthCredentials(), taskd.auth.User(str(conn.app.state.asked))",
        )
        async with client_of(app) as client:
            await client.delete("/me")
            first, second = await client.get("/me"), await client.get("/me")

        assert [": 1", ": 2"] == [first.text[-3:], second.text[-3:]]

    async def test_a_valid_token_does_not_open_another_user_s_path(self) -> None:
        """The owner in the path must be the token's user, however the path is spelled."""
        app = build()

        for path in ("/api/bob/tasks", "/api/alice%2Fx/tasks", "/api/Alice/tasks", "/api/%61lice%00/tasks"):
            response = await get(app, path, Authorization=f"Bearer {token_for('alice')}")

            assert (401, "wrong_user") == (response.status_code, response.json()["code"])
