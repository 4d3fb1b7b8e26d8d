"""Show what was measured, as tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.compare.results import METRICS, Metric, Results

__all__ = ["about", "of_growth", "of_metric", "of_starts", "sections"]

MIB = 1024 * 1024


def sections(results: Results) -> Iterator[str]:
    """Return all tables, with their headings."""
    for delay_ms in results.delays_ms:
        yield f"### {place(delay_ms)}"
        for metric in METRICS.values():
            yield f"{metric.title}:"
            yield "\n".join(of_metric(results, metric, delay_ms))
        yield "From the start of the process to its first 200, and memory after all operations:"
        yield "\n".join(of_starts(results, delay_ms))


def place(delay_ms: float) -> str:
    """Return where the database is."""
    return f"Database {delay_ms:g} ms away" if delay_ms else "Database on the same machine"


def of_metric(results: Results, metric: Metric, delay_ms: float) -> Iterator[str]:
    """Return the lines of a table with a column for each server, and how each compares with the reference."""
    servers = results.servers_at(delay_ms)
    yield f"| operation | connections | {' | '.join(results.servers[name] for name in servers)} |"
    yield f"| --- | ---: |{' ---: |' * len(servers)}"
    for operation, title in results.operations.items():
        for connections in results.connections:
            medians = {name: results.median(metric, name, delay_ms, operation, connections) for name in servers}
            cells = [_cell(median, medians.get(results.reference), metric.form) for median in medians.values()]
            if any(cells):
                yield f"| {title} | {connections} | {' | '.join(cells)} |"


def of_starts(results: Results, delay_ms: float) -> Iterator[str]:
    """Return the lines of a table of starts and memory."""
    yield "| server | first 200 (ms) | memory (MiB) |"
    yield "| --- | ---: | ---: |"
    first_s = results.cold_start_s(results.reference, delay_ms)
    first_bytes = results.memory_bytes(results.reference, delay_ms)
    for name, title in results.servers.items():
        cold_start_s, memory_bytes = results.cold_start_s(name, delay_ms), results.memory_bytes(name, delay_ms)
        if cold_start_s is not None and memory_bytes is not None:
            start = _cell(cold_start_s * 1000, first_s and first_s * 1000, ",.0f")
            yield f"| {title} | {start} | {_cell(memory_bytes / MIB, first_bytes and first_bytes / MIB, ',.0f')} |"


def of_growth(results: Results, larger: Results) -> Iterator[str]:
    """Return the lines of a table of how many times as much each operation costs with more tasks."""
    metrics = [METRICS[name] for name in ("server_cpu", "postgres_cpu", "p50")]
    yield f"| server | operation | connections | {' | '.join(metric.title.split(',')[0] for metric in metrics)} |"
    yield f"| --- | --- | ---: |{' ---: |' * len(metrics)}"
    for server, operation, connections in larger.measured(0):
        key = (server, 0, operation, connections)
        cells = [_cell_of_growth(results.median(metric, *key), larger.median(metric, *key)) for metric in metrics]
        yield f"| {larger.servers[server]} | {larger.operations[operation]} | {connections} | {' | '.join(cells)} |"


def _cell_of_growth(before: float | None, after: float | None) -> str:
    return f"{after / before:.2f}" if before and after else ""


def _cell(value: float | None, reference: float | None, form: str) -> str:
    if value is None:
        return ""
    return f"{value:{form}} ({value / reference:.2f})" if reference else f"{value:{form}}"


def about(results: Results) -> Iterator[str]:
    """Return the lines of a table of the machine, the command and the versions."""
    yield "| what | which |"
    yield "| --- | --- |"
    for name, text in results.about.items():
        yield f"| {name} | {text} |"
