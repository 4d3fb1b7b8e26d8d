"""Test the owner's counter of changes, and the versions that tasks get from it."""

from __future__ import annotations

import asyncio
import itertools

from taskd.storage import CreationKey, TaskStore
from taskd.tasks import NewTask, Task, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import AT_ONCE, HOUR, create_all, id_at, outcomes, soon

__all__ = ["VersionTests"]


@promises
@limited
class VersionTests:
    """Every write raises `seq`, which becomes the version of the task."""

    async def test_a_new_owner_s_seq_is_0(self, store: TaskStore, owner: str) -> None:
        """The counter of an owner without changes is zero."""
        assert 0 == await store.seq(owner)
        assert 0 == (await store.list(owner)).seq

    async def test_every_write_raises_seq(self, store: TaskStore, owner: str) -> None:
        """Creating, changing, toggling and deleting a task count as changes, and so does an empty update."""
        task = await store.create(owner, NewTask(title="t"))
        counts = [0, await store.seq(owner)]
        for key, task_id in ((CreationKey("key", b"f"), None), (None, id_at(soon()))):
            created = await store.create(owner, NewTask(title="t"), key=key, task_id=task_id)
            counts.append(await store.seq(owner))
            assert created.version == counts[-1]
        for changes in (TaskChanges(title="u"), TaskChanges(), TaskChanges(title="u")):
            await store.update(owner, task.id, changes)
            counts.append(await store.seq(owner))
        for _ in range(2):
            await store.toggle(owner, task.id)
            counts.append(await store.seq(owner))
        await store.delete(owner, task.id)
        counts.append(await store.seq(owner))

        assert sorted(set(counts)) == counts

    async def test_the_version_is_the_seq_of_the_last_write(self, store: TaskStore, owner: str) -> None:
        """Creating or changing a task returns it with its new version, which is the owner's new `seq`."""
        first, second = await create_all(store, owner, NewTask(title="t"), NewTask(title="u"))
        assert first.version < second.version == await store.seq(owner)

        updated = await store.update(owner, first.id, TaskChanges(title="v"))
        assert updated.version == await store.seq(owner)
        toggled = await store.toggle(owner, second.id)
        assert toggled.version == await store.seq(owner)
        assert second.version < updated.version < toggled.version

    async def test_a_version_is_kept_until_the_task_changes(self, store: TaskStore, owner: str) -> None:
        """A task keeps the version of its own last write, however often other tasks are written."""
        task, other = await create_all(store, owner, NewTask(title="t"), NewTask(title="u"))
        task = await store.update(owner, task.id, TaskChanges(title="v"))
        await store.toggle(owner, other.id)
        await store.delete(owner, other.id)

        assert task == await store.get(owner, task.id)
        assert [task] == (await store.list(owner)).tasks

    async def test_owners_are_counted_separately(self, store: TaskStore, owner: str) -> None:
        """The writes of one owner do not count for another."""
        other = f"{owner}x"
        task = await store.create(owner, NewTask(title="t"))
        seq = await store.seq(owner)
        theirs = await store.create(other, NewTask(title="t"))
        await store.toggle(other, theirs.id)
        await store.delete(other, theirs.id)

        assert seq == await store.seq(owner) == (await store.list(owner)).seq
        assert task == await store.get(owner, task.id)

    async def test_reading_is_not_a_change(self, store: TaskStore, owner: str) -> None:
        """Reading tasks does not change `seq`."""
        task = await store.create(owner, NewTask(title="t"))
        seq = await store.seq(owner)
        for _ in range(3):
            await store.get(owner, task.id)
            await store.list(owner)

        assert seq == await store.seq(owner)

    async def test_a_version_is_never_reused(self, store: TaskStore, owner: str) -> None:
        """A task that is deleted and created again gets a higher version than it ever had."""
        task_id = id_at(soon() - HOUR)
        versions = []
        for _ in range(3):
            versions.append((await store.create(owner, NewTask(title="t"), task_id=task_id)).version)
            versions.append((await store.toggle(owner, task_id)).version)
            await store.delete(owner, task_id)
            versions.append(await store.seq(owner))

        assert sorted(set(versions)) == versions

    async def test_concurrent_writes_have_different_versions(self, store: TaskStore, owner: str) -> None:
        """Every one of an owner's concurrent writes is counted."""
        task = await store.create(owner, NewTask(title="t"))
        written, _ = await outcomes(
            [
                *[store.create(owner, NewTask(title="u")) for _ in range(AT_ONCE)],
                *[store.update(owner, task.id, TaskChanges(title=str(number))) for number in range(AT_ONCE)],
                *[store.toggle(owner, task.id) for _ in range(AT_ONCE)],
            ]
        )
        versions = sorted(each.version for each in written)

        assert 3 * AT_ONCE == len(written)
        assert all(before < after for before, after in itertools.pairwise([task.version, *versions]))
        assert versions[-1] == await store.seq(owner)

    async def test_a_list_and_its_seq_are_consistent(self, store: TaskStore, owner: str) -> None:
        """A list that is read during changes contains exactly the changes that its `seq` counts."""
        first, *_ = await create_all(store, owner, NewTask(title="t"), NewTask(title="u"))

        async def write() -> list[Task]:
            return [await store.toggle(owner, first.id) for _ in range(AT_ONCE)]

        writing = asyncio.gather(write(), write())
        while not writing.done():
            page = await store.list(owner)
            assert page.seq == max(task.version for task in page.tasks)
            # Some stores never wait for anything.
            await asyncio.sleep(0)
        await writing
