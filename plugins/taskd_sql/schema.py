"""
The tables.  `schema.sql` says the same for PostgreSQL, and so do the migrations; tests compare them.

The key of the tasks begins with the owner and ends with an id that grows with time: one index serves a task, an
owner's list in the order it is wanted, and the isolation of owners from each other.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Enum,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    Uuid,
    insert,
    literal_column,
)
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import TypeDecorator, TypeEngine

from taskd import Priority, Status

__all__ = [
    "REVISIONS",
    "VERSION_TABLE",
    "creation",
    "is_newer",
    "metadata",
    "revision_in",
    "tasks",
    "version",
    "version_fault",
]

# Every revision of the schema that this taskd knows, the oldest first; the last is the one that it needs.
REVISIONS = ("0001",)
# Not Alembic's own name for it: the frontend may have migrations of its own in the same database.
VERSION_TABLE = "taskd_version"


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

version = Table(
    VERSION_TABLE,
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)


def creation(dialect: Dialect) -> Iterator[str]:
    """Return the statements that make everything in an empty database."""
    for table in metadata.sorted_tables:
        yield str(CreateTable(table).compile(dialect=dialect))
    stamp = insert(version).values(version_num=literal_column(f"'{REVISIONS[-1]}'"))
    yield str(stamp.compile(dialect=dialect))


def revision_in(rows: Sequence[Sequence[Any]]) -> str | None:
    """Return the revision that *rows* of the version table say; if there are several, one that nobody knows."""
    return " and ".join(sorted(row[0] for row in rows)) or None


def is_newer(revision: str | None) -> bool:
    """Tell whether a database at *revision* was migrated by a taskd that knows more revisions than this one."""
    return revision is not None and revision not in REVISIONS


def version_fault(revision: str | None) -> str | None:
    """Say why a database at *revision* does not serve; None if it does."""
    needed = REVISIONS[-1]
    if is_newer(revision):
        return f"it is at revision {revision}, ahead of this taskd, which needs {needed}: update taskd"
    if revision != needed:
        return f"it is at revision {revision or 'none'}, behind this taskd, which needs {needed}: run taskd migrate"
    return None
