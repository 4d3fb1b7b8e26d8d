"""
Publish numbers about a running server, and observe its responses, for plugins such as `metrics`.

Numbers are read when someone asks for them: publishing them costs a request nothing.  A store, a wrapper of a store or
an auth backend publishes numbers by having a method `measurements`; a plugin receives them all, and the responses, in
its hook `taskd_observer`.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Protocol, Self, runtime_checkable

import attrs
from attrs.validators import matches_re
from starlette.types import Scope

__all__ = ["LOG_CONTEXT", "Distribution", "FinishedRequest", "Kind", "Measured", "Measurement", "Observer"]

LOG_CONTEXT: ContextVar[Mapping[str, str]] = ContextVar("LOG_CONTEXT", default=MappingProxyType({}))
"""
What log lines in JSON say about the request that is being served, besides its id: middleware may set this, for example
to the id of a trace.
"""


class Kind(enum.Enum):
    """What a number means, and how those of several processes become one."""

    COUNTER = "counter"
    """It only rises.  The numbers of all processes are added up, including those of processes that have ended."""
    GAUGE = "gauge"
    """It rises and falls.  The numbers of the processes that are running are added up."""
    MAXIMUM = "maximum"
    """It rises and falls.  The highest number of the processes that are running counts."""


@attrs.define(eq=False)
class Distribution:
    """
    Counts how many values were within each of some bounds.

    Attributes:
        bounds: The bounds, in rising order.  A value belongs to the first bound that it does not exceed.
        counts: How many values belong to each bound, and last, how many exceed them all.
        total: The sum of all values.
    """

    bounds: Sequence[float]
    counts: list[int] = attrs.field(factory=list)
    total: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float, times: int = 1) -> None:
        """Count *value*, as often as it occurred."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def __iadd__(self, other: Distribution) -> Self:
        """Count all values of *other*, which has the same bounds, too."""
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total
        return self


@attrs.frozen
class Measurement:
    """
    A number, as it is now.

    Attributes:
        name: What it is called, such as `store_connections_open`: letters, digits and underscores, with the unit at the
            end if it has one.
        description: What it says, in one sentence.
        value: The number; or a distribution, whose numbers are counters.
        kind: What the number means.
        labels: What tells it from other numbers of the same name, which all have the same labels.  There must be few
            different values, and none may be private, such as a user's id.
    """

    name: str = attrs.field(validator=matches_re(r"[a-z][a-z0-9_]*"))
    description: str
    value: float | Distribution
    kind: Kind = Kind.GAUGE
    labels: Mapping[str, str] = attrs.field(factory=dict)


@runtime_checkable
class Measured(Protocol):
    """What a store, a wrapper of a store or an auth backend may have, to publish numbers."""

    def measurements(self) -> Iterable[Measurement]:
        """Return the numbers as they are now.  This is called in the event loop, and must not wait for anything."""
        ...


@attrs.define(eq=False)
class FinishedRequest:
    """
    A request whose response has ended.

    Attributes:
        scope: The ASGI scope of the request, with what the application has added to it.
        status: The status of the response; None if the client left before there was one.
        seconds: How long it took, including the time for which the request had to wait for its turn.
        size: How many bytes the body of the response had.
    """

    scope: Scope
    status: int | None
    seconds: float
    size: int

    @property
    def method(self) -> str:
        """The method, which may be any text that a client has chosen."""
        method: str = self.scope["method"]
        return method

    @property
    def route(self) -> str | None:
        """The path of the route, such as `/api/{user_id}/tasks/{id}`; None if no route matched."""
        route = self.scope.get("route")
        return None if route is None else route.path

    @property
    def user(self) -> str | None:
        """The id of the user; None if the request had no valid credentials."""
        user = self.scope.get("user")
        return None if user is None else user.identity


Observer = Callable[[FinishedRequest], object]
"""A function that is called at the end of each response.  It delays the response, so it must be quick."""
