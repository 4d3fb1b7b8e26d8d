"""Check what is refused in the query of a list."""

from __future__ import annotations

from taskd.conformance.client import Client
from taskd.conformance.expect import expect_equal, expect_error
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks"]

checks = Checks(Section.LISTS)

WRONG = {
    "status": ("done", "Pending", "pending;completed"),
    "priority": ("none", "LOW"),
    "is_completed": ("yes", "1", "True"),
    "completed": ("no", "0", "all"),
    "due_after": ("2030-01-01", "2030-01-01T00:00:00", "tomorrow", "2030-02-30T00:00:00Z"),
    "due_before": ("2030-01-01", "2030-01-01T00:00:00", "1893456000"),
    "search": ("x" * 201,),
    "sort": ("id", "-title", "Title"),
    "order": ("up", "DESC"),
    "cursor": ("x", "AAAA"),
    "count": ("1", "yes"),
}
SINGLE = {
    "is_completed": "true",
    "completed": "true",
    "due_after": "2030-01-01T00:00:00Z",
    "due_before": "2030-01-01T00:00:00Z",
    "search": "x",
    "sort": "title",
    "order": "asc",
    "limit": "5",
    "count": "true",
}


async def _expect_refused(client: Client, query: str, *fields: str) -> None:
    expect_error(await client.get(f"{client.tasks}?{query}"), 422, "invalid_parameter", *fields)


@checks.add
async def wrong_values(client: Client) -> None:
    """A wrong value is a 422 that names the parameter."""
    for name, values in WRONG.items():
        for value in values:
            await _expect_refused(client, f"{name}={value}", name)


@checks.add
async def given_twice(client: Client) -> None:
    """A parameter with a single value that is given twice is a 422."""
    for name, value in SINGLE.items():
        await _expect_refused(client, f"{name}={value}&{name}={value}", name)


@checks.add
async def bad_texts(client: Client) -> None:
    """Bad UTF-8 and a NUL are a 422."""
    for name in ("status", "search", "tag", "sort", "cursor", "due_after"):
        for value in ("%FF", "a%00"):
            await _expect_refused(client, f"{name}={value}", name)


@checks.add
async def all_errors(client: Client) -> None:
    """All wrong parameters are named at once."""
    response = await client.get(f"{client.tasks}?limit=0&sort=x&status=x")
    errors = expect_error(response, 422, "invalid_parameter").get("errors", [])
    expect_equal(["limit", "sort", "status"], sorted(each["field"] for each in errors), "fields in errors", response)
