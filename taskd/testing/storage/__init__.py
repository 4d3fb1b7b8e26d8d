"""Test what every task store must do: one module for each subject, and one class with all their tests."""

from __future__ import annotations

import uuid

import pytest

from taskd.testing.storage.conditions import ConditionTests
from taskd.testing.storage.filters import FilterTests
from taskd.testing.storage.ids import NewIDTests
from taskd.testing.storage.keys import KeyTests
from taskd.testing.storage.pages import PageTests
from taskd.testing.storage.searching import SearchTests
from taskd.testing.storage.sorting import SortTests
from taskd.testing.storage.tasks import TaskTests
from taskd.testing.storage.versions import VersionTests

__all__ = ["StoreContract"]


@pytest.mark.anyio
class StoreContract(
    TaskTests,
    VersionTests,
    ConditionTests,
    NewIDTests,
    KeyTests,
    FilterTests,
    SearchTests,
    SortTests,
    PageTests,
):
    """
    The tests that a store must pass, for everything that `TaskStore` promises.

    A subclass defines a fixture `store`, a `TaskStore`.  The store may contain tasks of other owners, because every
    test uses new owners.  So if a store takes long to create, tests can share one through a fixture with the scope
    `class`.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        """Run the tests with asyncio."""
        return "asyncio"

    @pytest.fixture
    def owner(self) -> str:
        """Return an owner without tasks."""
        return uuid.uuid4().hex
