"""Count requests, and measure how long they take."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from taskd.telemetry import Distribution, FinishedRequest, Kind, Measurement

__all__ = ["RequestCounts"]

# Upper bounds, in seconds.
DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Clients may send any text as the method, so all others share a label.
METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))
OTHER = "other"
UNMATCHED = "unmatched"
NO_STATUS = "none"

Key = tuple[str, str | None, int | None]


@attrs.define(eq=False)
class RequestCounts:
    """How many requests there have been, and how long they took, by method, route and status."""

    _durations: dict[Key, Distribution] = attrs.field(init=False, factory=dict)

    def __call__(self, request: FinishedRequest) -> None:
        """Count a *request*."""
        method = request.method
        key = (method if method in METHODS else OTHER, request.route, request.status)
        durations = self._durations.get(key)
        if durations is None:
            durations = self._durations[key] = Distribution(DURATIONS)
        durations.add(request.seconds)

    def measurements(self) -> Iterator[Measurement]:
        """Yield the numbers of requests, and how long those for each route took, whatever their status."""
        by_route: dict[tuple[str, str], Distribution] = {}
        for (method, path, status), durations in self._durations.items():
            route = path or UNMATCHED
            labels = {"method": method, "route": route, "status": str(status or NO_STATUS)}
            count = sum(durations.counts)
            yield Measurement("http_requests", "Requests that have been responded to.", count, Kind.COUNTER, labels)
            sums = by_route.setdefault((method, route), Distribution(DURATIONS))
            sums += durations
        took = "How long requests took, in seconds, including the wait for their turn."
        for (method, route), durations in by_route.items():
            labels = {"method": method, "route": route}
            yield Measurement("http_request_duration_seconds", took, durations, labels=labels)
