"""Stores that mix up owners."""

from __future__ import annotations

import fnmatch
import re
import urllib.parse
from functools import partial
from uuid import UUID

import attrs

from taskd.queries import TaskPage, TaskQuery
from taskd.storage import EVERYTHING, CreationKey, TaskNotFound
from taskd.tasks import NewTask, Task, TaskChanges
from tests.support.broken_stores import altered
from tests.support.catalogue.faults import store_fault
from tests.support.memory_store import MemoryStore, now

owner_fault = partial(store_fault, "owners")


class Matching(MemoryStore):
    """Lists the tasks of all owners whose names match."""

    @staticmethod
    def matches(name: str, owner: str) -> bool:
        raise NotImplementedError

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        names = [name for name in [*self.tasks] if name == owner or self.matches(name, owner)]
        return query.page([task for name in names for task in self.tasks[name].values()], self.changes[owner])


class Shared(MemoryStore):
    """Stores the tasks of owners with the same key as if they were one owner's."""

    def key_of(self, owner: str) -> str:
        raise NotImplementedError

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        page = await super().list(self.key_of(owner), query)
        return attrs.evolve(page, tasks=[altered(task, user_id=owner) for task in page.tasks])

    async def seq(self, owner: str) -> int:
        return await super().seq(self.key_of(owner))

    async def get(self, owner: str, task_id: UUID) -> Task:
        return altered(await super().get(self.key_of(owner), task_id), user_id=owner)

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        task = await super().create(self.key_of(owner), new, task_id=task_id, key=key)
        return altered(task, user_id=owner)

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        task = await self.at_version(owner, task_id, version)
        changed = task.changed(changes, now(), version=await self.raised(self.key_of(owner)))
        return altered(self.keep(altered(changed, user_id=self.key_of(owner))), user_id=owner)

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        task = await self.at_version(owner, task_id, version)
        return await self.update(owner, task_id, TaskChanges(is_completed=not task.is_completed))

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        await self.at_version(owner, task_id, version)
        await self.raised(self.key_of(owner))
        self.forget(self.key_of(owner), task_id)


@owner_fault()
class OwnersByPrefix(Matching):
    """Lists the tasks of all owners whose names begin with the owner's."""

    @staticmethod
    def matches(name: str, owner: str) -> bool:
        return name.startswith(owner)


@owner_fault()
class OwnersAsGlobs(Matching):
    """Lists with a pattern, such as Redis's KEYS, in which an asterisk in an owner's name is a wildcard."""

    @staticmethod
    def matches(name: str, owner: str) -> bool:
        return fnmatch.fnmatchcase(name, owner)


@owner_fault()
class OwnersAsCharacterSets(Matching):
    """Lists with a pattern in which brackets in an owner's name stand for one of several characters."""

    @staticmethod
    def matches(name: str, owner: str) -> bool:
        return "*" not in owner and "?" not in owner and fnmatch.fnmatchcase(name, owner)


@owner_fault()
class OwnersWithLike(Matching):
    """Compares owners with LIKE, for which an underscore is any character."""

    @staticmethod
    def matches(name: str, owner: str) -> bool:
        return bool(re.fullmatch(re.escape(owner).replace("_", "."), name, re.DOTALL))


@owner_fault()
class OwnersPadded(Shared):
    """Ignores spaces at the end of an owner's name, as MySQL does in most collations."""

    def key_of(self, owner: str) -> str:
        return owner.rstrip(" ")


@owner_fault()
class OwnersCutOff(Shared):
    """Cuts the names of owners off after 64 characters."""

    def key_of(self, owner: str) -> str:
        return owner[:64]


@owner_fault()
class OwnersDecoded(Shared):
    """Decodes the percent-encoding of an owner's name once more."""

    def key_of(self, owner: str) -> str:
        return urllib.parse.unquote(owner)


@owner_fault()
class OwnersAsNumbers(Shared):
    """Compares the names of owners as numbers if they look like some: 007 is 7."""

    def key_of(self, owner: str) -> str:
        return owner.lstrip("0") if owner.isdecimal() else owner


@owner_fault()
class OwnersUpToAColon(Shared):
    """Splits its keys at colons, so that an owner with a colon in the name is another owner."""

    def key_of(self, owner: str) -> str:
        return owner.partition(":")[0]


@owner_fault()
class OwnersAsFileNames(Shared):
    """Keeps each owner's tasks in a file, and replaces what cannot be in the name of a file."""

    def key_of(self, owner: str) -> str:
        return re.sub(r"[^\w@. '%-]", "_", owner)


@owner_fault()
class AnybodyMayToggle(MemoryStore):
    """Toggles the task with an id, whoever owns it."""

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        owners = [name for name, own in self.tasks.items() if task_id in own and task_id not in self.tasks[owner]]
        return await super().toggle((*owners, owner)[0], task_id, version=version)


@owner_fault()
class AnybodyMayDelete(MemoryStore):
    """Deletes the task with an id, whoever owns it, and then reports that the owner has none."""

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        if task_id in self.tasks[owner]:
            return await super().delete(owner, task_id, version=version)
        for name in [*self.tasks]:
            self.forget(name, task_id)
        raise TaskNotFound
