"""A quota for each user or address, and how much of it is left."""

import math
from datetime import timedelta

import attrs
from throttled.asyncio import MemoryStore, RateLimiterType, RateLimitResult, Throttled, per_duration

# How many users or addresses are counted at once.  If there are more, the least recently active ones start afresh.
MAX_KEYS = 100_000


@attrs.frozen
class Usage:
    """
    How much of a quota is left.

    Attributes:
        policy: The name of the policy.
        is_exceeded: Whether the request is one too many.
        remaining: How many more requests may follow at once.
        wait_s: After how many seconds there may be one more.
    """

    policy: str
    is_exceeded: bool
    remaining: int
    wait_s: int

    @property
    def field(self) -> str:
        """The item for the field `RateLimit`."""
        return f'"{self.policy}";r={self.remaining};t={self.wait_s}'


@attrs.frozen(eq=False)
class Policy:
    """
    Allows so many *requests* in *window_s* seconds for each key.

    All of them may come at once; after that, new ones are allowed at regular intervals, and not all at the end of the
    window (the generic cell rate algorithm).
    """

    name: str
    requests: int
    window_s: int
    _limiter: Throttled = attrs.field(init=False, repr=False)

    @_limiter.default
    def _made(self) -> Throttled:
        quota = per_duration(timedelta(seconds=self.window_s), self.requests)
        store = MemoryStore(options={"MAX_SIZE": MAX_KEYS})
        return Throttled(using=RateLimiterType.GCRA.value, quota=quota, store=store)

    @property
    def field(self) -> str:
        """The item for the field `RateLimit-Policy`."""
        return f'"{self.name}";q={self.requests};w={self.window_s}'

    async def count(self, key: str) -> Usage:
        """Count a request of *key*, unless it is one too many, and return what is left."""
        result = await self._limiter.limit(key)
        return Usage(self.name, result.limited, result.state.remaining, self._wait_s(result))

    def _wait_s(self, result: RateLimitResult) -> int:
        interval_s = self.window_s / self.requests
        used = self.requests - result.state.remaining
        return max(1, math.ceil(result.state.reset_after - (used - 1) * interval_s))
