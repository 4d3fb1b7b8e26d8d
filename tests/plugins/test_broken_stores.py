"""`StoreContract` finds bugs: a store that breaks a promise fails a test."""

from __future__ import annotations

import functools

import pytest

from taskd.queries import TaskQuery
from tests.support.broken_keys import BROKEN_KEYS
from tests.support.broken_queries import BROKEN_QUERIES
from tests.support.broken_searches import BROKEN_SEARCHES
from tests.support.broken_stores import BROKEN_STORES
from tests.support.contracts import store_failures
from tests.support.memory_store import MemoryStore


@pytest.mark.parametrize("store", [*BROKEN_STORES, *BROKEN_KEYS], ids=lambda store: store.__name__)
def test_a_store_that_breaks_a_promise_fails_a_test(store: type[MemoryStore]) -> None:
    """This holds for each promise about tasks, versions, conditions, ids and keys."""
    assert store_failures(store, at_most=1)


@pytest.mark.parametrize("query", [*BROKEN_QUERIES, *BROKEN_SEARCHES], ids=lambda query: query.__name__)
def test_a_store_that_lists_the_wrong_tasks_fails_a_test(query: type[TaskQuery]) -> None:
    """This holds for each promise about filters, searches, orders and pages."""
    assert store_failures(functools.partial(MemoryStore, query), at_most=1)
