"""What a check of `taskd doctor` says, and how a plugin takes part."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

import attrs

__all__ = ["Check", "Diagnosable", "Outcome"]


class Outcome(enum.Enum):
    """How a check ended.  A note is no failure, and something that an operator may want to change."""

    OK = "ok"
    NOTE = "note"
    FAILED = "FAILED"
    NOT_CHECKED = "-"


@attrs.frozen
class Check:
    """
    What one check found.

    Attributes:
        name: What was checked, in a word or two.
        outcome: How it ended.
        finding: What was found, on one line.  It must not hold a secret.
        remedy: What to do, where it is not ok.
    """

    name: str
    outcome: Outcome
    finding: str
    remedy: str = ""


@runtime_checkable
class Diagnosable(Protocol):
    """What `taskd doctor` asks of an auth backend or a task store.  Neither needs to have it."""

    def diagnose(self) -> AsyncIterator[Check]:
        """Check everything that this part depends on, the first thing first.  It may change nothing."""
        ...
