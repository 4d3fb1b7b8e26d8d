"""Check the filters of lists."""

from __future__ import annotations

from urllib.parse import quote

from taskd.conformance.client import Client
from taskd.conformance.expect import expect_equal
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks", "expect_names"]

checks = Checks(Section.LISTS)


async def expect_names(client: Client, expected: dict[str, str]) -> None:
    """Go on only if each query selects the tasks whose names are the letters mapped to it, in that order."""
    for query, names in expected.items():
        expect_equal(list(names), await client.names(query), f"the tasks for {query or 'no query'}")


@checks.add
async def statuses(client: Client) -> None:
    """The filter status keeps tasks with one of the values, separated by commas or repeated."""
    for name, status in (("a", "pending"), ("b", "in_progress"), ("c", "completed")):
        await client.create(name, status=status)
    await expect_names(
        client,
        {
            "status=pending": "a",
            "status=in_progress": "b",
            "status=completed": "c",
            "status=pending,in_progress": "ba",
            "status=completed&status=pending": "ca",
        },
    )


@checks.add
async def priorities(client: Client) -> None:
    """The filter priority keeps tasks with one of the values, separated by commas or repeated."""
    for name, priority in (("a", "low"), ("b", "medium"), ("c", "high"), ("d", "urgent")):
        await client.create(name, priority=priority)
    expected = {"priority=low": "a", "priority=medium,urgent": "db", "priority=high&priority=low": "ca"}
    await expect_names(client, expected)


@checks.add
async def flags(client: Client) -> None:
    """The filters is_completed and completed keep completed tasks, or all others."""
    for name, status in (("a", "pending"), ("b", "in_progress"), ("c", "completed")):
        await client.create(name, status=status)
    for flag in ("is_completed", "completed"):
        await expect_names(client, {f"{flag}=true": "c", f"{flag}=false": "ba"})


@checks.add
async def tags(client: Client) -> None:
    """The filter tag keeps tasks that have all of the given tags, compared exactly; a comma belongs to a tag."""
    one, two, both = (f"{client.tag} {name}" for name in ("one", "two", "one,two"))
    for name, given in (("a", [one]), ("b", [two, one]), ("c", [both])):
        await client.create(name, tags=[client.tag, *given])
    expected = {(one,): "ba", (two,): "b", (one, two): "b", (both,): "c", (one.upper(),): "", (one[:-1],): ""}
    await expect_names(
        client, {"&".join(f"tag={quote(tag)}" for tag in tags): names for tags, names in expected.items()}
    )


@checks.add
async def no_tags(client: Client) -> None:
    """A text that can be no tag finds nothing."""
    await client.create("a")
    await expect_names(client, {f"tag={'x' * 51}": "", "tag=%20": ""})


@checks.add
async def due_dates(client: Client) -> None:
    """The filter due_after is inclusive, due_before is not, and tasks without a due date are left out."""
    await client.create("a")
    for name, hour in (("b", 11), ("c", 12), ("d", 13)):
        await client.create(name, due_at=f"2030-01-01T{hour}:00:00Z")
    await expect_names(
        client,
        {
            "due_after=2030-01-01T12:00:00Z": "dc",
            "due_before=2030-01-01T12:00:00Z": "b",
            "due_after=2030-01-01T12:00:00Z&due_before=2030-01-01T13:00:00Z": "c",
            "due_after=2030-01-01T14:00:00%2B02:00": "dc",
            "due_before=2030-01-01T07:00:00-05:00": "b",
        },
    )


@checks.add
async def combined(client: Client) -> None:
    """Filters combine with and."""
    await client.create("a", priority="high")
    await client.create("b", priority="high", completed=True)
    await client.create("c", completed=True)
    await expect_names(
        client,
        {
            "priority=high&completed=true": "b",
            "priority=high&completed=true&search=a": "b",
            "completed=true&status=pending": "",
            "is_completed=true&completed=false": "",
            f"priority=high&search={quote(client.tag)}%20a": "a",
        },
    )


@checks.add
async def not_given(client: Client) -> None:
    """An empty value, and all for status and priority, also among others, mean that nothing was asked for."""
    await client.create("a")
    await client.create("b", completed=True, priority="low")
    names = ("status", "priority", "is_completed", "completed", "tag", "due_after", "due_before", "search")
    empty = "&".join(f"{name}=" for name in (*names, "sort", "order", "limit", "cursor", "count"))
    expected = {
        empty: "ba",
        "status=all": "ba",
        "priority=all": "ba",
        "status=pending,all": "ba",
        "priority=all&priority=low": "ba",
        "status=pending,": "a",
        "status=&status=completed": "b",
    }
    await expect_names(client, expected)


@checks.add
async def unknown(client: Client) -> None:
    """Unknown parameters are ignored."""
    await client.create("a")
    await client.create("b")
    await expect_names(client, {"page=2&Status=completed&status%5B%5D=x&unknown=x": "ba"})
