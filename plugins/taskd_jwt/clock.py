"""What tells the time."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """A clock, such as the module `time`."""

    def time(self) -> float:
        """Return the seconds since 1970, by the system's clock, which may be set back."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only increase."""
        ...
