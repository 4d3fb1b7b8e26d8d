"""Limit the rate of log lines that clients can cause."""

from __future__ import annotations

import logging
import time

import attrs

__all__ = ["RateLimitedLog"]


@attrs.define
class RateLimitedLog:
    """
    Logs at most one warning in *interval_s* seconds, and adds how many warnings were dropped since the last one.

    Attributes:
        logger: Where to log.
        interval_s: The shortest time between two lines, in seconds.
    """

    logger: logging.Logger
    interval_s: float = 60.0
    _next_s: float = attrs.field(init=False, default=float("-inf"))
    _left_out: int = attrs.field(init=False, default=0)

    def warning(self, message: str, *arguments: object) -> None:
        """Log *message* with *arguments*, unless the last warning was logged too recently."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            self._left_out += 1
            return
        more = f" ({self._left_out} more since the last such line)" if self._left_out else ""
        self._next_s, self._left_out = now_s + self.interval_s, 0
        self.logger.warning(f"{message}%s", *arguments, more)
