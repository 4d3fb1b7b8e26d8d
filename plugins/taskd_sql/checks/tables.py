"""Check the tables in PostgreSQL: whether they are as taskd made them, and whether something hides or refuses rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple

from sqlalchemy import Dialect

from taskd.checks import Check, Outcome
from taskd_sql.engine.postgres import PostgresDatabase
from taskd_sql.schema import REVISIONS, VERSION_TABLE, keys, owners, tasks

__all__ = ["CHECKS", "without_schema"]

_OURS = (tasks, owners, keys)
_TRIGGERS = {"tasks_inserted", "tasks_updated", "tasks_deleted", "tasks_moved", "tasks_truncated"}
_AS_IN_SCHEMA = "See schema.sql for how it must be"

# The tables that statements find.
_FOUND = "SELECT to_regclass(name) FROM unnest(ARRAY['tasks', 'owners', 'idempotency_keys']) AS name"
_COLUMNS = f"""
    SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), o.collname::text, a.attnotnull,
        a.atthasdef OR a.attidentity <> ''
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    LEFT JOIN pg_collation AS o ON o.oid = a.attcollation
    WHERE a.attrelid IN ({_FOUND}) AND a.attnum > 0 AND NOT a.attisdropped
"""  # noqa: S608  our own names
_INDEXES = f"""
    SELECT c.relname::text, x.relname::text, i.indisunique AND i.indimmediate, i.indisvalid AND i.indisready,
        CASE WHEN i.indpred IS NULL AND i.indexprs IS NULL THEN ARRAY(
            SELECT a.attname::text FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number ORDER BY k.place) END
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid JOIN pg_class AS x ON x.oid = i.indexrelid
    WHERE i.indrelid IN ({_FOUND})
"""  # noqa: S608  our own names
_TABLES = f"""
    SELECT c.relname::text, c.relkind::text, c.relpersistence::text, n.nspname::text, row_security_active(c.oid),
        ARRAY(SELECT h.inhrelid::regclass::text FROM pg_inherits AS h WHERE h.inhparent = c.oid AND c.relkind <> 'p'),
        EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid AND NOT (p.polpermissive AND p.polcmd = '*'
            AND pg_get_expr(p.polqual, c.oid) = 'true')) OR NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid IN ({_FOUND}) OR c.oid = to_regclass('{VERSION_TABLE}') ORDER BY c.relname
"""  # noqa: S608  our own names
_OTHERS = f"""
    SELECT 'trigger ' || tgname, tgname::text, tgrelid::regclass::text, tgenabled IN ('O', 'A') FROM pg_trigger
    WHERE tgrelid IN ({_FOUND}) AND NOT tgisinternal
    UNION ALL SELECT 'rule ' || rulename, NULL, ev_class::regclass::text, true FROM pg_rewrite
    WHERE ev_class IN ({_FOUND}) AND rulename <> '_RETURN'
    UNION ALL SELECT 'constraint ' || conname, NULL, conrelid::regclass::text, true FROM pg_constraint
    WHERE conrelid IN ({_FOUND}) AND contype IN ('c', 'f', 'u', 'x')
        AND conname NOT IN ('tasks_status', 'tasks_priority', 'tasks_completed_at')
    UNION ALL SELECT 'unique index ' || x.relname, NULL, i.indrelid::regclass::text, true
    FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
    WHERE i.indrelid IN ({_FOUND}) AND i.indisunique AND NOT i.indisprimary
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
    ORDER BY 1
"""  # noqa: S608  our own names
# Schemas in which there is another set of taskd's tables.
_ELSEWHERE = f"""
    SELECT n.nspname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relname = '{VERSION_TABLE}' AND c.relkind IN ('r', 'p') AND c.oid <> to_regclass('{VERSION_TABLE}')
    ORDER BY 1
"""  # noqa: S608  our own names


class _Column(NamedTuple):
    """A column as the catalog describes it."""

    table: str
    name: str
    type: str
    collation: str | None
    is_required: bool
    has_default: bool


async def _columns(database: PostgresDatabase) -> Check:
    found = {(each.table, each.name): each for each in (_Column(*row) for row in await database.fetch(_COLUMNS))}
    for wrong, remedy in _wrong_columns(found, database.dialect):
        return Check("columns", Outcome.FAILED, wrong, remedy)
    return Check("columns", Outcome.OK, f"as taskd {REVISIONS[-1][:4]} made them")


def _wrong_columns(found: Mapping[tuple[str, str], _Column], dialect: Dialect) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the columns that were *found*, and the remedy."""
    for needed in _needed(dialect):
        key, table = (needed.table, needed.name), needed.table
        column = found.get(key)
        if column is None:
            yield f"{table}.{needed.name} is missing", f"Restore a backup, or add it. {_AS_IN_SCHEMA}."
        elif column.type != needed.type or (needed.collation and column.collation != needed.collation):
            type_ = f'{needed.type} COLLATE "C"' if needed.collation else needed.type
            was = f"{column.type}, collation {column.collation}" if needed.collation else column.type
            yield f"{table}.{needed.name} is {was}", f"ALTER TABLE {table} ALTER {needed.name} TYPE {type_};"
        elif column.is_required and not needed.is_required:
            yield f"{table}.{needed.name} is required", f"ALTER TABLE {table} ALTER {needed.name} DROP NOT NULL;"
    known = {(each.table, each.name) for each in _needed(dialect)}
    for (table, name), column in found.items():
        if (table, name) not in known and column.is_required and not column.has_default:
            yield f"{table}.{name}, which taskd does not fill, is required", f"ALTER TABLE {table} DROP {name};"


