"""The table of plausible faults: decorators add the stores and auth backends that have them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

__all__ = ["AUTH_FAULTS", "STORE_FAULTS", "Fault", "auth_fault", "store_fault"]

C = TypeVar("C", bound=Callable[..., Any])


@attrs.frozen
class Fault:
    """
    A bug that a plugin may plausibly have.

    Attributes:
        kind: What it concerns.
        make: Returns a new store or backend with this bug.
        unseen: Why no test of the contract can find it; empty if one must.
    """

    kind: str
    make: Callable[[], Any]
    unseen: str = ""

    def __str__(self) -> str:
        return f"{self.kind}-{self.name}"

    @property
    def name(self) -> str:
        """The name of the class."""
        return str(getattr(self.make, "__name__", self.make))

    @property
    def description(self) -> str:
        """What the bug does: the first paragraph of the class's docstring."""
        return (inspect.getdoc(self.make) or "").partition("\n\n")[0]


STORE_FAULTS: list[Fault] = []
AUTH_FAULTS: list[Fault] = []


def store_fault(kind: str, *, unseen: str = "") -> Callable[[C], C]:
    """Add a class of stores to the table."""
    return _adding(STORE_FAULTS, kind, unseen)


def auth_fault(kind: str, *, unseen: str = "") -> Callable[[C], C]:
    """Add a class of auth backends to the table."""
    return _adding(AUTH_FAULTS, kind, unseen)


def _adding(table: list[Fault], kind: str, unseen: str) -> Callable[[C], C]:
    def add(make: C) -> C:
        table.append(Fault(kind, make, unseen))
        return make

    return add
