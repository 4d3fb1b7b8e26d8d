"""What the reliability tests measure, and the table that shows it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from benchmarks.load import percentile

__all__ = ["Figures", "table"]


@attrs.frozen(kw_only=True)
class Figures:
    """
    What one test measured; figures that do not apply to it are None.

    Attributes:
        fault: What was done to the server or to the database.
        rounds: How often that was done.
        unknown: How many requests were cut off, along with the server, before their response arrived.
        longest_s: How long the slowest response took, refusals included.
        livez_s: How long each response of `/livez` took while the fault lasted.
        back_s: The longest time from the end of the fault until every writer had a request acknowledged.
        left: How many connections the server had to the database at the end.
    """

    fault: str
    rounds: int
    sent: int
    acknowledged: int | None = None
    refused: int | None = None
    unknown: int | None = None
    longest_s: float | None = None
    livez_s: Sequence[float] | None = None
    back_s: float | None = None
    left: int | None = None

    def cells(self) -> list[str]:
        """Return a row of the table: counts with commas, seconds, and milliseconds for `/livez`."""
        livez_ms: list[float | None] = [None, None]
        if self.livez_s is not None:
            livez_ms = [1000 * percentile(self.livez_s, 99), 1000 * max(self.livez_s)]
        counts = [self.rounds, self.sent, self.acknowledged, self.refused, self.unknown]
        return [
            self.fault,
            *(_text(count, ",d") for count in counts),
            _text(self.longest_s, ".2f", " s"),
            *(_text(value, ".0f", " ms") for value in livez_ms),
            _text(self.back_s, ".2f", " s"),
            _text(self.left, ",d"),
        ]


_HEADS = (
    "fault",
    "rounds",
    "requests",
    "acknowledged",
    "refused (503)",
    "cut off",
    "slowest response",
    "/livez p99",
    "/livez max",
    "normal again after",
    "connections left",
)


def table(measured: Sequence[Figures]) -> str:
    """Return *measured* as a Markdown table, readable as it stands; an empty string if *measured* is empty."""
    rows = [_HEADS, *(figures.cells() for figures in measured)] if measured else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    # Numbers are aligned to the right.
    rule = _line(["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)])
    return "".join(f"{line}\n" for line in [*lines[:1], *[rule][: len(lines)], *lines[1:]])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"
