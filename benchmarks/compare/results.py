"""What was measured, and how it is kept in a JSON file."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import msgspec

__all__ = ["METRICS", "Metric", "Results", "Sample", "Turn"]


@attrs.frozen
class Sample:
    """One operation of one server, measured once."""

    server: str
    delay_ms: float
    operation: str
    connections: int
    requests: int
    duration_s: float
    server_cpu_s: float
    postgres_cpu_s: float
    p50_ms: float
    p99_ms: float


@attrs.frozen
class Turn:
    """A server from its start to its end: how long it took to its first 200, and its memory after all operations."""

    server: str
    delay_ms: float
    cold_starts_s: Sequence[float]
    memory_bytes: int


@attrs.frozen
class Metric:
    """A figure that is computed from a sample, and how it is shown."""

    name: str
    title: str
    of: Callable[[Sample], float]
    form: str = ",.0f"
    less_is_better: bool = True


METRICS = {
    metric.name: metric
    for metric in (
        Metric("server_cpu", "Server CPU per request, in microseconds", lambda s: s.server_cpu_s / s.requests * 1e6),
        Metric(
            "postgres_cpu",
            "PostgreSQL's CPU per request, in microseconds",
            lambda s: s.postgres_cpu_s / s.requests * 1e6,
        ),
        Metric("throughput", "Requests per second", lambda s: s.requests / s.duration_s, less_is_better=False),
        Metric("p50", "Median latency, in milliseconds", lambda s: s.p50_ms, ",.2f"),
        Metric("p99", "99th percentile of the latency, in milliseconds", lambda s: s.p99_ms, ",.2f"),
    )
}


@attrs.frozen
class Results:
    """
    Everything that was measured in a run, or in several with different delays.

    Attributes:
        about: The machine, the command and the versions, as text by name.
        titles: The names of servers and operations in tables.
    """

    about: Mapping[str, str]
    servers: Mapping[str, str]
    operations: Mapping[str, str]
    connections: Sequence[int]
    delays_ms: Sequence[float]
    samples: Sequence[Sample]
    turns: Sequence[Turn]

    def median(self, metric: Metric, server: str, delay_ms: float, operation: str, connections: int) -> float | None:
        """Return the median of all rounds, if there were any."""
        key = (server, delay_ms, operation, connections)
        return _median(metric.of(s) for s in self.samples if key == (s.server, s.delay_ms, s.operation, s.connections))

    def cold_start_s(self, server: str, delay_ms: float) -> float | None:
        """Return the median time from the start to the first 200."""
        turns = self._turns(server, delay_ms)
        return _median(taken_s for turn in turns for taken_s in turn.cold_starts_s)

    def memory_bytes(self, server: str, delay_ms: float) -> float | None:
        """Return the median memory at the end of a turn."""
        return _median(turn.memory_bytes for turn in self._turns(server, delay_ms))

    def _turns(self, server: str, delay_ms: float) -> list[Turn]:
        return [turn for turn in self.turns if (server, delay_ms) == (turn.server, turn.delay_ms)]

    def servers_at(self, delay_ms: float) -> list[str]:
        """Return the names of the servers that were measured with this delay."""
        return [name for name in self.servers if self._turns(name, delay_ms)]

    def measured(self, delay_ms: float) -> Iterator[tuple[str, str, int]]:
        """Return each server with each operation and each number of connections."""
        return itertools.product(self.servers_at(delay_ms), self.operations, self.connections)

    @property
    def reference(self) -> str:
        """The server that the others are compared with."""
        return "fastify" if "fastify" in self.servers else next(iter(self.servers))

    @classmethod
    def joined(cls, runs: Sequence[Results]) -> Results:
        """
        Return several runs as one.

        Raises:
            ValueError: Two runs were of different machines or versions, or measured with the same delay: their figures
                could not be compared.
        """
        names = {name for run in runs for name in run.about if name not in ("command", "date")}
        if any(len({run.about.get(name) for run in runs}) > 1 for name in names):
            raise ValueError("the runs were of different machines or versions")
        delays_ms = [delay_ms for run in runs for delay_ms in run.delays_ms]
        if len(set(delays_ms)) < len(delays_ms):
            raise ValueError("two runs measured with the same delay")
        return cls(
            about={**runs[0].about, **{name: _each(run.about[name] for run in runs) for name in ("command", "date")}},
            servers={name: title for run in runs for name, title in run.servers.items()},
            operations={name: title for run in runs for name, title in run.operations.items()},
            connections=sorted({connections for run in runs for connections in run.connections}),
            delays_ms=delays_ms,
            samples=[sample for run in runs for sample in run.samples],
            turns=[turn for run in runs for turn in run.turns],
        )

    def write(self, file: Path) -> None:
        """Write everything to a JSON file."""
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @classmethod
    def read(cls, file: Path) -> Results:
        """Read what `write` has written."""
        return msgspec.json.decode(file.read_bytes(), type=cls)


def _each(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _median(values: Iterable[float]) -> float | None:
    listed = list(values)
    return statistics.median(listed) if listed else None
