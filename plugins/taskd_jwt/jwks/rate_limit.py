"""
Limit how often keys are fetched from the issuer, whatever tokens arrive.

Nothing here reads a clock: callers pass in all times, in seconds on a monotonic clock.
"""

from __future__ import annotations

from collections.abc import MutableMapping

import attrs
import cachetools

__all__ = ["FetchLimit", "MissingKeys"]

# The time between the starts of two fetches.  After a pause, two may start at the shorter interval, so that a key that
# is published soon after a fetch is found quickly.  At most five start in a minute, and no new key waits longer than
# the longer interval, however many unknown keys are named in tokens.
MIN_INTERVAL_S = 5.0
COOLDOWN_S = 15.0
# How long to wait before looking again for a key that was not found.
QUIET_S = 30.0
# About 0.3 MB when full.
MAX_KEY_IDS = 1_000


@attrs.define(eq=False)
class FetchLimit:
    """Decides when fetches may start."""

    _last_but_one_s: float = attrs.field(init=False, default=float("-inf"))
    _last_s: float = attrs.field(init=False, default=float("-inf"))

    def wait_s(self, now_s: float) -> float:
        """Return how long to wait before the next fetch; 0 if it may start now."""
        after_pause_s = min(self._last_s + COOLDOWN_S, self._last_but_one_s + 2 * COOLDOWN_S)
        return max(0.0, self._last_s + MIN_INTERVAL_S - now_s, after_pause_s - now_s)

    def start(self, now_s: float) -> None:
        """Record the start of a fetch."""
        self._last_but_one_s, self._last_s = self._last_s, now_s


@attrs.frozen(eq=False)
class MissingKeys:
    """
    A record of the keys that were not found, kept so that they are not looked for again right away.

    When the record is full, the least recently used key is dropped, and may be looked for again.
    """

    _missing_since_s: MutableMapping[str, float] = attrs.field(
        init=False, repr=False, factory=lambda: cachetools.LRUCache(MAX_KEY_IDS)
    )

    def add(self, key_id: str, now_s: float) -> None:
        """Record that a key was not found."""
        self._missing_since_s[key_id] = now_s

    def wait_s(self, key_id: str, now_s: float) -> float:
        """Return how long to wait before looking for a key again; 0 if it may be looked for now."""
        return max(0.0, self._missing_since_s.get(key_id, float("-inf")) + QUIET_S - now_s)
