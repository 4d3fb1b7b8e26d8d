"""Check the headers that every response has, or must not have."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx

from taskd.conformance.client import ANONYMOUS, Client
from taskd.conformance.expect import expect, expect_equal
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks", "responses"]

checks = Checks(Section.HEADERS)

# Headers that tend to name programs, in any version.
NAMING = ("Server", "X-Powered-By", "X-AspNet-Version")


async def responses(client: Client, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
    """Yield responses of many kinds to requests with *headers*."""
    task = await client.create("a")
    path = client.path(task)
    for each in ("/livez", "/readyz", "/docs", "/openapi.json", "/nowhere", client.list_path(), path):
        yield await client.get(each, headers)
    yield await client.get(path, {**headers, "If-None-Match": "*"})
    yield await client.post(client.body("b"), headers)
    yield await client.put(task, {"title": ""}, headers)
    yield await client.complete(task, headers=headers)
    yield await client.send("PATCH", client.tasks, headers=headers)
    yield await client.send("GET", path, headers=headers, credentials=ANONYMOUS)
    yield await client.put(task, {}, {**headers, "If-Match": '"0"'})
    yield await client.delete(task, headers)
    yield await client.get(path, headers)


@checks.add
async def nosniff(client: Client) -> None:
    """Every response is X-Content-Type-Options: nosniff."""
    async for response in responses(client, {}):
        name = "X-Content-Type-Options"
        expect_equal("nosniff", response.headers.get(name, "").lower(), name, response)


@checks.add
async def no_versions(client: Client) -> None:
    """No response names the server's version."""
    async for response in responses(client, {}):
        for name in NAMING:
            value = response.headers.get(name, "")
            is_named = re.search(r"/\d|\d\.\d", value) or (value and name.endswith("Version"))
            expect(not is_named, f"no version in {name}", response)
