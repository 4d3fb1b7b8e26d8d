"""Describe the charts of a run, and have them drawn."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from benchmarks.compare.installing import python_with
from benchmarks.compare.results import METRICS, Metric, Results
from benchmarks.compare.tables import place

__all__ = ["Chart", "charts", "draw"]

TASKD, OTHERS = "#2f6f4f", "#a9b1b8"
REQUIREMENTS = Path(__file__).parent / "requirements.txt"
SCRIPT = Path(__file__).parent / "draw.py"
# What is drawn: a metric, whether the database is away, and with how many connections.
DRAWN = (("server_cpu", False, 16), ("postgres_cpu", False, 16), ("throughput", True, 64))


@attrs.frozen
class Panel:
    """The bars of one operation."""

    title: str
    values: Sequence[float | None]
    labels: Sequence[str]

    @classmethod
    def of(cls, title: str, values: Sequence[float | None], form: str) -> Panel:
        """Make a panel whose labels are the values."""
        return cls(title, values, ["" if value is None else format(value, form) for value in values])


@attrs.frozen
class Chart:
    """A chart: its file's name, its title, and a panel for each operation, with a bar for each server."""

    name: str
    title: str
    servers: Sequence[str]
    colors: Sequence[str]
    panels: Sequence[Panel]


def charts(results: Results) -> Iterator[Chart]:
    """Return the charts for which there are figures."""
    for name, is_away, connections in DRAWN:
        delays_ms = [delay_ms for delay_ms in results.delays_ms if bool(delay_ms) == is_away]
        if not delays_ms:
            continue
        chart = _of_metric(results, METRICS[name], delays_ms[0], connections)
        if chart.panels:
            yield chart
    if 0 in results.delays_ms:
        yield _of_starts(results)


def _of_metric(results: Results, metric: Metric, delay_ms: float, connections: int) -> Chart:
    servers = results.servers_at(delay_ms)
    panels = []
    for operation, title in results.operations.items():
        medians = [results.median(metric, name, delay_ms, operation, connections) for name in servers]
        if any(each is not None for each in medians):
            panels.append(Panel.of(title, medians, metric.form))
    whole = f"{metric.title}; {connections} connections, {_place(delay_ms)}"
    return _chart(results, metric.name, whole, servers, panels)


def _of_starts(results: Results) -> Chart:
    servers = results.servers_at(0)
    starts_s = [results.cold_start_s(name, 0) for name in servers]
    panel = Panel.of("", [None if each is None else each * 1000 for each in starts_s], ",.0f")
    return _chart(results, "cold_start", "From start to first 200, in milliseconds", servers, [panel])


def _place(delay_ms: float) -> str:
    text = place(delay_ms)
    return text[0].lower() + text[1:]


def _chart(results: Results, name: str, title: str, servers: Sequence[str], panels: Sequence[Panel]) -> Chart:
    colors = [TASKD if server.startswith("taskd") else OTHERS for server in servers]
    return Chart(name, title, [results.servers[server] for server in servers], colors, panels)


def draw(described: Sequence[Chart], folder: Path) -> None:
    """Draw the charts as SVG files in *folder*."""
    folder.mkdir(exist_ok=True)
    charts = [{**attrs.asdict(chart), "file": str(folder / f"{chart.name}.svg")} for chart in described]
    command = [python_with(REQUIREMENTS), SCRIPT]
    subprocess.run(command, input=json.dumps(charts), text=True, check=True)
