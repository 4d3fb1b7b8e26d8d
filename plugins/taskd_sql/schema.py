"""
Define the tables.  `schema.sql` creates the same tables in PostgreSQL, and so do the migrations; tests compare them.

The primary key of the tasks begins with the owner and ends with an id that increases over time.  So one index is enough
to find single tasks, list them in their default order, and isolate owners from each other.

Every statement that changes a task also raises its owner's `seq`, which locks the row in `owners`, so that an owner's
changes happen one after another.  Triggers raise `seq` for statements that do not: those of older servers, and those
that people type.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Enum,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    Uuid,
    false,
    insert,
    literal_column,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.types import TypeDecorator, TypeEngine

from taskd.tasks import Priority, Status

__all__ = [
    "COLUMNS",
    "REVISIONS",
    "VERSION_TABLE",
    "creation",
    "creation_of",
    "is_newer",
    "keys",
    "metadata",
    "owners",
    "revision_in",
    "table_error",
    "tasks",
    "version",
    "version_error",
]

# Every revision of the schema that this version of taskd knows, oldest first.  It needs the last one.
#
# A revision's name says which older versions of taskd it still supports: with the schema of `0003_serves_0002`, a
# version that needs revision 0002 works as before, both while the database is being migrated and afterwards.  A
# revision named just `0003` supports no older version.
REVISIONS = ("0001", "0002_serves_0001", "0003_serves_0001")
_NAME = re.compile(r"(?P<number>\d{4})(_serves_(?P<oldest>\d{4}))?", re.ASCII)
# Not Alembic's default name: the frontend may use Alembic in the same database.
VERSION_TABLE = "taskd_version"


class UTCDateTime(TypeDecorator[dt.datetime]):
    """An aware time in UTC: `timestamptz`, or in SQLite, which has no time zones, ISO 8601 text that sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column's type."""
        return String(32) if dialect.name == "sqlite" else DateTime(timezone=True)

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> Any:
        """Convert a time to the driver's value."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(dt.timezone.utc).isoformat(timespec="microseconds")

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], dt.datetime | None]:
        """Return a function that converts the driver's value to a time."""
        # SQLAlchemy would call a `process_result_value` from a function of its own, which takes twice as long.
        return _time_in_text if dialect.name == "sqlite" else _aware


def _time_in_text(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)


def _aware(moment: dt.datetime | None) -> dt.datetime | None:
    # asyncpg writes Python's earliest and latest times as infinity, and reads them back without a time zone.
    return moment.replace(tzinfo=dt.timezone.utc) if moment is not None and moment.tzinfo is None else moment


class JSONTexts(TypeDecorator[tuple[str, ...]]):
    """A tuple of texts as a JSON array, for SQLite, which has no arrays."""

    impl = Text
    cache_ok = True
    _decoder = msgspec.json.Decoder(tuple[str, ...])

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> Any:
        """Convert texts to the driver's value."""
        return None if value is None else msgspec.json.encode(value).decode()

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], tuple[str, ...]]:
        """Return a function that converts the driver's value to texts."""
        return self._decoder.decode


class NoTexts(ColumnElement[tuple[str, ...]]):
    """The default of a column of texts: none."""


@compiles(NoTexts)
def _write_no_texts(_: NoTexts, compiler: Any, **options: Any) -> str:  # noqa: ARG001
    return "'[]'" if compiler.dialect.name == "sqlite" else "'{}'"


def _one_of(members: type[enum.Enum], name: str) -> Enum:
    """Return a text type for the values of *members*, with a check constraint called *name*."""
    values = [member.value for member in members]
    return Enum(
        members, native_enum=False, create_constraint=True, name=name, length=20, values_callable=lambda _: values
    )


# Compares bytes, which sorts by code point, is enough for equality, and does not depend on the system's locales.
_BYTES = Text().with_variant(Text(collation="C"), "postgresql")
_TEXTS = JSONTexts().with_variant(ARRAY(Text(), as_tuple=True, dimensions=1), "postgresql")

metadata = MetaData()

tasks = Table(
    "tasks",
    metadata,
    Column("user_id", _BYTES, primary_key=True),
    Column("id", Uuid(), primary_key=True),
    Column("title", Text(), nullable=False),
    Column("description", Text()),
    Column("status", _one_of(Status, "tasks_status"), nullable=False),
    Column("priority", _one_of(Priority, "tasks_priority"), nullable=False),
    Column("due_at", UTCDateTime()),
    Column("created_at", UTCDateTime(), nullable=False),
    Column("updated_at", UTCDateTime(), nullable=False),
    Column("completed_at", UTCDateTime()),
    # The defaults are for older servers, which do not know these columns.
    Column("tags", _TEXTS, nullable=False, server_default=NoTexts()),
    Column("version", BigInteger(), nullable=False, server_default=text("0")),
    # The case-folded texts, for searching and sorting; null if an older server has written the text.
    Column("title_folded", _BYTES),
    Column("description_folded", _BYTES),
    CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="tasks_completed_at"),
)

owners = Table(
    "owners",
    metadata,
    Column("user_id", _BYTES, primary_key=True),
    # Rises with every change to the owner's tasks.
    Column("seq", BigInteger(), nullable=False),
    # Whether the texts of all of the owner's tasks are known to be folded.
    Column("is_folded", Boolean(), nullable=False, server_default=false()),
)

# The tasks that requests with an `Idempotency-Key` have created.
keys = Table(
    "idempotency_keys",
    metadata,
    Column("user_id", _BYTES, primary_key=True),
    Column("key", _BYTES, primary_key=True),
    Column("fingerprint", LargeBinary(), nullable=False),
    Column("task_id", Uuid(), nullable=False),
    Column("created_at", UTCDateTime(), nullable=False),
    Index("idempotency_keys_age", "user_id", "created_at"),
)