def _needed(dialect: Dialect) -> Iterator[_Column]:
    for table in _OURS:
        for column in table.c:
            text, _, collation = column.type.compile(dialect).lower().partition(" collate ")
            type_ = text.replace("varchar", "character varying")
            yield _Column(table.name, column.name, type_, "C" if collation else None, not column.nullable, False)


async def _keys(database: PostgresDatabase) -> Check:
    found = await database.fetch(_INDEXES)
    for table in _OURS:
        columns = [column.name for column in table.primary_key]
        same = [row for row in found if row[0] == table.name and row[4] == columns and row[2]]
        if not same:
            remedy = f"ALTER TABLE {table.name} ADD PRIMARY KEY ({', '.join(columns)});"
            return Check("keys", Outcome.FAILED, f"{table.name} has no primary key", remedy)
        if not any(row[3] for row in same):
            return Check(
                "keys", Outcome.FAILED, f"the key of {table.name} is not valid", f"REINDEX INDEX {same[0][1]};"
            )
    for index in keys.indexes:
        columns = [column.name for column in index.columns]
        if not any(row[0] == keys.name and row[4] == columns and row[3] for row in found):
            remedy = f"CREATE INDEX {index.name} ON {keys.name} ({', '.join(columns)}); If it is there, REINDEX it."
            return Check("keys", Outcome.NOTE, f"the index {index.name} is missing or not valid", remedy)
    return Check("keys", Outcome.OK, "all keys and indexes are valid")


async def _tables(database: PostgresDatabase) -> Check:
    rows = await database.fetch(_TABLES)
    for name, kind, persistence, _, _, children, *_ in rows:
        if kind not in ("r", "p"):
            remedy = "Set the search_path of the user in DATABASE_URL to the schema of taskd's tables."
            return Check("tables", Outcome.FAILED, f"{name} is not a table", remedy)
        if persistence != "p":
            finding = f"{name} is {'unlogged' if persistence == 'u' else 'temporary'}: a crash empties it"
            return Check("tables", Outcome.FAILED, finding, f"ALTER TABLE {name} SET LOGGED;")
        if children:
            finding = f"{', '.join(children)} inherits from {name}, so its rows are listed, too"
            return Check("tables", Outcome.FAILED, finding, f"ALTER TABLE {children[0]} NO INHERIT {name};")
    return await _in_one_schema(database, {name: schema for name, _, _, schema, *_ in rows})


async def _in_one_schema(database: PostgresDatabase, schemas: Mapping[str, str]) -> Check:
    """Check that the tables are in the same schema, and that there are no others of the same names."""
    remedy = (
        "Set the search_path of the user in DATABASE_URL to one schema, or move the tables: ALTER TABLE … SET SCHEMA."
    )
    if len(set(schemas.values())) > 1:
        places = ", ".join(f"{schema}.{name}" for name, schema in schemas.items())
        return Check("tables", Outcome.FAILED, f"they are in different schemas: {places}", remedy)
    [schema] = set(schemas.values())
    if others := [row[0] for row in await database.fetch(_ELSEWHERE)]:
        finding = f"in schema {schema}; there are others in {', '.join(others)}, whose tasks are not shown"
        return Check("tables", Outcome.NOTE, finding, remedy)
    return Check("tables", Outcome.OK, f"in schema {schema}")


async def _row_security(database: PostgresDatabase) -> Check:
    rows = await database.fetch(_TABLES)
    active = [(name, is_limited) for name, _, _, _, is_active, _, is_limited in rows if is_active]
    if not active:
        return Check("row security", Outcome.OK, "off for this user")
    names = ", ".join(name for name, _ in active)
    remedy = f'ALTER TABLE {active[0][0]} DISABLE ROW LEVEL SECURITY; or ALTER ROLE "{database.url.user}" BYPASSRLS;'
    if any(is_limited for _, is_limited in active):
        finding = f"policies may hide or refuse rows of {names}"
        return Check("row security", Outcome.FAILED, finding, remedy)
    return Check("row security", Outcome.NOTE, f"on for {names}, with policies that allow everything", remedy)


async def _others(database: PostgresDatabase) -> Check:
    """Check the triggers, and what somebody else has added."""
    rows = await database.fetch(_OTHERS)
    own = {name: is_enabled for _, name, _, is_enabled in rows if name in _TRIGGERS}
    if missing := sorted(name for name in _TRIGGERS if not own.get(name)):
        remedy = f"ALTER TABLE tasks ENABLE TRIGGER {missing[0]}; or create it as in schema.sql."
        return Check("triggers", Outcome.FAILED, f"missing or disabled: {', '.join(missing)}", remedy)
    if others := [f"{what} on {table}" for what, name, table, _ in rows if name not in _TRIGGERS]:
        remedy = "Drop what may refuse, change or hide tasks."
        return Check("triggers", Outcome.NOTE, f"not taskd's: {', '.join(others)}", remedy)
    return Check("triggers", Outcome.OK, "complete")


def without_schema(name: str) -> Check:
    """Return the check called *name* for a database that does not have the schema of this taskd."""
    return Check(name, Outcome.NOT_CHECKED, "the schema is not that of this taskd")


CHECKS: Mapping[str, Callable[[PostgresDatabase], Awaitable[Check]]] = {
    "tables": _tables,
    "columns": _columns,
    "keys": _keys,
    "row security": _row_security,
    "triggers": _others,
}
