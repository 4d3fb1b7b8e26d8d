"""The task store over an SQL database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import attrs
from sqlalchemy import Executable

from taskd import UNSET, NewTask, Task, TaskChanges, TaskNotFound, TaskStore
from taskd_sql import statements
from taskd_sql.database import Database
from taskd_sql.schema import tasks
from taskd_sql.statements import Statement

__all__ = ["SQLTaskStore"]

_COLUMNS = [column.name for column in tasks.c]


@attrs.define(eq=False)
class SQLTaskStore(TaskStore):
    """Keeps tasks in *database*.  Each method runs one statement, in one round trip."""

    database: Database
    _compiled: dict[Executable, Statement] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Compile every statement for the database's dialect, once."""
        everything = (getattr(statements, name) for name in statements.__all__ if name.isupper())
        self._compiled = {each: Statement.compile(each, self.database.dialect) for each in everything}

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
        """Return if the database answers."""
        await self._run(statements.PING, {})

    async def close(self) -> None:
        """Close the database."""
        await self.database.close()

    async def _run(self, executable: Executable, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        statement = self._compiled[executable]
        return await self.database.fetch(statement.sql, statement.arguments(values))

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
