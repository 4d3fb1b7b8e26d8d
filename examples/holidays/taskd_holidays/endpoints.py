"""The endpoint for holidays."""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from uuid import UUID

import attrs
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from taskd.queries import TaskQuery
from taskd.routes import JSONResponse, QueryParameters, Returns, operation
from taskd.storage import TaskStore
from taskd_holidays.database import Database, year_of

__all__ = ["HolidayEndpoints"]

# The last year has no end that Python could represent.
Year = Annotated[int, Meta(ge=1, le=9998, description="By default, the current year in UTC.")]
PARAMETERS = QueryParameters({"year": Year})


# Without slots, so that the fields appear in the JSON in this order.
@attrs.frozen(slots=False)
class Holiday:
    """A holiday, and what is due on it."""

    day: dt.date
    name: str
    tasks: Annotated[list[UUID], Meta(description="The user's own open tasks that are due on this day, in UTC.")]


EXAMPLE = Holiday(dt.date(2026, 12, 25), "Christmas Day", [UUID("019ab7d4-5c00-7b2a-9d3e-4f5061728394")])


@attrs.frozen
class HolidayEndpoints:
    store: TaskStore
    database: Database

    @operation(
        "listHolidays",
        Returns(200, "The holidays, in order.", type=list[Holiday], example=[EXAMPLE]),
        query=PARAMETERS.types,
    )
    async def of_year(self, request: Request) -> Response:
        """
        List the holidays of a year.

        Each has the ids of the open tasks that are due on it, so that a client can suggest another day.
        """
        year = PARAMETERS.read(request).get("year", dt.datetime.now(dt.timezone.utc).year)
        known = await self.database.between(*year_of(year))
        due = await self._due(request.user.identity, year) if known else {}
        return JSONResponse([Holiday(each.day, each.name, due.get(each.day, [])) for each in known])

    async def _due(self, owner: str, year: int) -> dict[dt.date, list[UUID]]:
        """Return the ids of the open tasks that are due in *year*, by day."""
        start = dt.datetime(year, 1, 1, tzinfo=dt.timezone.utc)
        query = TaskQuery(due_after=start, due_before=start.replace(year=year + 1))
        found: dict[dt.date, list[UUID]] = {}
        for task in (await self.store.list(owner, query)).tasks:
            if task.due_at is not None and not task.is_completed:
                found.setdefault(task.due_at.date(), []).append(task.id)
        return found
