"""Parse the headers that say what a client accepts (RFC 9110, section 12.5)."""

from __future__ import annotations

import re

from starlette.requests import Request

__all__ = ["accept_weights", "accepts_gzip"]

# Parsing the longest possible header, which consists of commas, would block the event loop.
MAX_VALUES = 100

_WEIGHT = re.compile(r"\s*q=(0(?:\.\d*)?|1(?:\.0*)?)\s*", re.IGNORECASE)


def accept_weights(request: Request, header: str) -> dict[str, float]:
    """
    Return the weight of each value in a *header* such as `Accept`, from 0 (not acceptable) to 1.

    Values are in lower case.  Those after the first hundred are ignored.
    """
    lines = ",".join(request.headers.getlist(header)).lower()
    found = {}
    for each in lines.split(",", MAX_VALUES)[:MAX_VALUES]:
        wanted, *parameters = each.split(";")
        weight = next(filter(None, map(_WEIGHT.fullmatch, parameters)), None)
        found[wanted.strip()] = float(weight[1]) if weight else 1.0
    return found


def accepts_gzip(request: Request) -> bool:
    """Return whether the client accepts gzip, and does not prefer an uncompressed response."""
    weights = accept_weights(request, "accept-encoding")
    # `x-gzip` is an old name for gzip (RFC 9110, section 8.4.1.3); `*` stands for all encodings that are not listed.
    weight = next((weights[name] for name in ("gzip", "x-gzip", "*") if name in weights), 0.0)
    return 0 < weight >= weights.get("identity", 0.0)
