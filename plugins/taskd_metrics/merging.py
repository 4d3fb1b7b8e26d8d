"""Make one set of numbers of those of several processes."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from taskd.telemetry import Distribution, Kind, Measurement

__all__ = ["counters", "merged"]


def merged(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return *measurements*, with those of the same name and labels made one."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], Measurement] = {}
    for each in measurements:
        key = each.name, frozenset(each.labels.items())
        found[key] = _combined(found[key], each) if key in found else each
    return list(found.values())


def counters(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return those of *measurements* that still count when their process has ended."""
    return [each for each in measurements if each.kind is Kind.COUNTER or isinstance(each.value, Distribution)]


def _combined(one: Measurement, other: Measurement) -> Measurement:
    return attrs.evolve(one, value=_value(one, other))


def _value(one: Measurement, other: Measurement) -> float | Distribution:
    ours, theirs = one.value, other.value
    if isinstance(ours, Distribution) and isinstance(theirs, Distribution):
        both = Distribution(ours.bounds)
        both += ours
        both += theirs
        return both
    if isinstance(ours, Distribution) or isinstance(theirs, Distribution):
        raise TypeError(f"{one.name} is both a number and a distribution")
    return max(ours, theirs) if one.kind is Kind.MAXIMUM else ours + theirs
