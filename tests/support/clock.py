"""A clock with which tests make tokens, keys and outages age."""

from __future__ import annotations

import importlib
import pkgutil
import time

import attrs
import pytest

import taskd_jwt


@attrs.define(eq=False)
class Clock:
    """A clock that advances only when it is told to; it takes the place of the module `time`."""

    now_s: float = 1000.0
    # A whole number, so that fractions of a second can be added to it without loss.
    _began_s: int = attrs.field(factory=lambda: int(time.time()))

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self._began_s + self.now_s - 1000


def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock by which tokens, an issuer's keys and outages age."""
    clock = Clock()
    of_plugin = [found.name for found in pkgutil.walk_packages(taskd_jwt.__path__, "taskd_jwt.")]
    for name in ("taskd.outages", *of_plugin):
        module = importlib.import_module(name)
        # Only modules that import `time` itself get this clock: with `from time import …` they would keep the real one.
        if hasattr(module, "time"):
            monkeypatch.setattr(module, "time", clock)
    return clock
