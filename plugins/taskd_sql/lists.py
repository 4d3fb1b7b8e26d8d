"""
Build the statements that list tasks.

There is one statement for each combination of sorting, filtering and paging.  It is compiled on first use, and takes
the values of the filters as parameters.  The index of the primary key finds the owner's rows in the default order, so
PostgreSQL and SQLite sort only for the other orders.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import attrs
from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Dialect,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.compiler import compiles

from taskd.queries import Order, Position, Sort, TaskQuery
from taskd.storage import EVERYTHING
from taskd.tasks import Priority, Status
from taskd_sql.schema import owners, tasks
from taskd_sql.statements import IS_OWN, IS_UNFOLDED, TASK_COLUMNS, Statement, parameter

__all__ = ["Header", "ListStatements", "arguments"]

# The index of `version`, the last of the task's columns in every row.
_VERSION = len(TASK_COLUMNS) - 1
# More tasks than any user has.
_NO_LIMIT = 2**62

_STATUS_BITS = {status: 1 << number for number, status in enumerate(Status)}
_PRIORITY_BITS = {priority: 1 << number for number, priority in enumerate(Priority)}
_ZERO: ColumnElement[int] = literal_column("0", Integer())
_ONE: ColumnElement[int] = literal_column("1", Integer())
# Stands in for a missing `due_at`.  Tasks that have one are never compared with it.
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


class _Contains(ColumnElement[bool]):
    """Whether a text contains another one."""

    inherit_cache = False

    def __init__(self, text: ColumnElement[str], part: ColumnElement[str]) -> None:
        self.text, self.part = text, part
        self.type = Boolean()


@compiles(_Contains)
def _write_contains(element: _Contains, compiler: Any, **options: Any) -> str:
    name = "instr" if compiler.dialect.name == "sqlite" else "strpos"
    text, part = compiler.process(element.text, **options), compiler.process(element.part, **options)
    return f"({name}({text}, {part}) > 0)"


class _HasAll(ColumnElement[bool]):
    """Whether a list of texts contains all texts of another list."""

    inherit_cache = False

    def __init__(self, texts: ColumnElement[Any], needed: ColumnElement[Any]) -> None:
        self.texts, self.needed = texts, needed
        self.type = Boolean()


@compiles(_HasAll)
def _write_has_all(element: _HasAll, compiler: Any, **options: Any) -> str:
    texts, needed = compiler.process(element.texts, **options), compiler.process(element.needed, **options)
    if compiler.dialect.name == "sqlite":
        missing = f"SELECT 1 FROM json_each({needed}) WHERE value NOT IN (SELECT value FROM json_each({texts}))"  # noqa: S608
        return f"(NOT EXISTS ({missing}))"
    return f"({texts} @> {needed})"


def _bits(column: ColumnElement[Any], bits: Mapping[Any, int]) -> ColumnElement[int]:
    """Return an expression for the bit of *column*'s value; the bits sort like the values."""
    whens: dict[Any, Any] = {
        literal_column(f"'{member.value}'"): literal_column(str(bit), Integer()) for member, bit in bits.items()
    }
    return case(whens, value=column)


_STATUS = _bits(tasks.c.status, _STATUS_BITS)
_PRIORITY = _bits(tasks.c.priority, _PRIORITY_BITS)


def _is_among(bit: ColumnElement[int], mask: str) -> ColumnElement[bool]:
    return bit.bitwise_and(bindparam(mask, type_=Integer())) != _ZERO


def _filters() -> ColumnElement[bool]:
    """Return the condition that a task passes all filters; `arguments` supplies its parameters."""
    after, before = parameter("due_after", tasks.c.due_at), parameter("due_before", tasks.c.due_at)
    text = parameter("search", tasks.c.title_folded)
    return and_(
        _is_among(_STATUS, "statuses"),
        _is_among(_PRIORITY, "priorities"),
        or_(after.is_(None), tasks.c.due_at >= after),
        or_(before.is_(None), tasks.c.due_at < before),
        _HasAll(tasks.c.tags, parameter("needed_tags", tasks.c.tags)),
        or_(
            text.is_(None),
            _Contains(tasks.c.title_folded, text),
            _Contains(tasks.c.description_folded, text),
        ),
    )


@attrs.frozen
class _Key:
    """An expression to sort tasks by, and its direction.  It is never null."""

    value: ColumnElement[Any]
    order: Order

    def ordered(self) -> ColumnElement[Any]:
        return self.value.asc() if self.order is Order.ASC else self.value.desc()

    def is_after(self, start: ColumnElement[Any]) -> ColumnElement[bool]:
        return self.value > start if self.order is Order.ASC else self.value < start


def _keys(sort: Sort, order: Order) -> Sequence[_Key]:
    """Return the keys to sort by.  The last one is the id, which is unique."""
    values: Mapping[Sort, Sequence[_Key]] = {
        Sort.CREATED_AT: (),
        Sort.UPDATED_AT: (_Key(tasks.c.updated_at, order),),
        Sort.DUE_AT: (
            _Key(case((tasks.c.due_at.is_(None), _ONE), else_=_ZERO), Order.ASC),
            _Key(func.coalesce(tasks.c.due_at, literal(_EPOCH, tasks.c.due_at.type)), order),
        ),
        Sort.PRIORITY: (_Key(_PRIORITY, order),),
        Sort.TITLE: (_Key(tasks.c.title_folded, order),),
    }
    return (*values[sort], _Key(tasks.c.id, order))


