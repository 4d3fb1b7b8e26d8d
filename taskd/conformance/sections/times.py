"""Check the dates and times of a task."""

from __future__ import annotations

import datetime as dt
import re

import httpx

from taskd.conformance.client import Client
from taskd.conformance.expect import Failed, Json, expect, expect_equal, expect_error, expect_fields, task_of
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks", "moment"]

checks = Checks(Section.TASK)

UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
WRONG = [
    *("2030-01-01T00:00:00", "2030-01-01", "2030-02-30T00:00:00Z", "2030-01-01T00:00:00+24:00", "tomorrow", ""),
    *("2030-01-01 00:00:00", 1893456000, True, []),
]


def moment(value: object, response: httpx.Response | None = None) -> dt.datetime:
    """Return the moment that *value*, a field of a task, is; it must be in UTC, with a Z."""
    if not isinstance(value, str) or not UTC.fullmatch(value):
        raise Failed(f"a date-time in UTC with a Z, not {value!r}", response)
    # Digits below a microsecond are more than Python reads.
    return dt.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value))


@checks.add
async def due_dates(client: Client) -> None:
    """A due date is answered as the same moment in UTC, and may be null."""
    task = await client.create("a")
    for sent in ("2030-01-01T05:30:00+05:30", "2030-01-01T00:00:00Z", "2029-12-31T16:00:00-08:00"):
        for response in (await client.post(client.body(due_at=sent)), await client.put(task, {"due_at": sent})):
            answered = task_of(response, 201 if response.request.method == "POST" else 200)["due_at"]
            expect_equal(dt.datetime.fromisoformat(sent), moment(answered, response), "due_at", response)
    response = await client.put(task, {"due_at": None})
    expect_fields(task_of(response), response, due_at=None)


@checks.add
async def wrong_due_dates(client: Client) -> None:
    """A due date is an RFC 3339 date-time with an offset."""
    task = await client.create("a")
    for value in WRONG:
        expect_error(await client.post(client.body(due_at=value)), 422, "invalid_body", "due_at")
        expect_error(await client.put(task, {"due_at": value}), 422, "invalid_body", "due_at")
    expect_equal([task], await client.listed(), "the list")


@checks.add
async def created_at(client: Client) -> None:
    """created_at and updated_at are in UTC with a Z; no write changes created_at, and updated_at never goes back."""
    task = await client.create("a")
    written = [
        task,
        task_of(await client.put(task, {"title": f"{client.tag} b"})),
        task_of(await client.complete(task)),
        task_of(await client.complete(task, {"completed": False})),
    ]
    moment(task["created_at"])
    expect_equal(1, len({each["created_at"] for each in written}), "number of values of created_at")
    updated = [moment(each["updated_at"]) for each in written]
    expect(updated == sorted(updated), "updated_at never to go back")


@checks.add
async def completed_at(client: Client) -> None:
    """completed_at is set when a task becomes completed, kept while it is, and null when it is reopened."""
    task = await client.create("a", completed=True)
    _expect_completed(task)
    kept = task_of(await client.put(task, {"description": "d"}))
    expect_equal(task["completed_at"], kept["completed_at"], "completed_at")
    again = task_of(await client.complete(task, {"completed": True}))
    expect_equal(task["completed_at"], again["completed_at"], "completed_at")
    for reopened in (task_of(await client.complete(task)), task_of(await client.put(task, {"status": "in_progress"}))):
        expect_fields(reopened, completed_at=None)
    _expect_completed(task_of(await client.complete(task)))
    expect_fields(task_of(await client.put(task, {"status": "pending"})), completed_at=None)


def _expect_completed(task: Json) -> None:
    expect_fields(task, completed=True)
    moment(task["completed_at"])
