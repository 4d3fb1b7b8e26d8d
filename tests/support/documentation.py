"""The documentation's code blocks and tables, for the tests that compare them with the product."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser

__all__ = ["ROOT", "blocks", "table", "with_table"]

ROOT = Path(__file__).parents[2]


def blocks(file: str, language: str) -> list[str]:
    """Return the code blocks of *language* in a file of the documentation."""
    return [str(each.parsed) for each in Document.parse(str(ROOT / file), CodeBlockParser(language, str)).examples()]


def table(file: str, heading: str, column: int = 0) -> list[str]:
    """Return the cells in a *column* of the table below *heading*, without the header row."""
    section = (ROOT / file).read_text().split(f"{heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [row[column] for row in rows[2:]]


def with_table(page: str, name: str, rows: Iterable[str]) -> str:
    """Return the text of a *page* with *rows* as the table that its comment *name* announces."""
    before, rest = page.split(f"<!-- {name} -->\n", 1)
    _, after = rest.split("<!-- end -->", 1)
    lines = "\n".join(rows)
    return f"{before}<!-- {name} -->\n\n{lines}\n\n<!-- end -->{after}"
