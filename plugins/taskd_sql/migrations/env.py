"""What Alembic runs for each of its commands; `taskd_sql.migration` brings the connection, or a dialect's name."""

from __future__ import annotations

from typing import Any

from alembic import context

from taskd_sql.schema import VERSION_TABLE, metadata

attributes = context.config.attributes
options: dict[str, Any] = {
    "target_metadata": metadata,
    "version_table": VERSION_TABLE,
    # Also on SQLite, which Alembic would not trust with it.
    "transactional_ddl": True,
}
if context.is_offline_mode():
    context.configure(dialect_name=attributes["dialect"], literal_binds=True, **options)
else:
    # SQLite changes a table by making it anew, in a batch.
    context.configure(connection=attributes["connection"], render_as_batch=True, **options)
with context.begin_transaction():
    context.run_migrations()
