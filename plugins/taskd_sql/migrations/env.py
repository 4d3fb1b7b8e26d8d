"""Set up Alembic, which runs this file for every command.  `taskd_sql.migrations.runner` passes the attributes."""

from __future__ import annotations

from typing import Any

from alembic import context

from taskd_sql.schema import VERSION_TABLE, metadata

attributes = context.config.attributes
options: dict[str, Any] = {
    "target_metadata": metadata,
    "version_table": VERSION_TABLE,
    # This applies to SQLite, too, where Alembic's default is not to use transactions.
    "transactional_ddl": True,
}
if context.is_offline_mode():
    context.configure(dialect_name=attributes["dialect"], literal_binds=True, **options)
else:
    # Alembic's batches change tables in SQLite by recreating them.
    context.configure(connection=attributes["connection"], render_as_batch=True, **options)
with context.begin_transaction():
    context.run_migrations()
