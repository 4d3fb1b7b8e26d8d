"""Correct plugins of any design pass the contracts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taskd.storage import TaskStore
from taskd.testing import StoreContract
from tests.support.catalogue.backends import Keys
from tests.support.contracts import auth_failures, store_failures
from tests.support.correct_plugins import BACKENDS, STORES, ClosedForGood


@pytest.mark.parametrize("make", STORES, ids=lambda make: make.__name__)
def test_a_correct_store_fails_no_test(make: Callable[[], TaskStore]) -> None:
    """However a store works inside, only its promises count."""
    assert [] == store_failures(make)


@pytest.mark.parametrize("make", BACKENDS, ids=lambda make: make.__name__)
def test_a_correct_backend_fails_no_test(make: Callable[[], Keys]) -> None:
    """Credentials may be of any kind and consist of any characters, and be in any header."""
    assert [] == auth_failures(make)


class TestSharedStore(StoreContract):
    """All tests can share a store, even one that is of no use once it is closed."""

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls) -> TaskStore:
        return ClosedForGood()
