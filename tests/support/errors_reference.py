"""The table of docs/reference/errors.md, made from the codes of errors; .ci/update_reference.py writes it."""

from __future__ import annotations

from taskd.openapi.document import code_table
from tests.support.documentation import ROOT, with_table

__all__ = ["PAGE", "written"]

PAGE = ROOT / "docs" / "reference" / "errors.md"


def written(page: str) -> str:
    """Return the text of the *page* with its table as it should be."""
    return with_table(page, "codes", code_table())
