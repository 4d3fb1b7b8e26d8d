"""Store tasks in an SQL database."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

import attrs
from sqlalchemy import Executable

from taskd.checks import Check
from taskd.outages import OutageLog
from taskd.routes import in_slices
from taskd.storage import Location, StoreUnavailable, TaskNotFound, TaskStore
from taskd.tasks import UNSET, NewTask, Task, TaskChanges
from taskd_sql import statements
from taskd_sql.engine.database import Rows
from taskd_sql.engine.errors import Refused, SchemaMismatch
from taskd_sql.engine.postgres import PostgresDatabase
from taskd_sql.engine.sqlite import SQLiteDatabase
from taskd_sql.schema import revision_in, tasks, version_error
from taskd_sql.statements import Statement
from taskd_sql.url import PostgresURL, SQLiteURL

__all__ = ["SQLTaskStore"]

# A child of the core's logger, so that it has the same configuration.
logger = logging.getLogger(f"taskd.{__name__}")

_COLUMNS = [column.name for column in tasks.c]


@attrs.define(eq=False)
class SQLTaskStore(TaskStore):
    """
    Stores tasks in *database*.  Each method runs one statement, in one round trip; only a long list needs more.

    Attributes:
        migration_url: The URL for changing the schema of the same database.
    """

    database: PostgresDatabase | SQLiteDatabase
    migration_url: PostgresURL | SQLiteURL
    _compiled: dict[Executable, Statement] = attrs.field(init=False, repr=False)
    _service: OutageLog = attrs.field(init=False, repr=False)
    _writing: OutageLog = attrs.field(init=False, repr=False)
    _schema: OutageLog = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Compile every statement for the database's dialect, once."""
        self._service = OutageLog(self.database.name, logger)
        self._writing = OutageLog(f"Writing to {self.database.name}", logger)
        self._schema = OutageLog(f"The schema of {self.database.name}", logger)
        self._compiled = {each: Statement.compile(each, self.database.dialect) for each in statements.STATEMENTS}

    @property
    def location(self) -> Location:
        """Describe where the tasks are, for `taskd dev`."""
        database = self.database
        file = database.url.file if isinstance(database, SQLiteDatabase) else None
        description, is_local = database.location, database.is_local
        return Location(description=description, is_local=is_local, setting="DATABASE_URL", file=file)

    async def list(self, owner: str) -> list[Task]:
        """Return all tasks of *owner*, newest first."""
        rows = await self._run(statements.LIST_START, {"owner": owner}, owner)
        if len(rows) > statements.SHORT_LIST:
            rows = await self._fetch_many(statements.LIST, {"owner": owner}, owner)
        return list(chain.from_iterable(await in_slices(partial(self._tasks, statements.LIST), rows)))

    async def create(self, owner: str, new: NewTask) -> Task:
        """Insert a row and return the task."""
        task = Task.create(owner, new, _now())
        await self._run(statements.CREATE, {name: getattr(task, name) for name in _COLUMNS}, owner)
        return task

    async def get(self, owner: str, task_id: UUID) -> Task:
        """Return a task."""
        return _only(await self._fetch(statements.GET, {"owner": owner, "task_id": task_id}, owner))

    async def update(self, owner: str, task_id: UUID, changes: TaskChanges) -> Task:
        """Update a row and return the task."""
        values = {
            "owner": owner,
            "task_id": task_id,
            "now": _now(),
            "new_title": _none_if_unset(changes.title),
            "new_status": _none_if_unset(changes.target_status()),
            "new_priority": _none_if_unset(changes.priority),
            "new_description": _none_if_unset(changes.description),
            "keep_new_description": changes.description is UNSET,
            "new_due_at": _none_if_unset(changes.due_at),
            "keep_new_due_at": changes.due_at is UNSET,
            "new_tags": _none_if_unset(changes.tags),
        }
        return _only(await self._fetch(statements.UPDATE, values, owner))

    async def toggle(self, owner: str, task_id: UUID) -> Task:
        """Toggle a row and return the task."""
        values = {"owner": owner, "task_id": task_id, "now": _now()}
        return _only(await self._fetch(statements.TOGGLE, values, owner))

    async def delete(self, owner: str, task_id: UUID) -> None:
        """Delete a row."""
        if not await self._run(statements.DELETE, {"owner": owner, "task_id": task_id}, owner):
            raise TaskNotFound

    async def ping(self) -> None:
        """Check that the database responds, and has the schema that this version of taskd needs."""
        begun_s = time.monotonic()
        rows = await self._run(statements.PING, {})
        if reason := version_error(revision_in(rows)):
            mismatch = SchemaMismatch(reason)
            self._log_outage(mismatch, statements.PING)
            raise mismatch
        self._schema.succeeded(begun_s)

    async def diagnose(self) -> AsyncIterator[Check]:
        """Check the database, for `taskd doctor`."""
        from taskd_sql import checks  # noqa: PLC0415  serving does not need it

        async for check in checks.check_database(self.database):
            yield check

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

    async def close(self) -> None:
        """Close the database."""
        await self.database.close()

    async def _run(self, executable: Executable, values: Mapping[str, Any], owner: str = "") -> Rows:
        statement = self._compiled[executable]
        with self._logging_outages(executable) as begun_s:
            arguments = statement.arguments(values)
            rows = await self.database.fetch(statement.sql, arguments, is_read=statement.is_read, owner=owner)
        # A statement that changed no row would succeed even on a full disk, so it proves nothing.
        if not statement.is_read and (rows or executable is statements.CREATE):
            self._writing.succeeded(begun_s)
        return rows

    async def _fetch_many(self, executable: Executable, values: Mapping[str, Any], owner: str) -> Rows:
        statement = self._compiled[executable]
        with self._logging_outages(executable):
            return await self.database.fetch_many(statement.sql, statement.arguments(values), owner=owner)

    @contextlib.contextmanager
    def _logging_outages(self, executable: Executable) -> Iterator[float]:
        """Log an outage that begins or ends with *executable*, which the block runs; yield when the block started."""
        begun_s = time.monotonic()
        try:
            yield begun_s
        except StoreUnavailable as error:
            self._log_outage(error, executable)
            raise
        self._service.succeeded(begun_s)

    def _log_outage(self, error: StoreUnavailable, executable: Executable) -> None:
        """
        Log *error* as an outage of the part that is known to work again once *executable* succeeds.

        While writes are refused, for example, reads may succeed without ending that outage.
        """
        if isinstance(error, SchemaMismatch) and executable is statements.PING:
            self._schema.failed(str(error))
        elif isinstance(error, Refused) and not self._compiled[executable].is_read:
            self._writing.failed(str(error))
        else:
            self._service.failed(str(error))
        error.is_logged = True

    async def _fetch(self, executable: Executable, values: Mapping[str, Any], owner: str) -> Sequence[Task]:
        return self._tasks(executable, await self._run(executable, values, owner))

    def _tasks(self, executable: Executable, rows: Rows) -> Sequence[Task]:
        read = self._compiled[executable].read
        return [Task(**dict(zip(_COLUMNS, read(row), strict=True))) for row in rows]


def _only(found: Sequence[Task]) -> Task:
    if not found:
        raise TaskNotFound
    return found[0]


def _none_if_unset(value: Any) -> Any:
    return None if value is UNSET else value


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)
