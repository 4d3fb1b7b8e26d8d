"""Stores that each break one promise about tasks, versions, conditions or ids."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any
from uuid import UUID

import attrs

from taskd.queries import TaskPage, TaskQuery
from taskd.storage import EVERYTHING, CreationKey, PreconditionFailed, TaskNotFound
from taskd.tasks import UNSET, NewTask, Task, TaskChanges
from tests.support.memory_store import MemoryStore, now

__all__ = ["BROKEN_STORES"]


def altered(task: Task, **values: Any) -> Task:
    """Return *task* with other values, whether or not they are valid."""
    copy = object.__new__(Task)
    vars(copy).update(vars(task) | values)
    return copy


class ToggleKeepsVersion(MemoryStore):
    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        task = await self.at_version(owner, task_id, version)
        await self.raised(owner)
        return self.keep(task.toggled(now(), version=task.version))


class EmptyUpdateIsNoChange(MemoryStore):
    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        task = await self.at_version(owner, task_id, version)
        if changes == TaskChanges():
            return task
        return await super().update(owner, task_id, changes)


class UpdateReturnsOldVersion(MemoryStore):
    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        task = await self.at_version(owner, task_id, version)
        return altered(await super().update(owner, task_id, changes), version=task.version)


class DeletionIsNoChange(MemoryStore):
    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        await self.at_version(owner, task_id, version)
        self.forget(owner, task_id)


class VersionsBeginAgain(MemoryStore):
    """Counts changes for each task separately."""

    def keep(self, task: Task) -> Task:
        before = self.tasks[task.user_id].get(task.id)
        return super().keep(altered(task, version=before.version + 1 if before else 1))


class DeletionResetsSeq(MemoryStore):
    """Forgets the counter with the last task."""

    def forget(self, owner: str, task_id: UUID) -> None:
        super().forget(owner, task_id)
        if not self.tasks[owner]:
            del self.changes[owner]


class OneSeqForAll(MemoryStore):
    async def raised(self, owner: str) -> int:
        self.changes[""] += 1
        self.changes.update(dict.fromkeys({*self.tasks, owner} - {""}, 1))
        return self.changes[owner]


class SeqBeginsWithOne(MemoryStore):
    async def seq(self, owner: str) -> int:
        return max(1, self.changes[owner])


class ReadingIsAChange(MemoryStore):
    async def get(self, owner: str, task_id: UUID) -> Task:
        await self.raised(owner)
        return await super().get(owner, task_id)


class NoConditionOnUpdate(MemoryStore):
    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:  # noqa: ARG002
        return await super().update(owner, task_id, changes)


class NoConditionOnToggle(MemoryStore):
    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:  # noqa: ARG002
        return await super().toggle(owner, task_id)


class NoConditionOnDelete(MemoryStore):
    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:  # noqa: ARG002
        await super().delete(owner, task_id)


class ZeroIsNoCondition(MemoryStore):
    async def at_version(self, owner: str, task_id: UUID, version: int | None) -> Task:
        return await super().at_version(owner, task_id, version or None)


class LaterVersionsWillDo(MemoryStore):
    async def at_version(self, owner: str, task_id: UUID, version: int | None) -> Task:
        task = await self.get(owner, task_id)
        return await super().at_version(owner, task_id, version and min(version, task.version))


class ConditionBeforeExistence(MemoryStore):
    async def at_version(self, owner: str, task_id: UUID, version: int | None) -> Task:
        if version is not None and task_id not in self.tasks[owner]:
            raise PreconditionFailed
        return await super().at_version(owner, task_id, version)


class RefusedUpdateIsMade(MemoryStore):
    """Changes the task first, and checks the condition afterwards."""

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        before = await self.get(owner, task_id)
        task = await super().update(owner, task_id, changes)
        if version not in (None, before.version):
            raise PreconditionFailed
        return task


class DeletingNothingSucceeds(MemoryStore):
    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        if task_id in self.tasks[owner]:
            await super().delete(owner, task_id, version=version)


class SameIDReplaces(MemoryStore):
    async def check_free(self, owner: str, task_id: UUID) -> None:
        pass


class SameIDReturns(MemoryStore):
    """Treats the id like an idempotency key."""

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        if task_id in self.tasks[owner]:
            return self.tasks[owner][task_id]
        return await super().create(owner, new, task_id=task_id, key=key)


class IDsOfAllOwners(MemoryStore):
    async def check_free(self, owner: str, task_id: UUID) -> None:  # noqa: ARG002
        if any(task_id in own for own in self.tasks.values()):
            raise PreconditionFailed


class IDsOnlyOnce(MemoryStore):
    """Only hides deleted tasks."""

    async def check_free(self, owner: str, task_id: UUID) -> None:
        await super().check_free(owner, task_id)
        await super().check_free(f"{owner}, deleted", task_id)

    def forget(self, owner: str, task_id: UUID) -> None:
        self.tasks[f"{owner}, deleted"][task_id] = self.tasks[owner][task_id]
        super().forget(owner, task_id)


class CreatedNow(MemoryStore):
    def keep(self, task: Task) -> Task:
        return super().keep(task if task.id in self.tasks[task.user_id] else altered(task, created_at=now()))


class IDIgnored(MemoryStore):
    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        if task_id is not None:
            await self.check_free(owner, task_id)
        return await super().create(owner, new, key=key)


class TimeGoesBack(MemoryStore):
    def keep(self, task: Task) -> Task:
        is_new = task.id not in self.tasks[task.user_id]
        return super().keep(task if is_new else altered(task, updated_at=now()))


class SecondsOnly(MemoryStore):
    def keep(self, task: Task) -> Task:
        due_at = task.due_at and task.due_at.replace(microsecond=0)
        return super().keep(altered(task, due_at=due_at))


class CompletedAgain(MemoryStore):
    """Completes a completed task again with every change."""

    def keep(self, task: Task) -> Task:
        return super().keep(altered(task, completed_at=task.updated_at if task.is_completed else None))


class UpdateLosesTags(MemoryStore):
    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        tags = () if changes.tags is UNSET else changes.tags
        return await super().update(owner, task_id, attrs.evolve(changes, tags=tags), version=version)


class TagsAreSorted(MemoryStore):
    def keep(self, task: Task) -> Task:
        return super().keep(altered(task, tags=tuple(sorted(task.tags))))


class NullIsNotGiven(MemoryStore):
    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        given = UNSET if changes.description is None else changes.description
        return await super().update(owner, task_id, attrs.evolve(changes, description=given), version=version)


class OwnersInAnyCase(MemoryStore):
    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        page = await super().list(owner, query)
        others = [task for name, own in self.tasks.items() if name.lower() == owner.lower() for task in own.values()]
        return attrs.evolve(page, tasks=others) if len(others) > len(page.tasks) and query == EVERYTHING else page


class ListedWithoutVersion(MemoryStore):
    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        page = await super().list(owner, query)
        return attrs.evolve(page, tasks=[altered(task, version=0) for task in page.tasks])


class ConditionTooEarly(MemoryStore):
    """Lets others write between the check and the write."""

    async def at_version(self, owner: str, task_id: UUID, version: int | None) -> Task:
        await super().at_version(owner, task_id, version)
        await asyncio.sleep(0)
        if task_id not in self.tasks[owner]:
            raise TaskNotFound
        return self.tasks[owner][task_id]


class ToggleTooLate(MemoryStore):
    """Writes a task that was read before others wrote."""

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        task = await self.get(owner, task_id)
        await asyncio.sleep(0)
        await self.at_version(owner, task_id, version)
        return self.keep(task.toggled(now(), version=await self.raised(owner)))


class IDCheckedTooEarly(MemoryStore):
    async def check_free(self, owner: str, task_id: UUID) -> None:
        await super().check_free(owner, task_id)
        await asyncio.sleep(0)


class SameVersionAtOnce(MemoryStore):
    async def raised(self, owner: str) -> int:
        seq = self.changes[owner] + 1
        await asyncio.sleep(0)
        self.changes[owner] = seq
        return seq


class SeqBeforeList(MemoryStore):
    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        seq = self.changes[owner]
        await asyncio.sleep(0)
        return attrs.evolve(await super().list(owner, query), seq=seq)


class CreatedInThePast(MemoryStore):
    """Takes all times from the client's id, even that of the last change."""

    def keep(self, task: Task) -> Task:
        is_old = task.id not in self.tasks[task.user_id] and now() - task.created_at > dt.timedelta(days=1)
        return super().keep(altered(task, updated_at=task.created_at) if is_old else task)


BROKEN_STORES = [each for each in MemoryStore.__subclasses__() if each.__module__ == __name__]
