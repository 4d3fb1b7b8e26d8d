"""What every auth backend must do."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthenticationBackend
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taskd.auth import Guard
from taskd.http import ERROR_HANDLERS, JSONAnswer
from taskd.plugins import Claimant
from taskd.routing import resources

__all__ = ["AuthContract"]

Headers = dict[str, str]


@pytest.mark.anyio
class AuthContract:
    """
    The tests that an auth backend passes.

    A subclass defines a fixture `backend` that gives an `AuthenticationBackend`, and a fixture `credentials` that gives
    a function from a user's id to the headers with which that user comes.
    """

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run the tests in asyncio."""
        return "asyncio"

    @pytest.fixture
    def client(self, backend: AuthenticationBackend) -> httpx.AsyncClient:
        """Return a client of an application that the backend guards."""

        async def whoami(request: Request) -> Response:
            return JSONAnswer(request.user.identity)

        routes = resources([(Claimant("contract", "the contract"), Route("/api/{user_id}", whoami))], Guard(backend))
        app = Starlette(routes=routes, exception_handlers=ERROR_HANDLERS)
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://taskd")

    async def test_good_credentials_name_their_user(
        self, client: httpx.AsyncClient, credentials: Callable[[str], Headers]
    ) -> None:
        """The identity is the user for whom the credentials were made."""
        answer = await client.get("/api/alice", headers=credentials("alice"))

        assert (200, "alice") == (answer.status_code, answer.json())

    async def test_credentials_open_only_their_own_user(
        self, client: httpx.AsyncClient, credentials: Callable[[str], Headers]
    ) -> None:
        """The path of another user is refused."""
        answer = await client.get("/api/bob", headers=credentials("alice"))

        assert 401 == answer.status_code

    async def test_no_credentials_are_no_fault(self, client: httpx.AsyncClient) -> None:
        """A request without credentials is told to bring some, and of no error (RFC 6750, section 3.1)."""
        answer = await client.get("/api/alice")

        assert 401 == answer.status_code
        assert "error" not in answer.headers["WWW-Authenticate"]

    async def test_spoilt_credentials_are_refused(
        self, client: httpx.AsyncClient, credentials: Callable[[str], Headers]
    ) -> None:
        """Credentials that are cut, lengthened or changed are refused, and not repeated in the answer."""
        for name, value in credentials("alice").items():
            spoilt = [value[:-9], f"{value}x", value[:-20] + value[-20:].swapcase(), value.rpartition(" ")[2][::-1]]
            for wrong in spoilt:
                answer = await client.get("/api/alice", headers={name: wrong})

                assert 401 == answer.status_code, answer.text
                assert wrong not in answer.text
