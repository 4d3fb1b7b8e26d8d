"""Test that the tasks of each owner are separate."""

from __future__ import annotations

import uuid

from taskd.storage import TaskStore
from taskd.tasks import NewTask
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import assert_unknown, in_batches

__all__ = ["OwnerTests"]

# Names that are different, but that a store might take for the same one, or for a pattern that matches others.
OWNERS = [
    *["", "a", "A", "\u00e9", "e\u0301", "\u00df", "ss", "\U0001f389" * 223, "x" * 222 + "y", "x" * 222 + "z"],
    *[" ", "  ", "\t", "\n", "\u200b", "'", '"', "\\", "%", "_", "*", "?", "[Aa]", "{a,b}", "^a", "$", "#", "+"],
    *["/", "/a", "a/b", "..", ":", ":a", "a:b", ",", ";", "|", "@a", "%41", "%2561", "&amp;", "\\u0061"],
]


@promises
@limited
class OwnerTests:
    """Owners are opaque texts."""

    async def test_owners_do_not_see_each_other(self, store: TaskStore, owner: str) -> None:
        """For other owners, a task does not exist, and they cannot change it."""
        task = await store.create(owner, NewTask(title="t"))

        assert [] == (await store.list(f"{owner}x")).tasks
        await assert_unknown(store, f"{owner}x", task)
        assert task == await store.get(owner, task.id)

    async def test_an_owner_is_any_text(self, store: TaskStore) -> None:
        """Owners are opaque strings of up to 255 characters of any kind, and are compared exactly."""
        prefix, digits = uuid.uuid4().hex, str(uuid.uuid4().int)
        owners = [*[prefix + rest for rest in OWNERS], digits, f"0{digits}", f"{digits}.0", f"+{digits}", f" {digits}"]
        created = await in_batches(store.create(owner, NewTask(title=f"{owner[:9]}.")) for owner in owners)

        for owner, task in zip(owners, created, strict=True):
            page = await store.list(owner)
            assert owner == task.user_id
            assert [task] == page.tasks, f"{owner!r} shares tasks with an owner of a similar name"
            assert task.version == page.seq == await store.seq(owner)
            assert task == await store.get(owner, task.id)
