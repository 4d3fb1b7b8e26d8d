"""
Define every statement, and compile it for a dialect.

Each write is atomic: a single statement in PostgreSQL, and a transaction of several in SQLite, where a statement cannot
change two tables.  SQLAlchemy reserves the names of columns, so parameters must have other names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
from sqlalchemy import (
    ARRAY,
    CTE,
    Boolean,
    ColumnElement,
    Dialect,
    Enum,
    Executable,
    Insert,
    ScalarSelect,
    Update,
    and_,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)

from taskd.tasks import Status, Task
from taskd_sql.schema import keys, owners, tasks, version

__all__ = [
    "FIND_KEY",
    "FOLD",
    "GET",
    "IS_OWN",
    "IS_UNFOLDED",
    "PING",
    "SEQ",
    "SHARED_WRITES",
    "TASK_COLUMNS",
    "UNFOLDED",
    "WRITES",
    "Statement",
    "insert_into",
    "parameter",
]

# How many tasks to fold in one transaction.
FOLDED_AT_ONCE = 100
# How many expired keys to delete whenever a key is added.
FORGOTTEN_AT_ONCE = 10

# The columns of a task, in the order of the fields that its constructor takes.
TASK_COLUMNS = [tasks.c[field.name] for field in attrs.fields(Task) if field.init]


def parameter(name: str, column: ColumnElement[Any]) -> Any:
    """Return the parameter *name*, with the type of *column*."""
    return bindparam(name, type_=column.type)


IS_OWN = tasks.c.user_id == parameter("owner", tasks.c.user_id)
_OWNER = parameter("owner", owners.c.user_id)
_IS_THAT = and_(IS_OWN, tasks.c.id == parameter("task_id", tasks.c.id))
_EXPECTED = parameter("expected", tasks.c.version)
_IS_EXPECTED = and_(_IS_THAT, or_(_EXPECTED.is_(None), tasks.c.version == _EXPECTED))
# In PostgreSQL, this locks the task if it has the expected version.
_IS_LOCKED = exists(select(tasks.c.id).where(_IS_EXPECTED).with_for_update())
IS_UNFOLDED = or_(
    tasks.c.title_folded.is_(None), and_(tasks.c.description.is_not(None), tasks.c.description_folded.is_(None))
)

_ONE: ColumnElement[int] = literal_column("1")

# updated_at never decreases, even if the clock is set back.
_NOW = parameter("now", tasks.c.updated_at)
_MOMENT = case((tasks.c.updated_at > _NOW, tasks.c.updated_at), else_=_NOW)


# Returns the schema's revision, and fails if a table or a column is missing or must not be read.  It reads no rows:
# after many deletions, the server would have to read past all deleted rows to find one that is left.
PING = select(version.c.version_num, *[exists(select(table).where(false())) for table in (tasks, owners, keys)])
GET = select(*TASK_COLUMNS).where(_IS_THAT)
SEQ = select(owners.c.seq).where(owners.c.user_id == _OWNER)
# The fingerprint of a key, and the current state of the task that it created; nulls if the task was deleted.
_IS_KEY = and_(keys.c.user_id == _OWNER, keys.c.key == parameter("which_key", keys.c.key))
_IS_ITS_TASK = and_(tasks.c.user_id == keys.c.user_id, tasks.c.id == keys.c.task_id)
FIND_KEY = select(keys.c.fingerprint, *TASK_COLUMNS).select_from(keys.outerjoin(tasks, _IS_ITS_TASK)).where(_IS_KEY)
# Continues after the last task of the previous batch, because SQLite reads the texts of all tasks that it skips.
UNFOLDED = (
    select(tasks.c.id, tasks.c.version, tasks.c.title, tasks.c.description)
    .where(IS_OWN, IS_UNFOLDED, tasks.c.id > parameter("last_id", tasks.c.id))
    .order_by(tasks.c.id)
    .limit(literal(FOLDED_AT_ONCE))
)
# Keeps the version: clients see no change.  It skips texts that another process has folded meanwhile, because the
# trigger would take an update that changes nothing for an older server's.
FOLD = (
    update(tasks)
    .where(_IS_EXPECTED, IS_UNFOLDED)
    .values(
        title_folded=parameter("new_title_folded", tasks.c.title_folded),
        description_folded=parameter("new_description_folded", tasks.c.description_folded),
    )
)


# Limits how long the rest of the transaction waits for locks (PostgreSQL manual, section 20.11).
_WAITS_BRIEFLY: ColumnElement[bool] = func.set_config(
    literal_column("'lock_timeout'"), literal_column("'50ms'"), literal_column("true")
).is_not(None)


@attrs.frozen
class _Raised:
    """
    The statement that raises the owner's `seq` if *condition* holds, and the new value.

    In PostgreSQL, every write locks first the task, if it exists, and then its owner, so writes cannot deadlock.  So do
    statements that leave raising `seq` to the triggers.

    Attributes:
        dialect: The dialect.
        condition: The condition.
        is_shared: Whether other calls share the transaction, so that the statement must not wait long for a lock.
    """

    dialect: Dialect
    condition: ColumnElement[Any]
    is_shared: bool

    def statement(self) -> Any:
        """Return the statement that raises `seq`."""
        # Only CASE guarantees that the limit is set before a lock is needed.
        condition = case((_WAITS_BRIEFLY, self.condition)) if self.is_shared else self.condition
        raised = insert_into(owners, self.dialect).from_select(
            [owners.c.user_id, owners.c.seq], select(_OWNER, _ONE).where(condition)
        )
        return raised.on_conflict_do_update(
            index_elements=[owners.c.user_id], set_={"seq": owners.c.seq + _ONE}
        ).returning(owners.c.seq)

    def write(self, make: Callable[[ScalarSelect[Any]], Any], *before: CTE | Executable) -> Sequence[Executable]:
        """
        Return the statements that raise `seq` and then make a change.

        Args:
            make: Returns the statement that makes the change, given the new `seq`, which is null if *condition* does
                not hold.
            before: What to run first: for PostgreSQL, in common table expressions.
        """
        if self.dialect.name == "sqlite":
            seq = select(owners.c.seq).where(owners.c.user_id == _OWNER).scalar_subquery()
            return (*before, self.statement(), make(seq))
        raised = self.statement().cte("raised")
        return (make(select(raised.c.seq).scalar_subquery()).add_cte(*before, raised),)


def insert_into(table: Any, dialect: Dialect) -> Any:
    """Return an `INSERT` into *table* with the clauses that both dialects have, but SQLAlchemy's own does not."""
    # Importing a dialect is slow, and a server uses only one of them.
    if dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert  # noqa: PLC0415
    else:
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]  # noqa: PLC0415
    return insert(table)


