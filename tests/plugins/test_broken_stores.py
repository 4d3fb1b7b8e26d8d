"""`StoreContract` finds bugs: a store that breaks a promise fails a test, and a correct store fails none."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from taskd.queries import TaskQuery
from taskd.storage import TaskStore
from tests.support.broken_keys import BROKEN_KEYS
from tests.support.broken_queries import BROKEN_QUERIES
from tests.support.broken_searches import BROKEN_SEARCHES
from tests.support.broken_stores import BROKEN_STORES
from tests.support.contracts import failures
from tests.support.memory_store import MemoryStore

pytestmark = pytest.mark.anyio


async def test_a_correct_store_fails_no_test() -> None:
    """So the broken stores fail because of what is broken in them."""
    assert [] == [name async for name in failures(MemoryStore)]


@pytest.mark.parametrize("store", [*BROKEN_STORES, *BROKEN_KEYS], ids=lambda store: store.__name__)
async def test_a_store_that_breaks_a_promise_fails_a_test(store: type[MemoryStore]) -> None:
    """This holds for each promise about tasks, versions, conditions, ids and keys."""
    assert await is_found_out(store)


@pytest.mark.parametrize("query", [*BROKEN_QUERIES, *BROKEN_SEARCHES], ids=lambda query: query.__name__)
async def test_a_store_that_lists_the_wrong_tasks_fails_a_test(query: type[TaskQuery]) -> None:
    """This holds for each promise about filters, searches, orders and pages."""
    assert await is_found_out(functools.partial(MemoryStore, query))


async def is_found_out(make: Callable[[], TaskStore]) -> bool:
    """Return whether a store fails any test."""
    async for _ in failures(make):
        return True
    return False
