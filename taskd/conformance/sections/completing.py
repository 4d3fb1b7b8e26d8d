"""Check PATCH, which toggles or sets whether a task is completed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from taskd.conformance.client import NOTHING, Client
from taskd.conformance.expect import expect, expect_equal, expect_error, expect_fields, task_of
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks"]

checks = Checks(Section.ENDPOINTS)

FLAGS = ("is_completed", "completed")
NO_FLAGS: Sequence[object] = ("yes", "true", 1, 0, None, [])
# An even number, so that they leave the task as it was.
AT_ONCE = 8


@checks.add
async def toggle(client: Client) -> None:
    """A PATCH without a body, with an empty one or with {} toggles."""
    task = await client.create("a")
    for body in (NOTHING, b"", {}):
        for is_completed in (True, False):
            response = await client.complete(task, body)
            status = "completed" if is_completed else "pending"
            expect_fields(task_of(response), response, is_completed=is_completed, completed=is_completed, status=status)


@checks.add
async def in_progress(client: Client) -> None:
    """Toggling a task in progress completes it, and toggling it again makes it pending."""
    task = await client.create("a", status="in_progress")
    for status in ("completed", "pending"):
        response = await client.complete(task)
        expect_fields(task_of(response), response, status=status)


@checks.add
async def set_flag(client: Client) -> None:
    """A PATCH with is_completed or completed sets it, even if it is already so."""
    task = await client.create("a")
    for flag in FLAGS:
        for value in (True, True, False, False):
            response = await client.complete(task, {flag: value})
            expect_fields(task_of(response), response, is_completed=value, completed=value)


@checks.add
async def other_keys(client: Client) -> None:
    """A PATCH whose body has only other keys is a 422, and does not toggle."""
    task = await client.create("a")
    for body in ({"status": "completed"}, {"done": True}, {"isCompleted": True}, {"title": "x"}):
        expect_error(await client.complete(task, body), 422, "invalid_body", "is_completed")
    expect_equal(task, await client.now(task), "the task")


@checks.add
async def only_flags(client: Client) -> None:
    """A PATCH reads only the two flags; a status beside one is ignored."""
    task = await client.create("a")
    response = await client.complete(task, {"completed": True, "status": "in_progress", "title": "x"})

    expect_fields(task_of(response), response, status="completed", title=task["title"])


@checks.add
async def flag_type(client: Client) -> None:
    """A flag in a PATCH must be true or false, and both must agree."""
    task = await client.create("a")
    for flag in FLAGS:
        for value in NO_FLAGS:
            expect_error(await client.complete(task, {flag: value}), 422, "invalid_body", flag)
    expect_error(await client.complete(task, {"is_completed": True, "completed": False}), 422, "invalid_body")
    expect_equal(task, await client.now(task), "the task")


@checks.add
async def atomic(client: Client) -> None:
    """Toggles at the same time each take effect once."""
    task = await client.create("a")
    responses = await asyncio.gather(*[client.complete(task) for _ in range(AT_ONCE)])
    toggled = sorted((task_of(response) for response in responses), key=lambda each: each["version"])

    expect_equal(AT_ONCE, len({each["version"] for each in toggled}), "number of versions")
    expect([each["completed"] for each in toggled] == [True, False] * (AT_ONCE // 2), "each toggle to follow another")
    expect_fields(await client.now(task), status="pending")
