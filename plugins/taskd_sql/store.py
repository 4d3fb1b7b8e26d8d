"""The task store over an SQL database."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import attrs
from sqlalchemy import Executable

from taskd import UNSET, Availability, Check, NewTask, StoreUnavailable, Task, TaskChanges, TaskNotFound, TaskStore
from taskd_sql import statements
from taskd_sql.dsn import PostgresAddress, SQLiteAddress
from taskd_sql.faults import Refused, SchemaUnfit
from taskd_sql.postgres import PostgresDatabase
from taskd_sql.schema import revision_in, tasks, version_fault
from taskd_sql.sqlite import SQLiteDatabase
from taskd_sql.statements import Statement

__all__ = ["SQLTaskStore"]

# Below the core's, so that whatever shows the core's log shows this.
logger = logging.getLogger(f"taskd.{__name__}")

_COLUMNS = [column.name for column in tasks.c]


@attrs.define(eq=False)
class SQLTaskStore(TaskStore):
    """
    Keeps tasks in *database*.  Each method runs one statement, in one round trip.

    Attributes:
        migration_address: The same database, over a connection by which its schema may be changed.
    """

    database: PostgresDatabase | SQLiteDatabase
    migration_address: PostgresAddress | SQLiteAddress
    _compiled: dict[Executable, Statement] = attrs.field(init=False, repr=False)
    _service: Availability = attrs.field(init=False, repr=False)
    _writing: Availability = attrs.field(init=False, repr=False)
    _schema: Availability = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Compile every statement for the database's dialect, once."""
        self._service = Availability(self.database.name, logger)
        self._writing = Availability(f"Writing to {self.database.name}", logger)
        self._schema = Availability(f"The schema of {self.database.name}", logger)
        self._compiled = {each: Statement.compile(each, self.database.dialect) for each in statements.STATEMENTS}

    async def list(self, owner: str) -> list[Task]:
        """Return all tasks of *owner*, the newest first."""
        return list(await self._fetch(statements.LIST, {"owner": owner}))

    async def create(self, owner: str, new: NewTask) -> Task:
        """Insert a row and return the task."""
        task = Task.create(owner, new, _now())
        await self._run(statements.CREATE, {name: getattr(task, name) for name in _COLUMNS})
        return task

    async def get(self, owner: str, task_id: UUID) -> Task:
        """Return a task."""
        return _only(await self._fetch(statements.GET, {"owner": owner, "task_id": task_id}))

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
        }
        return _only(await self._fetch(statements.UPDATE, values))

    async def toggle(self, owner: str, task_id: UUID) -> Task:
        """Toggle a row and return the task."""
        values = {"owner": owner, "task_id": task_id, "now": _now()}
        return _only(await self._fetch(statements.TOGGLE, values))

    async def delete(self, owner: str, task_id: UUID) -> None:
        """Delete a row."""
        if not await self._run(statements.DELETE, {"owner": owner, "task_id": task_id}):
            raise TaskNotFound

    async def ping(self) -> None:
        """Return if the database answers, and has the schema that this taskd needs."""
        begun_s = time.monotonic()
        rows = await self._run(statements.PING, {})
        if fault := version_fault(revision_in(rows)):
            unfit = SchemaUnfit(fault)
            self._tell(unfit, statements.PING)
            raise unfit
        self._schema.served(begun_s)

    async def diagnose(self) -> AsyncIterator[Check]:
        """Check the database, for `taskd doctor`."""
        from taskd_sql import diagnosis  # noqa: PLC0415  nor does it need this

        async for check in diagnosis.of(self.database):
            yield check

    async def migrate(self) -> Sequence[str]:
        """Bring the schema up to date."""
        from taskd_sql import migration  # noqa: PLC0415  serving needs no Alembic, which takes its time to be imported

        return await migration.upgrade(self.migration_address)

    async def migration_script(self) -> str:
        """Return what `migrate` would run now."""
        from taskd_sql import migration  # noqa: PLC0415

        return await migration.script(self.migration_address)

    async def close(self) -> None:
        """Close the database."""
        await self.database.close()

    async def _run(self, executable: Executable, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        statement = self._compiled[executable]
        begun_s = time.monotonic()
        try:
            rows = await self.database.fetch(statement.sql, statement.arguments(values), is_read=statement.is_read)
        except StoreUnavailable as fault:
            self._tell(fault, executable)
            raise
        self._service.served(begun_s)
        # One that changes no row needs no room on a full disk, and proves nothing.
        if not statement.is_read and (rows or executable is statements.CREATE):
            self._writing.served(begun_s)
        return rows

    def _tell(self, fault: StoreUnavailable, executable: Executable) -> None:
        """
        Say in the log what does not serve, of that which *executable* proves to serve again when it succeeds.

        As long as writes are refused, reads may go on, and say nothing of it.
        """
        if isinstance(fault, SchemaUnfit) and executable is statements.PING:
            self._schema.failed(str(fault))
        elif isinstance(fault, Refused) and not self._compiled[executable].is_read:
            self._writing.failed(str(fault))
        else:
            self._service.failed(str(fault))
        fault.is_told = True

    async def _fetch(self, executable: Executable, values: Mapping[str, Any]) -> Sequence[Task]:
        read = self._compiled[executable].read
        rows = await self._run(executable, values)
        return [Task(**dict(zip(_COLUMNS, read(row), strict=True))) for row in rows]


def _only(found: Sequence[Task]) -> Task:
    if not found:
        raise TaskNotFound
    return found[0]


def _none_if_unset(value: Any) -> Any:
    return None if value is UNSET else value


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)
