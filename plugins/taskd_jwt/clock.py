"""The interface to the system's clocks."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """Tells the time, as the module `time` does."""

    def time(self) -> float:
        """Return the seconds since 1970 by the system's clock, which may be set back."""
        ...

    def monotonic(self) -> float:
        """Return a number of seconds that never decreases."""
        ...
