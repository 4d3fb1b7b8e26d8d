"""The table in docs/reference/errors.md, generated from the error codes; .ci/update_reference.py writes it."""

from __future__ import annotations

from taskd.openapi.document import code_table
from tests.support.documentation import ROOT, with_table

__all__ = ["PAGE", "written"]

PAGE = ROOT / "docs" / "reference" / "errors.md"


def written(page: str) -> str:
    """Return the text of the *page* with an up-to-date table."""
    return with_table(page, "codes", code_table())
