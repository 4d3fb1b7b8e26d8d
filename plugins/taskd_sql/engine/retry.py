"""Retry statements that an outage interrupted, unless that might run a write twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import attrs

from taskd_sql.engine.database import now
from taskd_sql.engine.errors import Interrupted

__all__ = ["Retriable", "Retries"]

T = TypeVar("T")


class Retriable(Protocol):
    """A call that may be retried."""

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing."""
        ...

    @property
    def until(self) -> float:
        """The time after which no retry begins, by the loop's clock."""
        ...


C = TypeVar("C", bound=Retriable)


@attrs.frozen
class Retries:
    """
    How often statements are retried, and how long to wait in between.

    By default, all attempts together take about two seconds: enough for PostgreSQL to restart, or for Neon to wake up.

    Attributes:
        max_attempts: How often a statement is run at most.
        first_pause_s: The pause after the first attempt; each further one is twice as long.
        max_pause_s: The longest pause.
        jitter_s: The most that is added to a pause at random.  Clients that were interrupted at the same time must not
            all retry at the same time.
    """

    max_attempts: int = 5
    first_pause_s: float = 0.1
    max_pause_s: float = 1.0
    jitter_s: float = 0.1

    async def run(self, attempt: Callable[[C], Awaitable[T]], call: C) -> T:
        """
        Return the result of *attempt*, retrying as long as it is interrupted.

        Args:
            attempt: Runs a call.  When it fails, the call has a deadline.
            call: The call.  A write is retried only if it certainly was not run.

        Raises:
            StoreError: The error from the last attempt.
        """
        for number in range(self.max_attempts - 1):
            try:
                return await attempt(call)
            except Interrupted as error:
                pause_s = self._pause_s(number)
                may_repeat = call.is_read or not error.may_have_run
                if not may_repeat or now() + pause_s >= call.until:
                    raise
            await asyncio.sleep(pause_s)
        return await attempt(call)

    def _pause_s(self, number: int) -> float:
        """Return how long to wait after attempt *number*, counted from 0."""
        growing_s: float = self.first_pause_s * 2**number
        return min(growing_s + random.uniform(0, self.jitter_s), self.max_pause_s)  # noqa: S311  not used for security
