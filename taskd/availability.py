"""Saying in the log when something that taskd depends on stops to serve, and when it serves again."""

from __future__ import annotations

import logging
import time

import attrs

__all__ = ["Availability"]

# What fails now and then, while the rest goes on, is told of once in this time, and not at each request.
MIN_INTERVAL_S = 10.0


@attrs.define(eq=False)
class Availability:
    """
    Whether a service serves: one log line when that changes, however many requests notice it.

    Attributes:
        service: Its name in the log.  It must not hold a secret.
        logger: Where to say it.
        quiet_s: Where not every call that was served is told of here, a failure so long after the last one is another
            outage.
    """

    service: str
    logger: logging.Logger
    quiet_s: float = float("inf")
    _down_since_s: float | None = attrs.field(init=False, default=None)
    _failed_last_s: float = attrs.field(init=False, default=float("-inf"))
    _told_last_s: float = attrs.field(init=False, default=float("-inf"))
    _is_told: bool = attrs.field(init=False, default=False)

    def failed(self, reason: str) -> None:
        """Take note of a call that the service did not serve, and why."""
        now_s = time.monotonic()
        if now_s - self._failed_last_s >= self.quiet_s:
            self._down_since_s, self._is_told = None, False
        self._failed_last_s = now_s
        if self._down_since_s is None:
            self._down_since_s = now_s
        if not self._is_told and now_s - self._told_last_s >= MIN_INTERVAL_S:
            self._is_told, self._told_last_s = True, now_s
            self.logger.warning("%s does not serve: %s", self.service, reason)

    def served(self, begun_s: float) -> None:
        """Take note of a call that was served, and that began at *begun_s* by the clock of `time.monotonic`."""
        # One that was on its way before the last failure proves nothing.
        if self._down_since_s is None or begun_s < self._failed_last_s:
            return
        if self._is_told:
            self.logger.warning("%s serves again, after %.1f s", self.service, time.monotonic() - self._down_since_s)
        self._down_since_s, self._is_told = None, False
