"""The table of holidays, in the database with the tasks."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import attrs
from sqlalchemy import Column, Date, MetaData, Table, Text, delete, insert, inspect, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from taskd.storage import StoreUnavailable
from taskd_holidays.settings import Settings

__all__ = ["Database", "Day"]

metadata = MetaData()
# The name begins with that of the plugin, so that it is not taken by the frontend or another plugin.
days = Table(
    "holidays_days",
    metadata,
    Column("day", Date(), primary_key=True),
    Column("name", Text(), nullable=False),
)


@attrs.frozen
class Day:
    """A holiday."""

    day: dt.date
    name: str


@attrs.frozen
class Database:
    """
    The holidays.

    Every method raises `StoreUnavailable` if the database cannot be used; clients then get a 503.
    """

    engine: AsyncEngine

    @classmethod
    def of(cls, settings: Settings, *, may_migrate: bool = False) -> Database:
        """Return the database that the settings name, without connecting to it."""
        arguments = settings.engine(may_migrate=may_migrate)
        return cls(create_async_engine(**arguments, pool_size=2, max_overflow=0, pool_timeout=3, pool_pre_ping=True))

    @contextlib.asynccontextmanager
    async def closing(self) -> AsyncIterator[Database]:
        """Close all connections at the end of the block."""
        try:
            yield self
        finally:
            await self.engine.dispose()

    async def migrate(self) -> bool:
        """Create the table, and tell whether it was missing."""
        async with self._transaction() as connection:
            is_missing = not await _has_table(connection)
            await connection.run_sync(metadata.create_all)
        return is_missing

    async def has_table(self) -> bool:
        """Tell whether there is a table."""
        async with self._transaction() as connection:
            return await _has_table(connection)

    async def between(self, first: dt.date, last: dt.date) -> Sequence[Day]:
        """Return the holidays from *first* to *last*, in order."""
        statement = select(days.c.day, days.c.name).where(days.c.day.between(first, last)).order_by(days.c.day)
        async with self._transaction() as connection:
            return [Day(row.day, row.name) for row in await connection.execute(statement)]

    async def replace(self, known: Iterable[Day]) -> None:
        """Make *known* the only holidays of their years; of several on one day, the last one counts."""
        rows = {each.day: attrs.asdict(each) for each in known}
        async with self._transaction() as connection:
            for year in {day.year for day in rows}:
                await connection.execute(delete(days).where(days.c.day.between(*year_of(year))))
            if rows:
                await connection.execute(insert(days), list(rows.values()))

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        self._check_file()
        try:
            async with self.engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            # The message may quote values, so only the type is shown: that of the driver's error, if there is one.
            kind = type(getattr(error, "orig", None) or error).__name__
            raise StoreUnavailable(f"the holidays are not available ({kind}): run taskd doctor") from error

    def _check_file(self) -> None:
        """Refuse to connect to a file that is not there: SQLite would create one that others can read."""
        url = self.engine.url
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            raise StoreUnavailable("there is no database for the holidays yet: run taskd migrate")


def year_of(year: int) -> tuple[dt.date, dt.date]:
    """Return the first and the last day of a year."""
    return dt.date(year, 1, 1), dt.date(year, 12, 31)


async def _has_table(connection: AsyncConnection) -> bool:
    return await connection.run_sync(lambda each: inspect(each).has_table(days.name))
