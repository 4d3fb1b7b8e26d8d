"""A clock with which tests make tokens, keys and outages age."""

from __future__ import annotations

import time

import attrs


@attrs.define(eq=False)
class Clock:
    """A clock that advances only when a test says so."""

    now_s: float = 1000.0
    # A whole number, so that fractions of a second can be added to it without loss.
    began_s: int = attrs.field(factory=lambda: int(time.time()))

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self.began_s + self.now_s - 1000
