"""Log when a dependency goes down and when it recovers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import attrs

from taskd.telemetry import Kind, Measurement

__all__ = ["OutageLog"]


@attrs.define(eq=False)
class OutageLog:
    """
    Logs one line when an outage begins and one when it ends, however many requests notice it.

    Attributes:
        dependency: The name of the dependency in the log.  It must not contain a secret.
        logger: Where to log.
        quiet_s: An outage is over after this many seconds without a failure.  Set this if not every success is
            reported.
        interval_s: A dependency that fails occasionally is logged at most once in this many seconds, not for each
            request.
        clock: Returns seconds that only increase, as `time.monotonic` does.
        count: How many outages there have been.
    """

    dependency: str
    logger: logging.Logger
    quiet_s: float = float("inf")
    interval_s: float = 10.0
    clock: Callable[[], float] = time.monotonic
    count: int = attrs.field(init=False, default=0)
    _down_since_s: float | None = attrs.field(init=False, default=None)
    _failed_last_s: float = attrs.field(init=False, default=float("-inf"))
    _logged_last_s: float = attrs.field(init=False, default=float("-inf"))
    _is_logged: bool = attrs.field(init=False, default=False)

    def failed(self, reason: str) -> None:
        """Report a failed call and the reason for the failure."""
        now_s = self.clock()
        if now_s - self._failed_last_s >= self.quiet_s:
            self._down_since_s, self._is_logged = None, False
        self._failed_last_s = now_s
        if self._down_since_s is None:
            self._down_since_s = now_s
            self.count += 1
        if not self._is_logged and now_s - self._logged_last_s >= self.interval_s:
            self._is_logged, self._logged_last_s = True, now_s
            self.logger.warning("%s is unavailable: %s", self.dependency, reason)

    def succeeded(self, started_s: float) -> None:
        """Report a successful call that started at *started_s*, by *clock*."""
        # A call that started before the last failure does not end the outage.
        if self._down_since_s is None or started_s < self._failed_last_s:
            return
        if self._is_logged:
            self.logger.warning(
                "%s is available again after %.1f s", self.dependency, self.clock() - self._down_since_s
            )
        self._down_since_s, self._is_logged = None, False

    def down_s(self) -> float | None:
        """Return for how many seconds the dependency has been down; None if it is not."""
        now_s = self.clock()
        if self._down_since_s is None or now_s - self._failed_last_s >= self.quiet_s:
            return None
        return now_s - self._down_since_s

    def measurements(self, name: str) -> Iterator[Measurement]:
        """Yield the numbers about these outages; *name* is a short name of the dependency."""
        labels, down_s = {"dependency": name}, self.down_s()
        is_down = "1 while the dependency is down, else 0."
        yield Measurement("outage", is_down, float(down_s is not None), Kind.MAXIMUM, labels)
        lasts = "For how many seconds the dependency has been down; 0 if it is not."
        yield Measurement("outage_seconds", lasts, down_s or 0.0, Kind.MAXIMUM, labels)
        count = "How many outages of the dependency each process has noticed."
        yield Measurement("outages", count, self.count, Kind.COUNTER, labels)
