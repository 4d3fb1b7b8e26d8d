"""Stores that change tasks, count changes or remember idempotency keys wrongly."""

from __future__ import annotations

import datetime as dt
from functools import partial
from uuid import UUID

import attrs

from taskd.storage import CreationKey, PreconditionFailed, TaskNotFound
from taskd.tasks import UNSET, NewTask, Status, Task, TaskChanges
from tests.support.broken_stores import altered
from tests.support.catalogue.faults import store_fault
from tests.support.memory_store import MemoryStore, now

write_fault = partial(store_fault, "writes")
version_fault = partial(store_fault, "versions")
key_fault = partial(store_fault, "keys")

FIELDS = ("title", "description", "priority", "due_at", "tags")


@write_fault()
class UpdateReturnsTheOldTask(MemoryStore):
    """Changes a task, and returns it as it was."""

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        task = await self.at_version(owner, task_id, version)
        await super().update(owner, task_id, changes)
        return task


@write_fault()
class UpdateChangesCreatedAt(MemoryStore):
    """Sets `created_at` with every update, as a column with a default might."""

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        return self.keep(altered(await super().update(owner, task_id, changes, version=version), created_at=now()))


@write_fault()
class OneChangeAtATime(MemoryStore):
    """Makes only the first change of an update."""

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        given = [name for name in FIELDS if getattr(changes, name) is not UNSET]
        without = attrs.evolve(changes, **dict.fromkeys(given[1:], UNSET))
        return await super().update(owner, task_id, without, version=version)


@write_fault()
class EmptyTextIsNotGiven(MemoryStore):
    """Ignores an update to an empty description, as `if changes.description:` does."""

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        given = changes.description if changes.description != "" else UNSET
        return await super().update(owner, task_id, attrs.evolve(changes, description=given), version=version)


@write_fault()
class ReplacesTheTask(MemoryStore):
    """Resets the priority with an update of the title, as if the client had sent the whole task."""

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        if changes.title is not UNSET and changes.priority is UNSET:
            changes = attrs.evolve(changes, priority=NewTask(title="t").priority)
        return await super().update(owner, task_id, changes, version=version)


@write_fault()
class SecondNameIgnored(MemoryStore):
    """Knows `is_completed`, but not its second name, `completed`."""

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        return await super().create(owner, attrs.evolve(new, completed=UNSET), task_id=task_id, key=key)

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        return await super().update(owner, task_id, attrs.evolve(changes, completed=UNSET), version=version)


@write_fault()
class ToggleRestoresTheStatus(MemoryStore):
    """Reopens a task as in progress if it was before it was completed."""

    def keep(self, task: Task) -> Task:
        before = self.tasks[task.user_id].get(task.id)
        if before and before.status is Status.IN_PROGRESS and task.is_completed:
            self.changes["in progress"] = task.id.int
        is_reopened = before and before.is_completed and task.status is Status.PENDING
        if is_reopened and self.changes["in progress"] == task.id.int:
            task = altered(task, status=Status.IN_PROGRESS)
        return super().keep(task)


@write_fault()
class CompletionTimeKept(MemoryStore):
    """Keeps `completed_at` when a task is reopened."""

    def keep(self, task: Task) -> Task:
        before = self.tasks[task.user_id].get(task.id)
        completed_at = task.completed_at or (before.completed_at if before else None)
        return super().keep(altered(task, completed_at=completed_at))


@write_fault()
class DeletionOnlyHides(MemoryStore):
    """Marks a task as deleted, and shows it again when it is updated."""

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        hidden = self.tasks[f"{owner}, deleted"]
        if task_id in hidden and task_id not in self.tasks[owner]:
            self.keep(hidden.pop(task_id))
        return await super().update(owner, task_id, changes, version=version)

    def forget(self, owner: str, task_id: UUID) -> None:
        self.tasks[f"{owner}, deleted"][task_id] = self.tasks[owner][task_id]
        super().forget(owner, task_id)


@version_fault()
class VersionsAfterTheLastTask(MemoryStore):
    """Makes the next version one more than the highest of the tasks that are left."""

    async def raised(self, owner: str) -> int:
        self.changes[owner] = max((task.version for task in self.tasks[owner].values()), default=0) + 1
        return self.changes[owner]


