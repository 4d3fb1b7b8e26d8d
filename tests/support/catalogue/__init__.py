"""Plausible bugs of stores and auth backends, which the contracts must find."""

from tests.support.catalogue import (
    auth_comparison,
    auth_reading,
    auth_responses,
    auth_state,
    cancellation,
    concurrency,
    durability,
    errors,
    listing,
    owners,
    values,
    writes,
)
from tests.support.catalogue.faults import AUTH_FAULTS, STORE_FAULTS, Fault

__all__ = [
    "AUTH_FAULTS",
    "STORE_FAULTS",
    "Fault",
    "auth_comparison",
    "auth_reading",
    "auth_responses",
    "auth_state",
    "cancellation",
    "concurrency",
    "durability",
    "errors",
    "listing",
    "owners",
    "values",
    "writes",
]
