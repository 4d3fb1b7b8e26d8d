"""A clock by which tests let tokens, keys and outages grow old."""

from __future__ import annotations

import time

import attrs
import pytest


@attrs.define(eq=False)
class Clock:
    """A clock that goes on when it is told to; it takes the place of the module `time`."""

    now_s: float = 1000.0
    # A whole number, so that fractions of a second are added to it without loss.
    _began_s: int = attrs.field(factory=lambda: int(time.time()))

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self._began_s + self.now_s - 1000


def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Put a clock in place of the one by which tokens, and the keys of an issuer, grow old."""
    clock = Clock()
    for module in ("taskd.availability", "taskd_jwt.jwks", "taskd_jwt.claims", "taskd_jwt.memory"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock
