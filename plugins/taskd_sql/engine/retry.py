"""Retry statements that an outage interrupted, unless that might run a write twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from taskd_sql.engine.database import now
from taskd_sql.engine.errors import Interrupted

__all__ = ["retrying"]

T = TypeVar("T")

# With the pauses, these attempts take about two seconds: enough for PostgreSQL to restart, or for Neon to wake up.
MAX_ATTEMPTS = 5
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 1.0
# Clients that were interrupted at the same time must not all retry at the same time.
JITTER_S = 0.1


async def retrying(attempt: Callable[[], Awaitable[T]], *, is_read: bool, until: float) -> T:
    """
    Return the result of *attempt*, retrying as long as it is interrupted.

    Args:
        attempt: Runs a statement.
        is_read: Whether the statement changes nothing.  A write is retried only if it certainly was not run.
        until: The time after which no retry begins, by the loop's clock.

    Raises:
        StoreError: The error from the last attempt.
    """
    for number in range(MAX_ATTEMPTS - 1):
        try:
            return await attempt()
        except Interrupted as error:
            pause_s = _pause_s(number)
            may_repeat = is_read or not error.may_have_run
            if not may_repeat or now() + pause_s >= until:
                raise
        await asyncio.sleep(pause_s)
    return await attempt()


def _pause_s(number: int) -> float:
    """Return how long to wait after attempt *number*, counted from 0."""
    growing_s: float = FIRST_PAUSE_S * 2**number
    return min(growing_s + random.uniform(0, JITTER_S), MAX_PAUSE_S)  # noqa: S311  not used for security
