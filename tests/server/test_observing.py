"""What observers learn of a request that had to wait for its turn, or whose client has left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from taskd.server.admission import PLACE
from taskd.server.gates import Gate, GateLimits, Place
from taskd.server.observing import Observing
from taskd.telemetry import FinishedRequest

pytestmark = pytest.mark.anyio


async def observed(scope: Scope) -> FinishedRequest:
    """Return what an observer learns of a request that gets no response."""
    seen: list[FinishedRequest] = []

    async def leave(scope: Scope, receive: Receive, send: Send) -> None:
        """Return without a response."""

    nothing: Any = None
    await Observing(leave, [seen.append])({"type": "http", "method": "GET", **scope}, nothing, nothing)
    [request] = seen
    return request


async def test_the_wait_for_a_turn_counts() -> None:
    """A client notices how long the response took, not how long the server worked on it."""
    gate = Gate(60, limits=GateLimits(start=1, minimum=1, maximum=1))
    first, second = Place(gate, "alice"), Place(gate, "alice")
    first.leave()
    await second.wait()

    assert 0 == first.waited_s
    assert 0 < second.waited_s < (await observed({PLACE: second})).seconds
    second.leave()
    await asyncio.sleep(0)


async def test_a_request_without_a_response_has_no_status() -> None:
    """Its client has left."""
    request = await observed({})

    assert (None, None, None, 0) == (request.status, request.route, request.user, request.size)
