"""Check what browsers and proxies may keep."""

from __future__ import annotations

import uuid

import httpx

from taskd.conformance.client import ANONYMOUS, Client
from taskd.conformance.expect import expect, expect_equal, expect_status, token_list
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks"]

checks = Checks(Section.SAFE_WRITES)


@checks.add
async def reads(client: Client) -> None:
    """200 and 304 to GET and HEAD are private, no-cache, and vary with the credentials."""
    task = await client.create("a")
    fresh = {"If-None-Match": "*"}
    for path, headers, status in (
        (client.path(task), {}, 200),
        (client.list_path(), {}, 200),
        (client.path(task), fresh, 304),
    ):
        for method in ("GET", "HEAD"):
            response = expect_status(await client.send(method, path, headers=headers), status)
            expect_equal({"private", "no-cache"}, token_list(response, "Cache-Control"), "Cache-Control", response)
            _expect_vary(client, response)


def _expect_vary(client: Client, response: httpx.Response) -> None:
    if client.account.header is not None:
        name = client.account.header[0]
        expect(token_list(response, "Vary") & {name.lower(), "*"}, f"Vary with {name}", response)


@checks.add
async def others(client: Client) -> None:
    """Every other response under /api is no-store."""
    post = await client.post(client.body("a"))
    task = expect_status(post, 201).json()
    missing = {"id": str(uuid.uuid4())}
    for response, status in [
        (post, 201),
        (await client.put(task, {}), 200),
        (await client.complete(task), 200),
        (await client.put(task, {}, {"If-Match": '"0"'}), 412),
        (await client.put(task, {"title": ""}), 422),
        (await client.put(task, b"{}", {"Content-Type": "text/plain"}), 415),
        (await client.delete(task), 204),
        (await client.get(client.path(missing)), 404),
        (await client.send("PATCH", client.tasks), 405),
        (await client.get(f"{client.tasks}?limit=0"), 422),
        (await client.send("GET", client.tasks, credentials=ANONYMOUS), 401),
    ]:
        expect_status(response, status)
        expect_equal({"no-store"}, token_list(response, "Cache-Control"), "Cache-Control", response)
