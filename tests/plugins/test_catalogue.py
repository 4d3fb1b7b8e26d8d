"""The contracts find nearly all bugs in a catalogue of plausible ones, and say which promise is broken."""

from __future__ import annotations

import pytest

from tests.support.catalogue import AUTH_FAULTS, STORE_FAULTS, Fault
from tests.support.catalogue.backends import HeaderKeys
from tests.support.contracts import Impatient, auth_failures, store_failures

FAULTS = [*STORE_FAULTS, *AUTH_FAULTS]
MIN_SHARE = 0.95


@pytest.mark.parametrize("fault", [fault for fault in STORE_FAULTS if not fault.unseen], ids=str)
def test_a_broken_store_fails_a_test(fault: Fault) -> None:
    """At least one test fails, and its message names the promise."""
    failures = store_failures(fault.make, Impatient, at_most=1)

    assert failures, fault.description
    assert ": Broken promise: " in failures[0]


@pytest.mark.parametrize("fault", [fault for fault in AUTH_FAULTS if not fault.unseen], ids=str)
def test_a_broken_backend_fails_a_test(fault: Fault) -> None:
    """At least one test fails, and its message names the promise."""
    failures = auth_failures(fault.make, at_most=1)

    assert failures, fault.description
    assert ": Broken promise: " in failures[0]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.unseen], ids=str)
def test_a_fault_that_nothing_can_show_fails_no_test(fault: Fault) -> None:
    """Otherwise, the catalogue would say less than the contracts find."""
    assert [] == store_failures(fault.make)


def test_nearly_all_faults_are_found() -> None:
    """The tests above find at least 95 % of the more than 100 faults; each of the others has a reason."""
    unseen = [fault for fault in FAULTS if fault.unseen]

    assert len(FAULTS) >= 100
    assert len(FAULTS) == len({(fault.kind, fault.name) for fault in FAULTS})
    assert len(unseen) / len(FAULTS) <= 1 - MIN_SHARE, [f"{fault}: {fault.unseen}" for fault in unseen]


def test_every_fault_is_described() -> None:
    """Each row of the catalogue says in a sentence what the bug does."""
    assert [] == [fault.name for fault in FAULTS if not fault.description.endswith(".")]


@pytest.mark.parametrize(
    "is_same",
    [
        lambda sent, key: sent.startswith(key),
        lambda sent, key: key.startswith(sent),
        lambda sent, key: len(sent) == len(key),
        lambda sent, key: sent[:12] == key[:12],
        lambda sent, key: sent[-12:] == key[-12:],
        lambda sent, key: sorted(sent) == sorted(key),
    ],
    ids=["has the key as prefix", "is a prefix", "same length", "first characters", "last ones", "any order"],
)
def test_keys_of_digits_are_compared_completely(is_same: object) -> None:
    """Values that only resemble the key are detected even if it consists of digits."""

    class Similar(HeaderKeys):
        def __init__(self) -> None:
            super().__init__("31415926535897932384626433832795", "27182818284590452353602874713527")
            self.is_same = is_same  # type: ignore[method-assign, assignment]

    assert auth_failures(Similar, at_most=1)
