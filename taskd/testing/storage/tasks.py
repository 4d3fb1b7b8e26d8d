"""Test what stores do with tasks: create, read, change and delete them."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable

import pytest

from taskd.queries import TaskQuery
from taskd.storage import EVERYTHING, PreconditionFailed, TaskStore
from taskd.tasks import NewTask, Priority, Status, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import AT_ONCE, assert_unknown

__all__ = ["TaskTests"]


@promises
@limited
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

    async def test_reads_see_every_write(self, store: TaskStore, owner: str) -> None:
        """Once a write has returned, `get`, `list` and `seq` return the result, even if they were called before it."""
        task = await store.create(owner, NewTask(title="t", tags=["a"]))
        other = await store.create(owner, NewTask(title="u", tags=["a"]))
        tagged = TaskQuery(tags=("a",), count=True)
        for number in range(6):
            for query in (EVERYTHING, tagged):
                await store.list(owner, query)
            if number % 2:
                task = await store.toggle(owner, task.id)
            else:
                task = await store.update(owner, task.id, TaskChanges(title=str(number)))

            assert task == await store.get(owner, task.id)
            for query in (EVERYTHING, tagged):
                assert [other, task] == (await store.list(owner, query)).tasks
            assert task.version == await store.seq(owner)
        await store.delete(owner, other.id)
        for query in (EVERYTHING, tagged):
            assert [task] == (await store.list(owner, query)).tasks

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
            TaskChanges(title="u", description="", priority=Priority.LOW, due_at=None, tags=["c"], completed=True),
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
            owner,
            NewTask(title="t", description="d", status=status, priority=Priority.HIGH, due_at=due_at, tags=["a", "b"]),
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
        await assert_unknown(store, owner, task)

    async def test_a_refused_write_does_not_block_others(self, store: TaskStore, owner: str) -> None:
        """After a write that was refused, the same and other tasks can still be written."""
        task, other = [await store.create(owner, NewTask(title="t")) for _ in range(2)]
        wrong = task.version + 99
        refused: list[Callable[[], Awaitable[object]]] = [
            lambda: store.update(owner, task.id, TaskChanges(title="u"), version=wrong),
            lambda: store.toggle(owner, task.id, version=wrong),
            lambda: store.delete(owner, task.id, version=wrong),
            lambda: store.create(owner, NewTask(title="t"), task_id=task.id),
        ]
        for _ in range(AT_ONCE):
            for write in refused:
                with pytest.raises(PreconditionFailed):
                    await write()
        changed = await store.update(owner, task.id, TaskChanges(title="v"))
        toggled = await store.toggle(owner, other.id)

        assert [toggled, changed] == (await store.list(owner)).tasks

    async def test_ping_returns_while_the_store_responds(self, store: TaskStore) -> None:
        """A store that responds is ready."""
        await store.ping()
