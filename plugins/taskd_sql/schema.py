"""
The table.  `schema.sql` says the same for PostgreSQL; a test compares the two.

The key begins with the owner and ends with an id that grows with time: one index serves a task, an owner's list in the
order it is wanted, and the isolation of owners from each other.
"""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any

from sqlalchemy import CheckConstraint, Column, DateTime, Dialect, Enum, MetaData, String, Table, Text, Uuid
from sqlalchemy.types import TypeDecorator, TypeEngine

from taskd import Priority, Status

__all__ = ["metadata", "tasks"]


class UTCDateTime(TypeDecorator[dt.datetime]):
    """An aware time in UTC: `timestamptz`, or, as SQLite knows no zones, ISO 8601 text of one length that sorts."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column's type."""
        return String(32) if dialect.name == "sqlite" else DateTime(timezone=True)

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> Any:
        """Write a time."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(dt.timezone.utc).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        """Read a time."""
        if isinstance(value, str):
            return dt.datetime.fromisoformat(value)
        # asyncpg writes the first and the last moment that Python knows as infinity, and reads them without a zone.
        moment: dt.datetime | None = value
        return moment.replace(tzinfo=dt.timezone.utc) if moment is not None and moment.tzinfo is None else moment


def _one_of(members: type[enum.Enum], name: str) -> Enum:
    """Return the type of a text that is the value of one of *members*, and a constraint of that *name*."""
    values = [member.value for member in members]
    return Enum(
        members, native_enum=False, create_constraint=True, name=name, length=20, values_callable=lambda _: values
    )


metadata = MetaData()

tasks = Table(
    "tasks",
    metadata,
    # The byte order of "C" is all that equality and the index need, and it does not change with the system's locales.
    Column("user_id", Text().with_variant(Text(collation="C"), "postgresql"), primary_key=True),
    Column("id", Uuid(), primary_key=True),
    Column("title", Text(), nullable=False),
    Column("description", Text()),
    Column("status", _one_of(Status, "tasks_status"), nullable=False),
    Column("priority", _one_of(Priority, "tasks_priority"), nullable=False),
    Column("due_at", UTCDateTime()),
    Column("created_at", UTCDateTime(), nullable=False),
    Column("updated_at", UTCDateTime(), nullable=False),
    Column("completed_at", UTCDateTime()),
    CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="tasks_completed_at"),
    sqlite_with_rowid=False,
)
