"""`taskd holidays`."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import click

from taskd_holidays.database import Database, Day
from taskd_holidays.settings import Settings

__all__ = ["command"]

T = TypeVar("T")


def command(settings: Settings) -> click.Group:
    """Return the command."""

    @click.group()
    def holidays() -> None:
        """Keep the holidays up to date."""

    @holidays.command()
    def migrate() -> None:
        """Create the table, in the database with the tasks."""
        database = Database.of(settings, may_migrate=True)
        was_missing = asyncio.run(_closing(database, database.migrate()))
        click.echo("Created the table holidays_days." if was_missing else "The table is up to date.")

    @holidays.command("import")
    @click.argument("file", type=click.File(encoding="utf-8-sig"))
    def import_(file: Iterable[str]) -> None:
        """
        Import a CSV file with two columns: the date as 2026-12-25, and the name.

        The holidays of the years in the file replace those that were there.
        """
        known = [_day(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
        database = Database.of(settings)
        asyncio.run(_closing(database, database.replace(known)))
        click.echo(f"Imported {len(known)} holidays.")

    return holidays


async def _closing(database: Database, work: Coroutine[Any, Any, T]) -> T:
    async with database.closing():
        return await work


def _day(number: int, row: list[str]) -> Day:
    try:
        day, name = row
        return Day(dt.date.fromisoformat(day.strip()), name.strip())
    except ValueError:
        raise click.ClickException(f"row {number} is not of the form 2026-12-25,NAME") from None
