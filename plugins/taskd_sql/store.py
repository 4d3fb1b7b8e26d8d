"""Store tasks in an SQL database."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import attrs
from sqlalchemy import Executable

from taskd.checks import Check
from taskd.outages import OutageLog
from taskd.queries import TaskPage, TaskQuery
from taskd.routes import in_slices
from taskd.storage import (
    EVERYTHING,
    CreationKey,
    KeyReused,
    Location,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
    TaskDeleted,
    TaskNotFound,
    TaskStore,
)
from taskd.tasks import UNSET, NewTask, Task, TaskChanges
from taskd.telemetry import Measurement
from taskd_sql import lists, pipelines, statements
from taskd_sql.engine.database import Pipeline, Rows, Step, now
from taskd_sql.engine.errors import Refused, SchemaMismatch
from taskd_sql.operations import Operations
from taskd_sql.schema import revision_in, version_error
from taskd_sql.statements import Statement
from taskd_sql.url import PostgresURL, SQLiteURL

if TYPE_CHECKING:  # a server uses only one of them
    from taskd_sql.engine.postgres import PostgresDatabase
    from taskd_sql.engine.sqlite import SQLiteDatabase

__all__ = ["SQLTaskStore"]

K = TypeVar("K")
V = TypeVar("V")

# A child of the core's logger, so that it has the same configuration.
logger = logging.getLogger(f"taskd.{__name__}")

# How many tasks are fetched at once; longer lists are fetched in parts.
SHORT_LIST = 500
# Folding ten of the longest texts takes about two milliseconds.
FOLDED_IN_A_SLICE = 10
# Longer than the contract promises to remember an idempotency key.
REMEMBERED = dt.timedelta(hours=48)

_NAMES = [column.name for column in statements.TASK_COLUMNS]


class _AtFirstUse(dict[K, V]):
    """Makes each value when it is first used."""

    def __init__(self, make: Callable[[K], V]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: K) -> V:
        made = self[key] = self._make(key)
        return made


@attrs.define(eq=False)
class SQLTaskStore(Operations, TaskStore):
    """
    Stores tasks in *database*.  Nearly every call is one round trip; long lists and failures need more.

    Attributes:
        migration_url: The URL for changing the schema of the same database.
    """

    database: PostgresDatabase | SQLiteDatabase
    migration_url: PostgresURL | SQLiteURL
    _compiled: dict[Executable, Statement] = attrs.field(init=False, repr=False)
    _writes: dict[str, Sequence[Statement]] = attrs.field(init=False, repr=False)
    _lists: lists.ListStatements = attrs.field(init=False, repr=False)
    _pipelines: dict[str, Pipeline | None] = attrs.field(init=False, repr=False)
    _list_pipelines: dict[str, Pipeline] = attrs.field(init=False, repr=False)
    _service: OutageLog = attrs.field(init=False, repr=False)
    _writing: OutageLog = attrs.field(init=False, repr=False)
    _schema: OutageLog = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Prepare to compile each statement for the database's dialect, once, when it is first used."""
        self._service = OutageLog(self.database.name, logger)
        self._writing = OutageLog(f"Writing to {self.database.name}", logger)
        self._schema = OutageLog(f"The schema of {self.database.name}", logger)
        dialect = self.database.dialect
        self._compiled = _AtFirstUse(lambda each: Statement.compile(each, dialect))
        self._writes = _AtFirstUse(
            lambda name: [Statement.compile(each, dialect) for each in statements.WRITES[name](dialect)]
        )
        self._lists = lists.ListStatements(dialect)
        self._pipelines = _AtFirstUse(self._pipeline)
        self._list_pipelines = _AtFirstUse(pipelines.lists)

    def _pipeline(self, name: str) -> Pipeline | None:
        """Return how calls that are called *name* share round trips; SQLite has none."""
        dialect = self.database.dialect
        if dialect.name == "sqlite":
            return None
        if name == "get":
            return pipelines.reads(self._compiled[statements.GET].sql)
        if name not in statements.SHARED_WRITES:
            return None
        [statement] = statements.SHARED_WRITES[name](dialect)
        kind = pipelines.creations if name == "create" else pipelines.changes
        return kind(Statement.compile(statement, dialect).sql)

    @property
    def location(self) -> Location:
        """Describe where the tasks are, for `taskd dev`."""
        database = self.database
        file = database.url.file if isinstance(database.url, SQLiteURL) else None
        description, is_local = database.location, database.is_local
        return Location(description=description, is_local=is_local, setting="DATABASE_URL", file=file)

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        """Return the tasks of *owner* that *query* selects."""
        header, rows = await self._rows(owner, query)
        fold_until = now() + self.database.limits.folding_s
        while header.has_unfolded:
            await self._fold(owner, fold_until)
            # An older server may have written other texts meanwhile.
            header, rows = await self._rows(owner, query)
        if header.has_unfolded is False:
            await self._note_folded(owner, header.seq)
        has_more = query.limit is not None and len(rows) > query.limit
        if has_more:
            rows.pop()
        tasks = list(chain.from_iterable(await in_slices(self._tasks, rows)))
        return TaskPage(tasks, header.seq, has_more=has_more, total=header.total)

    async def _rows(self, owner: str, query: TaskQuery) -> tuple[lists.Header, Rows]:
        """Return the header and the rows of *query*, and one more row if the list goes on."""
        statement = self._lists.get(query)
        at_once = SHORT_LIST if query.limit is None else min(query.limit, SHORT_LIST)
        values = lists.arguments(owner, query, at_once + 1)
        rows = await self._read(statement, values, owner, pipeline=self._list_pipelines[statement.sql])
        if len(rows) > SHORT_LIST + 1 and query.limit != SHORT_LIST:
            limit = None if query.limit is None else query.limit + 1
            rows = await self._read_many(statement, lists.arguments(owner, query, limit), owner)
        return lists.Header.of(rows.pop(0)), rows

    async def _fold(self, owner: str, until: float) -> None:
        """Fold the texts that an older server has written, before *until* by the loop's clock."""
        unfolded, fold = self._compiled[statements.UNFOLDED], self._compiled[statements.FOLD]

        def folded(rows: Rows) -> Rows:
            return [fold.arguments(_folding(owner, *unfolded.read(row))) for row in rows]

        last_id = UUID(int=0)
        while rows := await self._read(unfolded, {"owner": owner, "last_id": last_id}, owner):
            last_id, *_ = unfolded.read(rows[-1])
            arguments = list(chain.from_iterable(await in_slices(folded, rows, FOLDED_IN_A_SLICE)))
            with self._logging_outages(is_read=False):
                await self.database.write_many(fold.sql, arguments, owner=owner)
            if now() >= until:
                # The next search goes on.
                raise StoreUnavailable("the texts of a user with many tasks are still being prepared for searching")

    async def _note_folded(self, owner: str, seq: int) -> None:
        """Record that all texts of *owner* are folded, unless *seq* has risen since."""
        with contextlib.suppress(StoreUnavailable):
            # If the database refuses writes, the next search tries again.
            await self.database.write(self._steps("note_folded", {"owner": owner, "last_seq": seq}), owner=owner)

    async def seq(self, owner: str) -> int:
        """Return the owner's counter of changes."""
        rows = await self._read(self._compiled[statements.SEQ], {"owner": owner}, owner)
        return rows[0][0] if rows else 0

    async def get(self, owner: str, task_id: UUID) -> Task:
        """Return a task."""
        which = {"owner": owner, "task_id": task_id}
        rows = await self._read(self._compiled[statements.GET], which, owner, task_id, self._pipelines["get"])
        if not rows:
            raise TaskNotFound
        return self._task(rows[0])

    async def create(
        self, owner: str, new: NewTask, *, task_id: UUID | None = None, key: CreationKey | None = None
    ) -> Task:
        """Insert a row and return the task, or the one that was created with the same *key*."""
        moment = _now()
        task = Task.create(owner, new, moment, task_id=task_id, version=0)
        values = {
            "owner": owner,
            **{f"new_{name}": getattr(task, name) for name in _NAMES},
            **_folded_texts(task.title, task.description),
        }
        if key is not None:
            return await self._create_once(owner, task, key, {**values, "now": moment})
        # Two calls that create the same task must not share a round trip.
        if rows := await self._write("create", values, owner, task.id, may_share=task_id is None):
            _, _, version = rows[0]
            return task.at_version(version)
        if task_id is None:
            raise StoreError("a new id was not unique")
        raise PreconditionFailed

    async def _create_once(self, owner: str, task: Task, key: CreationKey, values: Mapping[str, Any]) -> Task:
        """Store *task*, which has these *values*, unless its key is known; return the task that the key stands for."""
        values = {
            **values,
            "which_key": key.key,
            "its_fingerprint": key.fingerprint,
            "forget_before": values["now"] - REMEMBERED,
        }
        while True:
            if rows := await self._write("create_once", values, owner, task.id):
                _, _, version = rows[0]
                return task.at_version(version)
            if known := await self._read(self._compiled[statements.FIND_KEY], values, owner):
                return self._created(known[0], key)
            # The key had expired, and was deleted between the two statements.

    def _created(self, row: Sequence[Any], key: CreationKey) -> Task:
        """Return the task in a *row* that has the fingerprint of its key first, and nulls if the task was deleted."""
        fingerprint, task_id, *_ = row
        if bytes(fingerprint) != key.fingerprint:
            raise KeyReused
        if task_id is None:
            raise TaskDeleted
        return self._task(row[1:])

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges, *, version: int | None = None) -> Task:
        """Update a row and return the task."""
        values = {
            "new_title": _none_if_unset(changes.title),
            "new_title_folded": None if changes.title is UNSET else changes.title.casefold(),
            "new_status": _none_if_unset(changes.target_status()),
            "new_priority": _none_if_unset(changes.priority),
            "new_description": _none_if_unset(changes.description),
            "new_description_folded": None if changes.description is UNSET else _folded(changes.description),
            "keep_description": changes.description is UNSET,
            "new_due_at": _none_if_unset(changes.due_at),
            "keep_due_at": changes.due_at is UNSET,
            "new_tags": _none_if_unset(changes.tags),
        }
        return self._task(await self._change("update", owner, task_id, version, {**values, "now": _now()}))

    async def toggle(self, owner: str, task_id: UUID, *, version: int | None = None) -> Task:
        """Toggle a row and return the task."""
        return self._task(await self._change("toggle", owner, task_id, version, {"now": _now()}))

    async def delete(self, owner: str, task_id: UUID, *, version: int | None = None) -> None:
        """Delete a row."""
        await self._change("delete", owner, task_id, version, {})

    async def _change(
        self, name: str, owner: str, task_id: UUID, version: int | None, values: Mapping[str, Any]
    ) -> Sequence[Any]:
        """Run the write called *name* if the task has this *version*; return the row that it changed."""
        which = {"owner": owner, "task_id": task_id}
        if rows := await self._write(name, {**which, "expected": version, **values}, owner, task_id):
            return rows[0]
        if version is not None and await self._read(self._compiled[statements.GET], which, owner):
            raise PreconditionFailed
        raise TaskNotFound

    async def ping(self) -> None:
        """Check that the database responds, and has the schema that this version of taskd needs."""
        with self._logging_outages(is_ping=True) as begun_s:
            rows = await self.database.fetch(self._compiled[statements.PING].sql)
        if reason := version_error(revision_in(rows)):
            mismatch = SchemaMismatch(reason)
            self._schema.failed(reason)
            mismatch.is_logged = True
            raise mismatch
        self._schema.succeeded(begun_s)

    async def diagnose(self) -> AsyncIterator[Check]:
        """Check the database, for `taskd doctor`."""
        from taskd_sql import checks  # noqa: PLC0415  serving does not need it

        async for check in checks.check_database(self.database, self.migration_url):
            yield check

    async def rehearse(self, act: Callable[[TaskStore], Awaitable[None]]) -> None:
        """Call *act* with a store of the same tasks, and roll back what it has written."""
        from taskd_sql import rehearsal  # noqa: PLC0415  serving does not need it

        await rehearsal.rehearse(self, act)

    async def migrate(self) -> Sequence[str]:
        """Upgrade the schema."""
        from taskd_sql.migrations import runner  # noqa: PLC0415  importing Alembic is slow, and serving does not need it

        return await runner.upgrade(self.migration_url)

    async def migration_script(self) -> str:
        """Return the SQL that `migrate` would run now."""
        from taskd_sql.migrations import runner  # noqa: PLC0415

        return await runner.script(self.migration_url)

    def waited_s(self, *, is_read: bool) -> float:
        """Return how many seconds the longest-waiting statement has been waiting for a connection."""
        return self.database.waited_s(is_read=is_read)

    def measurements(self) -> Iterator[Measurement]:
        """Yield the numbers about the connections to the database and about its outages."""
        yield from self.database.measurements()
        outages = {"database": self._service, "writes": self._writing, "schema": self._schema}
        for name, log in outages.items():
            yield from log.measurements(name)

    async def close(self) -> None:
        """Close the database."""
        await self.database.close()

    async def _read(
        self,
        statement: Statement,
        values: Mapping[str, Any],
        owner: str,
        task_id: UUID | None = None,
        pipeline: Pipeline | None = None,
    ) -> Rows:
        begun_s = time.monotonic()
        try:
            arguments = statement.arguments(values)
            rows = await self.database.fetch(statement.sql, arguments, owner=owner, task_id=task_id, pipeline=pipeline)
        except StoreUnavailable as error:
            self._note_outage(error)
            raise
        self._service.succeeded(begun_s)
        return rows

    async def _read_many(self, statement: Statement, values: Mapping[str, Any], owner: str) -> Rows:
        with self._logging_outages():
            return await self.database.fetch_many(statement.sql, statement.arguments(values), owner=owner)

    async def _write(
        self, name: str, values: Mapping[str, Any], owner: str, task_id: UUID, *, may_share: bool = True
    ) -> Rows:
        begun_s = time.monotonic()
        try:
            steps, pipeline = self._steps(name, values), self._pipelines[name] if may_share else None
            rows = await self.database.write(steps, owner=owner, task_id=task_id, pipeline=pipeline)
        except StoreUnavailable as error:
            self._note_outage(error, is_read=False)
            raise
        self._service.succeeded(begun_s)
        # A write that changed no row would succeed even on a full disk, so it proves nothing.
        if rows:
            self._writing.succeeded(begun_s)
        return rows

    def _steps(self, name: str, values: Mapping[str, Any]) -> Sequence[Step]:
        return [(each.sql, each.arguments(values)) for each in self._writes[name]]

    @contextlib.contextmanager
    def _logging_outages(self, *, is_read: bool = True, is_ping: bool = False) -> Iterator[float]:
        """
        Log an outage that begins or ends in the block, which runs a statement; yield when the block started.

        An outage ends only when a statement that uses the same part succeeds: while writes are refused, for example, a
        read that succeeds does not end the outage.
        """
        begun_s = time.monotonic()
        try:
            yield begun_s
        except StoreUnavailable as error:
            self._note_outage(error, is_read=is_read, is_ping=is_ping)
            raise
        self._service.succeeded(begun_s)

    def _note_outage(self, error: StoreUnavailable, *, is_read: bool = True, is_ping: bool = False) -> None:
        if isinstance(error, SchemaMismatch) and is_ping:
            self._schema.failed(str(error))
        elif isinstance(error, Refused) and not is_read:
            self._writing.failed(str(error))
        else:
            self._service.failed(str(error))
        error.is_logged = True

    def _task(self, row: Sequence[Any]) -> Task:
        """Return the task in the first columns of *row*."""
        return Task.stored(self._compiled[statements.GET].read(row))

    def _tasks(self, rows: Rows) -> Sequence[Task]:
        read = self._compiled[statements.GET].read
        return [Task.stored(read(row)) for row in rows]


def _folding(owner: str, task_id: UUID, version: int, title: str, description: str | None) -> Mapping[str, Any]:
    """Return the parameters of the statement that adds the folded texts of a task."""
    return {"owner": owner, "task_id": task_id, "expected": version, **_folded_texts(title, description)}


def _folded_texts(title: str, description: str | None) -> Mapping[str, Any]:
    return {"new_title_folded": title.casefold(), "new_description_folded": _folded(description)}


def _folded(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def _none_if_unset(value: Any) -> Any:
    return None if value is UNSET else value


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)
