"""Stores that raise the wrong errors, or none."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from taskd.storage import CreationKey, KeyReused, PreconditionFailed, StoreError, TaskDeleted, TaskNotFound
from taskd.tasks import NewTask, Task
from tests.support.catalogue.faults import store_fault
from tests.support.memory_store import MemoryStore

error_fault = partial(store_fault, "errors")


@error_fault()
class MissingIsKeyError(MemoryStore):
    """Lets a KeyError through if there is no such task."""

    def found(self, owner: str, task_id: UUID) -> Task:
        return self.tasks[owner][task_id]


@error_fault()
class MissingIsNone(MemoryStore):
    """Returns None if there is no such task."""

    async def get(self, owner: str, task_id: UUID) -> Task:
        return self.tasks[owner].get(task_id)  # type: ignore[return-value]


@error_fault()
class AnothersIsForbidden(MemoryStore):
    """Tells that a task exists if it is another owner's."""

    def found(self, owner: str, task_id: UUID) -> Task:
        if task_id not in self.tasks[owner] and any(task_id in own for own in self.tasks.values()):
            raise PermissionError
        return super().found(owner, task_id)


@error_fault()
class ExistingIsAnotherError(MemoryStore):
    """Raises the driver's error for a unique key if the id of a new task is taken."""

    async def check_free(self, owner: str, task_id: UUID) -> None:
        if task_id in self.tasks[owner]:
            raise StoreError("duplicate key value violates unique constraint")


@error_fault()
class ReusedKeyIsAConflict(MemoryStore):
    """Raises `PreconditionFailed` if an idempotency key belongs to another request."""

    async def known(self, owner: str, key: CreationKey) -> Task | None:
        try:
            return await super().known(owner, key)
        except KeyReused:
            raise PreconditionFailed from None


@error_fault()
class DeletedIsNotFound(MemoryStore):
    """Raises `TaskNotFound` if the task that was created with an idempotency key is gone."""

    async def known(self, owner: str, key: CreationKey) -> Task | None:
        try:
            return await super().known(owner, key)
        except TaskDeleted:
            raise TaskNotFound from None


@error_fault()
class GreatVersionsOverflow(MemoryStore):
    """Lets the driver's error through if an expected version does not fit in 32 bits."""

    async def at_version(self, owner: str, task_id: UUID, version: int | None) -> Task:
        if version is not None and version >= 2**31:
            raise OverflowError
        return await super().at_version(owner, task_id, version)


@error_fault()
class AncientIDsOverflow(MemoryStore):
    """Fails if the time in the id of a new task is before 2000."""

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        if task_id is not None and task_id.int >> 80 < 946_684_800_000:
            raise StoreError("out of range")
        return await super().create(owner, new, task_id=task_id, key=key)


@error_fault()
class ClosesOnce(MemoryStore):
    """Fails if it is closed again, or was never used."""

    is_closed = False

    async def close(self) -> None:
        if self.is_closed:
            raise StoreError("the pool is closed")
        self.is_closed = True
