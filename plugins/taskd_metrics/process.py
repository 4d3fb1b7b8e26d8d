"""Measure this process: its processor time, its memory, its open files."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import ProcessCollector

from taskd import __version__
from taskd.telemetry import Kind, Measurement

__all__ = ["process_measurements"]

# The time at which the newest process started.
START = "process_start_time_seconds"

_collector = ProcessCollector(registry=None)


def process_measurements() -> Iterator[Measurement]:
    """Yield the numbers about this process that Prometheus's clients publish, and the version of taskd."""
    yield Measurement("taskd_info", "The version of taskd.", 1, Kind.MAXIMUM, {"version": __version__})
    yield Measurement("taskd_processes", "Processes that serve requests.", 1)
    for metric in _collector.collect():
        kind = Kind.COUNTER if metric.type == "counter" else Kind.MAXIMUM if metric.name == START else Kind.GAUGE
        for sample in metric.samples:
            yield Measurement(metric.name, metric.documentation, sample.value, kind)
