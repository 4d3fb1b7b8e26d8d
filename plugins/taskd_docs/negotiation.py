"""Parse the headers that say what a client accepts (RFC 9110, section 12.5)."""

from __future__ import annotations

import re

__all__ = ["weights"]

_WEIGHT = re.compile(r"\s*q=(0(?:\.\d*)?|1(?:\.0*)?)\s*", re.IGNORECASE)


def weights(header: str) -> dict[str, float]:
    """Return the weight of each value in an `Accept` or `Accept-Encoding` header, from 0 (not acceptable) to 1."""
    found = {}
    for each in header.lower().split(","):
        wanted, *parameters = each.split(";")
        weight = next(filter(None, map(_WEIGHT.fullmatch, parameters)), None)
        found[wanted.strip()] = float(weight[1]) if weight else 1.0
    return found
