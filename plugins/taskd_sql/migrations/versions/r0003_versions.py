"""The versions of tasks, idempotency keys, and texts to search in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_serves_0001"
down_revision = "0002_serves_0001"

_BYTES = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
# SQLite has no time zones: there, times are ISO 8601 text in UTC.
_TIME = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")

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
_POSTGRES_TRIGGERS = (
    """CREATE OR REPLACE FUNCTION tasks_raise_version() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO owners AS o (user_id, seq) VALUES (NEW.user_id, 1)
    ON CONFLICT (user_id) DO UPDATE SET seq = o.seq + 1, is_folded = false
    RETURNING o.seq INTO NEW.version;
    NEW.title_folded := NULL;
    NEW.description_folded := NULL;
    RETURN NEW;
END $$""",
    """CREATE OR REPLACE FUNCTION tasks_note_deletion() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- Raising it once is enough, and raising it for each of many tasks would slow down a transaction more and more.
    IF NOT EXISTS (SELECT FROM owners WHERE user_id = OLD.user_id AND xmin = pg_current_xact_id()::xid) THEN
        INSERT INTO owners AS o (user_id, seq) VALUES (OLD.user_id, 1)
        ON CONFLICT (user_id) DO UPDATE SET seq = o.seq + 1;
    END IF;
    RETURN NULL;
END $$""",
    """CREATE OR REPLACE FUNCTION tasks_note_truncation() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE owners SET seq = seq + 1;
    RETURN NULL;
END $$""",
    """CREATE TRIGGER tasks_inserted BEFORE INSERT ON tasks FOR EACH ROW
WHEN (NEW.version = 0) EXECUTE FUNCTION tasks_raise_version()""",
    """CREATE TRIGGER tasks_updated BEFORE UPDATE ON tasks FOR EACH ROW
WHEN (NEW.version = OLD.version AND NEW.title_folded IS NOT DISTINCT FROM OLD.title_folded
    AND NEW.description_folded IS NOT DISTINCT FROM OLD.description_folded)
EXECUTE FUNCTION tasks_raise_version()""",
    """CREATE TRIGGER tasks_deleted AFTER DELETE ON tasks FOR EACH ROW EXECUTE FUNCTION tasks_note_deletion()""",
    """CREATE TRIGGER tasks_moved AFTER UPDATE OF user_id ON tasks FOR EACH ROW
WHEN (NEW.user_id <> OLD.user_id) EXECUTE FUNCTION tasks_note_deletion()""",
    """CREATE TRIGGER tasks_truncated AFTER TRUNCATE ON tasks FOR EACH STATEMENT
EXECUTE FUNCTION tasks_note_truncation()""",
)
# Roles with rights on the tasks need the same rights on the new tables.  Roles that may change tasks, in whatever way,
# also need those that the triggers use.
_POSTGRES_GRANTS = """DO $$
DECLARE role text; privilege text;
BEGIN
    FOR role, privilege IN
        SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type
        FROM pg_class, aclexplode(relacl)
        WHERE pg_class.oid = 'tasks'::regclass AND grantee <> relowner
            AND privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
    LOOP
        EXECUTE 'GRANT ' || privilege || ' ON owners, idempotency_keys TO ' || role;
        IF privilege <> 'SELECT' THEN
            EXECUTE 'GRANT SELECT, INSERT, UPDATE ON owners TO ' || role;
        END IF;
    END LOOP;
END $$"""


def upgrade() -> None:
    """
    Add columns, tables and triggers.

    Older servers do not know them: their tasks get the defaults, and the triggers raise the versions.  Neither database
    rewrites the table for a constant default, so PostgreSQL holds its exclusive lock only for a moment.
    """
    op.add_column("tasks", sa.Column("version", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.add_column("tasks", sa.Column("title_folded", _BYTES))
    op.add_column("tasks", sa.Column("description_folded", _BYTES))
    op.create_table(
        "owners",
        sa.Column("user_id", _BYTES, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("is_folded", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("user_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("user_id", _BYTES, nullable=False),
        sa.Column("key", _BYTES, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index("idempotency_keys_age", "idempotency_keys", ["user_id", "created_at"])
    is_postgres = op.get_context().dialect.name == "postgresql"
    for statement in (*_POSTGRES_TRIGGERS, _POSTGRES_GRANTS) if is_postgres else _SQLITE_TRIGGERS:
        op.execute(statement)
