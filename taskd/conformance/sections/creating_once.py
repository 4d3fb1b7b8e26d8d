"""Check Idempotency-Key, with which a POST can be repeated."""

from __future__ import annotations

import asyncio
import json
import uuid

import httpx

from taskd.conformance.client import ANONYMOUS, Client, Header
from taskd.conformance.expect import expect, expect_equal, expect_error, expect_status, task_of
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks"]

checks = Checks(Section.SAFE_WRITES)

AT_ONCE = 5
BAD_KEYS: list[list[bytes]] = [[b""], [b'""'], [b"a b"], ["\u00e9".encode()], [b"k" * 256], [b"k", b"k"], [b"k", b"l"]]


def _key(text: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": text or str(uuid.uuid4())}


@checks.add
async def repeated(client: Client) -> None:
    """A repetition, the same bytes, creates nothing and returns 201 with the task."""
    key, body = _key(), client.body("a")
    first, second = await client.post(body, key), await client.post(body, key)

    expect_equal(task_of(first, 201), task_of(second, 201), "the task", second)
    for name in ("Location", "ETag"):
        expect_equal(first.headers.get(name), second.headers.get(name), name, second)
    expect_equal(1, len(await client.listed()), "number of tasks")


@checks.add
async def as_it_is(client: Client) -> None:
    """A repetition returns the task as it is now."""
    key, body = _key(), client.body("a")
    task = task_of(await client.post(body, key), 201)
    changed = task_of(await client.put(task, {"title": f"{client.tag} b", "completed": True}))

    response = await client.post(body, key)
    expect_equal(changed, task_of(response, 201), "the task", response)


@checks.add
async def other_bodies(client: Client) -> None:
    """The same key with another body is a 422 key_reused, even if only a space differs."""
    key, body = _key(), json.dumps(client.body("a")).encode()
    expect_status(await client.post(body, key), 201)
    for other in (body + b" ", json.dumps(client.body("b")).encode()):
        answered = expect_error(await client.post(other, key), 422, "key_reused")
        expect("errors" not in answered, "no errors")
    expect_equal(["a"], await client.names(), "the list")


@checks.add
async def deleted(client: Client) -> None:
    """If the task was deleted meanwhile, a repetition is a 409 task_deleted."""
    key, body = _key(), client.body("a")
    task = task_of(await client.post(body, key), 201)
    expect_status(await client.delete(task), 204)

    expect_error(await client.post(body, key), 409, "task_deleted")
    expect_equal([], await client.listed(), "the list")


@checks.add
async def each_key(client: Client) -> None:
    """Keys differ in case; without a key every POST creates a task."""
    key, body = str(uuid.uuid4()), client.body("a")
    for headers in (_key(f"{key}x"), _key(f"{key}X"), {}, {}):
        expect_status(await client.post(body, headers), 201)
    expect_equal(4, len(await client.listed()), "number of tasks")


@checks.add
async def quotes(client: Client) -> None:
    """Quotes around a key do not count."""
    key, body = str(uuid.uuid4()), client.body("a")
    for each in (key, f'"{key}"'):
        expect_status(await client.post(body, _key(each)), 201)
    expect_equal(1, len(await client.listed()), "number of tasks")


@checks.add
async def long_keys(client: Client) -> None:
    """A key has up to 255 visible ASCII characters."""
    key, body = f"{uuid.uuid4()}!~,;".ljust(255, "k"), client.body("a")
    for _ in range(2):
        expect_status(await client.post(body, _key(key)), 201)
    expect_equal(1, len(await client.listed()), "number of tasks")


@checks.add
async def bad_keys(client: Client) -> None:
    """A bad or doubled key is a 422, field Idempotency-Key, and creates nothing."""
    for keys in BAD_KEYS:
        headers: list[Header] = [("Idempotency-Key", key) for key in keys]
        response = await client.post(client.body("a"), headers)
        expect_error(response, 422, "invalid_parameter", "Idempotency-Key")
    expect_equal([], await client.listed(), "the list")


@checks.add
async def refused(client: Client) -> None:
    """A refused request does not use up its key."""
    key, body = _key(), client.body("a")
    large = json.dumps(body).encode().ljust(64 * 1024 + 1)
    expect_status(await client.send("POST", client.tasks, body, headers=key, credentials=ANONYMOUS), 401)
    expect_status(await client.post(large, key), 413)
    expect_status(await client.post(b"{}", [*key.items(), ("Content-Type", "text/plain")]), 415)
    expect_status(await client.post(client.body(title=""), key), 422)
    expect_status(await client.post(body, key), 201)
    expect_equal(["a"], await client.names(), "the list")


@checks.add
async def at_once(client: Client) -> None:
    """Repetitions at the same time create one task, which all of them get."""
    key, body = _key(), client.body("a")
    responses: list[httpx.Response] = await asyncio.gather(*[client.post(body, key) for _ in range(AT_ONCE)])
    tasks = [task_of(response, 201) for response in responses]
    expect_equal([tasks[0]] * AT_ONCE, tasks, "the tasks in the responses")
    expect_equal(1, len(await client.listed()), "number of tasks")


@checks.add
async def each_user(client: Client) -> None:
    """A key belongs to its user."""
    other, key = client.other(), _key()
    mine = task_of(await client.post(client.body("a"), key), 201)
    theirs = task_of(await other.post(other.body("b"), key), 201)
    expect(mine["id"] != theirs["id"], "a task of their own for each user")


@checks.add
async def other_methods(client: Client) -> None:
    """Only POST has keys."""
    key = _key()
    task = task_of(await client.post(client.body("a"), key), 201)
    toggled = [task_of(await client.complete(task, headers=key))["completed"] for _ in range(2)]
    expect_equal([True, False], toggled, "completed after two toggles")
