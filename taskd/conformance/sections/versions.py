"""Check versions and entity tags."""

from __future__ import annotations

import httpx

from taskd.conformance.client import Client
from taskd.conformance.expect import expect, expect_equal, expect_status, task_of
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section
from taskd.conformance.sections.ids import CREATE, id_at

__all__ = ["checks", "list_tag"]

checks = Checks(Section.SAFE_WRITES)


@checks.add
async def versions(client: Client) -> None:
    """Every successful PUT and PATCH raises the version, and reading does not."""
    task = await client.create("a")
    written = [
        task,
        task_of(await client.put(task, {})),
        task_of(await client.put(task, {"description": "d"})),
        task_of(await client.complete(task)),
        task_of(await client.complete(task, {"completed": True})),
    ]
    found = [each["version"] for each in written]
    expect(found == sorted(set(found)), f"a version that grows, not {found}")
    for _ in range(2):
        expect_equal(found[-1], (await client.now(task))["version"], "version")


@checks.add
async def refused(client: Client) -> None:
    """A write that is refused changes neither the task nor its version."""
    task = await client.create("a")
    expect_status(await client.put(task, {"title": ""}), 422)
    expect_status(await client.complete(task, {"other": True}), 422)
    expect_status(await client.delete(task, {"If-Match": '"0"'}), 412)
    expect_equal(task, await client.now(task), "the task")


@checks.add
async def entity_tags(client: Client) -> None:
    """Responses with one task carry the version as a strong ETag."""
    post = await client.post(client.body("a"))
    task = task_of(post, 201)
    responses = [
        post,
        await client.get(client.path(task)),
        await client.put(task, {}),
        await client.complete(task),
        await client.send("PUT", client.path({"id": id_at()}), client.body("b"), headers=CREATE),
    ]
    for response in responses:
        version = task_of(response, 201 if response in (post, responses[-1]) else 200)["version"]
        expect_equal(f'"{version}"', response.headers.get("ETag"), "ETag", response)


async def list_tag(client: Client) -> str:
    """Return the entity tag of the user's list, which must be weak."""
    response = expect_status(await client.get(client.list_path()), 200)
    tag = str(response.headers.get("ETag"))
    expect(tag.startswith('W/"'), "a weak ETag", response)
    return tag


@checks.add
async def list_tags(client: Client) -> None:
    """A list carries a weak ETag, which changes with every change of the user's tasks and never comes back."""
    tags = [await list_tag(client)]
    task = await client.create("a")
    tags.append(await list_tag(client))
    for change in (client.put(task, {}), client.complete(task), client.delete(task)):
        expect((await change).is_success, "a success")
        tags.append(await list_tag(client))
    expect_equal(5, len(set(tags)), "number of different tags")


@checks.add
async def reused_ids(client: Client) -> None:
    """An id that is used again after a delete has a higher version than it ever had."""
    task = {"id": id_at()}
    found = []
    for name in "ab":
        found.append(task_of(await _restored(client, task, name), 201)["version"])
        found.append(task_of(await client.complete(task))["version"])
        expect_status(await client.delete(task), 204)
    expect(found == sorted(set(found)), f"a version that grows, not {found}")


async def _restored(client: Client, task: dict[str, str], name: str) -> httpx.Response:
    return await client.put(task, client.body(name), CREATE)
