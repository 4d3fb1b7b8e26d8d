"""What Prometheus reads."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Samples", "samples_in", "scraped"]

# By name and labels, as in `taskd_outages_total{dependency="storage"}`.
Samples = Mapping[str, float]


def samples_in(text: str) -> Samples:
    """Return the samples in the *text* format."""
    return {
        _name(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scraped(client: httpx.AsyncClient, token: str) -> Samples:
    """Return what *client* reads with *token*."""
    response = await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert 200 == response.status_code, response.text
    return samples_in(response.text)


def _name(name: str, labels: Mapping[str, str]) -> str:
    shown = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{shown}}}" if shown else name
