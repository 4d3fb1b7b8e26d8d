"""Check the form of errors, and request ids."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import httpx

from taskd.conformance.client import ANONYMOUS, Client
from taskd.conformance.expect import expect, expect_equal, expect_error, expect_status, object_of
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks"]

checks = Checks(Section.ERRORS)

REQUEST_ID = "X-Request-ID"


async def _errors(client: Client) -> AsyncIterator[tuple[httpx.Response, int, str]]:
    """Yield a response for each error that a request can bring about, with its status and code."""
    task = await client.create("a")
    key = {"Idempotency-Key": str(uuid.uuid4())}
    anonymous = await client.send("GET", client.tasks, credentials=ANONYMOUS)
    yield anonymous, 401, "missing_credentials"
    yield await client.get(f"/api/{uuid.uuid4()}/tasks"), 401, "wrong_user"
    yield await client.get(client.path({"id": str(uuid.uuid4())})), 404, "not_found"
    yield await client.get("/nowhere"), 404, "not_found"
    yield await client.send("PATCH", client.tasks), 405, "method_not_allowed"
    yield await client.put(task, {}, {"If-Match": '"0"'}), 412, "precondition_failed"
    yield await client.put(task, b"{}".ljust(64 * 1024 + 1)), 413, "body_too_large"
    yield await client.put(task, b"{}", {"Content-Type": "text/plain"}), 415, "unsupported_media_type"
    yield await client.put(task, {"title": 5}), 422, "invalid_body"
    yield await client.get(f"{client.tasks}?limit=0"), 422, "invalid_parameter"
    expect_status(await client.post(client.body("b"), key), 201)
    yield await client.post(client.body("c"), key), 422, "key_reused"


@checks.add
async def form(client: Client) -> None:
    """Every error is JSON with a detail, which is one sentence, and a code."""
    async for response, status, code in _errors(client):
        body = expect_error(response, status, code)
        expect({"detail", "code"} <= set(body) <= {"detail", "code", "errors"}, "a detail, a code and errors", response)


@checks.add
async def field_errors(client: Client) -> None:
    """A 422 for a body or a parameter adds errors, each with a field and a message; no other error does."""
    async for response, _, code in _errors(client):
        body = object_of(response)
        if code in {"invalid_body", "invalid_parameter"}:
            expect_error(response, 422, code, "title" if code == "invalid_body" else "limit")
        else:
            expect("errors" not in body, "no errors", response)


@checks.add
async def all_fields(client: Client) -> None:
    """A 422 has one error for each wrong field, in the order of the table of fields."""
    wrong = {"completed": 1, "is_completed": 1, "tags": "x", "due_at": 1, "priority": 1, "status": 1, "description": 1}
    names = ("title", "description", "status", "priority", "due_at", "tags", "is_completed", "completed")
    expect_error(await client.post(wrong), 422, "invalid_body", *names)
    task = await client.create("a")
    expect_error(await client.put(task, {"priority": "x", "title": ""}), 422, "invalid_body", "title", "priority")


@checks.add
async def kept_ids(client: Client) -> None:
    """X-Request-ID is taken over from the request if it is 1 to 128 of A-Za-z0-9._-."""
    for request_id in ("a", "A-Za.z_0-9", "x" * 128, str(uuid.uuid4())):
        for path in ("/livez", "/nowhere", client.list_path()):
            response = await client.get(path, {REQUEST_ID: request_id})
            expect_equal(request_id, response.headers.get(REQUEST_ID), REQUEST_ID, response)


@checks.add
async def made_ids(client: Client) -> None:
    """Otherwise the server makes one, another for each request."""
    found = set()
    for wrong in (None, "", "x" * 129, "a b", "<script>", "a,b"):
        response = await client.get("/livez", {} if wrong is None else {REQUEST_ID: wrong})
        made = response.headers.get(REQUEST_ID)
        expect(made and made != wrong, "an X-Request-ID that the server has made", response)
        found.add(made)
    expect_equal(6, len(found), "number of different ids")


@checks.add
async def ids_of_errors(client: Client) -> None:
    """Every error has an X-Request-ID."""
    async for response, _, _ in _errors(client):
        expect(response.headers.get(REQUEST_ID), REQUEST_ID, response)