def _values_at(sort: Sort, position: Position) -> Sequence[Any]:
    """Return the values of the keys of *sort* at *position*."""
    key: Any = position.key
    values: Mapping[Sort, Sequence[Any]] = {
        Sort.CREATED_AT: (),
        Sort.DUE_AT: (int(key is None), _EPOCH if key is None else key),
        Sort.PRIORITY: (1 << key,) if sort is Sort.PRIORITY else (),
    }
    return (*values.get(sort, (key,)), position.id)


def _is_on_page(keys: Iterator[_Key], numbers: Iterator[int]) -> ColumnElement[bool]:
    """Return the condition that a task comes after the start of the page, going by the first key that differs."""
    key = next(keys)
    start = bindparam(f"start_{next(numbers)}", type_=key.value.type)
    if key.value is tasks.c.id:
        return key.is_after(start)
    return or_(key.is_after(start), and_(key.value == start, _is_on_page(keys, numbers)))


@attrs.frozen
class _Kind:
    """
    What determines the statement for a query.

    Attributes:
        sort: What to sort by.
        order: The direction.
        is_filtered: Whether the query has filters.
        is_later_page: Whether the page is not the first one.
        is_detailed: Whether the first row has more than the owner's `seq`.
    """

    sort: Sort
    order: Order
    is_filtered: bool
    is_later_page: bool
    is_detailed: bool

    @classmethod
    def of(cls, query: TaskQuery) -> _Kind:
        is_filtered = query.is_filtered
        is_detailed = is_filtered or query.count or query.sort is Sort.TITLE
        return cls(query.sort, query.order, is_filtered, query.after is not None, is_detailed)


def _statement(kind: _Kind) -> Any:
    """
    Return the statement for queries of this *kind*.

    The first row is a header: its `version` is the owner's `seq`, and its other task columns are null.  If the kind is
    detailed, two more columns, null in all other rows, hold the number of matching tasks, and whether some texts are
    not folded (null if that does not matter, or the owner is known to have none).  Because this is a single statement,
    everything in the result is from the same moment.  The header comes first: SQLite runs the parts of `UNION ALL` in
    order, and so does PostgreSQL unless it runs them in parallel, which the limit of the second part rules out.
    """
    keys = _keys(kind.sort, kind.order)
    matches = and_(IS_OWN, _filters()) if kind.is_filtered else IS_OWN
    total = select(func.count()).select_from(tasks).where(matches).scalar_subquery()
    is_unknown = and_(bindparam("needs_folded", type_=Boolean()), _of_owner(owners.c.is_folded).is_not(true()))
    details = (
        case((bindparam("wants_total", type_=Boolean()), total)),
        case((is_unknown, exists(select(tasks.c.id).where(IS_OWN, IS_UNFOLDED)))),
    )
    no_details = (cast(null(), BigInteger()).label("total"), cast(null(), Boolean()).label("has_unfolded"))
    header = select(
        *[_of_owner(owners.c.seq) if column is tasks.c.version else _no(column) for column in TASK_COLUMNS],
        *(details if kind.is_detailed else ()),
    )
    rows: Select[Any] = (
        select(*TASK_COLUMNS, *(no_details if kind.is_detailed else ()))
        .where(matches, _is_on_page(iter(keys), count()) if kind.is_later_page else true())
        .order_by(*[key.ordered() for key in keys])
        .limit(bindparam("row_limit", type_=BigInteger()))
    )
    return union_all(header, select(rows.subquery()))


def _no(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(null(), column.type).label(column.name)


def _of_owner(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return select(column).where(owners.c.user_id == parameter("owner", owners.c.user_id)).scalar_subquery()


def arguments(owner: str, query: TaskQuery, limit: int | None) -> Mapping[str, Any]:
    """Return the parameters of *query*'s statement, with *limit* instead of the query's own."""
    values = {
        "owner": owner,
        "row_limit": _NO_LIMIT if limit is None else limit,
        "wants_total": query.count,
        "needs_folded": query.sort is Sort.TITLE or bool(query.search),
    }
    if query.after is not None:
        values |= {f"start_{number}": value for number, value in enumerate(_values_at(query.sort, query.after))}
    if query.is_filtered:
        values |= {
            "statuses": sum(_STATUS_BITS[status] for status in query.statuses),
            "priorities": sum(_PRIORITY_BITS[priority] for priority in query.priorities),
            "due_after": query.due_after,
            "due_before": query.due_before,
            "needed_tags": query.tags,
            "search": query.folded_search,
        }
    return values


@attrs.frozen
class Header:
    """The contents of the first row: see `_statement`."""

    seq: int
    total: int | None
    has_unfolded: bool | None

    @classmethod
    def of(cls, row: Sequence[Any]) -> Header:
        """Return the header in *row*."""
        seq, *details = row[_VERSION:]
        total, has_unfolded = details or (None, None)
        return cls(seq or 0, total, None if has_unfolded is None else bool(has_unfolded))


@attrs.frozen
class ListStatements:
    """The statements for lists in one dialect; each is compiled on first use."""

    dialect: Dialect
    _compiled: dict[_Kind, Statement] = attrs.field(init=False, factory=dict)

    @functools.cached_property
    def _everything(self) -> Statement:
        """The most common one."""
        return Statement.compile(_statement(_Kind.of(EVERYTHING)), self.dialect)

    def get(self, query: TaskQuery) -> Statement:
        """Return the statement for *query*."""
        if query is EVERYTHING:
            return self._everything
        kind = _Kind.of(query)
        if kind not in self._compiled:
            self._compiled[kind] = Statement.compile(_statement(kind), self.dialect)
        return self._compiled[kind]
