"""The checks, in modules by section of the contract."""

from __future__ import annotations

from collections.abc import Iterator

from taskd.conformance.registry import Check
from taskd.conformance.sections import (
    access,
    bodies,
    caching,
    completing,
    conditions,
    cors,
    creating_once,
    documents,
    endpoints,
    errors,
    fields,
    filters,
    headers,
    ids,
    pages,
    parameters,
    searches,
    sorting,
    times,
    tokens,
    versions,
)

__all__ = ["all_checks"]

MODULES = (
    *(endpoints, completing, documents),
    *(fields, times, bodies),
    *(filters, searches, sorting, pages, parameters),
    *(versions, conditions, ids, creating_once, caching),
    *(access, tokens),
    *(errors,),
    *(headers, cors),
)


def all_checks() -> Iterator[Check]:
    """Yield all checks, in the order of the contract's sections."""
    for module in MODULES:
        yield from module.checks