version = Table(
    VERSION_TABLE,
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)


# The columns that the table has had since the first revision.
_FIRST_COLUMNS = {column.name for column in tasks.c} - {"tags", "version", "title_folded", "description_folded"}

_RAISE = """
    INSERT INTO owners (user_id, seq) VALUES ({row}.user_id, 1)
    ON CONFLICT (user_id) DO UPDATE SET seq = seq + 1;
"""
_STAMP = """
    UPDATE owners SET is_folded = 0 WHERE user_id = NEW.user_id;
    UPDATE tasks
    SET version = (SELECT seq FROM owners WHERE user_id = NEW.user_id), title_folded = NULL, description_folded = NULL
    WHERE user_id = NEW.user_id AND id = NEW.id;
"""
# The triggers for new SQLite files.  Those for PostgreSQL are in `schema.sql`.
_SQLITE_TRIGGERS = (
    f"""CREATE TRIGGER tasks_inserted AFTER INSERT ON tasks WHEN NEW.version = 0 BEGIN
{_RAISE.format(row="NEW")}{_STAMP}END""",
    f"""CREATE TRIGGER tasks_updated AFTER UPDATE ON tasks
WHEN NEW.version = OLD.version AND NEW.title_folded IS OLD.title_folded
    AND NEW.description_folded IS OLD.description_folded BEGIN
{_RAISE.format(row="NEW")}{_STAMP}END""",
    f"""CREATE TRIGGER tasks_deleted AFTER DELETE ON tasks BEGIN
{_RAISE.format(row="OLD")}END""",
    f"""CREATE TRIGGER tasks_moved AFTER UPDATE OF user_id ON tasks WHEN NEW.user_id <> OLD.user_id BEGIN
{_RAISE.format(row="OLD")}END""",
)

# Queries for the columns of the table `tasks`, by dialect.
COLUMNS = {
    "postgresql": """
        SELECT attname::text FROM pg_attribute
        WHERE attrelid = to_regclass('tasks') AND attnum > 0 AND NOT attisdropped
    """,
    "sqlite": "SELECT name FROM pragma_table_info('tasks')",
}


def creation(dialect: Dialect) -> Iterator[str]:
    """Return the statements that create the schema in an empty SQLite file."""
    for table in metadata.sorted_tables:
        yield creation_of(table, dialect)
        for index in table.indexes:
            yield str(CreateIndex(index).compile(dialect=dialect))
    yield from _SQLITE_TRIGGERS
    stamp = insert(version).values(version_num=literal_column(f"'{REVISIONS[-1]}'"))
    yield str(stamp.compile(dialect=dialect))


def creation_of(table: Table, dialect: Dialect) -> str:
    """Return the statement that creates *table*, without its indexes."""
    created = str(CreateTable(table).compile(dialect=dialect)).rstrip()
    # Not an option of the table, because SQLAlchemy would import SQLite's dialect to check it, even for PostgreSQL.
    has_rowid = dialect.name != "sqlite" or table is version
    return created if has_rowid else f"{created} WITHOUT ROWID"


def revision_in(rows: Sequence[Sequence[Any]]) -> str | None:
    """Return the revision in the *rows* of the version table; several rows yield an unknown revision."""
    return " and ".join(sorted(row[0] for row in rows)) or None


def is_newer(revision: str | None) -> bool:
    """Tell whether *revision* is unknown to this version of taskd, and therefore a later one."""
    return revision is not None and revision not in REVISIONS


def version_error(revision: str | None) -> str | None:
    """Return why a database at *revision* cannot be used, or None if it can."""
    needed = REVISIONS[-1]
    if revision == needed or (revision is not None and _still_serves(revision)):
        return None
    if is_newer(revision):
        return f"it is at revision {revision}, ahead of this taskd, which needs {needed}: update taskd"
    return f"it is at revision {revision or 'none'}, behind this taskd, which needs {needed}: run taskd migrate"


def _still_serves(revision: str) -> bool:
    """Tell whether *revision* is a later one whose name says that it supports this version of taskd."""
    found, own = _NAME.fullmatch(revision), _NAME.fullmatch(REVISIONS[-1])
    if not (found and found["oldest"] and own):
        return False
    return found["oldest"] <= own["number"] < found["number"]


def table_error(revision: str | None, columns: Collection[str]) -> tuple[str, str] | None:
    """
    Return a problem with the tables that a migration cannot fix, and its remedy; None if there is no such problem.

    Args:
        revision: The revision in the version table.
        columns: The columns of the table `tasks`; empty if there is no such table.
    """
    if revision in REVISIONS[:-1] or (revision is None and not columns):
        return None
    if not columns:
        return _NO_TABLE
    needed = _FIRST_COLUMNS if revision is None else {column.name for column in tasks.c}
    if not needed <= set(columns):
        return _ANOTHER_TABLE
    return _NO_REVISION if revision is None else None


# What is wrong, and what to do about it.
_NO_TABLE = (
    f"{VERSION_TABLE} has a revision, but there is no table tasks",
    (
        f"Restore a backup; or, to start without tasks, drop the tables {VERSION_TABLE}, owners and idempotency_keys,"
        " and run taskd migrate."
    ),
)
_ANOTHER_TABLE = (
    "there is a table tasks that is not taskd's",
    "Give taskd a database of its own, or a schema that comes first in its user's search_path; or rename that table.",
)
_NO_REVISION = (
    f"there is a table tasks, but {VERSION_TABLE} has no revision",
    (
        f"Create {VERSION_TABLE} as in schema.sql, with revision {REVISIONS[0]} if tasks has no tags, {REVISIONS[1]} if"
        f" it has no version, or else {REVISIONS[-1]}."
    ),
)
