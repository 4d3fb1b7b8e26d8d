"""The hooks of the holidays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import click
from starlette.routing import Route

from taskd import hookimpl
from taskd.checks import Check, Outcome
from taskd.settings import load_settings
from taskd.storage import StoreUnavailable, TaskStore
from taskd_holidays.commands import command
from taskd_holidays.database import Database
from taskd_holidays.endpoints import HolidayEndpoints
from taskd_holidays.settings import Settings

__all__ = ["Holidays"]


class Holidays:
    """The plugin.  taskd makes an instance for each application."""

    def __init__(self) -> None:
        self._database: Database | None = None

    def _of(self, environ: Mapping[str, str]) -> Database:
        """Return the database that the routes, the lifespan and the checks share."""
        if self._database is None:
            self._database = Database.of(load_settings(Settings, environ))
        return self._database

    @hookimpl
    def taskd_routes(self, store: TaskStore, environ: Mapping[str, str]) -> Sequence[Route]:
        endpoints = HolidayEndpoints(store, self._of(environ))
        return [Route("/api/{user_id}/holidays", endpoints.of_year, methods=["GET"])]

    @hookimpl
    def taskd_lifespan(self, environ: Mapping[str, str]) -> AbstractAsyncContextManager[Database]:
        return self._of(environ).closing()

    @hookimpl
    def taskd_commands(self, environ: Mapping[str, str]) -> Sequence[click.Command]:
        return [command(load_settings(Settings, environ))]

    @hookimpl
    async def taskd_checks(self, environ: Mapping[str, str]) -> AsyncIterator[Check]:
        async with self._of(environ).closing() as database:
            try:
                has_table = await database.has_table()
            except StoreUnavailable as error:
                yield Check("holidays", Outcome.FAILED, str(error), "See what is said about the database.")
                return
        if has_table:
            yield Check("holidays", Outcome.OK, "the table holidays_days is there")
        else:
            yield Check("holidays", Outcome.FAILED, "the table holidays_days is missing", "Run taskd holidays migrate.")
