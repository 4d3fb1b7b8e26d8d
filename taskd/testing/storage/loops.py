"""Test that a store outlives the event loop in which it was first used."""

from __future__ import annotations

import asyncio

from taskd.storage import TaskStore
from taskd.tasks import NewTask, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import AT_ONCE

__all__ = ["LoopTests"]


@promises
@limited
class LoopTests:
    """Several event loops, one after another."""

    # A fixture of the store may be asynchronous, which needs `anyio_backend`.
    def test_a_store_works_in_every_event_loop(self, store: TaskStore, owner: str, anyio_backend: str) -> None:  # noqa: ARG002
        """A store can be used in one event loop after another, also if it was not closed in between."""
        for _ in range(3):
            asyncio.run(_use(store, owner))


async def _use(store: TaskStore, owner: str) -> None:
    """Call each method several times at once."""
    before = (await store.list(owner)).tasks
    created = await asyncio.gather(*[store.create(owner, NewTask(title="t")) for _ in range(AT_ONCE)])
    await asyncio.gather(*[store.update(owner, task.id, TaskChanges(title="u")) for task in created])
    changed = await asyncio.gather(*[store.toggle(owner, task.id) for task in created])
    await store.delete(owner, created[0].id)
    await store.ping()

    assert changed[1:] == await asyncio.gather(*[store.get(owner, task.id) for task in created[1:]])
    assert len(before) + AT_ONCE - 1 == len((await store.list(owner)).tasks)
    assert max(task.version for task in changed) < await store.seq(owner)
