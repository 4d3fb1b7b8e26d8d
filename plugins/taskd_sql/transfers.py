"""Export, import, count and erase what users have, in transactions that take as long as they need."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from sqlalchemy import (
    ColumnElement,
    Executable,
    Select,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    true,
    union,
    update,
)

from taskd.data import Erased, Importer, Owner, OwnerExists, Record, RememberedKey, Statistics
from taskd.storage import CreationKey
from taskd.tasks import Status, Task
from taskd_sql.schema import keys, owners, tasks
from taskd_sql.sessions import ROWS_AT_ONCE, Session
from taskd_sql.statements import TASK_COLUMNS, insert_into

__all__ = ["SQLImporter", "erase", "export", "statistics"]

T = TypeVar("T")

LARGEST = 10
# A version that no task has: the triggers would give a new one to a task that is inserted with the version 0.
_NO_VERSION = -1

_TABLE_SIZES = " + ".join(f"pg_total_relation_size('{table.name}')" for table in (tasks, owners, keys))


async def export(session: Session, owner: str | None) -> AsyncGenerator[Record, None]:
    """Yield what `Portable.export` promises."""
    tables = (owners, tasks, keys)
    async with session.transaction():
        counters, own_tasks, own_keys = [await _Rows.of(session.stream(_in_order(table, owner))) for table in tables]
        while users := [rows.head.user_id for rows in (counters, own_tasks, own_keys) if rows.head is not None]:
            # In PostgreSQL, too, user ids are sorted by code points.
            user, seq = min(users), 0
            if counters.is_at(user):
                seq = counters.head.seq
                await counters.advance()
            if seq or own_tasks.is_at(user) or own_keys.is_at(user):
                # Tasks from before there were versions do not count.
                yield Owner(id=user, seq=max(seq, 1))
            while own_tasks.is_at(user):
                yield Task.stored(own_tasks.head)
                await own_tasks.advance()
            while own_keys.is_at(user):
                yield _key(own_keys.head)
                await own_keys.advance()


def _in_order(table: Table, owner: str | None) -> Select[Any]:
    """Return the query for the rows of *owner*, or of all owners."""
    columns = TASK_COLUMNS if table is tasks else table.c
    query = select(*columns).order_by(*table.primary_key)
    return query if owner is None else query.where(table.c.user_id == owner)


@attrs.define
class _Rows:
    """
    Rows that are fetched some at a time.

    Attributes:
        head: The first row that is left.
    """

    _parts: AsyncIterator[Sequence[Any]]
    _part: Iterator[Any] = attrs.field(init=False, factory=lambda: iter(()))
    head: Any = attrs.field(init=False, default=None)

    @classmethod
    async def of(cls, parts: AsyncIterator[Sequence[Any]]) -> _Rows:
        """Fetch the first rows."""
        rows = cls(parts)
        await rows.advance()
        return rows

    def is_at(self, user: str) -> bool:
        """Tell whether the first row that is left is one of *user*."""
        return self.head is not None and self.head.user_id == user

    async def advance(self) -> None:
        """Go on to the next row."""
        self.head = next(self._part, None)
        if self.head is None:
            async for part in self._parts:
                self._part = iter(part)
                self.head = next(self._part)
                return


def _key(row: Any) -> RememberedKey:
    key = CreationKey(row.key, bytes(row.fingerprint))
    return RememberedKey(key=key, task_id=row.task_id, created_at=row.created_at)


@attrs.frozen
class SQLImporter(Importer):
    """Stores owners over one connection, each in a transaction."""

    _session: Session

    async def put(
        self, owner: Owner, tasks: Iterable[Task], keys: Iterable[RememberedKey], *, replaces: bool = False
    ) -> None:
        """Store everything of *owner*."""
        async with self._session.transaction():
            if await self._claim(owner):
                await self._add(tasks)
            elif replaces:
                await self._replace(owner, tasks)
            else:
                raise OwnerExists
            await self._add_keys(owner, keys)

    async def _claim(self, owner: Owner) -> bool:
        """Add the owner, unless anything of the owner is there, and tell whether that was done."""
        is_new = [~exists(select(table.c.user_id).where(table.c.user_id == owner.id)) for table in (tasks, keys)]
        values = select(bindparam("owner", owner.id, owners.c.user_id.type), bindparam("seq_", owner.seq), true())
        added = insert_into(owners, self._session.connection.dialect).from_select(
            [owners.c.user_id, owners.c.seq, owners.c.is_folded], values.where(*is_new)
        )
        # A user who has only searched may have a counter that is 0.
        claimed = added.on_conflict_do_update(
            index_elements=[owners.c.user_id],
            set_={"seq": added.excluded.seq, "is_folded": true()},
            where=owners.c.seq == 0,
        ).returning(owners.c.user_id)
        return (await self._session.run(claimed)).first() is not None

    async def _add(self, new: Iterable[Task]) -> None:
        """Insert tasks with their own versions."""
        has_version_0 = False
        for batch in _batches(new):
            rows = [_row(task, task.version or _NO_VERSION) for task in batch]
            await self._session.run(insert(tasks), rows)
            if any(not task.version for task in batch):
                has_version_0, user_id = True, batch[0].user_id
        if has_version_0:
            is_marked = (tasks.c.user_id == user_id) & (tasks.c.version == _NO_VERSION)
            await self._session.run(update(tasks).where(is_marked).values(version=0))

    async def _replace(self, owner: Owner, new: Iterable[Task]) -> None:
        """Replace all tasks, so that those that are there now have a version that is higher than all others."""
        seq = max(await _lock(self._session, owner.id), owner.seq) + 1
        is_own = tasks.c.user_id == owner.id
        await self._session.run(_upsert(owners, self._session), {"user_id": owner.id, "seq": seq, "is_folded": True})
        for batch in _batches(new):
            await self._session.run(_upsert(tasks, self._session), [_row(task, seq) for task in batch])
        await self._session.run(delete(tasks).where(is_own, tasks.c.version != seq))

    async def _add_keys(self, owner: Owner, used: Iterable[RememberedKey]) -> None:
        added = insert_into(keys, self._session.connection.dialect).on_conflict_do_nothing()
        for batch in _batches(used):
            await self._session.run(added, [_key_row(owner, key) for key in batch])


def _upsert(table: Table, session: Session) -> Executable:
    """Return a statement that inserts rows, or replaces those that are there."""
    added = insert_into(table, session.connection.dialect)
    values = {column.name: added.excluded[column.name] for column in table.c if not column.primary_key}
    upsert: Executable = added.on_conflict_do_update(index_elements=[*table.primary_key], set_=values)
    return upsert


def _row(task: Task, version: int) -> Mapping[str, Any]:
    description = task.description
    return {
        **{column.name: getattr(task, column.name) for column in TASK_COLUMNS},
        "version": version,
        "title_folded": task.title.casefold(),
        "description_folded": None if description is None else description.casefold(),
    }


def _key_row(owner: Owner, used: RememberedKey) -> Mapping[str, Any]:
    return {
        "user_id": owner.id,
        "key": used.key.key,
        "fingerprint": used.key.fingerprint,
        "task_id": used.task_id,
        "created_at": used.created_at,
    }


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(itertools.islice(remaining, ROWS_AT_ONCE)):
        yield batch


async def _lock(session: Session, owner: str) -> int:
    """Lock the tasks and the counter of *owner*, in the order in which servers do it; return the counter."""
    own = select(tasks.c.id).where(tasks.c.user_id == owner).order_by(tasks.c.id).with_for_update().subquery()
    if not session.is_sqlite:
        await session.run(select(func.count()).select_from(own))
    counter = select(owners.c.seq).where(owners.c.user_id == owner).with_for_update()
    return (await session.run(counter)).scalar() or 0


async def erase(session: Session, owner: str) -> Erased:
    """Delete everything of *owner* in one transaction."""

    def own(table: Table) -> Executable:
        is_own: ColumnElement[bool] = table.c.user_id == owner
        return delete(table).where(is_own)

    async with session.transaction():
        await _lock(session, owner)
        # The triggers may add the counter again, so it is the last.
        deleted = [(await session.run(own(table))).rowcount for table in (tasks, keys, owners)]
    return Erased(tasks=deleted[0], keys=deleted[1], owners=int(any(deleted)))


async def statistics(session: Session) -> Statistics:
    """Count what the tables contain."""
    known = union(select(tasks.c.user_id), select(owners.c.user_id).where(owners.c.seq > 0)).subquery()
    count = func.count()
    largest = select(tasks.c.user_id, count).group_by(tasks.c.user_id).order_by(count.desc(), tasks.c.user_id)
    async with session.transaction():
        by_status: Any = (await session.run(select(tasks.c.status, count).group_by(tasks.c.status))).all()
        most: Any = (await session.run(largest.limit(LARGEST))).all()
        return Statistics(
            owners=await _number(session, select(count).select_from(known)),
            tasks={Status(status): number for status, number in by_status},
            keys=await _number(session, select(count).select_from(keys)),
            size=None if session.is_sqlite else await _number(session, text(f"SELECT {_TABLE_SIZES}")),
            largest=[(user, number) for user, number in most],
        )


async def _number(session: Session, query: Executable) -> int:
    number: int = (await session.run(query)).scalar_one()
    return number
