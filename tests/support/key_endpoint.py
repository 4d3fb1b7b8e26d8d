"""An endpoint that publishes an issuer's keys and that tests can make fail, and clients with that issuer's tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import respx

import taskd_jwt.jwks.single_flight
from taskd.application import Application
from taskd.testing import lifespan
from taskd_jwt.backend import JWTBackend
from taskd_jwt.jwks.cache import RemoteKeySet
from taskd_jwt.jwks.timing import Timing
from tests.conftest import PATIENT, SECRET, client_of
from tests.support.applications import build_verifying
from tests.support.clock import Clock
from tests.support.issuer import JWKS_URL, URL, Issuer
from tests.support.serving import outcome, until_ended

KIND = "ES256"
MIN_INTERVAL_S, COOLDOWN_S, QUIET_S = 5, 15, 30
# Requests give up waiting for a fetch almost at once.
IMPATIENT = Timing(wait_s=0.05)


@attrs.define(eq=False)
class Endpoint:
    """
    The endpoint where an issuer publishes its keys.

    Attributes:
        document: The key set, if it is not the issuer's.
        fault: A response or an exception in place of the key set.
        gate: Delays every response until it is set.
        fetched_s: The times of all requests.
    """

    issuer: Issuer
    clock: Clock
    fault: httpx.Response | Exception | None = None
    gate: asyncio.Event = attrs.field(factory=asyncio.Event)
    fetched_s: list[float] = attrs.field(factory=list)
    document: dict[str, Any] | None = None

    async def response(self, _: httpx.Request) -> httpx.Response:
        self.fetched_s.append(self.clock.now_s)
        await self.gate.wait()
        if isinstance(self.fault, Exception):
            raise self.fault
        return self.fault or httpx.Response(200, json=self.document or self.issuer.document())

    @property
    def fetches(self) -> int:
        return len(self.fetched_s)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(("EdDSA", KIND))


@pytest.fixture
def endpoint(issuer: Issuer, clock: Clock) -> Iterator[Endpoint]:
    made = Endpoint(issuer, clock)
    made.gate.set()
    with respx.mock(assert_all_called=False) as router:
        router.get(JWKS_URL).mock(side_effect=made.response)
        yield made


@pytest.fixture
def both_schemes(tmp_path: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db",
        "BETTER_AUTH_SECRET": SECRET,
        "BETTER_AUTH_URL": URL,
        **PATIENT,
    }


@pytest.fixture
async def caller(both_schemes: dict[str, str], endpoint: Endpoint, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that accepts both token schemes and has not fetched any keys yet."""
    app = build_verifying(both_schemes, clock=clock)
    async with lifespan(app), client_of(app) as connected:
        yield connected
        endpoint.gate.set()
        await fetched()


def keys_of(app: Application) -> RemoteKeySet:
    """Return the cache of the issuer's keys in *app*."""
    assert isinstance(app.backend, JWTBackend)
    [scheme] = app.backend.verifier.key_sets
    return scheme.keys


async def fetched() -> None:
    """Wait for the running fetch to end."""
    await until_ended(taskd_jwt.jwks.single_flight.TASK_NAME)


async def response_to(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/api/alice/tasks", headers={"Authorization": f"Bearer {token}"})


async def status(client: httpx.AsyncClient, token: str) -> int:
    """Return the response's status; check that any other than 200 has a reason, and that a 503 has a `Retry-After`."""
    response = await response_to(client, token)
    assert response.status_code == 200 or isinstance(response.json()["detail"], str)
    return outcome(response)


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the plugin logged since the last call."""
    messages = [record.getMessage() for record in caplog.records if record.name == "taskd_jwt.jwks.cache"]
    caplog.clear()
    return messages


def unknown(issuer: Issuer, number: int) -> str:
    """Return a token with a key id that is not in the key set."""
    return issuer.sign(kid=f"unknown-{number}")
