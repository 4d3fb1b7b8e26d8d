"""Check which bodies are read: their type, size and form."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx

from taskd.conformance.client import Client, Header
from taskd.conformance.expect import Json, expect_equal, expect_error, expect_status
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks"]

checks = Checks(Section.TASK)

MAX_BYTES = 64 * 1024
MALFORMED = [
    b"{",
    b"title=t",
    b'{"title": "t",}',
    b"{'title': 't'}",
    b'{"title": "t"} x',
    b'{"title": "\xff"}',
    '{"title": "t"}'.encode("utf-16"),
]
NUMBERS = [b'{"title": "t", "due_at": NaN}', b'{"unknown": Infinity}', b'{"unknown": -Infinity}']
SURROGATES = [b'{"title": "\\ud800"}', b'{"title": "t", "description": "\\udc00\\ud800"}', b'{"tags": ["\\udfff"]}']
NO_OBJECTS = [b"[]", b'"title"', b"5", b"null", b'[{"title": "t"}]']


async def _writes(
    client: Client, task: Json, body: bytes, headers: tuple[Header, ...] = ()
) -> AsyncIterator[httpx.Response]:
    """Send *body* to each endpoint that reads one."""
    yield await client.post(body, headers)
    yield await client.put(task, body, headers)
    yield await client.complete(task, body, headers)


@checks.add
async def malformed(client: Client) -> None:
    """Malformed JSON is a 422 that names the body, and nothing is written."""
    await _expect_refused(client, MALFORMED, "body")


@checks.add
async def numbers(client: Client) -> None:
    """NaN and Infinity are a 422, even under unknown keys, and nothing is written."""
    await _expect_refused(client, NUMBERS)


@checks.add
async def surrogates(client: Client) -> None:
    """A lone surrogate in a text is a 422, and nothing is written."""
    await _expect_refused(client, SURROGATES)


@checks.add
async def no_objects(client: Client) -> None:
    """A body that is not a JSON object is a 422 that names the body, and nothing is written."""
    await _expect_refused(client, NO_OBJECTS, "body")


async def _expect_refused(client: Client, bodies: list[bytes], *fields: str) -> None:
    task = await client.create("kept")
    for body in bodies:
        async for response in _writes(client, task, body):
            expect_error(response, 422, "invalid_body", *fields)
    expect_equal([task], await client.listed(), "the list")


@checks.add
async def half_right(client: Client) -> None:
    """A body with one wrong field writes nothing of the others."""
    task = await client.create("kept")
    wrong = {"description": "changed", "status": "completed", "priority": "wrong"}
    expect_error(await client.put(task, wrong), 422, "invalid_body", "priority")
    expect_equal(task, await client.now(task), "the task")


@checks.add
async def sizes(client: Client) -> None:
    """A body has at most 64 KiB; a larger one is a 413."""
    task = await client.create("kept")
    body = json.dumps(client.body("a", completed=True)).encode()
    async for response in _writes(client, task, body.ljust(MAX_BYTES)):
        expect_status(response, 201 if response.request.method == "POST" else 200)
    before = await client.listed("count=true")
    async for response in _writes(client, task, body.ljust(MAX_BYTES + 1)):
        expect_error(response, 413, "body_too_large")
    expect_equal(before, await client.listed("count=true"), "the list")


@checks.add
async def media_types(client: Client) -> None:
    """A body whose Content-Type is not application/json is a 415, and nothing is written."""
    task = await client.create("kept")
    body = json.dumps(client.body("a", completed=True)).encode()
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/merge-patch+json", ""):
        async for response in _writes(client, task, body, (("Content-Type", media_type),)):
            expect_error(response, 415, "unsupported_media_type")
    expect_equal([task], await client.listed(), "the list")


@checks.add
async def json_types(client: Client) -> None:
    """application/json is accepted in any case, and with a charset of UTF-8."""
    task = await client.create("a")
    for media_type in ("Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"'):
        response = await client.put(task, b"{}", [("Content-Type", media_type)])
        expect_status(response, 200)


@checks.add
async def no_body(client: Client) -> None:
    """A POST and a PUT without a body are 422, not 415."""
    task = await client.create("a")
    for response in (await client.send("POST", client.tasks), await client.send("PUT", client.path(task))):
        expect_error(response, 422, "invalid_body")
