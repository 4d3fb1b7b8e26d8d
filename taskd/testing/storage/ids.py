"""Test tasks whose id the client has chosen."""

from __future__ import annotations

import datetime as dt

import pytest

from taskd.queries import Order, TaskQuery
from taskd.storage import PreconditionFailed, TaskStore
from taskd.tasks import NewTask, Status, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import AT_ONCE, HOUR, NOON, create_all, id_at, outcomes, soon, titles

__all__ = ["NewIDTests"]

EARLIEST = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


@promises
@limited
class NewIDTests:
    """`create` with an id."""

    @pytest.mark.parametrize("made_at", [EARLIEST, NOON - 9000 * HOUR, soon()], ids=["0", "past", "future"])
    async def test_the_time_in_the_id_is_when_the_task_was_created(
        self, store: TaskStore, owner: str, made_at: dt.datetime
    ) -> None:
        """`created_at` is the time in the id, and no other time is earlier."""
        task_id = id_at(made_at)
        before = dt.datetime.now(dt.timezone.utc)
        task = await store.create(owner, NewTask(title="t", status=Status.COMPLETED), task_id=task_id)

        assert (task_id, made_at, "t") == (task.id, task.created_at, task.title)
        # The store's clock may differ from this machine's.
        assert max(made_at, before - HOUR) <= task.updated_at <= max(made_at, before + HOUR)
        assert task.updated_at == task.completed_at
        assert task == await store.get(owner, task_id)
        assert [task] == (await store.list(owner)).tasks

    async def test_updated_at_never_decreases(self, store: TaskStore, owner: str) -> None:
        """A task from the future keeps its time if it is changed now."""
        task = await store.create(owner, NewTask(title="t"), task_id=id_at(soon()))
        updated = await store.update(owner, task.id, TaskChanges(title="u"))
        toggled = await store.toggle(owner, task.id)

        assert task.created_at == updated.updated_at == toggled.updated_at == toggled.completed_at

    async def test_the_age_of_a_task_is_its_id(self, store: TaskStore, owner: str) -> None:
        """A task with an older id is listed as an older task, no matter when it is stored."""
        await create_all(store, owner, NewTask(title="b"))
        await store.create(owner, NewTask(title="c"), task_id=id_at(soon()))
        await store.create(owner, NewTask(title="a"), task_id=id_at(NOON - 9000 * HOUR))

        assert ["c", "b", "a"] == titles(await store.list(owner))
        assert ["a", "b", "c"] == titles(await store.list(owner, TaskQuery(order=Order.ASC)))

    async def test_an_existing_task_is_not_created_again(self, store: TaskStore, owner: str) -> None:
        """If the id is taken, the existing task stays as it is, whether the client or the store chose its id."""
        made = await store.create(owner, NewTask(title="t"))
        sent = await store.create(owner, NewTask(title="u"), task_id=id_at(soon()))
        sent = await store.toggle(owner, sent.id)
        for task in (made, sent):
            with pytest.raises(PreconditionFailed):
                await store.create(owner, NewTask(title="v", tags=["v"]), task_id=task.id)

        assert [sent, made] == (await store.list(owner)).tasks

    async def test_of_concurrent_creations_one_succeeds(self, store: TaskStore, owner: str) -> None:
        """Of several concurrent creations with the same id, exactly one creates a task."""
        task_id = id_at(soon())
        created, errors = await outcomes(
            [store.create(owner, NewTask(title=str(number)), task_id=task_id) for number in range(AT_ONCE)]
        )

        assert created == (await store.list(owner)).tasks
        assert (1, [PreconditionFailed] * (AT_ONCE - 1)) == (len(created), errors)

    async def test_the_id_of_a_deleted_task_can_be_reused(self, store: TaskStore, owner: str) -> None:
        """After a task has been deleted, another one can be created with its id."""
        deleted = await store.create(owner, NewTask(title="t", description="d", tags=["a"]))
        await store.delete(owner, deleted.id)
        task = await store.create(owner, NewTask(title="u"), task_id=deleted.id)

        assert ("u", None, ()) == (task.title, task.description, task.tags)
        assert [task] == (await store.list(owner)).tasks

    async def test_owners_may_use_the_same_id(self, store: TaskStore, owner: str) -> None:
        """Different owners can use the same id."""
        task_id = id_at(soon())
        own = await store.create(owner, NewTask(title="t"), task_id=task_id)
        theirs = await store.create(f"{owner}x", NewTask(title="u"), task_id=task_id)
        await store.delete(f"{owner}x", task_id)

        assert (owner, f"{owner}x") == (own.user_id, theirs.user_id)
        assert own == await store.get(owner, task_id)
