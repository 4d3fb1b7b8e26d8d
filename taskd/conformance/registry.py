"""Register checks: functions that send requests, and fail if a promise is broken."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator

import attrs

from taskd.conformance.client import Client
from taskd.conformance.section import Section

__all__ = ["Check", "Checks"]

Function = Callable[[Client], Awaitable[None]]


@attrs.frozen
class Check:
    """
    A check of one promise.

    Attributes:
        section: Where the contract makes the promise.
        promise: The promise, as one sentence.
        run: Sends the requests; it raises `Failed` if the promise is broken.
        is_alone: Whether no other check may write meanwhile.
    """

    section: Section
    promise: str
    run: Function
    is_alone: bool = False


@attrs.frozen
class Checks:
    """The checks of a module, in order."""

    section: Section
    _checks: list[Check] = attrs.field(factory=list, init=False)

    def add(self, function: Function) -> Function:
        """Register *function*; the first paragraph of its docstring is the promise."""
        self._checks.append(Check(self.section, _promise(function), function))
        return function

    def add_alone(self, function: Function) -> Function:
        """Register *function* as `add` does, to be run while no other check is."""
        self._checks.append(Check(self.section, _promise(function), function, is_alone=True))
        return function

    def __iter__(self) -> Iterator[Check]:
        """Yield the checks."""
        return iter(self._checks)


def _promise(function: Function) -> str:
    # Without docstrings, as with Python's option -OO, the name must do.
    name = function.__name__.replace("_", " ")
    return " ".join((inspect.getdoc(function) or name).partition("\n\n")[0].split())
