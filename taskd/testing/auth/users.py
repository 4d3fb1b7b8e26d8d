"""Test whom credentials identify."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable

import httpx
import pytest
from starlette.authentication import AuthenticationBackend

from taskd.testing.auth.requests import Credentials, assert_admitted, declared, sent
from taskd.testing.promises import promises

__all__ = ["UserTests"]

# How many requests to send at once, of each kind.
AT_ONCE = 10
# Headers in which proxies name a user, and which anyone can send.
USER_HEADERS = ("X-Forwarded-User", "X-Remote-User", "Remote-User", "X-Auth-Request-User", "X-User-ID", "X-User")


@promises
class UserTests:
    """Valid credentials."""

    async def test_valid_credentials_identify_their_user(
        self, client: httpx.AsyncClient, credentials: Credentials
    ) -> None:
        """The identity is the user for whom the credentials were issued, each time they are sent."""
        headers = credentials("alice")
        for _ in range(3):
            assert_admitted(await sent(client, headers))

    async def test_credentials_are_only_valid_for_their_user(
        self, client: httpx.AsyncClient, credentials: Credentials
    ) -> None:
        """A request for another user's path is refused, with the code that says so."""
        response = await sent(client, credentials("alice"), user="bob")

        assert (401, "wrong_user") == (response.status_code, response.json()["code"])

    async def test_every_user_is_identified(self, client: httpx.AsyncClient, credentials: Credentials) -> None:
        """Each user has credentials that identify this user and nobody else."""
        headers = {user: credentials(user) for user in ("alice", "bob")}
        for _ in range(2):
            for user, other in (("alice", "bob"), ("bob", "alice")):
                assert_admitted(await sent(client, headers[user], user), user)
                response = await sent(client, headers[user], other)
                assert (401, "wrong_user") == (response.status_code, response.json()["code"])

    async def test_concurrent_requests_are_not_mixed_up(
        self, client: httpx.AsyncClient, credentials: Credentials
    ) -> None:
        """Each of many concurrent requests is judged by its own credentials."""
        valid = credentials("alice")
        wrong = {name: f"{value}x" for name, value in valid.items()}
        requests = [sent(client, headers) for _ in range(AT_ONCE) for headers in (valid, wrong, {})]

        responses = await asyncio.gather(*requests)
        assert [200, 401, 401] * AT_ONCE == [response.status_code for response in responses]

    async def test_concurrent_users_are_not_mixed_up(self, client: httpx.AsyncClient, credentials: Credentials) -> None:
        """Each of many concurrent requests, of several users, gets its own user."""
        users = ["alice", "bob"] * AT_ONCE
        headers = {user: credentials(user) for user in ("alice", "bob")}

        for user, response in zip(
            users, await asyncio.gather(*[sent(client, headers[user], user) for user in users]), strict=True
        ):
            assert_admitted(response, user)

    async def test_clients_cannot_name_a_user(
        self, client: httpx.AsyncClient, backend: AuthenticationBackend, credentials: Credentials
    ) -> None:
        """Headers in which a proxy might name the user are ignored, with credentials and without."""
        names = [name for name in USER_HEADERS if name.lower() not in declared(backend)]
        claim = dict.fromkeys(names, "bob")

        assert 401 == (await sent(client, claim, "bob")).status_code
        assert 401 == (await sent(client, {**claim, **credentials("alice")}, "bob")).status_code
        assert_admitted(await sent(client, {**claim, **credentials("alice")}))

    @pytest.fixture
    def revoke(self) -> Callable[[str], object]:
        """Skip the test: only a subclass knows how credentials become invalid."""
        pytest.skip("define a fixture `revoke` to test that revoked credentials are refused")

    async def test_revoked_credentials_are_refused(
        self, client: httpx.AsyncClient, credentials: Credentials, revoke: Callable[[str], object]
    ) -> None:
        """Credentials that have been revoked are refused, also if they were accepted before."""
        headers = credentials("alice")
        assert_admitted(await sent(client, headers))
        revoking = revoke("alice")
        if inspect.isawaitable(revoking):
            await revoking

        response = await sent(client, headers)
        assert 401 == response.status_code
        assert response.json()["code"] in ("invalid_token", "expired_token")
