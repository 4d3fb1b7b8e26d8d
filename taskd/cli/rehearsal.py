"""Do what users do with their tasks, in a store that undoes it, for `taskd doctor`."""

from __future__ import annotations

import datetime as dt
import secrets

import attrs

from taskd.checks import Check, Outcome
from taskd.queries import Sort, TaskQuery
from taskd.storage import CreationKey, StoreError, TaskNotFound, TaskStore
from taskd.tasks import NewTask, Priority, Task, TaskChanges
from taskd.time_limit import TimedOut

__all__ = ["NAME", "Rehearsal"]

NAME = "tasks"
# As long as the rules allow, and of characters beyond the first 65,536, which take up most space.
_WIDE = "\N{MATHEMATICAL BOLD CAPITAL T}"
_TITLE, _DESCRIPTION = _WIDE * 200, _WIDE * 10_000
_TAGS = tuple(f"{number:02}{_WIDE * 48}" for number in range(20))
_OWNER_LENGTH = 255
_DUE = dt.datetime(9999, 1, 1, 12, 34, 56, 789_012, tzinfo=dt.timezone.utc)
_INTERFERES = (
    "If the storage is not just busy, something in it refuses, changes or hides tasks: look for triggers, rules,"
    " policies and constraints that somebody has added, and remove them."
)


class _Different(Exception):
    """The store has lost or changed something."""


@attrs.define(eq=False)
class Rehearsal:
    """
    One user's day: tasks are created, listed, found, read, changed, toggled and deleted, and others do not see them.

    Attributes:
        step: What is being done, in words.
    """

    step: str = "beginning"
    _owner: str = attrs.field(init=False)
    _stranger: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Name two users whom nobody else can be."""
        self._owner, self._stranger = (
            f"taskd doctor {secrets.token_hex(16)} ".ljust(_OWNER_LENGTH, _WIDE) for _ in range(2)
        )

    async def act(self, store: TaskStore) -> None:
        """Do everything with *store*; raise an exception if something is refused or lost."""
        task = await self._create(store)
        await self._look(store, task)
        task = await self._change(store, task)
        await self._delete(store, task)

    async def _create(self, store: TaskStore) -> Task:
        self.step = "creating a task"
        new = NewTask(title=_TITLE, description=_DESCRIPTION, due_at=_DUE, tags=_TAGS, priority=Priority.URGENT)
        key = CreationKey("taskd-doctor", b"taskd-doctor")
        task = await store.create(self._owner, new, key=key)
        _compare(task, _of(task, new))
        self.step = "creating a task again with the same Idempotency-Key"
        _compare(await store.create(self._owner, new, key=key), task)
        return task

    async def _look(self, store: TaskStore, task: Task) -> None:
        self.step = "reading the task"
        _compare(await store.get(self._owner, task.id), task)
        self.step = "listing the tasks"
        page = await store.list(self._owner, TaskQuery(count=True, limit=10))
        _compare((page.tasks, page.seq, page.total), ([task], task.version, 1))
        self.step = "searching for the task"
        query = TaskQuery(search=_WIDE, tags=_TAGS[:1], priorities=frozenset({Priority.URGENT}), sort=Sort.TITLE)
        _compare((await store.list(self._owner, query)).tasks, [task])
        self.step = "listing the tasks of another user"
        _compare((await store.list(self._stranger, TaskQuery())).tasks, [])

    async def _change(self, store: TaskStore, task: Task) -> Task:
        self.step = "changing the task"
        changes = TaskChanges(title="changed", description=None, due_at=None, tags=())
        changed = await store.update(self._owner, task.id, changes, version=task.version)
        _check_order(changed, task)
        _compare(changed, task.changed(changes, changed.updated_at, version=changed.version))
        self.step = "toggling the task"
        toggled = await store.toggle(self._owner, task.id)
        _check_order(toggled, changed)
        _compare(toggled, changed.toggled(toggled.updated_at, version=toggled.version))
        self.step = "reading the task that was toggled"
        _compare(await store.get(self._owner, task.id), toggled)
        return toggled

    async def _delete(self, store: TaskStore, task: Task) -> None:
        self.step = "creating a second task"
        kept = await store.create(self._owner, NewTask(title="kept"))
        self.step = "deleting the task"
        await store.delete(self._owner, task.id, version=task.version)
        self.step = "reading the task that was deleted"
        try:
            await store.get(self._owner, task.id)
        except TaskNotFound:
            pass
        else:
            raise _Different
        self.step = "listing the tasks that are left"
        _compare((await store.list(self._owner, TaskQuery())).tasks, [kept])
        self.step = "reading the counter of changes"
        if not await store.seq(self._owner) > kept.version > task.version:
            raise _Different

    def passed(self) -> Check:
        """Return the check for when nothing was refused or lost."""
        done = "created, found, read, changed, toggled and deleted two of a new user's, and undid it"
        return Check(NAME, Outcome.OK, done)

    def failed(self, error: BaseException) -> Check:
        """Return the check for when *error* was raised."""
        if isinstance(error, _Different):
            finding = f"{self.step}: the result is not what was written"
            return Check(NAME, Outcome.FAILED, finding, _INTERFERES)
        words = "it did not end in time" if isinstance(error, TimedOut) else type(error).__name__
        # Other exceptions may quote what they refuse.
        if isinstance(error, StoreError) and str(error):
            words = " ".join(str(error).split())
        return Check(NAME, Outcome.FAILED, f"{self.step}: {words}", f"Try again. {_INTERFERES}")


def _of(task: Task, new: NewTask) -> Task:
    """Return the task that *new* asks for, with the id and the times of *task*."""
    return attrs.evolve(Task.create(task.user_id, new, task.created_at, version=task.version), id=task.id)


def _compare(found: object, expected: object) -> None:
    if found != expected:
        raise _Different


def _check_order(changed: Task, task: Task) -> None:
    if not changed.version > task.version:
        raise _Different
