"""Check the fields of a task: their defaults, limits and errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from taskd.conformance.client import Client
from taskd.conformance.expect import Json, expect, expect_equal, expect_error, expect_fields, task_of
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks"]

checks = Checks(Section.TASK)

FORGED = {
    "id": "01a202b8-f11b-754f-a9d2-4d7b6419c012",
    "user_id": "somebody-else",
    "created_at": "2001-01-01T00:00:00Z",
    "updated_at": "2001-01-01T00:00:00Z",
    "completed_at": "2001-01-01T00:00:00Z",
    "version": 1_000_000_000,
}
PARTY = "\U0001f389"
NO_TEXTS: Sequence[Any] = (5, True, [], {})
WHITE = " \t\n\u3000"


async def _expect_refused(client: Client, name: str, values: Sequence[Any], valid: Json | None = None) -> None:
    """Go on only if each of *values* of the field *name* is refused in a POST and in a PUT, and nothing is written."""
    task = await client.create("kept")
    before = await client.listed()
    for value in values:
        fields = {**(valid or {}), name: value}
        expect_error(await client.post(client.body(**fields)), 422, "invalid_body", name)
        expect_error(await client.put(task, {"description": "changed", **fields}), 422, "invalid_body", name)
    expect_equal(before, await client.listed(), "the list")


async def _expect_accepted(client: Client, name: str, values: Sequence[Any]) -> None:
    """Go on only if each of *values* of the field *name* is accepted in a POST and in a PUT, and kept as it is."""
    task = await client.create("a")
    for value in values:
        post = await client.post(client.body(**{name: value}))
        expect_fields(task_of(post, 201), post, **{name: value})
        put = await client.put(task, {name: value})
        expect_fields(task_of(put), put, **{name: value})


@checks.add
async def defaults(client: Client) -> None:
    """A task that is created from a title has all fields, and the defaults."""
    response = await client.post({"title": client.tag})
    task = task_of(response, 201)

    expect_fields(task, response, description=None, status="pending", priority="medium", due_at=None, tags=[])
    expect_fields(task, response, is_completed=False, completed=False, completed_at=None)
    expect(type(task["version"]) is int, "a version that is an integer", response)


@checks.add
async def ids(client: Client) -> None:
    """Ids are version 7 UUIDs in canonical form, and each task has its own."""
    tasks = [await client.create("a") for _ in range(3)]
    for task in tasks:
        expect(isinstance(task["id"], str), "an id that is a string")
        try:
            parsed = UUID(task["id"])
        except ValueError:
            parsed = UUID(int=0)
        expect(str(parsed) == task["id"] and parsed.version == 7, "an id that is a version 7 UUID")
    expect_equal(3, len({task["id"] for task in tasks}), "number of ids")


@checks.add
async def ignored(client: Client) -> None:
    """The fields that the server makes are ignored in POST and PUT, even if they are no ids and dates."""
    for forged in (FORGED, dict.fromkeys(FORGED, "forged")):
        post = await client.post(client.body("a", **forged))
        task = task_of(post, 201)
        for name, value in forged.items():
            expect(task[name] != value, f"{name} to be ignored", post)
        put = await client.put(task, forged)
        changed = task_of(put)
        expect_fields(changed, put, **{name: task[name] for name in ("id", "user_id", "created_at", "completed_at")})
        expect(changed["version"] != forged["version"], "version to be ignored", put)


@checks.add
async def unknown_keys(client: Client) -> None:
    """Unknown keys are ignored."""
    unknown = {"unknown": {"a": [None]}, "Title": 5, "due_date": "soon"}
    task = await client.create("a", **unknown)
    changed = task_of(await client.put(task, unknown))
    expect(not set(unknown) & set(changed), "a task without unknown keys")


@checks.add
async def kept_titles(client: Client) -> None:
    """A title is kept exactly as sent, up to 200 code points."""
    titles = [" a  b ", "e\u0301", "\u00e9", "<b>&amp;", "\u202ea", "\r\n.", "x", "x" * 200, PARTY * 200]
    await _expect_accepted(client, "title", titles)


@checks.add
async def wrong_titles(client: Client) -> None:
    """A title is 1 to 200 characters, not only white space, without NUL, and never null."""
    await _expect_refused(client, "title", ["", WHITE, "x" * 201, PARTY * 201, "a\0b", None, *NO_TEXTS])


@checks.add
async def required_title(client: Client) -> None:
    """A POST needs a title."""
    expect_error(await client.post({"tags": [client.tag]}), 422, "invalid_body", "title")


@checks.add
async def descriptions(client: Client) -> None:
    """A description has up to 10,000 characters, and may be null."""
    values = ["", WHITE, "x" * 10_000, PARTY * 10_000, None]
    await _expect_accepted(client, "description", values)
    await _expect_refused(client, "description", ["x" * 10_001, "\0", *NO_TEXTS])


@checks.add
async def statuses(client: Client) -> None:
    """A status is pending, in_progress or completed."""
    values = ["in_progress", "completed", "pending"]
    await _expect_accepted(client, "status", values)
    await _expect_refused(client, "status", ["done", "Pending", "", None, *NO_TEXTS])


@checks.add
async def priorities(client: Client) -> None:
    """A priority is low, medium, high or urgent."""
    values = ["low", "high", "urgent", "medium"]
    await _expect_accepted(client, "priority", values)
    await _expect_refused(client, "priority", ["none", "HIGH", "", None, *NO_TEXTS])


@checks.add
async def kept_tags(client: Client) -> None:
    """Up to 20 tags of 1 to 50 code points are kept in order; equal ones are dropped."""
    most = [f"{number:02}{PARTY * 48}" for number in range(20)]
    for sent, kept in [(["b", "a", "b", " a", "A", "a,b"], ["b", "a", " a", "A", "a,b"]), (most, most), ([], [])]:
        post = await client.post(client.body("a", tags=sent))
        task = task_of(post, 201)
        expect_fields(task, post, tags=kept)
        put = await client.put(task, {"tags": sent[:1]})
        expect_fields(task_of(put), put, tags=kept[:1])


@checks.add
async def wrong_tags(client: Client) -> None:
    """Tags are a list of at most 20 texts as sent, each under the rules of a title; errors name tags."""
    values: list[Any] = [None, "a", {}, 5, [5], [None], [""], [WHITE], ["a\0"], ["x" * 51], ["a"] * 21, ["a", ["b"]]]
    await _expect_refused(client, "tags", values)


@checks.add
async def flags(client: Client) -> None:
    """is_completed and completed are two names for status == "completed"."""
    for name in ("is_completed", "completed"):
        post = await client.post(client.body(**{name: True}))
        task = task_of(post, 201)
        expect_fields(task, post, status="completed", is_completed=True, completed=True)
        put = await client.put(task, {name: False})
        expect_fields(task_of(put), put, status="pending", is_completed=False, completed=False)
        put = await client.put(task, {"status": "completed"})
        expect_fields(task_of(put), put, is_completed=True, completed=True)


@checks.add
async def reopened(client: Client) -> None:
    """A flag set to false without status makes the task pending, even if it was in progress."""
    for name in ("is_completed", "completed"):
        task = await client.create("a", status="in_progress")
        put = await client.put(task, {name: False})
        expect_fields(task_of(put), put, status="pending")


@checks.add
async def wrong_flags(client: Client) -> None:
    """The flags must be true or false."""
    for name in ("is_completed", "completed"):
        await _expect_refused(client, name, ["yes", "true", 1, 0, None, []])


@checks.add
async def contradictions(client: Client) -> None:
    """Status and flags in one body must agree; the error names the flag that was sent."""
    for name in ("is_completed", "completed"):
        await _expect_refused(client, name, [True], {"status": "in_progress"})
        await _expect_refused(client, name, [False], {"status": "completed"})
    task = await client.create("a")
    for flags in ({"is_completed": True, "completed": False}, {"is_completed": False, "completed": True}):
        expect_error(await client.put(task, flags), 422, "invalid_body")
    agreed = {"status": "completed", "is_completed": True, "completed": True}
    response = await client.put(task, agreed)
    expect_fields(task_of(response), response, **agreed)


@checks.add
async def no_coercion(client: Client) -> None:
    """No type is coerced."""
    for name, value in [("title", 5), ("status", 1), ("is_completed", "false"), ("tags", "a"), ("description", 1.5)]:
        expect_error(await client.post(client.body(**{name: value})), 422, "invalid_body", name)