@version_fault()
class KeyedCreationIsNoChange(MemoryStore):
    """Does not raise the counter when a task is created with an idempotency key."""

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        seq = self.changes[owner]
        task = await super().create(owner, new, task_id=task_id, key=key)
        if key is not None:
            self.changes[owner] = max(seq, 1)
        return task


@version_fault()
class CreationWithIDBeginsAtOne(MemoryStore):
    """Gives every task whose id a client has chosen the version 1."""

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        task = await super().create(owner, new, task_id=task_id, key=key)
        return task if task_id is None else self.keep(task.at_version(1))


@version_fault()
class VersionsByTheClock(MemoryStore):
    """Takes milliseconds for versions, so that two quick changes have the same one."""

    async def raised(self, owner: str) -> int:
        self.changes[owner] = round(now().timestamp() * 1000)
        return self.changes[owner]


@version_fault()
class SeqIsAFloat(MemoryStore):
    """Returns the counter as a floating-point number."""

    async def seq(self, owner: str) -> int:
        return float(await super().seq(owner))  # type: ignore[return-value]


@version_fault()
class VersionsComparedAsText(MemoryStore):
    """Takes a version for the expected one if its digits begin with the expected ones."""

    async def at_version(self, owner: str, task_id: UUID, version: int | None) -> Task:
        task = await self.get(owner, task_id)
        is_same = version is None or str(task.version).startswith(str(version))
        return await super().at_version(owner, task_id, None if is_same else version)


@version_fault()
class WrongVersionIsNotFound(MemoryStore):
    """Reports that there is no task if it has another version, as `UPDATE … WHERE version = …` suggests."""

    async def at_version(self, owner: str, task_id: UUID, version: int | None) -> Task:
        try:
            return await super().at_version(owner, task_id, version)
        except PreconditionFailed:
            raise TaskNotFound from None


@key_fault()
class KeysCutOff(MemoryStore):
    """Cuts idempotency keys off after 128 characters."""

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        short = key and attrs.evolve(key, key=key.key[:128])
        return await super().create(owner, new, task_id=task_id, key=short)


@key_fault()
class KeysOfOthersForgotten(MemoryStore):
    """Remembers the last 100 keys of all owners together."""

    def remember(self, owner: str, key: CreationKey, task: Task) -> None:
        super().remember(owner, key, task)
        self.created = dict([*self.created.items()][-100:])


@key_fault()
class KeyForgottenByTheNext(MemoryStore):
    """Remembers only the last key of each owner."""

    def remember(self, owner: str, key: CreationKey, task: Task) -> None:
        self.created = {known: created for known, created in self.created.items() if known[0] != owner}
        super().remember(owner, key, task)


@key_fault(unseen="the contract cannot turn the store's clock")
class KeyForgottenInAnHour(MemoryStore):
    """Remembers keys for an hour instead of a day."""

    async def known(self, owner: str, key: CreationKey) -> Task | None:
        _, task = self.created.get((owner, key.key), (None, None))
        if task and now() - task.created_at > dt.timedelta(hours=1):
            return None
        return await super().known(owner, key)


@key_fault()
class KeysJoinedToOwners(MemoryStore):
    """Joins the owner and the key without a separator, so that two pairs can be the same text."""

    async def known(self, owner: str, key: CreationKey) -> Task | None:
        for (name, text), (_, task) in self.created.items():
            if name + text == owner + key.key and name != owner:
                return task
        return await super().known(owner, key)


@key_fault()
class KeyIsTheFingerprint(MemoryStore):
    """Looks only at the body of the request, so that a different key changes nothing."""

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        same = key and attrs.evolve(key, key=key.fingerprint.hex())
        return await super().create(owner, new, task_id=task_id, key=same)


@key_fault()
class RefusedRequestTakesTheKey(MemoryStore):
    """Remembers the request that it has just refused, so that the first one is refused from then on."""

    async def known(self, owner: str, key: CreationKey) -> Task | None:
        before = self.created.get((owner, key.key))
        try:
            return await super().known(owner, key)
        finally:
            if before:
                self.created[owner, key.key] = (key.fingerprint, before[1])


@key_fault()
class RestoredByARetry(MemoryStore):
    """Creates the task again if it was deleted before the retry."""

    async def known(self, owner: str, key: CreationKey) -> Task | None:
        created = self.created.get((owner, key.key))
        if created and created[0] == key.fingerprint and created[1].id not in self.tasks[owner]:
            return None
        return await super().known(owner, key)
