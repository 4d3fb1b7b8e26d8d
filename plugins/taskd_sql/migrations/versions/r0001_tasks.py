"""The table of tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BYTES = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
# SQLite has no time zones: there, times are ISO 8601 text in UTC.
_TIME = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "tasks",
        sa.Column("user_id", _BYTES, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("priority", sa.String(20), nullable=False),
        sa.Column("due_at", _TIME),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("completed_at", _TIME),
        sa.PrimaryKeyConstraint("user_id", "id"),
        sa.CheckConstraint("status IN ('pending', 'in_progress', 'completed')", name="tasks_status"),
        sa.CheckConstraint("priority IN ('low', 'medium', 'high', 'urgent')", name="tasks_priority"),
        sa.CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="tasks_completed_at"),
        sqlite_with_rowid=False,
    )
