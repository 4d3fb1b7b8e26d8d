"""
Every statement, written once for both dialects, and compiled once for each.

A statement is one atomic step.  Its parameters are named after what they mean, never after a column: SQLAlchemy keeps
those names for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Dialect,
    Executable,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    update,
)

from taskd import Status
from taskd_sql.schema import tasks, version

__all__ = ["CREATE", "DELETE", "GET", "LIST", "PING", "STATEMENTS", "TOGGLE", "UPDATE", "Statement"]


def _parameter(name: str, column: ColumnElement[Any]) -> Any:
    return bindparam(name, type_=column.type)


_IS_OWN = tasks.c.user_id == _parameter("owner", tasks.c.user_id)
_IS_THAT = and_(_IS_OWN, tasks.c.id == _parameter("task_id", tasks.c.id))

# updated_at never goes back, even when the clock does.
_NOW = _parameter("now", tasks.c.updated_at)
_MOMENT = case((tasks.c.updated_at > _NOW, tasks.c.updated_at), else_=_NOW)


def _change(status: ColumnElement[Any], **values: Any) -> Executable:
    """Return the statement that gives a task *status* and other *values*, and the times that follow from them."""
    completed_at = case((status == Status.COMPLETED, func.coalesce(tasks.c.completed_at, _MOMENT)), else_=null())
    changed = (
        update(tasks).where(_IS_THAT).values(status=status, updated_at=_MOMENT, completed_at=completed_at, **values)
    )
    return changed.returning(*tasks.c)


def _status(status: Status) -> ColumnElement[Any]:
    return literal(status, tasks.c.status.type)


def _new_or_kept(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Return the parameter *name* or, where that is null, what *column* holds."""
    return func.coalesce(_parameter(name, column), column)


def _new_unless_kept(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Return the parameter *name*, null included, unless the parameter `keep_` *name* is true."""
    return case((bindparam(f"keep_{name}", type_=Boolean()), column), else_=_parameter(name, column))


# The revision of the schema, from a database that would also answer a request for tasks.
PING = select(version.c.version_num, select(literal(1)).select_from(tasks).limit(1).scalar_subquery())
LIST = select(tasks).where(_IS_OWN).order_by(tasks.c.id.desc())
GET = select(tasks).where(_IS_THAT)
CREATE = insert(tasks)
DELETE = delete(tasks).where(_IS_THAT).returning(tasks.c.id)
UPDATE = _change(
    _new_or_kept(tasks.c.status, "new_status"),
    title=_new_or_kept(tasks.c.title, "new_title"),
    description=_new_unless_kept(tasks.c.description, "new_description"),
    priority=_new_or_kept(tasks.c.priority, "new_priority"),
    due_at=_new_unless_kept(tasks.c.due_at, "new_due_at"),
)
TOGGLE = _change(case((tasks.c.status == Status.COMPLETED, _status(Status.PENDING)), else_=_status(Status.COMPLETED)))

STATEMENTS = (PING, LIST, GET, CREATE, DELETE, UPDATE, TOGGLE)

Processor = Callable[[Any], Any]


@attrs.frozen
class Statement:
    """
    A statement in the words of one dialect.

    Attributes:
        sql: With placeholders by position, as the dialect's driver takes them.
        is_read: It changes nothing.
        parameters: The parameter at each position, and what turns its value into the driver's.
        constants: The values of the parameters that the statement brings along.
        columns: What turns the driver's value of each column that comes back into ours.
    """

    sql: str
    is_read: bool
    parameters: tuple[tuple[str, Processor | None], ...]
    constants: Mapping[str, Any]
    columns: tuple[Processor | None, ...]

    @classmethod
    def compile(cls, statement: Executable, dialect: Dialect) -> Statement:
        """Translate *statement* for *dialect*.  It takes some hundred microseconds: do it once."""
        compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        parameters = []
        for name in compiled.positiontup:
            impl = compiled.binds[name].type.dialect_impl(dialect)
            parameters.append((name, impl.bind_processor(dialect)))
        columns = getattr(statement, "exported_columns", ())
        readers = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        return cls(compiled.string, isinstance(statement, Select), tuple(parameters), constants, tuple(readers))

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the driver's arguments for the parameters' *values*."""
        values = {**self.constants, **values}
        return [process(values[name]) if process else values[name] for name, process in self.parameters]

    def read(self, row: Sequence[Any]) -> list[Any]:
        """Return our values of what the driver gave as *row*."""
        return [process(value) if process else value for process, value in zip(self.columns, row, strict=True)]
