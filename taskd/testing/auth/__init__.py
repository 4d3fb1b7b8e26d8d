"""Test what every auth backend must do: one module for each subject, and one class with all their tests."""

from __future__ import annotations

import httpx
import pytest
from starlette.authentication import AuthenticationBackend

from taskd.testing.auth.challenges import ChallengeTests
from taskd.testing.auth.outages import OutageTests
from taskd.testing.auth.refusals import RefusalTests
from taskd.testing.auth.requests import guarded_by
from taskd.testing.auth.secrecy import SecrecyTests
from taskd.testing.auth.users import UserTests

__all__ = ["AuthContract"]


# Pytest runs the tests of the last class first.
@pytest.mark.anyio
class AuthContract(OutageTests, SecrecyTests, ChallengeTests, RefusalTests, UserTests):
    """
    The tests that an auth backend must pass.

    A subclass defines two fixtures: `backend`, an `AuthenticationBackend`, and `credentials`, a function that takes a
    user id and returns headers with that user's credentials.  The user is `alice` or `bob`.  If the backend knows only
    one user, the function calls `pytest.skip` for `bob`.

    Two other fixtures are optional; without them, the tests that need them are skipped:

    - `revoke`: a function, async or not, that takes a user id and makes that user's credentials invalid.  When it
      returns, the backend must already refuse them.
    - `outage`: a function that returns an async context manager, in which something that the backend depends on is
      down.
    """

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run the tests with asyncio."""
        return "asyncio"

    @pytest.fixture
    def client(self, backend: AuthenticationBackend) -> httpx.AsyncClient:
        """Return a client for an application that the backend guards."""
        return guarded_by(backend)
