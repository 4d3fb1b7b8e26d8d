"""The guard: what a backend says of a request, and who is let in."""

from __future__ import annotations

import pytest
from starlette.types import ASGIApp

from tests.applications import build, get
from tests.conftest import client_of, token_for
from tests.third_parties import Site, auth_source, routes_source

pytestmark = pytest.mark.anyio


def answering(site: Site, *statements: str) -> ASGIApp:
    """An application whose auth runs *statements*, with a protected route `/me`."""
    site.install("custom", auth_source(*statements) + routes_source("Route('/me', endpoint)"))
    return build(TASKD_AUTH="custom")


class TestGuard:
    @pytest.mark.parametrize(
        "statement",
        [
            "raise RuntimeError('the key is hunter2')",
            "raise TimeoutError('its own')",
            "return taskd.User('alice')",
            "return AuthCredentials(), object()",
            "return AuthCredentials(), None",
        ],
    )
    async def test_a_backend_that_fails_makes_a_500(self, site: Site, statement: str) -> None:
        """Whatever a backend raises or returns that it must not is an error of the server, and nobody is let in."""
        answer = await get(answering(site, statement), "/me", "alice")

        assert (500, {"detail": "Internal server error"}) == (answer.status_code, answer.json())

    async def test_a_backend_that_returns_none_lets_nobody_in(self, site: Site) -> None:
        """A request without a user is refused, not anonymous."""
        answer = await get(answering(site, "return None"), "/me", "alice")

        assert (401, 'Bearer realm="taskd"') == (answer.status_code, answer.headers["WWW-Authenticate"])

    @pytest.mark.parametrize(
        "statement",
        [
            "await asyncio.Event().wait()",
            "raise taskd.StoreUnavailable('the sessions are away')",
        ],
    )
    async def test_a_backend_that_cannot_answer_makes_a_503(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, statement: str
    ) -> None:
        """A backend that hangs or has lost its database is waited for no longer than its time, and nobody is let in."""
        monkeypatch.setattr("taskd.auth.AUTH_TIMEOUT_S", 0.01)

        answer = await get(answering(site, statement), "/me", "alice")

        assert (503, True) == (answer.status_code, answer.headers["Retry-After"].isdecimal())
        assert ["detail"] == list(answer.json())

    @pytest.mark.parametrize("error", ["InvalidCredentials", "MissingCredentials"])
    async def test_a_backends_refusal_reaches_the_client(self, site: Site, error: str) -> None:
        """What a backend says of bad credentials is the detail of a 401, and fits in its header."""
        detail = 'It is "worn out" \u2013 sorry.'

        answer = await get(answering(site, f"raise taskd.{error}({detail!r})"), "/me", "alice")

        assert (401, {"detail": detail}) == (answer.status_code, answer.json())
        challenge = answer.headers["WWW-Authenticate"]
        assert (error == "InvalidCredentials") == ('error="invalid_token", error_description="It is \'w' in challenge)

    @pytest.mark.parametrize("identity", ["''", "None", "5", "b'alice'", "'a' * 256", "'a\\0'", "'a\\ud800'"])
    async def test_an_identity_that_cannot_own_tasks_is_refused(self, site: Site, identity: str) -> None:
        """An identity must be a text that every store can keep."""
        app = answering(site, f"return AuthCredentials(), taskd.User({identity})")

        answer = await get(app, "/me")

        assert (401, True) == (answer.status_code, 'error="invalid_token"' in answer.headers["WWW-Authenticate"])

    @pytest.mark.parametrize("identity", ["a", "a" * 255, "\U0001f389" * 255, " "])
    async def test_an_identity_is_any_other_text(self, site: Site, identity: str) -> None:
        """An identity is 1 to 255 characters of any kind."""
        app = answering(site, f"return AuthCredentials(), taskd.User({identity!r})")

        answer = await get(app, "/me")

        assert (200, True) == (answer.status_code, answer.text.endswith(f": {identity}"))

    async def test_the_guard_asks_the_backend_once(self, site: Site) -> None:
        """A request is verified once, and not at all where its method is not answered."""
        app = answering(
            site,
            "conn.app.state.asked = getattr(conn.app.state, 'asked', 0) + 1",
            "return AuthCredentials(), taskd.User(str(conn.app.state.asked))",
        )
        async with client_of(app) as client:
            await client.delete("/me")
            first, second = await client.get("/me"), await client.get("/me")

        assert [": 1", ": 2"] == [first.text[-3:], second.text[-3:]]

    async def test_a_good_token_does_not_open_another_users_path(self) -> None:
        """The owner in the path must be the token's user, however the path is written."""
        app = build()

        for path in ("/api/bob/tasks", "/api/alice%2Fx/tasks", "/api/Alice/tasks", "/api/%61lice%00/tasks"):
            assert 401 == (await get(app, path, Authorization=f"Bearer {token_for('alice')}")).status_code
