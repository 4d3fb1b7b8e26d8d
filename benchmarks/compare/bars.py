"""What taskd promises about its speed, in comparison with the other servers, and whether a run shows it."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from benchmarks.compare.results import METRICS, Metric, Results

__all__ = ["BARS", "Bar", "table"]

CPU, POSTGRES_CPU, THROUGHPUT, P50 = (METRICS[name] for name in ("server_cpu", "postgres_cpu", "throughput", "p50"))
WRITTEN = {"server_cpu": "server CPU", "postgres_cpu": "PostgreSQL's CPU", "throughput": "requests/s", "p50": "p50"}


@attrs.frozen
class Bar:
    """
    A bound for a figure of *server*.

    Attributes:
        peer: What the figure is divided by; nothing if it is empty.
    """

    metric: Metric
    operation: str
    connections: int
    bound: float
    peer: str = "fastify"
    server: str = "taskd"
    delay_ms: float = 0

    def figure(self, results: Results) -> float | None:
        """Return the figure or, if there is a peer, the ratio; None if one of them was not measured."""
        own, peer = (self._median(results, name) for name in (self.server, self.peer or self.server))
        if own is None or peer is None:
            return None
        return own / peer if self.peer else own

    def _median(self, results: Results, server: str) -> float | None:
        return results.median(self.metric, server, self.delay_ms, self.operation, self.connections)

    def is_met(self, figure: float) -> bool:
        """Tell whether *figure* is within the bound."""
        return figure <= self.bound if self.metric.less_is_better else figure >= self.bound

    def row(self, results: Results, figure: float) -> str:
        """Return a line of the table."""
        where = f", {self.delay_ms:g} ms away" if self.delay_ms else ""
        clients = f"{self.connections} connection{'s' if self.connections > 1 else ''}"
        what = f"{WRITTEN[self.metric.name]}, {results.operations[self.operation]}, {clients}{where}"
        named = f"{results.servers[self.server]}: {what}"
        against = f" x {results.servers[self.peer]}" if self.peer else " ms"
        limit = "at most" if self.metric.less_is_better else "at least"
        met = "yes" if self.is_met(figure) else "**no**"
        return f"| {named} | {limit} {self.bound:.3g}{against} | {figure:.2f}{against} | {met} |"


def _bars() -> Iterator[Bar]:
    for operation in ("get", "list", "create", "toggle", "put"):
        yield Bar(CPU, operation, 16, 1.0)
        yield Bar(CPU, operation, 16, 1 / 8, "fastapi")
        yield Bar(CPU, operation, 1, 1.5)
    yield Bar(POSTGRES_CPU, "get", 16, 0.7)
    for server, peer in (("taskd", "fastify"), ("taskd-pgbouncer", "fastify-pgbouncer")):
        for operation in ("get", "create"):
            yield Bar(THROUGHPUT, operation, 64, 4, peer, server, 20)
            yield Bar(P50, operation, 64, 40, "", server, 20)


BARS = tuple(_bars())


def table(results: Results) -> Iterator[str]:
    """Return the lines of a table of the bars for which there are figures."""
    yield "| what | bar | measured | met |"
    yield "| --- | --- | --- | --- |"
    for bar in BARS:
        figure = bar.figure(results)
        if figure is not None:
            yield bar.row(results, figure)
