"""Test what every auth backend must do."""

from __future__ import annotations

import string
from collections.abc import Callable

import httpx
import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthenticationBackend
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taskd.auth import Guard
from taskd.plugins import Source
from taskd.routes.errors import ERROR_HANDLERS
from taskd.routes.responses import JSONResponse
from taskd.routes.router import resources

__all__ = ["AuthContract"]

Headers = dict[str, str]

MIN_TELLING_LENGTH = 12


@pytest.mark.anyio
class AuthContract:
    """
    The tests that an auth backend must pass.

    A subclass defines two fixtures: `backend`, an `AuthenticationBackend`, and `credentials`, a function that takes a
    user id and returns headers with that user's credentials.
    """

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run the tests with asyncio."""
        return "asyncio"

    @pytest.fixture
    def client(self, backend: AuthenticationBackend) -> httpx.AsyncClient:
        """Return a client for an application that the backend guards."""
        return guarded_by(backend)

    async def test_valid_credentials_identify_their_user(
        self, client: httpx.AsyncClient, credentials: Callable[[str], Headers]
    ) -> None:
        """The identity is the user for whom the credentials were issued."""
        response = await client.get("/api/alice", headers=credentials("alice"))

        assert (200, "alice") == (response.status_code, response.json())

    async def test_credentials_are_only_valid_for_their_user(
        self, client: httpx.AsyncClient, credentials: Callable[[str], Headers]
    ) -> None:
        """A request for another user's path is refused."""
        response = await client.get("/api/bob", headers=credentials("alice"))

        assert (401, "wrong_user") == (response.status_code, response.json()["code"])

    async def test_missing_credentials_are_not_invalid(self, client: httpx.AsyncClient) -> None:
        """A request without credentials gets the code for missing ones, and a challenge without an error."""
        response = await client.get("/api/alice")

        assert (401, "missing_credentials") == (response.status_code, response.json()["code"])
        assert "error" not in response.headers["WWW-Authenticate"]

    async def test_altered_credentials_are_refused(
        self, client: httpx.AsyncClient, credentials: Callable[[str], Headers]
    ) -> None:
        """Credentials that are shortened, lengthened or changed are refused, and the response does not repeat them."""
        for name, value in credentials("alice").items():
            for wrong in _spoilt(value):
                response = await client.get("/api/alice", headers={name: wrong})

                assert 401 == response.status_code, response.text
                # Shorter values may be part of the response by chance.
                assert len(wrong) < MIN_TELLING_LENGTH or wrong not in response.text


def guarded_by(backend: AuthenticationBackend) -> httpx.AsyncClient:
    """Return a client for an application that *backend* guards, and that responds with the user's identity."""

    async def whoami(request: Request) -> Response:
        return JSONResponse(request.user.identity)

    routes = resources([(Source("contract", "the contract"), Route("/api/{user_id}", whoami))], Guard(backend))
    app = Starlette(routes=routes, exception_handlers=ERROR_HANDLERS)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://taskd")


def _spoilt(value: str) -> list[str]:
    """Return altered versions of *value*, the value of a header."""
    scheme, space, secret = value.rpartition(" ")
    wrong = [value[:-9], f"{value}x", value[:-20] + _shifted(value[-20:]), f"{scheme}{space}{secret[::-1]}"]
    # The last one equals *value* if the secret is a palindrome.
    return [text for text in wrong if text != value]


def _shifted(text: str) -> str:
    """Return *text* with each ASCII letter and digit replaced by the next one, so that more than its case differs."""
    return text.translate(_NEXT)


def _after(characters: str) -> dict[int, str]:
    return {ord(character): characters[position - len(characters) + 1] for position, character in enumerate(characters)}


_NEXT = {**_after(string.ascii_lowercase), **_after(string.ascii_uppercase), **_after(string.digits)}
