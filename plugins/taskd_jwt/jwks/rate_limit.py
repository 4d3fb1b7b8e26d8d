"""
Limit how often keys are fetched from the issuer, whatever tokens arrive.

Nothing here reads a clock: callers pass all times, in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import MutableMapping

import attrs
import cachetools

__all__ = ["FetchLimit", "MissingKeys"]

# Between the starts of two fetches.  After a pause two may start at the shorter interval, so that a key that is
# published soon after a fetch is found.  At most five start in a minute, and a new key waits no longer than the longer
# interval, however many unknown keys tokens name.
MIN_INTERVAL_S = 5.0
COOLDOWN_S = 15.0
# How long a key that was not found is not looked for again.
QUIET_S = 30.0
# About 0.3 MB when full.
MAX_KEY_IDS = 1_000


@attrs.define(eq=False)
class FetchLimit:
    """When fetches may start."""

    _last_but_one_s: float = attrs.field(init=False, default=float("-inf"))
    _last_s: float = attrs.field(init=False, default=float("-inf"))

    def wait_s(self, now_s: float) -> float:
        """Return how long to wait before the next fetch, or 0."""
        after_pause_s = min(self._last_s + COOLDOWN_S, self._last_but_one_s + 2 * COOLDOWN_S)
        return max(0.0, self._last_s + MIN_INTERVAL_S - now_s, after_pause_s - now_s)

    def start(self, now_s: float) -> None:
        """Record the start of a fetch."""
        self._last_but_one_s, self._last_s = self._last_s, now_s


@attrs.frozen(eq=False)
class MissingKeys:
    """
    The keys that were not found, so that they are not looked for again at once.

    When it is full, the least recently used key is dropped, and may be looked for again.
    """

    _missing_since_s: MutableMapping[str, float] = attrs.field(
        init=False, repr=False, factory=lambda: cachetools.LRUCache(MAX_KEY_IDS)
    )

    def add(self, key_id: str, now_s: float) -> None:
        """Record that a key was not found."""
        self._missing_since_s[key_id] = now_s

    def wait_s(self, key_id: str, now_s: float) -> float:
        """Return how long to wait before looking for a key, or 0."""
        return max(0.0, self._missing_since_s.get(key_id, float("-inf")) + QUIET_S - now_s)
