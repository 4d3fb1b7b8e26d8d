"""Check who may do what, whatever the credentials are."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from urllib.parse import quote

import httpx

from taskd.conformance.client import ANONYMOUS, Client
from taskd.conformance.expect import Json, array_of, expect, expect_equal, expect_error, expect_status
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks"]

checks = Checks(Section.WHO_MAY)

VARYING = {"date", "x-request-id"}
# How often responses are compared.
ATTEMPTS = 3


def _requests(client: Client, tasks: str, task: Json) -> list[tuple[str, str, Json | None]]:
    """Return a request for each endpoint below *tasks*, with *task* in the paths."""
    path = f"{tasks}/{task['id']}"
    return [
        ("GET", tasks, None),
        ("POST", tasks, client.body("stolen")),
        ("GET", path, None),
        ("PUT", path, {"description": "stolen"}),
        ("PATCH", f"{path}/complete", {"completed": True}),
        ("DELETE", path, None),
    ]


@checks.add
async def no_credentials(client: Client) -> None:
    """Without credentials every endpoint is a 401 with a challenge that names no error."""
    task = await client.create("a")
    for method, path, body in _requests(client, client.tasks, task):
        response = await client.send(method, path, *_given(body), credentials=ANONYMOUS)
        expect_error(response, 401, "missing_credentials")
        challenge = response.headers.get("WWW-Authenticate")
        expect(challenge, "WWW-Authenticate", response)
        expect("error=" not in str(challenge), "WWW-Authenticate without an error", response)
    response = await client.send("HEAD", client.path(task), credentials=ANONYMOUS)
    expect_status(response, 401)
    expect_equal(task, await client.now(task), "the task")


@checks.add
async def wrong_user(client: Client) -> None:
    """Another user's path is a 401 on every endpoint."""
    task = await client.create("a")
    for method, path, body in _requests(client, f"/api/{quote(client.account.user, safe='')}x/tasks", task):
        response = await client.send(method, path, *_given(body))
        expect_error(response, 401, "wrong_user")
        expect(response.headers.get("WWW-Authenticate"), "WWW-Authenticate", response)
    expect_equal(task, await client.now(task), "the task")


@checks.add
async def encoded_user(client: Client) -> None:
    """The user id in the path is percent-decoded before it is compared."""
    encoded = "".join(f"%{byte:02X}" for byte in client.account.user.encode())
    array_of(await client.get(f"/api/{encoded}/tasks?limit=1"))


@checks.add
async def similar_users(client: Client) -> None:
    """The user id in the path must be equal: case and white space count."""
    user = client.account.user
    for other in {user.swapcase(), f"{user} ", f" {user}", user[:-1] or f"{user}0", f"{user}%"} - {user}:
        expect_error(await client.get(f"/api/{quote(other, safe='')}/tasks"), 401, "wrong_user")


@checks.add
async def real_user(client: Client) -> None:
    """The path of a user who exists is a 401 for everyone else, in both directions."""
    other = client.other()
    for one, two in ((client, other), (other, client)):
        expect_error(await one.get(two.tasks), 401, "wrong_user")
        expect_error(await one.send("POST", two.tasks, one.body("stolen")), 401, "wrong_user")


@checks.add
async def same_404(client: Client) -> None:
    """A task of another user and a task that does not exist are the same 404: same body, same headers."""
    other = client.other()
    task = await other.create("a")
    unknown = {"id": str(uuid.uuid4())}
    for (method, theirs, body), (_, nowhere, _) in zip(
        _requests(client, client.tasks, task)[2:], _requests(client, client.tasks, unknown)[2:], strict=True
    ):
        missing, foreign = [], []
        for _ in range(ATTEMPTS):
            missing.append(await client.send(method, nowhere, *_given(body)))
            foreign.append(await client.send(method, theirs, *_given(body)))
        for one, response in zip(missing, foreign, strict=True):
            expect_error(response, 404, "not_found")
            expect_equal(one.content, response.content, "body", response)
            expect_equal(set(one.headers), set(response.headers), "names of headers", response)
        _expect_alike(missing, foreign)
    expect_equal(task, await other.now(task), "the task")


@checks.add
async def separate_lists(client: Client) -> None:
    """A list has only the user's own tasks."""
    other = client.other()
    task = await other.create("a")
    for query in (f"tag={quote(client.tag)}&count=true", f"search={quote(task['title'])}&count=true"):
        response = await client.get(f"{client.tasks}?{query}")
        expect_equal([], array_of(response), "the list", response)
        expect_equal("0", response.headers.get("X-Total-Count"), "X-Total-Count", response)


@checks.add
async def same_id(client: Client) -> None:
    """Two users can have tasks with the same id, and see only their own."""
    other = client.other()
    task = await client.create("a")
    response = await other.put(task, other.body("b"), {"If-None-Match": "*"})
    expect_status(response, 201)
    expect_equal(task, await client.now(task), "the task")
    expect_status(await other.delete(task), 204)
    expect_equal(task, await client.now(task), "the task")


def _expect_alike(missing: Sequence[httpx.Response], foreign: Sequence[httpx.Response]) -> None:
    """Expect headers that are the same in all of *missing* to have the same value in at least one of *foreign*."""
    # Proxies and rate limits may add others, which change with each request, or now and then.
    for name in sorted(set(missing[0].headers) - VARYING):
        expected = {response.headers.get(name) for response in missing}
        found = {response.headers.get(name) for response in foreign}
        if len(expected) == 1 and expected.isdisjoint(found):
            expect_equal(missing[0].headers[name], foreign[0].headers[name], name, foreign[0])


def _given(body: Json | None) -> tuple[Json, ...]:
    return () if body is None else (body,)
