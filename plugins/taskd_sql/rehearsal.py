"""Let `taskd doctor` do what users do, in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from taskd.storage import StoreUnavailable, TaskStore
from taskd_sql.store import SQLTaskStore
from taskd_sql.url import SQLiteURL

__all__ = ["rehearse"]


@attrs.define(eq=False)
class _RehearsedStore(SQLTaskStore):
    """A store whose outages are reported by its caller alone."""

    def _note_outage(self, error: StoreUnavailable, *, is_read: bool = True, is_ping: bool = False) -> None:  # noqa: ARG002
        error.is_logged = True


async def rehearse(store: SQLTaskStore, act: Callable[[TaskStore], Awaitable[None]]) -> None:
    """Call *act* with a store that runs the statements of *store*, and roll back what it has written."""
    database, migration_url = store.database, store.migration_url
    # Importing the drivers is slow, and a server uses only one of them.
    if isinstance(database.url, SQLiteURL):
        from taskd_sql.engine.sqlite_rehearsal import SQLiteRehearsal  # noqa: PLC0415

        await SQLiteRehearsal.of(database, lambda copy: act(_RehearsedStore(copy, migration_url)))
        return
    from taskd_sql.engine.postgres_rehearsal import PostgresRehearsal  # noqa: PLC0415

    await PostgresRehearsal.of(database, lambda copy: act(_RehearsedStore(copy, migration_url)))
