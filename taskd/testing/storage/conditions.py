"""Test writes that require the task to have a certain version."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from taskd.storage import PreconditionFailed, StoreError, TaskNotFound, TaskStore
from taskd.tasks import NewTask, Task, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import AT_ONCE, id_at, outcomes, soon

__all__ = ["ConditionTests"]

Write = Callable[[TaskStore, str, UUID, int | None], Awaitable[Task | None]]


def _update(store: TaskStore, owner: str, task_id: UUID, version: int | None) -> Awaitable[Task]:
    return store.update(owner, task_id, TaskChanges(title="u", tags=["u"]), version=version)


def _update_nothing(store: TaskStore, owner: str, task_id: UUID, version: int | None) -> Awaitable[Task]:
    return store.update(owner, task_id, TaskChanges(), version=version)


def _toggle(store: TaskStore, owner: str, task_id: UUID, version: int | None) -> Awaitable[Task]:
    return store.toggle(owner, task_id, version=version)


def _delete(store: TaskStore, owner: str, task_id: UUID, version: int | None) -> Awaitable[None]:
    return store.delete(owner, task_id, version=version)


WRITES: list[Write] = [_update, _update_nothing, _toggle, _delete]
each_write = pytest.mark.parametrize("write", WRITES, ids=["update", "update nothing", "toggle", "delete"])


@promises
@limited
class ConditionTests:
    """`update`, `toggle` and `delete` with a version."""

    @each_write
    async def test_a_task_with_the_expected_version_is_changed(
        self, store: TaskStore, owner: str, write: Write
    ) -> None:
        """A task with the expected version is changed, as long as the writer keeps up with its versions."""
        task = await store.create(owner, NewTask(title="t"))
        for _ in range(2):
            task = await store.update(owner, task.id, TaskChanges(title="v"), version=task.version)
            task = await store.toggle(owner, task.id, version=task.version)
        written = await write(store, owner, task.id, task.version)

        if written is None:
            assert [] == (await store.list(owner)).tasks
        else:
            assert task.version < written.version
            assert written == await store.get(owner, task.id)

    @each_write
    async def test_a_wrong_version_changes_nothing(self, store: TaskStore, owner: str, write: Write) -> None:
        """A task with any other version, earlier or later, stays as it is."""
        created = await store.create(owner, NewTask(title="t"))
        other = await store.create(owner, NewTask(title="t"))
        task = await store.update(owner, created.id, TaskChanges(description="d"))
        # Until the version has two digits.
        while task.version < AT_ONCE:
            task = await store.update(owner, created.id, TaskChanges(description="d"))
        near = [task.version - 1, task.version + 1, task.version // 10, task.version * 10]
        far = [task.version + 2**16, task.version + 2**32, 2**63 - 1]
        for version in (0, created.version, other.version, *near, *far):
            with pytest.raises(PreconditionFailed):
                await write(store, owner, task.id, version)

            assert task == await store.get(owner, task.id)
        assert [other, task] == (await store.list(owner)).tasks

    @each_write
    async def test_a_missing_task_is_not_found_whatever_the_version(
        self, store: TaskStore, owner: str, write: Write
    ) -> None:
        """A task that never existed, was deleted, or belongs to another owner matches no version."""
        theirs = await store.create(f"{owner}x", NewTask(title="t"))
        deleted = await store.create(owner, NewTask(title="t"))
        await store.delete(owner, deleted.id)
        for missing in (theirs.id, deleted.id, id_at(soon())):
            for version in (None, 0, theirs.version, deleted.version):
                with pytest.raises(TaskNotFound):
                    await write(store, owner, missing, version)
        assert theirs == await store.get(f"{owner}x", theirs.id)

    @each_write
    async def test_of_concurrent_writes_one_succeeds(self, store: TaskStore, owner: str, write: Write) -> None:
        """Of several writers that know the same version, exactly one changes the task."""
        for _ in range(3):
            task = await store.create(owner, NewTask(title="t"))
            written, errors = await outcomes([write(store, owner, task.id, task.version) for _ in range(AT_ONCE)])

            # A deleted task no longer has a version.
            expected: type[StoreError] = TaskNotFound if written == [None] else PreconditionFailed
            assert (1, [expected] * (AT_ONCE - 1)) == (len(written), errors)

    async def test_of_different_concurrent_writes_one_succeeds(self, store: TaskStore, owner: str) -> None:
        """After an update, a toggle or a deletion, the old version is no longer accepted by any of the three."""
        task = await store.create(owner, NewTask(title="t"))
        written, errors = await outcomes(
            [write(store, owner, task.id, task.version) for write in WRITES for _ in range(3)]
        )

        assert (1, 3 * len(WRITES) - 1) == (len(written), len(errors))
        assert {*errors} <= {PreconditionFailed, TaskNotFound}
        assert [each for each in written if each is not None] == (await store.list(owner)).tasks

    async def test_a_task_is_deleted_once(self, store: TaskStore, owner: str) -> None:
        """Of several concurrent deletions without a version, exactly one succeeds."""
        task = await store.create(owner, NewTask(title="t"))
        written, errors = await outcomes([store.delete(owner, task.id) for _ in range(AT_ONCE)])

        assert ([None], [TaskNotFound] * (AT_ONCE - 1)) == (written, errors)
