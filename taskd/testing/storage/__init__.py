"""Test what every task store must do: one module for each subject, and one class with all their tests."""

from __future__ import annotations

import uuid
from typing import ClassVar

import pytest

from taskd.testing.storage.cancellation import CancellationTests
from taskd.testing.storage.closing import ClosingTests
from taskd.testing.storage.concurrency import ConcurrencyTests
from taskd.testing.storage.conditions import ConditionTests
from taskd.testing.storage.durability import DurabilityTests
from taskd.testing.storage.filters import FilterTests
from taskd.testing.storage.ids import NewIDTests
from taskd.testing.storage.keys import KeyTests
from taskd.testing.storage.limits import TIMEOUT_S
from taskd.testing.storage.loops import LoopTests
from taskd.testing.storage.outages import OutageTests
from taskd.testing.storage.owners import OwnerTests
from taskd.testing.storage.pages import PageTests
from taskd.testing.storage.searching import SearchTests
from taskd.testing.storage.sorting import SortTests
from taskd.testing.storage.tasks import TaskTests
from taskd.testing.storage.transfers import TransferTests
from taskd.testing.storage.values import ValueTests
from taskd.testing.storage.versions import VersionTests

__all__ = ["StoreContract"]


# Pytest runs the tests of the last class first.
@pytest.mark.anyio
class StoreContract(
    ClosingTests,
    OutageTests,
    DurabilityTests,
    LoopTests,
    TransferTests,
    CancellationTests,
    ConcurrencyTests,
    PageTests,
    SortTests,
    SearchTests,
    FilterTests,
    KeyTests,
    NewIDTests,
    ConditionTests,
    VersionTests,
    OwnerTests,
    ValueTests,
    TaskTests,
):
    """
    The tests that a store must pass, for everything that `TaskStore` promises.

    A subclass defines a fixture `store`, a `TaskStore`.  The store may contain tasks of other owners, because every
    test uses new owners.  So if a store takes long to create, tests can share one through a fixture with the scope
    `class`; the last test closes it.

    The tests of `taskd.data.Portable` are skipped if the store does not have its methods.

    Two other fixtures are optional; without them, the tests that need them are skipped:

    - `reopen`: a function, async or not, that returns another store over the same tasks, as a server would open it
      after a crash at this moment.  It must not close the first store.
    - `outage`: a function that returns an async context manager, in which something that the store depends on is down.

    Attributes:
        timeout_s: How many seconds a call may take before it counts as failed.
    """

    timeout_s: ClassVar[float] = TIMEOUT_S

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        """Run the tests with asyncio."""
        return "asyncio"

    @pytest.fixture
    def owner(self) -> str:
        """Return an owner without tasks."""
        return uuid.uuid4().hex
