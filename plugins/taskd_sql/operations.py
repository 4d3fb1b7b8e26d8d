"""What operators' commands need from the store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from taskd.storage import StoreError
from taskd_sql.url import PostgresURL, SQLiteURL

if TYPE_CHECKING:
    from taskd.data import Erased, Importer, Record, Statistics
    from taskd_sql.engine.postgres import PostgresDatabase
    from taskd_sql.engine.sqlite import SQLiteDatabase

__all__ = ["Operations"]

GUIDE = "docs/guides/data.md shows how"

# Importing what the methods need is slow, and serving does not need it.


class Operations:
    """The methods of `taskd.data.Portable` and `taskd.data.Backupable`, for the store."""

    __slots__ = ()

    if TYPE_CHECKING:
        database: PostgresDatabase | SQLiteDatabase

    async def export(self, owner: str | None = None) -> AsyncGenerator[Record, None]:
        """Yield everything, or everything of *owner*."""
        from taskd_sql import sessions, transfers  # noqa: PLC0415

        async with (
            sessions.session(self._direct_url, writes=False) as session,
            aclosing(transfers.export(session, owner)) as records,
        ):
            async for record in records:
                yield record

    @asynccontextmanager
    async def importing(self) -> AsyncIterator[Importer]:
        """Connect to the database, to store what was exported."""
        from taskd_sql import sessions, transfers  # noqa: PLC0415

        async with sessions.session(self._direct_url, writes=True) as session:
            yield transfers.SQLImporter(session)

    async def erase(self, owner: str) -> Erased:
        """Delete everything of *owner*."""
        from taskd_sql import sessions, transfers  # noqa: PLC0415

        async with sessions.session(self._direct_url, writes=True) as session:
            erased = await transfers.erase(session, owner)
            await session.forget_journal()
        return erased

    async def statistics(self) -> Statistics:
        """Count what the database contains."""
        from taskd_sql import sessions, transfers  # noqa: PLC0415

        async with sessions.session(self._direct_url, writes=False) as session:
            found = await transfers.statistics(session)
        url = self.database.url
        return attrs.evolve(found, size=_size(url.file)) if isinstance(url, SQLiteURL) else found

    async def backup(self, file: Path) -> str:
        """Copy the SQLite file."""
        from taskd_sql import backups  # noqa: PLC0415

        url = self.database.url
        if isinstance(url, PostgresURL):
            raise StoreError(f"back up PostgreSQL with pg_dump, or with a branch on Neon: {GUIDE}")
        return await backups.back_up(url.file, file)

    async def restore(self, file: Path) -> str:
        """Copy a backup to where the SQLite file was."""
        from taskd_sql import backups  # noqa: PLC0415

        url = self.database.url
        if isinstance(url, PostgresURL):
            raise StoreError(f"restore PostgreSQL with pg_restore, or with a branch on Neon: {GUIDE}")
        return await backups.restore(file, url.file)

    @property
    def _direct_url(self) -> PostgresURL | SQLiteURL:
        """The URL for long transactions, for which Neon advises against its pooler."""
        url = self.database.url
        return url.direct() if isinstance(url, PostgresURL) else url


def _size(file: Path) -> int:
    """Return how many bytes the database *file* and its journal have."""
    journal = file.with_name(f"{file.name}-wal")
    return file.stat().st_size + (journal.stat().st_size if journal.exists() else 0)
