"""Trying again what a passing fault has interrupted, where that cannot do anything twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, stop_before_delay, wait_exponential_jitter

from taskd_sql.faults import Interrupted

__all__ = ["again"]

T = TypeVar("T")

# With the pauses in between, about two seconds: a restart of PostgreSQL, or Neon's waking.
MAX_ATTEMPTS = 5
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 1.0
# Clients that were interrupted together do not come back together.
JITTER_S = 0.1


async def again(attempt: Callable[[], Awaitable[T]], fault: Interrupted, *, is_read: bool, within_s: float) -> T:
    """
    Return what a further *attempt* gives, after a first one ended in *fault*.

    Args:
        attempt: Runs a statement.
        fault: What the first attempt ended in.
        is_read: The statement changes nothing.  One that does is tried again only where it certainly was not run.
        within_s: No attempt begins later than so many seconds from now.

    Raises:
        StoreError: What the last attempt ended in; *fault* itself, if there may be no other.
    """

    def may_be_repeated(error: BaseException) -> bool:
        return isinstance(error, Interrupted) and (is_read or not error.may_have_run)

    attempts = AsyncRetrying(
        retry=retry_if_exception(may_be_repeated),
        stop=stop_after_attempt(MAX_ATTEMPTS) | stop_before_delay(max(within_s, 0)),
        wait=wait_exponential_jitter(multiplier=FIRST_PAUSE_S, max=MAX_PAUSE_S, jitter=JITTER_S),
        reraise=True,
    )
    is_first = True

    async def attempt_but_first() -> T:
        # The first is the one that was made already, without what the bookkeeping of further ones costs.
        nonlocal is_first
        if is_first:
            is_first = False
            raise fault
        return await attempt()

    return await attempts(attempt_but_first)
