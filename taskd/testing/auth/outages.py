"""Test what an auth backend does while something that it depends on is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest

from taskd.testing.auth.requests import Credentials, assert_admitted, sent
from taskd.testing.promises import promises

__all__ = ["OutageTests"]

Outage = Callable[[], AbstractAsyncContextManager[object]]

# How long a backend may take to recover.
RECOVERY_S = 30.0
PAUSE_S = 0.05


@promises
class OutageTests:
    """Requests during an outage and after it; skipped unless there is a fixture `outage`."""

    @pytest.fixture
    def outage(self) -> Outage:
        """Skip the test: only a subclass knows what its backend depends on."""
        pytest.skip("define a fixture `outage` to test what happens while something that the backend needs is down")

    async def test_valid_credentials_are_not_refused_during_an_outage(
        self, client: httpx.AsyncClient, credentials: Credentials, outage: Outage
    ) -> None:
        """During an outage, valid credentials get a 503, or a 200 from memory: a 401 would sign their user out."""
        headers = credentials("alice")
        async with outage():
            response = await sent(client, headers)
        assert response.status_code in (200, 503), response.text

        end = time.monotonic() + RECOVERY_S
        response = await sent(client, headers)
        while response.status_code == 503 and time.monotonic() < end:
            await asyncio.sleep(PAUSE_S)
            response = await sent(client, headers)
        assert_admitted(response)

    async def test_nobody_else_is_admitted_during_an_outage(
        self, client: httpx.AsyncClient, credentials: Credentials, outage: Outage
    ) -> None:
        """During an outage, wrong and missing credentials get a 401 or a 503."""
        headers = credentials("alice")
        assert_admitted(await sent(client, headers))
        async with outage():
            for wrong in ({name: f"{value}x" for name, value in headers.items()}, {}):
                assert (await sent(client, wrong)).status_code in (401, 503)
