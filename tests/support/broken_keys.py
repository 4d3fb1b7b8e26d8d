"""Stores that each break one promise about idempotency keys."""

from __future__ import annotations

import asyncio
from uuid import UUID

import attrs

from taskd.storage import CreationKey, TaskDeleted
from taskd.tasks import NewTask, Task
from tests.support.memory_store import MemoryStore

__all__ = ["BROKEN_KEYS"]


class KeysOfAllOwners(MemoryStore):
    async def known(self, owner: str, key: CreationKey) -> Task | None:
        for (name, text), (_, task) in self.created.items():
            if name != owner and text == key.key:
                return task
        return await super().known(owner, key)


class KeyForgottenWithItsTask(MemoryStore):
    def forget(self, owner: str, task_id: UUID) -> None:
        super().forget(owner, task_id)
        self.created = {which: known for which, known in self.created.items() if known[1].id != task_id}


class KeyUsedUpByDeletion(MemoryStore):
    """Frees the key after reporting that the task was deleted."""

    async def known(self, owner: str, key: CreationKey) -> Task | None:
        try:
            return await super().known(owner, key)
        except TaskDeleted:
            del self.created[owner, key.key]
            raise


class DeletedBeforeReused(MemoryStore):
    async def known(self, owner: str, key: CreationKey) -> Task | None:
        if (owner, key.key) in self.created and self.created[owner, key.key][1].id not in self.tasks[owner]:
            raise TaskDeleted
        return await super().known(owner, key)


class FingerprintIgnored(MemoryStore):
    async def known(self, owner: str, key: CreationKey) -> Task | None:
        fingerprint, _ = self.created.get((owner, key.key), (key.fingerprint, None))
        return await super().known(owner, attrs.evolve(key, fingerprint=fingerprint))


class FingerprintCutOff(MemoryStore):
    """Cuts fingerprints off at the first NUL, as a text column might."""

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        cut = key and attrs.evolve(key, fingerprint=key.fingerprint.partition(b"\0")[0])
        return await super().create(owner, new, task_id=task_id, key=cut)


class KeysInAnyCase(MemoryStore):
    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        lower = key and attrs.evolve(key, key=key.key.lower())
        return await super().create(owner, new, task_id=task_id, key=lower)


class RepetitionReturnsWhatWas(MemoryStore):
    """Returns the task as it was in the first response."""

    async def known(self, owner: str, key: CreationKey) -> Task | None:
        return await super().known(owner, key) and self.created[owner, key.key][1]


class KeyLookedUpTooEarly(MemoryStore):
    async def known(self, owner: str, key: CreationKey) -> Task | None:
        task = await super().known(owner, key)
        await asyncio.sleep(0)
        return task


BROKEN_KEYS = [each for each in MemoryStore.__subclasses__() if each.__module__ == __name__]
