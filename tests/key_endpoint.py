"""Where the keys of an issuer are fetched, for tests that let it fail; and clients with tokens of that issuer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import respx

import taskd_jwt.jwks
from taskd import build_app
from taskd.testing import lifespan
from tests.clock import Clock
from tests.conftest import SECRET, client_of
from tests.issuer import JWKS_URL, URL, Issuer
from tests.serving import outcome, until_ended

KIND = "ES256"
MIN_INTERVAL_S, COOLDOWN_S = 5, 31


@attrs.define(eq=False)
class Endpoint:
    """
    Where the keys of an issuer are, or not.

    Attributes:
        document: What is there.
        fault: What is answered or raised in place of that.
        gate: What each answer waits for.
        fetched_s: When it was asked.
    """

    issuer: Issuer
    clock: Clock
    fault: httpx.Response | Exception | None = None
    gate: asyncio.Event = attrs.field(factory=asyncio.Event)
    fetched_s: list[float] = attrs.field(factory=list)
    document: dict[str, Any] | None = None

    async def answer(self, _: httpx.Request) -> httpx.Response:
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
        router.get(JWKS_URL).mock(side_effect=made.answer)
        yield made


@pytest.fixture
def both_lanes(tmp_path: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db",
        "BETTER_AUTH_SECRET": SECRET,
        "BETTER_AUTH_URL": URL,
    }


@pytest.fixture
async def caller(both_lanes: dict[str, str], endpoint: Endpoint) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application with both lanes, which has no keys yet."""
    app = build_app(both_lanes)
    async with lifespan(app), client_of(app) as connected:
        yield connected
        endpoint.gate.set()
        await fetched()


@pytest.fixture
def lose_patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called on nobody waits for a fetch: before, one that answers has as long as always to do so."""
    return lambda: monkeypatch.setattr(taskd_jwt.jwks, "WAIT_S", 0.05)


async def fetched() -> None:
    """Wait for the fetch that is under way."""
    await until_ended(taskd_jwt.jwks.FETCH)


async def answer_to(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/api/alice/tasks", headers={"Authorization": f"Bearer {token}"})


async def status(client: httpx.AsyncClient, token: str) -> int:
    """Return the status of the answer, which says when to come again, and what is wrong."""
    answer = await answer_to(client, token)
    assert answer.status_code == 200 or isinstance(answer.json()["detail"], str)
    return outcome(answer)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the plugin said since the last time."""
    messages = [record.getMessage() for record in caplog.records if record.name == "taskd_jwt.jwks"]
    caplog.clear()
    return messages


def unknown(issuer: Issuer, number: int) -> str:
    """Return a token of a key that nobody has heard of."""
    return issuer.sign(kid=f"unknown-{number}")
