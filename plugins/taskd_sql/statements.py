"""
Define every statement once for both dialects, and compile it once for each.

Each statement is one atomic step.  Parameters must not have the names of columns, which SQLAlchemy reserves.
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
    exists,
    false,
    func,
    insert,
    literal,
    null,
    select,
    update,
)

from taskd.tasks import Status
from taskd_sql.schema import tasks, version

__all__ = [
    "CREATE",
    "DELETE",
    "GET",
    "LIST",
    "LIST_START",
    "PING",
    "SHORT_LIST",
    "STATEMENTS",
    "TOGGLE",
    "UPDATE",
    "Statement",
]

# How many tasks are read at once; longer lists are read in slices.
SHORT_LIST = 500


def _parameter(name: str, column: ColumnElement[Any]) -> Any:
    return bindparam(name, type_=column.type)


_IS_OWN = tasks.c.user_id == _parameter("owner", tasks.c.user_id)
_IS_THAT = and_(_IS_OWN, tasks.c.id == _parameter("task_id", tasks.c.id))

# updated_at never decreases, even if the clock is set back.
_NOW = _parameter("now", tasks.c.updated_at)
_MOMENT = case((tasks.c.updated_at > _NOW, tasks.c.updated_at), else_=_NOW)


def _change(status: ColumnElement[Any], **values: Any) -> Executable:
    """Return the statement that sets *status* and other *values* of a task, and the times that depend on them."""
    completed_at = case((status == Status.COMPLETED, func.coalesce(tasks.c.completed_at, _MOMENT)), else_=null())
    changed = (
        update(tasks).where(_IS_THAT).values(status=status, updated_at=_MOMENT, completed_at=completed_at, **values)
    )
    return changed.returning(*tasks.c)


def _status(status: Status) -> ColumnElement[Any]:
    return literal(status, tasks.c.status.type)


def _new_or_kept(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Return the parameter *name*, or the value of *column* if the parameter is null."""
    return func.coalesce(_parameter(name, column), column)


def _new_unless_kept(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Return the value of *column* if the parameter `keep_` *name* is true, else the parameter *name*, null or not."""
    return case((bindparam(f"keep_{name}", type_=Boolean()), column), else_=_parameter(name, column))


# Returns the schema's revision, and fails if a column of the tasks is missing or may not be read.  It reads no rows: if
# many had been deleted, the server would read all of those before it found one that is left.
PING = select(version.c.version_num, exists(select(tasks).where(false())))
LIST = select(tasks).where(_IS_OWN).order_by(tasks.c.id.desc())
# One extra row shows that the list is longer.
LIST_START = LIST.limit(literal(SHORT_LIST + 1))
GET = select(tasks).where(_IS_THAT)
CREATE = insert(tasks)
DELETE = delete(tasks).where(_IS_THAT).returning(tasks.c.id)
UPDATE = _change(
    _new_or_kept(tasks.c.status, "new_status"),
    title=_new_or_kept(tasks.c.title, "new_title"),
    description=_new_unless_kept(tasks.c.description, "new_description"),
    priority=_new_or_kept(tasks.c.priority, "new_priority"),
    due_at=_new_unless_kept(tasks.c.due_at, "new_due_at"),
    tags=_new_or_kept(tasks.c.tags, "new_tags"),
)
TOGGLE = _change(case((tasks.c.status == Status.COMPLETED, _status(Status.PENDING)), else_=_status(Status.COMPLETED)))

STATEMENTS = (PING, LIST, LIST_START, GET, CREATE, DELETE, UPDATE, TOGGLE)

Processor = Callable[[Any], Any]


@attrs.frozen
class Statement:
    """
    A statement compiled for one dialect.

    Attributes:
        sql: The text, with the driver's positional placeholders.
        is_read: Whether the statement changes nothing.
        parameters: The parameter at each position, and a function that converts its value for the driver.
        constants: The values of parameters that the statement itself sets.
        columns: For each column of the result, a function that converts the driver's value.
    """

    sql: str
    is_read: bool
    parameters: tuple[tuple[str, Processor | None], ...]
    constants: Mapping[str, Any]
    columns: tuple[Processor | None, ...]

    @classmethod
    def compile(cls, statement: Executable, dialect: Dialect) -> Statement:
        """Compile *statement* for *dialect*.  This takes a few hundred microseconds, so do it only once."""
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
        """Return the driver's arguments for the *values* of the parameters."""
        values = {**self.constants, **values}
        return [process(values[name]) if process else values[name] for name, process in self.parameters]

    def read(self, row: Sequence[Any]) -> list[Any]:
        """Return the converted values of the driver's *row*."""
        return [process(value) if process else value for process, value in zip(self.columns, row, strict=True)]
