"""Check If-None-Match on reads, and If-Match on writes."""

from __future__ import annotations

import asyncio
import uuid

import httpx

from taskd.conformance.client import ANONYMOUS, Client, Headers
from taskd.conformance.expect import Json, expect, expect_equal, expect_error, expect_status, task_of
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section
from taskd.conformance.sections.versions import list_tag

__all__ = ["checks"]

checks = Checks(Section.SAFE_WRITES)

AT_ONCE = 5


def _tag(task: Json) -> str:
    return f'"{task["version"]}"'


@checks.add
async def unchanged(client: Client) -> None:
    """If-None-Match on a task gets a 304 without a body while the version is the same, compared weakly."""
    task = await client.create("a")
    tag = _tag(task)
    for condition in (tag, f"W/{tag}", f'"0", {tag}', "*"):
        for method in ("GET", "HEAD"):
            response = await client.send(method, client.path(task), headers={"If-None-Match": condition})
            expect_status(response, 304)
            expect_equal(b"", response.content, "body", response)
            expect_equal(tag, response.headers.get("ETag"), "ETag", response)
    repeated = await client.get(client.path(task), [("If-None-Match", '"0"'), ("If-None-Match", tag)])
    expect_status(repeated, 304)


@checks.add
async def changed(client: Client) -> None:
    """If-None-Match with another version gets the task."""
    task = await client.create("a")
    changed = task_of(await client.put(task, {}))
    for condition in (_tag(task), '"0"', f"W/{_tag(task)}"):
        response = await client.get(client.path(task), {"If-None-Match": condition})
        expect_equal(changed, task_of(response), "the task", response)


@checks.add_alone
async def unchanged_list(client: Client) -> None:
    """If-None-Match on a list gets a 304 while none of the user's tasks has changed."""
    task = await client.create("a")
    tag = await list_tag(client)
    for method in ("GET", "HEAD"):
        response = await client.send(method, client.list_path(), headers={"If-None-Match": f'W/"x", {tag}'})
        expect_status(response, 304)
        expect_equal(b"", response.content, "body", response)
    expect_status(await client.put(task, {}), 200)
    expect_status(await client.get(client.list_path(), {"If-None-Match": tag}), 200)


async def _writes(client: Client, task: Json, headers: Headers) -> list[httpx.Response]:
    """Send every kind of write to *task*; the last one deletes it."""
    return [
        await client.put(task, {"description": "changed"}, headers),
        await client.complete(task, headers=headers),
        await client.complete(task, {"completed": True}, headers),
        await client.delete(task, headers),
    ]


@checks.add
async def wrong_version(client: Client) -> None:
    """If-Match with another version is a 412 on PUT, PATCH and DELETE, and nothing is written."""
    task = await client.create("a")
    task = task_of(await client.put(task, {}))
    for condition in ('"0"', f'"{task["version"] + 1}"', f'"{task["version"]}0"', f"W/{_tag(task)}"):
        for response in await _writes(client, task, {"If-Match": condition}):
            expect_error(response, 412, "precondition_failed")
    expect_equal(task, await client.now(task), "the task")


@checks.add
async def malformed(client: Client) -> None:
    """An If-Match that is no list of entity tags is a 412."""
    task = await client.create("a")
    for condition in (str(task["version"]), "nonsense", f"{_tag(task)} x", f"'{task['version']}'"):
        for response in await _writes(client, task, {"If-Match": condition}):
            expect_error(response, 412, "precondition_failed")
    expect_equal(task, await client.now(task), "the task")


@checks.add
async def right_version(client: Client) -> None:
    """If-Match with the task's version, alone, in a list, on one of several lines or as *, lets a write happen."""
    task = await client.create("a")
    for other in ([], ['"0"']):
        for join in (True, False):
            tags = [*other, _tag(task)]
            lines = [", ".join(tags)] if join else tags
            task = task_of(await client.put(task, {}, [("If-Match", line) for line in lines]))
    task = task_of(await client.complete(task, headers={"If-Match": _tag(task)}))
    task = task_of(await client.put(task, {}, {"If-Match": "*"}))
    expect_status(await client.delete(task, {"If-Match": _tag(task)}), 204)


@checks.add
async def two_writers(client: Client) -> None:
    """Of several writers that send the same If-Match at the same time, exactly one succeeds."""
    task = await client.create("a")
    condition = {"If-Match": _tag(task)}
    writes = [client.put(task, {"description": f"{number}"}, condition) for number in range(AT_ONCE)]
    responses = await asyncio.gather(*writes, client.complete(task, headers=condition))
    statuses = sorted(response.status_code for response in responses)
    expect_equal([200, *[412] * AT_ONCE], statuses, "statuses")


@checks.add
async def order_of_errors(client: Client) -> None:
    """Errors come in this order: 401, then 413, 415 and 422, then 404, then 412."""
    task = await client.create("a")
    missing, stale = {"id": str(uuid.uuid4())}, {"If-Match": '"0"'}
    large, plain = b"{}".ljust(64 * 1024 + 1), [("Content-Type", "text/plain"), ("If-Match", '"0"')]
    for body in (large, b"{", b'{"title": 5}'):
        response = await client.send("PUT", client.path(missing), body, headers=stale, credentials=ANONYMOUS)
        expect_error(response, 401, "missing_credentials")
    for each in (missing, task):
        expect_error(await client.put(each, large, stale), 413, "body_too_large")
        expect_error(await client.put(each, b"{}", plain), 415, "unsupported_media_type")
        expect_error(await client.put(each, {"title": 5}, stale), 422, "invalid_body")
        expect_error(await client.complete(each, {"other": 1}, stale), 422, "invalid_body")
    for response in await _writes(client, missing, stale):
        expect_error(response, 404, "not_found")
    expect(task == await client.now(task), "an unchanged task")


@checks.add
async def ignored(client: Client) -> None:
    """If-None-Match is ignored on writes other than the PUT that creates."""
    response = await client.post(client.body("a"), {"If-None-Match": "*"})
    task = task_of(response, 201)
    for condition in ("*", _tag(task)):
        task_of(await client.complete(task, headers={"If-None-Match": condition}))
    task_of(await client.put(task, {}, {"If-None-Match": _tag(await client.now(task))}))
    missing = {"id": str(uuid.uuid4())}
    expect_error(await client.put(missing, client.body("b"), {"If-None-Match": '"1"'}), 404, "not_found")
    expect_status(await client.delete(task, {"If-None-Match": "*"}), 204)
