"""A deadline that is cheap to move."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

__all__ = ["Deadline"]


class Deadline:
    """
    Calls *on_reached* at a time that is cheap to change.

    When the deadline is postponed, the event loop's timer stays as it is, and is set again when it fires too early.
    """

    __slots__ = ("_at", "_fires_at", "_loop", "_on_reached", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_reached: Callable[[], None]) -> None:
        self._loop = loop
        self._on_reached = on_reached
        self._at = self._fires_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, delay_s: float) -> None:
        """Set the deadline to *delay_s* seconds from now."""
        self._at = self._loop.time() + delay_s
        if self._at < self._fires_at:
            if self._timer is not None:
                self._timer.cancel()
            self._arm()

    def clear(self) -> None:
        """Disable the deadline until it is set again."""
        self._at = math.inf

    def close(self) -> None:
        """Cancel the timer for good: the deadline is no longer needed."""
        self._fires_at = -math.inf
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self._fires_at = self._at
        self._timer = self._loop.call_at(self._at, self._fire)

    def _fire(self) -> None:
        self._timer, self._fires_at = None, math.inf
        if self._at == math.inf:
            return
        if self._at > self._loop.time():
            self._arm()
        else:
            self._at = math.inf
            self._on_reached()
