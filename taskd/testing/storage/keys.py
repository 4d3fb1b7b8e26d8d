"""Test idempotency keys: creating a task again with the same key creates nothing."""

from __future__ import annotations

import string

import pytest

from taskd.storage import CreationKey, KeyReused, TaskDeleted, TaskStore
from taskd.tasks import NewTask, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import AT_ONCE, MANY, in_batches, outcomes

__all__ = ["KeyTests"]

NEW = NewTask(title="t", tags=["a"])
# Any bytes, as in a hash.
FINGERPRINT = b"\x00\xff\\'\n" + bytes(27)
OTHER = b"\x00\xff\\'\n" + bytes(26) + b"\x01"
KEY = CreationKey("a key", FINGERPRINT)


@promises
@limited
class KeyTests:
    """`create` with a key."""

    async def test_a_retry_creates_nothing(self, store: TaskStore, owner: str) -> None:
        """A repeated creation returns the task that was created first, and creates no other."""
        task = await store.create(owner, NEW, key=KEY)

        assert task == await store.create(owner, NEW, key=KEY)
        assert task == await store.create(owner, NEW, key=KEY)
        assert [task] == (await store.list(owner)).tasks
        assert ("t", ("a",)) == (task.title, task.tags)

    async def test_a_retry_returns_the_task_as_it_is_now(self, store: TaskStore, owner: str) -> None:
        """A repeated creation returns the task with all changes made since."""
        task = await store.create(owner, NEW, key=KEY)
        await store.update(owner, task.id, TaskChanges(title="u", tags=["b"]))
        changed = await store.toggle(owner, task.id)

        assert changed == await store.create(owner, NEW, key=KEY)
        assert [changed] == (await store.list(owner)).tasks

    async def test_a_key_belongs_to_one_request(self, store: TaskStore, owner: str) -> None:
        """A different request with the same key is refused, and the key still stands for the first one."""
        task = await store.create(owner, NEW, key=KEY)
        with pytest.raises(KeyReused):
            await store.create(owner, NewTask(title="u"), key=CreationKey(KEY.key, OTHER))

        assert [task] == (await store.list(owner)).tasks
        assert task == await store.create(owner, NEW, key=KEY)

    async def test_a_key_outlives_its_task(self, store: TaskStore, owner: str) -> None:
        """Repeating the creation of a deleted task does not restore it, and other requests are still refused."""
        task = await store.create(owner, NEW, key=KEY)
        await store.delete(owner, task.id)
        for _ in range(2):
            with pytest.raises(TaskDeleted):
                await store.create(owner, NEW, key=KEY)
        with pytest.raises(KeyReused):
            await store.create(owner, NEW, key=CreationKey(KEY.key, OTHER))

        assert [] == (await store.list(owner)).tasks

    async def test_owners_may_use_the_same_key(self, store: TaskStore, owner: str) -> None:
        """Owners may use the same key, for the same or different requests, without seeing each other's tasks."""
        own = await store.create(owner, NEW, key=KEY)
        theirs = await store.create(f"{owner}x", NEW, key=KEY)
        others = await store.create(f"{owner}y", NEW, key=CreationKey(KEY.key, OTHER))
        await store.delete(owner, own.id)

        assert 3 == len({own.id, theirs.id, others.id})
        assert theirs == await store.create(f"{owner}x", NEW, key=KEY)

    async def test_an_owner_and_a_key_are_compared_separately(self, store: TaskStore, owner: str) -> None:
        """A key belongs to its owner, even if another owner's name and key make the same text."""
        for first, second in (("a", "bc"), ("ab", "c"), ("a:", "b"), ("a", ":b")):
            task = await store.create(f"{owner}{first}", NEW, key=CreationKey(second, FINGERPRINT))

            assert task.user_id == f"{owner}{first}"
            assert [task] == [each for each in (await store.list(task.user_id)).tasks if each.id == task.id]

    async def test_many_keys_are_remembered(self, store: TaskStore, owner: str) -> None:
        """A key is remembered for its 24 hours, however many keys this and other owners use meanwhile."""
        owners = [owner, f"{owner}x"]
        first = [await store.create(each, NEW, key=KEY) for each in owners]
        others = [CreationKey(str(number), FINGERPRINT) for number in range(MANY)]
        await in_batches(store.create(owner, NEW, key=key) for key in others)

        assert first == [await store.create(each, NEW, key=KEY) for each in owners]

    async def test_keys_are_compared_exactly(self, store: TaskStore, owner: str) -> None:
        """A key is any text of 1 to 255 visible characters, and is case-sensitive."""
        visible = string.ascii_letters + string.digits + string.punctuation
        texts = ["a", "A", "aa", '"a"', "%", "_", "'", "\\", "{a,b}", visible, visible * 2 + "x" * 67, "x" * 255]
        texts += ["x" * 254, "x" * 254 + "y", "y" + "x" * 254]
        created = [await store.create(owner, NEW, key=CreationKey(text, FINGERPRINT)) for text in texts]
        repeated = [await store.create(owner, NEW, key=CreationKey(text, FINGERPRINT)) for text in texts]

        assert created == repeated
        assert created[::-1] == (await store.list(owner)).tasks

    async def test_a_request_without_a_key_is_never_a_retry(self, store: TaskStore, owner: str) -> None:
        """Without a key, repeating a creation creates another task each time."""
        created = [await store.create(owner, NEW, key=key) for key in (None, KEY, None)]

        assert created[::-1] == (await store.list(owner)).tasks

    async def test_concurrent_retries_create_one_task(self, store: TaskStore, owner: str) -> None:
        """Of any number of concurrent repetitions, all return the same task."""
        for number in range(3):
            key = CreationKey(str(number), FINGERPRINT)
            created, errors = await outcomes([store.create(owner, NEW, key=key) for _ in range(AT_ONCE)])

            assert ([], AT_ONCE) == (errors, len(created))
            assert [created[0]] * AT_ONCE == created
        assert 3 == len((await store.list(owner)).tasks)

    async def test_of_concurrent_requests_one_gets_the_key(self, store: TaskStore, owner: str) -> None:
        """Of several concurrent, different requests with the same key, the first creates a task and the others fail."""
        keys = [CreationKey(KEY.key, bytes([number])) for number in range(AT_ONCE)]
        created, errors = await outcomes([store.create(owner, NEW, key=key) for key in keys])

        assert created == (await store.list(owner)).tasks
        assert (1, [KeyReused] * (AT_ONCE - 1)) == (len(created), errors)
