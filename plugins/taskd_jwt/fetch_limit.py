"""How often an issuer may be asked for its keys, whoever sends whatever tokens."""

from __future__ import annotations

import attrs

__all__ = ["FetchLimit"]

# Between the beginnings of fetches, whatever they are for.  After a while without any there may be two at the lesser
# interval, so that a key that is new soon after a fetch is found; there are never more than three in a minute.
MIN_INTERVAL_S = 5.0
COOLDOWN_S = 31.0


@attrs.define(eq=False)
class FetchLimit:
    """
    When fetches may begin.

    It has no clock: all times are given to it, in seconds by whichever clock only goes forward.
    """

    _last_but_one_s: float = attrs.field(init=False, default=float("-inf"))
    _last_s: float = attrs.field(init=False, default=float("-inf"))

    def wait_s(self, now_s: float) -> float:
        """Return for how long none may begin yet, or 0 if one may."""
        after_some_s = min(self._last_s + COOLDOWN_S, self._last_but_one_s + 2 * COOLDOWN_S)
        return max(0.0, self._last_s + MIN_INTERVAL_S - now_s, after_some_s - now_s)

    def begin(self, now_s: float) -> None:
        """Take note of one that begins."""
        self._last_but_one_s, self._last_s = self._last_s, now_s
