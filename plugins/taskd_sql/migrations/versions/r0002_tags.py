"""The tags of tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_serves_0001"
down_revision = "0001"

# SQLite has no arrays: there, tags are a JSON array.
_TEXTS = sa.Text().with_variant(sa.ARRAY(sa.Text()), "postgresql")


def upgrade() -> None:
    """
    Add the column.

    Its default is for older servers, which continue to create tasks.  Neither database rewrites the table for a
    constant default, so PostgreSQL holds its exclusive lock only for a moment.
    """
    empty = "{}" if op.get_context().dialect.name == "postgresql" else "[]"
    op.add_column("tasks", sa.Column("tags", _TEXTS, nullable=False, server_default=empty))
