"""Test closing a store."""

from __future__ import annotations

from taskd.storage import TaskStore
from taskd.testing.promises import promises

__all__ = ["ClosingTests"]


@promises
class ClosingTests:
    """`close`, which the last tests call: a store that tests share may be of no use afterwards."""

    async def test_a_closed_store_can_be_closed_again(self, store: TaskStore) -> None:
        """Closing is idempotent."""
        await store.close()
        await store.close()
