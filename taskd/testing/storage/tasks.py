"""Test what stores do with tasks: create, read, change and delete them, separately for each owner."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid

import pytest

from taskd.storage import TaskNotFound, TaskStore
from taskd.tasks import NewTask, Priority, Status, Task, TaskChanges

__all__ = ["TaskTests"]


class TaskTests:
    """Tasks are stored and changed as `Task` says."""

    async def test_a_new_owner_has_no_tasks(self, store: TaskStore, owner: str) -> None:
        """The list of an owner without tasks is empty."""
        assert [] == (await store.list(owner)).tasks

    async def test_create_applies_the_defaults(self, store: TaskStore, owner: str) -> None:
        """A task created with only a title is pending, has medium priority, and is otherwise empty."""
        task = await store.create(owner, NewTask(title="t"))

        assert (owner, "t", None, None, ()) == (task.user_id, task.title, task.description, task.due_at, task.tags)
        assert (Status.PENDING, Priority.MEDIUM, False) == (task.status, task.priority, task.is_completed)
        assert (task.created_at, None) == (task.updated_at, task.completed_at)
        assert 7 == task.id.version

    async def test_a_created_task_is_returned_unchanged(self, store: TaskStore, owner: str) -> None:
        """Every field is returned as it was stored, times to the microsecond."""
        due_at = dt.datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.timezone.utc)
        new = NewTask(
            title=" \u00e9\U0001f389\n",
            description="'; --",
            status=Status.COMPLETED,
            priority=Priority.LOW,
            due_at=due_at,
            tags=["'; --", '"', "\\", "{a,b}", " c ", "NULL", "\u00e9", "e\u0301", "\U0001f389"],
        )
        task = await store.create(owner, new)

        assert task == await store.get(owner, task.id)
        assert [task] == (await store.list(owner)).tasks
        assert (new.title, new.description, new.priority, due_at, new.tags) == (
            task.title,
            task.description,
            task.priority,
            task.due_at,
            task.tags,
        )
        assert task.created_at == task.completed_at

    async def test_the_newest_task_is_listed_first(self, store: TaskStore, owner: str) -> None:
        """Tasks are listed newest first."""
        made = [await store.create(owner, NewTask(title=str(number))) for number in range(10)]

        assert made[::-1] == (await store.list(owner)).tasks

    @pytest.mark.parametrize(
        "changes",
        [
            TaskChanges(),
            TaskChanges(title="u"),
            TaskChanges(description=None),
            TaskChanges(description="e"),
            TaskChanges(status=Status.IN_PROGRESS),
            TaskChanges(status=Status.COMPLETED),
            TaskChanges(is_completed=True),
            TaskChanges(is_completed=False),
            TaskChanges(priority=Priority.URGENT),
            TaskChanges(due_at=None),
            TaskChanges(due_at=dt.datetime(1, 1, 1, tzinfo=dt.timezone.utc)),
            TaskChanges(tags=[]),
            TaskChanges(tags=["b", "c"]),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("status", list(Status), ids=str)
    async def test_update_changes_the_given_fields_and_keeps_the_rest(
        self, store: TaskStore, owner: str, status: Status, changes: TaskChanges
    ) -> None:
        """An update does what `Task.changed` does."""
        due_at = dt.datetime(2030, 1, 1, tzinfo=dt.timezone.utc)
        before = await store.create(
            owner, NewTask(title="t", description="d", status=status, due_at=due_at, tags=["a", "b"])
        )

        after = await store.update(owner, before.id, changes)

        assert before.changed(changes, after.updated_at, version=after.version) == after
        assert before.updated_at <= after.updated_at
        assert after == await store.get(owner, before.id)

    async def test_toggle_completes_and_reopens(self, store: TaskStore, owner: str) -> None:
        """A toggled task is completed; toggled again, it is pending, whatever it was before."""
        task = await store.create(owner, NewTask(title="t", status=Status.IN_PROGRESS))

        completed = await store.toggle(owner, task.id)
        reopened = await store.toggle(owner, task.id)

        assert (Status.COMPLETED, completed.updated_at) == (completed.status, completed.completed_at)
        assert (Status.PENDING, None) == (reopened.status, reopened.completed_at)
        assert reopened == await store.get(owner, task.id)

    async def test_concurrent_toggles_are_all_counted(self, store: TaskStore, owner: str) -> None:
        """None of 24 concurrent toggles is lost: every other one completes the task."""
        task = await store.create(owner, NewTask(title="t"))

        toggled = await asyncio.gather(*[store.toggle(owner, task.id) for _ in range(24)])

        assert [True, False] * 12 == [each.is_completed for each in sorted(toggled, key=lambda each: each.version)]
        assert not (await store.get(owner, task.id)).is_completed

    async def test_delete_is_permanent(self, store: TaskStore, owner: str) -> None:
        """No method finds a deleted task."""
        task = await store.create(owner, NewTask(title="t"))

        await store.delete(owner, task.id)

        assert [] == (await store.list(owner)).tasks
        await self._assert_unknown(store, owner, task)

    async def test_owners_do_not_see_each_other(self, store: TaskStore, owner: str) -> None:
        """For other owners, a task does not exist, and they cannot change it."""
        task = await store.create(owner, NewTask(title="t"))

        assert [] == (await store.list(f"{owner}x")).tasks
        await self._assert_unknown(store, f"{owner}x", task)
        assert task == await store.get(owner, task.id)

    async def _assert_unknown(self, store: TaskStore, owner: str, task: Task) -> None:
        with pytest.raises(TaskNotFound):
            await store.get(owner, task.id)
        with pytest.raises(TaskNotFound):
            await store.update(owner, task.id, TaskChanges(title="stolen"))
        with pytest.raises(TaskNotFound):
            await store.toggle(owner, task.id)
        with pytest.raises(TaskNotFound):
            await store.delete(owner, task.id)

    async def test_an_owner_is_any_text(self, store: TaskStore) -> None:
        """Owners are opaque strings of up to 255 characters of any kind, and are compared exactly."""
        prefix = uuid.uuid4().hex
        owners = [prefix + rest for rest in ("\U0001f389" * 223, "a", "A", "\u00e9", "e\u0301", " ", "'", "%", "a/b")]
        for owner in owners:
            await store.create(owner, NewTask(title=owner[-1:] + "."))

        assert [1] * len(owners) == [len((await store.list(owner)).tasks) for owner in owners]

    async def test_ping_returns_while_the_store_responds(self, store: TaskStore) -> None:
        """A store that responds is ready."""
        await store.ping()

    async def test_a_closed_store_can_be_closed_again(self, store: TaskStore) -> None:
        """Closing is idempotent."""
        await store.close()
        await store.close()
