"""
Limit how often keys are fetched from the issuer, whatever tokens arrive.

Nothing here reads a clock: callers pass in all times, in seconds on a monotonic clock.
"""

from __future__ import annotations

from collections.abc import MutableMapping

import attrs
import cachetools

from taskd_jwt.jwks.timing import Timing

__all__ = ["FetchLimit", "MissingKeys"]

# About 0.3 MB when full.
MAX_KEY_IDS = 1_000


@attrs.define(eq=False)
class FetchLimit:
    """Decides when the next fetch may start, at the intervals that *timing* sets."""

    timing: Timing = attrs.field(factory=Timing)
    _last_but_one_s: float = attrs.field(init=False, default=float("-inf"))
    _last_s: float = attrs.field(init=False, default=float("-inf"))

    def wait_s(self, now_s: float) -> float:
        """Return how long to wait before the next fetch; 0 if it may start now."""
        cooldown_s = self.timing.cooldown_s
        after_pause_s = min(self._last_s + cooldown_s, self._last_but_one_s + 2 * cooldown_s)
        return max(0.0, self._last_s + self.timing.min_interval_s - now_s, after_pause_s - now_s)

    def start(self, now_s: float) -> None:
        """Record the start of a fetch."""
        self._last_but_one_s, self._last_s = self._last_s, now_s


@attrs.frozen(eq=False)
class MissingKeys:
    """
    A record of the keys that were not found, kept so that they are not looked for again right away.

    When the record is full, the least recently used key is dropped, and may be looked for again.

    Attributes:
        timing: How long to wait before a key is looked for again.
        max_keys: How many keys the record holds.
    """

    timing: Timing = attrs.field(factory=Timing)
    max_keys: int = MAX_KEY_IDS
    _missing_since_s: MutableMapping[str, float] = attrs.field(init=False, repr=False)

    @_missing_since_s.default
    def _empty(self) -> MutableMapping[str, float]:
        return cachetools.LRUCache(self.max_keys)

    def add(self, key_id: str, now_s: float) -> None:
        """Record that a key was not found."""
        self._missing_since_s[key_id] = now_s

    def wait_s(self, key_id: str, now_s: float) -> float:
        """Return how long to wait before looking for a key again; 0 if it may be looked for now."""
        return max(0.0, self._missing_since_s.get(key_id, float("-inf")) + self.timing.quiet_s - now_s)