def _changing(dialect: Dialect, status: ColumnElement[Any], *, is_shared: bool, **values: Any) -> Sequence[Executable]:
    """Return the statements that set a task's *status* and other *values*, and update its times accordingly."""
    completed_at = case(
        (status == _status(Status.COMPLETED), func.coalesce(tasks.c.completed_at, _MOMENT)), else_=null()
    )

    def change(seq: ScalarSelect[Any]) -> Update:
        return (
            update(tasks)
            .where(_IS_EXPECTED, seq.is_not(None))
            .values(status=status, updated_at=_MOMENT, completed_at=completed_at, version=seq, **values)
            .returning(*TASK_COLUMNS)
        )

    return _Raised(dialect, _IS_LOCKED, is_shared).write(change)


def _status(status: Status) -> ColumnElement[Any]:
    return literal_column(f"'{status.value}'", tasks.c.status.type)


def _new_or_kept(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Return the parameter *name*, or the value of *column* if the parameter is null."""
    return func.coalesce(parameter(name, column), column)


def _new_unless_kept(column: ColumnElement[Any], name: str, keep: str) -> ColumnElement[Any]:
    """Return the value of *column* if the parameter *keep* is true, otherwise the parameter *name*, even if null."""
    return case((bindparam(keep, type_=Boolean()), column), else_=parameter(name, column))


def _update(dialect: Dialect, *, is_shared: bool = False) -> Sequence[Executable]:
    return _changing(
        dialect,
        _new_or_kept(tasks.c.status, "new_status"),
        is_shared=is_shared,
        title=_new_or_kept(tasks.c.title, "new_title"),
        title_folded=_new_or_kept(tasks.c.title_folded, "new_title_folded"),
        description=_new_unless_kept(tasks.c.description, "new_description", "keep_description"),
        description_folded=_new_unless_kept(tasks.c.description_folded, "new_description_folded", "keep_description"),
        priority=_new_or_kept(tasks.c.priority, "new_priority"),
        due_at=_new_unless_kept(tasks.c.due_at, "new_due_at", "keep_due_at"),
        tags=_new_or_kept(tasks.c.tags, "new_tags"),
    )


def _toggle(dialect: Dialect, *, is_shared: bool = False) -> Sequence[Executable]:
    is_completed = tasks.c.status == _status(Status.COMPLETED)
    toggled = case((is_completed, _status(Status.PENDING)), else_=_status(Status.COMPLETED))
    return _changing(dialect, toggled, is_shared=is_shared)


def _delete(dialect: Dialect, *, is_shared: bool = False) -> Sequence[Executable]:
    def remove(seq: ScalarSelect[Any]) -> Any:
        return delete(tasks).where(_IS_EXPECTED, seq.is_not(None)).returning(tasks.c.id, tasks.c.user_id)

    return _Raised(dialect, _IS_LOCKED, is_shared).write(remove)


def _new_task(dialect: Dialect) -> Callable[[ScalarSelect[Any]], Insert]:
    """Return a function that makes the statement that inserts a task unless its id is taken."""
    given = [column for column in tasks.c if column is not tasks.c.version]

    def add(seq: ScalarSelect[Any]) -> Insert:
        values = select(*[parameter(f"new_{column.name}", column) for column in given], seq).where(seq.is_not(None))
        added: Insert = (
            insert_into(tasks, dialect)
            .from_select([*given, tasks.c.version], values)
            .on_conflict_do_nothing()
            .returning(tasks.c.id, tasks.c.user_id, tasks.c.version)
        )
        return added

    return add


def _create(dialect: Dialect, *, is_shared: bool = False) -> Sequence[Executable]:
    is_taken = exists(select(tasks.c.id).where(IS_OWN, tasks.c.id == parameter("new_id", tasks.c.id)))
    return _Raised(dialect, ~is_taken, is_shared).write(_new_task(dialect))


def _create_once(dialect: Dialect) -> Sequence[Executable]:
    """Return the statements that insert a task, unless its key is known, and delete some expired keys."""
    names = {keys.c.user_id: "owner", keys.c.key: "which_key", keys.c.task_id: "new_id", keys.c.created_at: "now"}
    values = {column: parameter(names.get(column, "its_fingerprint"), column) for column in keys.c}
    known = insert_into(keys, dialect).values(values).on_conflict_do_nothing().returning(keys.c.task_id)
    is_old = and_(keys.c.user_id == _OWNER, keys.c.created_at < parameter("forget_before", keys.c.created_at))
    oldest = select(keys.c.key).where(is_old).order_by(keys.c.created_at).limit(literal(FORGOTTEN_AT_ONCE))
    forget = delete(keys).where(keys.c.user_id == _OWNER, keys.c.key.in_(oldest))
    if dialect.name == "sqlite":
        return (*_Raised(dialect, true(), is_shared=False).write(_new_task(dialect), known), forget)
    added = known.cte("known")
    raised = _Raised(dialect, exists(select(added.c.task_id)), is_shared=False)
    return raised.write(_new_task(dialect), forget.cte("forgotten"), added)


def _note_folded(dialect: Dialect) -> Sequence[Executable]:
    """Return the statement that records that all texts are folded, unless there have been writes since."""
    last_seq = parameter("last_seq", owners.c.seq)
    noted = insert_into(owners, dialect).values(user_id=_OWNER, seq=last_seq, is_folded=true())
    return (
        noted.on_conflict_do_update(
            index_elements=[owners.c.user_id], set_={"is_folded": true()}, where=owners.c.seq == last_seq
        ),
    )


# The functions that make the statements of each write.  Its rows begin with the id and the owner of the task.
WRITES: Mapping[str, Callable[[Dialect], Sequence[Executable]]] = {
    "create": _create,
    "create_once": _create_once,
    "update": _update,
    "toggle": _toggle,
    "delete": _delete,
    "note_folded": _note_folded,
}
# The same for writes that share a transaction with others of their kind.
SHARED_WRITES: Mapping[str, Callable[[Dialect], Sequence[Executable]]] = {
    "create": partial(_create, is_shared=True),
    "update": partial(_update, is_shared=True),
    "toggle": partial(_toggle, is_shared=True),
    "delete": partial(_delete, is_shared=True),
}

Processor = Callable[[Any], Any]


def _reader(type_: Any, dialect: Dialect) -> Processor | None:
    """Return a function that converts the driver's value of a column; None if it needs no conversion."""
    driver_type = type_.dialect_impl(dialect)
    # SQLAlchemy's own functions do the same for any enum and any array, and take several times as long.
    if isinstance(driver_type, Enum) and driver_type.enum_class is not None:
        members: dict[Any, Any] = {member.value: member for member in driver_type.enum_class}
        return {**members, None: None}.__getitem__
    if isinstance(driver_type, ARRAY):
        return _tuple
    reader: Processor | None = driver_type.result_processor(dialect, None)
    return reader


def _tuple(texts: list[str] | None) -> tuple[str, ...] | None:
    return None if texts is None else tuple(texts)


@attrs.frozen
class Statement:
    """
    A statement compiled for one dialect.

    Attributes:
        sql: The text, with the driver's positional placeholders.
        parameters: The parameter at each position, and a function that converts its value for the driver.
        constants: The values of parameters that the statement itself sets.
        width: How many columns the result has.
        conversions: The indexes of columns with functions that convert the driver's values.
    """

    sql: str
    parameters: tuple[tuple[str, Processor | None], ...]
    constants: Mapping[str, Any]
    width: int
    conversions: tuple[tuple[int, Processor], ...]

    @classmethod
    def compile(cls, statement: Any, dialect: Dialect) -> Statement:
        """Compile *statement* for *dialect*.  This takes up to several milliseconds, so do it only once."""
        compiled: Any = statement.compile(dialect=dialect)
        parameters = []
        for name in compiled.positiontup:
            impl = compiled.binds[name].type.dialect_impl(dialect)
            parameters.append((name, impl.bind_processor(dialect)))
        columns = getattr(statement, "exported_columns", ())
        readers = [(index, _reader(column.type, dialect)) for index, column in enumerate(columns)]
        conversions = tuple((index, reader) for index, reader in readers if reader)
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        return cls(compiled.string, tuple(parameters), constants, len(columns), conversions)

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the driver's arguments for the *values* of the parameters."""
        if self.constants:
            values = {**self.constants, **values}
        return [process(values[name]) if process else values[name] for name, process in self.parameters]

    def read(self, row: Sequence[Any]) -> list[Any]:
        """Return the first columns of the driver's *row*, as many as this statement has, converted."""
        values = list(row[: self.width])
        for index, convert in self.conversions:
            values[index] = convert(values[index])
        return values
