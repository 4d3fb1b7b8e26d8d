"""A store of tasks in Redis."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import chain
from typing import Any
from urllib.parse import quote
from uuid import UUID
from weakref import WeakValueDictionary

import attrs
from redis.exceptions import ConnectionError as LostConnection

from taskd.checks import Check
from taskd.queries import TaskPage, TaskQuery
from taskd.routes import in_slices
from taskd.storage import (
    EVERYTHING,
    CreationKey,
    KeyReused,
    Location,
    PreconditionFailed,
    StoreError,
    TaskDeleted,
    TaskNotFound,
    TaskStore,
)
from taskd.tasks import NewTask, Task, TaskChanges
from taskd_redis.checks import check_redis
from taskd_redis.codec import decode, encode
from taskd_redis.connections import CALL_TIMEOUT_S, Connections, raising_store_errors
from taskd_redis.scripts import CREATE, DELETE, REPLACE

__all__ = ["RedisStore"]

# How long idempotency keys are remembered; a store must remember them for 24 hours at least.
REMEMBERED_S = 48 * 60 * 60
SEQ = b"seq"


@attrs.frozen(eq=False)
class RedisStore(TaskStore):
    """
    Keeps all tasks of an owner in one hash.

    The owner's other keys have the same hash tag, so in a cluster, every script finds its keys on one node.
    """

    connections: Connections
    # Of tasks that are being changed.
    _locks: WeakValueDictionary[tuple[asyncio.AbstractEventLoop, str, UUID], asyncio.Lock] = attrs.field(
        init=False, repr=False, factory=WeakValueDictionary
    )

    @property
    def location(self) -> Location:
        """Describe where the tasks are, for `taskd dev`."""
        address = self.connections.address
        return Location(description=address.description, is_local=address.is_local, setting="REDIS_URL")

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        """Read all tasks of *owner*, and return those that *query* selects."""
        fields: dict[bytes, bytes] = await self._read("HGETALL", _tasks_key(owner))
        seq = int(fields.pop(SEQ, 0))

        def tasks(items: list[tuple[bytes, bytes]]) -> list[Task]:
            return [decode(owner, task_id.decode(), value) for task_id, value in items]

        return query.page(chain.from_iterable(await in_slices(tasks, [*fields.items()])), seq)

    async def seq(self, owner: str) -> int:
        """Return the owner's counter of changes."""
        return int(await self._read("HGET", _tasks_key(owner), SEQ) or 0)

    async def get(self, owner: str, task_id: UUID) -> Task:
        """Return a task."""
        return _found(owner, task_id, await self._read("HGET", _tasks_key(owner), str(task_id)))

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        """Store a new task, unless the *key* is known, and return it."""
        task = Task.create(owner, new, _now(), task_id=task_id, version=0)
        keys: Sequence[str] = [_tasks_key(owner)]
        arguments: Sequence[Any] = [str(task.id), encode(task)]
        if key is not None:
            keys, arguments = [*keys, _creation_key(owner, key)], [*arguments, key.fingerprint, REMEMBERED_S]
        match await self._write(CREATE, keys, arguments):
            case [b"created", seq]:
                return task.at_version(int(seq))
            case [b"known", known_id, value]:
                return decode(owner, known_id.decode(), value)
            case [b"reused"]:
                raise KeyReused
            case [b"deleted"]:
                raise TaskDeleted
            case _ if task_id is not None:
                raise PreconditionFailed
        raise StoreError("a new id was not unique")

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        """Change a task and return it."""
        return await self._replace(owner, task_id, version, lambda task: task.changed(changes, _now(), version=0))

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        """Complete or reopen a task and return it."""
        return await self._replace(owner, task_id, version, lambda task: task.toggled(_now(), version=0))

    async def _replace(self, owner: str, task_id: UUID, version: int | None, change: Callable[[Task], Task]) -> Task:
        """Change a task when it is this call's turn."""
        with raising_store_errors():
            async with asyncio.timeout(CALL_TIMEOUT_S), self._turn(owner, task_id):
                return await self._replaced(owner, task_id, version, change)

    async def _replaced(self, owner: str, task_id: UUID, version: int | None, change: Callable[[Task], Task]) -> Task:
        """Change a task as it is now, again and again until no other process has changed it meanwhile."""
        key = _tasks_key(owner)
        current = await self._read("HGET", key, str(task_id))
        while True:
            task = _found(owner, task_id, current)
            if version not in (None, task.version):
                raise PreconditionFailed
            changed = change(task)
            outcome, result = await self._write(REPLACE, [key], [str(task_id), encode(changed), current])
            if outcome == b"replaced":
                return changed.at_version(int(result))
            current = result

    def _turn(self, owner: str, task_id: UUID) -> asyncio.Lock:
        """Return a lock, so that calls in one process do not get in each other's way."""
        return self._locks.setdefault((asyncio.get_running_loop(), owner, task_id), asyncio.Lock())

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        """Delete a task."""
        expected = "" if version is None else str(version)
        outcome = await self._write(DELETE, [_tasks_key(owner)], [str(task_id), expected])
        if outcome == b"missing":
            raise TaskNotFound
        if outcome == b"changed":
            raise PreconditionFailed

    async def ping(self) -> None:
        """Check that Redis responds."""
        await self._read("PING")

    async def diagnose(self) -> AsyncIterator[Check]:
        """Check Redis, for `taskd doctor`."""
        async for check in check_redis(self.connections):
            yield check

    async def close(self) -> None:
        """Close all connections."""
        await self.connections.close()

    async def _read(self, *command: Any) -> Any:
        """Return the reply to a *command* that changes nothing; if the connection was lost, try once more."""
        client: Any = self.connections.client
        with raising_store_errors():
            async with asyncio.timeout(CALL_TIMEOUT_S):
                try:
                    return await client.execute_command(*command)
                except LostConnection:
                    return await client.execute_command(*command)

    async def _write(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a *script*, only once: if its reply is lost, it may have taken effect."""
        run = self.connections.client.register_script(script)
        with raising_store_errors():
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await run(keys, arguments)


def _tasks_key(owner: str) -> str:
    # Encoded, so that no owner contains the braces that mark a hash tag.
    return f"taskd:{{{quote(owner, safe='')}}}:tasks"


def _creation_key(owner: str, key: CreationKey) -> str:
    return f"taskd:{{{quote(owner, safe='')}}}:key:{key.key}"


def _found(owner: str, task_id: UUID, value: bytes | None) -> Task:
    if value is None:
        raise TaskNotFound
    return decode(owner, str(task_id), value)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)
