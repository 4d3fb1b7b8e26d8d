"""Write the figures of a run into the documentation."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.compare import bars, charts, tables
from benchmarks.compare.installing import ROOT
from benchmarks.compare.results import Results
from tests.support.documentation import with_table

__all__ = ["write"]

PAGE = ROOT / "docs" / "explanation" / "performance.md"
CHARTS = PAGE.with_suffix("")


def write(results: Results, larger: Results | None) -> None:
    """Replace the tables and the charts of docs/explanation/performance.md; *larger* is a run with more tasks."""
    drawn = list(charts.charts(results))
    charts.draw(drawn, CHARTS)
    page = PAGE.read_text()
    blocks = {
        "compare: run": tables.about(results),
        "compare: bars": bars.table(results),
        "compare: charts": _images(drawn),
        "compare: figures": iter(["\n\n".join(tables.sections(results))]),
    }
    if larger is not None:
        blocks["compare: growth"] = tables.of_growth(results, larger)
    for name, lines in blocks.items():
        page = with_table(page, name, lines)
    PAGE.write_text(page)


def _images(drawn: list[charts.Chart]) -> Iterator[str]:
    yield "\n\n".join(f"![{chart.title}]({CHARTS.name}/{chart.name}.svg)" for chart in drawn)
