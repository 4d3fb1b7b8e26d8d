"""Check PUT with If-None-Match: *, which creates a task under an id that the client has made."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
import uuid
from urllib.parse import unquote
from uuid import UUID

import httpx

from taskd.conformance.client import Client, Header
from taskd.conformance.expect import expect_equal, expect_error, expect_fields, expect_status, task_of
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section
from taskd.conformance.sections.times import moment

__all__ = ["CREATE", "checks", "id_at"]

checks = Checks(Section.SAFE_WRITES)

CREATE = {"If-None-Match": "*"}
AT_ONCE = 5
DAY_S = 24 * 60 * 60


def id_at(seconds_ahead: float = 0) -> str:
    """Return a version 7 UUID with the time that it is in *seconds_ahead*, as clients make them."""
    milliseconds = int((time.time() + seconds_ahead) * 1000)
    return str(UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | uuid.uuid4().int & (1 << 62) - 1))


async def _create(client: Client, task_id: str, body: object = None, *more: Header) -> httpx.Response:
    given = client.body("a") if body is None else body
    return await client.put({"id": task_id}, given, [*CREATE.items(), *more])


@checks.add
async def created(client: Client) -> None:
    """It creates the task under the id in the path, with the time in the id as created_at."""
    task_id = id_at(-3600)
    response = await _create(client, task_id, client.body("a", id=str(uuid.uuid4()), priority="low"))
    task = task_of(response, 201)

    expect_fields(task, response, id=task_id, title=f"{client.tag} a", priority="low", status="pending")
    location = response.headers.get("Location", "")
    expect_equal(unquote(f"{client.prefix}{client.path(task)}"), unquote(location), "Location", response)
    milliseconds = int(task_id.replace("-", "")[:12], 16)
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
    expect_equal(epoch + dt.timedelta(milliseconds=milliseconds), moment(task["created_at"]), "created_at", response)
    expect_equal(task, await client.now(task), "the task that was created")


@checks.add
async def place(client: Client) -> None:
    """Its place in a list follows from its id."""
    await client.create("c")
    for name, seconds in (("b", -3600), ("a", -7200)):
        task_of(await _create(client, id_at(seconds), client.body(name)), 201)
    expect_equal(["c", "b", "a"], await client.names(), "the list")


@checks.add
async def exists(client: Client) -> None:
    """If the user has a task with that id, it is a 412, and the task stays as it is."""
    task = await client.create("a")
    expect_error(await _create(client, task["id"], client.body("b")), 412, "precondition_failed")
    expect_equal(task, await client.now(task), "the task")


@checks.add
async def restored(client: Client) -> None:
    """A deleted task can be created again under its id."""
    task = await client.create("a")
    expect_status(await client.delete(task), 204)
    response = await _create(client, task["id"], task)
    expect_fields(task_of(response, 201), response, id=task["id"], title=task["title"], tags=task["tags"])


@checks.add
async def wrong_ids(client: Client) -> None:
    """The id must be a canonical version 7 UUID whose time is at most one day ahead, else 422, field id."""
    good = id_at()
    version_4 = f"{good[:14]}4{good[15:]}"
    variant = f"{good[:19]}c{good[20:]}"
    for wrong in ("x", version_4, variant, good.upper(), good.replace("-", ""), id_at(2 * DAY_S), id_at(400 * DAY_S)):
        expect_error(await _create(client, wrong), 422, "invalid_parameter", "id")
    expect_equal([], await client.listed(), "the list")


@checks.add
async def ahead(client: Client) -> None:
    """The id may be ahead, up to a day, for clients whose clock is wrong."""
    task_of(await _create(client, id_at(DAY_S / 2)), 201)


@checks.add
async def bodies(client: Client) -> None:
    """The body is that of a POST: a title is required."""
    for body in ({}, {"title": ""}, {"description": "d"}):
        expect_error(await _create(client, id_at(), body), 422, "invalid_body", "title")


@checks.add
async def both_conditions(client: Client) -> None:
    """Together with If-Match it is a 422."""
    for condition in ("*", '"1"'):
        expect_status(await _create(client, id_at(), None, ("If-Match", condition)), 422)
    expect_equal([], await client.listed(), "the list")


@checks.add
async def at_once(client: Client) -> None:
    """Of several clients that create a task under one id at the same time, exactly one succeeds."""
    task_id = id_at()
    responses = await asyncio.gather(*[_create(client, task_id, client.body(name)) for name in "abcdefgh"[:AT_ONCE]])
    statuses = sorted(response.status_code for response in responses)
    expect_equal([201, *[412] * (AT_ONCE - 1)], statuses, "statuses")
    expect_equal(1, len(await client.listed()), "number of tasks")
