"""Write numbers in Prometheus's formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from taskd.telemetry import Distribution, Kind, Measurement

__all__ = ["exposed"]


def exposed(measurements: Iterable[Measurement], accept: str) -> tuple[bytes, str]:
    """Return *measurements* in a format that *accept* allows, and the content type of the format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Measurements(list(measurements)))
    encode, content_type = _encoder(accept)
    return encode(registry), content_type


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """Return what writes a format that *accept* allows; the oldest if *accept* has a version that is not a number."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        return choose_encoder("")


@attrs.frozen(eq=False)
class _Measurements(Collector):
    """Passes *measurements* on to Prometheus's own encoder."""

    measurements: Sequence[Measurement]

    def describe(self) -> list[Metric]:
        """Return nothing: the names are not known in advance."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the measurements, those of the same name together."""
        by_name: dict[str, list[Measurement]] = {}
        for each in self.measurements:
            by_name.setdefault(each.name, []).append(each)
        for same in by_name.values():
            yield _family(same)


def _family(same: Sequence[Measurement]) -> Metric:
    """Return measurements of the *same* name in Prometheus's terms."""
    first = same[0]
    names = sorted(first.labels)
    values = [([each.labels.get(name, "") for name in names], each.value) for each in same]
    if isinstance(first.value, Distribution):
        histogram = HistogramMetricFamily(first.name, first.description, labels=names)
        for labels, value in values:
            if isinstance(value, Distribution):
                histogram.add_metric(labels, *_buckets(value))
        return histogram
    kind = CounterMetricFamily if first.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(first.name, first.description, labels=names)
    for labels, value in values:
        if not isinstance(value, Distribution):
            family.add_metric(labels, value)
    return family


def _buckets(values: Distribution) -> tuple[list[tuple[str, float]], float]:
    """Return how many of *values* do not exceed each bound, and their sum."""
    buckets, count = [], 0
    for bound, more in zip((*values.bounds, float("inf")), values.counts, strict=True):
        count += more
        buckets.append(("+Inf" if bound == float("inf") else repr(float(bound)), float(count)))
    return buckets, values.total
