"""Test what a store does for the commands that export, import, count and erase tasks, if it does that at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, cast

import attrs
import pytest

from taskd.data import Owner, OwnerExists, Portable, Record, RememberedKey
from taskd.queries import TaskQuery
from taskd.storage import CreationKey, KeyReused, TaskNotFound, TaskStore
from taskd.tasks import NewTask, Priority, Status, Task, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import MANY, NOON, create_all, id_at

__all__ = ["TransferTests"]

KEYS = [CreationKey("a", b"\x00\xff"), CreationKey("~", b"")]
NEW = [
    NewTask(title="Straße", description="\u2028", due_at=NOON.replace(microsecond=1), tags=["b", "a"]),
    NewTask(title=" '\\\"\U0001f389", description="", priority=Priority.URGENT, status=Status.IN_PROGRESS),
    NewTask(title="t", is_completed=True),
]


@promises
@limited
class TransferTests:
    """What `taskd.data.Portable` promises; skipped if the store does not have its methods."""

    async def test_an_export_has_everything_of_an_owner(self, store: TaskStore, owner: str) -> None:
        """An export yields the owner with the counter, then all tasks in the order of their ids, and then the keys."""
        portable = _portable(store)
        tasks = await _filled(store, owner)

        records = await _exported(portable, owner)

        assert [Owner(id=owner, seq=await store.seq(owner)), *tasks] == records[: 1 + len(tasks)]
        keys = cast("list[RememberedKey]", records[1 + len(tasks) :])
        assert KEYS == [each.key for each in keys]
        assert [task.id for task in tasks[-2:]] == [each.task_id for each in keys]

    async def test_an_export_has_every_owner_once(self, store: TaskStore, owner: str) -> None:
        """An export of everybody yields the owners in order, even one whose tasks have all been deleted."""
        portable = _portable(store)
        names = [f"{owner}{end}" for end in ("", "Z", "a", "\xe9", "\uffff", "\U0001f389")]
        tasks = [await store.create(name, NEW[0]) for name in names]
        await store.delete(names[0], tasks[0].id)

        records = await _exported(portable)

        owners = [record.id for record in records if isinstance(record, Owner)]
        assert owners == sorted({*owners})
        assert names == [each for each in owners if each.startswith(owner)]
        assert tasks[1:] == [each for each in records if isinstance(each, Task) and each.user_id.startswith(owner)]

    async def test_an_unknown_owner_has_no_records(self, store: TaskStore, owner: str) -> None:
        """The export of an owner who has never written anything yields nothing."""
        portable = _portable(store)
        await store.list(owner, TaskQuery(search="t"))

        assert [] == await _exported(portable, owner)

    async def test_an_export_is_of_one_moment(self, store: TaskStore, owner: str) -> None:
        """Writes do not wait for an export that has begun, and do not change it."""
        portable = _portable(store)
        tasks = await create_all(store, owner, *NEW)
        async with contextlib.aclosing(portable.export(owner)) as records:
            first = await anext(records)
            await store.update(owner, tasks[0].id, TaskChanges(title="later"))
            await store.create(owner, NEW[0])
            rest = [record async for record in records]

        assert [Owner(id=owner, seq=tasks[-1].version), *tasks] == [first, *rest]

    async def test_what_is_imported_is_what_was_exported(self, store: TaskStore, owner: str) -> None:
        """Ids, times, versions, the counter and the keys are kept, and so are tasks from before there were versions."""
        portable = _portable(store)
        tasks = [task.at_version(0) if task.title == "t" else task for task in await _filled(store, owner)]
        records = [each for each in await _exported(portable, owner) if not isinstance(each, Task)]
        await portable.erase(owner)

        await _put(portable, [records[0], *tasks, *records[1:]])

        assert [records[0], *tasks, *records[1:]] == await _exported(portable, owner)
        assert tasks[::-1] == (await store.list(owner)).tasks
        assert cast("Owner", records[0]).seq == await store.seq(owner)

    async def test_imported_tasks_are_like_others(self, store: TaskStore, owner: str) -> None:
        """They are found, changed and completed, and their keys are remembered."""
        portable = _portable(store)
        tasks = await _filled(store, owner)
        records = await _exported(portable, owner)
        await portable.erase(owner)
        await _put(portable, records)

        assert [tasks[0]] == (await store.list(owner, TaskQuery(search="STRASSE"))).tasks
        changed = await store.toggle(owner, tasks[0].id, version=tasks[0].version)
        assert changed.version > cast("Owner", records[0]).seq
        assert tasks[-1] == await store.create(owner, NEW[0], key=KEYS[-1])
        with pytest.raises(KeyReused):
            await store.create(owner, NEW[0], key=CreationKey(KEYS[0].key, b"other"))

    async def test_an_import_does_not_mix_tasks(self, store: TaskStore, owner: str) -> None:
        """An owner who has tasks, or has had some, is refused, and nothing changes."""
        portable = _portable(store)
        records = [Owner(id=owner, seq=1), _task(owner, 1)]
        task = await store.create(owner, NEW[0])
        with pytest.raises(OwnerExists):
            await _put(portable, records)
        assert [task] == (await store.list(owner)).tasks
        await store.delete(owner, task.id)
        with pytest.raises(OwnerExists):
            await _put(portable, records)

        assert [] == (await store.list(owner)).tasks

    async def test_an_owner_who_has_only_read_is_new(self, store: TaskStore, owner: str) -> None:
        """Reading and searching leave nothing behind that an import would refuse."""
        portable = _portable(store)
        await store.list(owner, TaskQuery(search="t"))
        records = [Owner(id=owner, seq=7), _task(owner, 3)]

        await _put(portable, records)

        assert records == await _exported(portable, owner)

    @pytest.mark.parametrize("replaces", [False, True], ids=["new", "known"])
    async def test_an_import_that_fails_leaves_nothing(self, store: TaskStore, owner: str, replaces: bool) -> None:
        """If it is interrupted in the middle of many tasks, everything is as it was before."""
        portable = _portable(store)
        before = await create_all(store, owner, *(NEW if replaces else ()))
        counter = Owner(id=owner, seq=MANY)

        def breaking() -> Iterator[Task]:
            yield from (_task(owner, 1 + number) for number in range(MANY))
            raise _BrokenError

        with pytest.raises(_BrokenError):
            async with portable.importing() as importer:
                await importer.put(counter, breaking(), (), replaces=replaces)

        assert before[::-1] == (await store.list(owner)).tasks
        assert (before[-1].version if before else 0) == await store.seq(owner)

    async def test_replaced_tasks_have_new_versions(self, store: TaskStore, owner: str) -> None:
        """A replaced owner has exactly the imported tasks, with versions that are higher than any before."""
        portable = _portable(store)
        tasks = await _filled(store, owner)
        records = await _exported(portable, owner)
        await store.delete(owner, tasks[0].id)
        await store.update(owner, tasks[1].id, TaskChanges(title="changed"))
        extra = await store.create(owner, NEW[0], key=CreationKey("extra", b""))
        seq = await store.seq(owner)

        await _put(portable, records, replaces=True)

        listed = (await store.list(owner)).tasks
        assert [task.at_version(0) for task in tasks[::-1]] == [task.at_version(0) for task in listed]
        assert seq < min(task.version for task in listed)
        assert max(task.version for task in listed) <= await store.seq(owner)
        with pytest.raises(TaskNotFound):
            await store.get(owner, extra.id)
        # A key is remembered for a day, whatever becomes of its task.
        assert {"a", "~", "extra"} == {
            each.key.key for each in await _exported(portable, owner) if isinstance(each, RememberedKey)
        }

    async def test_an_erased_owner_is_unknown(self, store: TaskStore, owner: str) -> None:
        """Erasing deletes tasks, keys and the counter of one owner, counts them, and can be repeated."""
        portable = _portable(store)
        tasks, other = await _filled(store, owner), await store.create(f"{owner}x", NEW[0], key=KEYS[0])

        erased = [await portable.erase(owner) for _ in range(2)]

        assert [(len(tasks), len(KEYS), 1), (0, 0, 0)] == [attrs.astuple(each) for each in erased]
        assert ([], 0) == ((await store.list(owner)).tasks, await store.seq(owner))
        assert [] == await _exported(portable, owner)
        assert other == await store.create(f"{owner}x", NEW[0], key=KEYS[0])
        assert other.id != (await store.create(owner, NEW[0], key=KEYS[0])).id

    async def test_erasing_does_not_collide_with_writes(self, store: TaskStore, owner: str) -> None:
        """While an owner writes, the owner is erased without an error, and afterwards can write again."""
        portable = _portable(store)
        await create_all(store, owner, *NEW)

        await asyncio.gather(portable.erase(owner), *[store.create(owner, NEW[0]) for _ in range(9)])
        await portable.erase(owner)
        task = await store.create(owner, NEW[0])

        assert [task] == (await store.list(owner)).tasks

    async def test_statistics_count_what_there_is(self, store: TaskStore, owner: str) -> None:
        """They count owners, tasks by status and keys, and name the owners with the most tasks."""
        portable = _portable(store)
        before = await portable.statistics()
        await _filled(store, owner)

        after = await portable.statistics()

        assert before.owners + 1 == after.owners
        assert {Status.PENDING: 3, Status.IN_PROGRESS: 1, Status.COMPLETED: 1} == {
            status: number - before.tasks.get(status, 0) for status, number in after.tasks.items()
        }
        assert before.keys + len(KEYS) == after.keys
        assert [number for _, number in after.largest] == sorted((each for _, each in after.largest), reverse=True)


class _BrokenError(Exception):
    """Tasks could not be read."""


def _portable(store: TaskStore) -> Portable:
    # Not `isinstance`, which since Python 3.12 does not see what a wrapper forwards.
    if not all(hasattr(store, name) for name in ("export", "importing", "erase", "statistics")):
        pytest.skip("the store has no methods for taskd export, import, erase and stats")
    return cast("Portable", store)


async def _filled(store: TaskStore, owner: str) -> list[Task]:
    """Create tasks of every kind, two of them with keys, and return them in the order of their ids."""
    tasks = await create_all(store, owner, *NEW)
    tasks[0] = await store.update(owner, tasks[0].id, TaskChanges(priority=Priority.LOW))
    tasks += [await store.create(owner, NewTask(title="with a key"), key=key) for key in KEYS]
    return sorted(tasks, key=lambda task: task.id)


async def _exported(store: Portable, owner: str | None = None) -> list[Record]:
    return [record async for record in store.export(owner)]


async def _put(store: Portable, records: list[Any], *, replaces: bool = False) -> None:
    [owner] = [each for each in records if isinstance(each, Owner)]
    tasks = (each for each in records if isinstance(each, Task))
    keys = (each for each in records if isinstance(each, RememberedKey))
    async with store.importing() as importer:
        await importer.put(owner, tasks, keys, replaces=replaces)


def _task(owner: str, version: int) -> Task:
    return Task.create(owner, NEW[0], NOON, task_id=id_at(NOON), version=version)
