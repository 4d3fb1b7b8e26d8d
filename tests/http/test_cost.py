"""What a request costs, in calls of Python functions: a figure that does not depend on the machine."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Coroutine
from types import FrameType
from typing import Any

import pytest
from starlette.types import Message

from taskd.application import Application
from taskd.plugins import Plugins
from taskd.server import response
from taskd.tasks import NewTask
from tests.conftest import SECRET, token_for
from tests.support.memory_store import MemoryStore
from tests.support.third_parties import Site, routes_source

pytestmark = pytest.mark.anyio

USER = "alice"
# At most this many calls for each request: some percent more than it takes with the Python that makes most of them.
BOUNDS = {"GET one": 100, "GET list": 550, "POST": 133, "PATCH": 165, "DELETE": 100}


class Client:
    """Sends requests to an application directly, and counts the calls that it makes."""

    def __init__(self, store: MemoryStore) -> None:
        environ = {"BETTER_AUTH_SECRET": SECRET, "DATABASE_URL": "sqlite:///unused.db"}
        plugins = Plugins.load(environ)
        plugins._store = store
        self.app = Application.of(plugins)
        self.token = token_for(USER).encode()

    async def send(self, method: str, path: str, body: bytes = b"") -> tuple[int, int]:
        """Return the status of the response, and the number of calls."""
        headers = [(b"authorization", b"Bearer " + self.token)]
        if body:
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        url = f"/api/{USER}/tasks{path}"
        scope = {
            "type": "http",
            "method": method,
            "path": url.partition("?")[0],
            "raw_path": url.partition("?")[0].encode(),
            "query_string": url.partition("?")[2].encode(),
            "headers": headers,
            "client": ("127.0.0.1", 1),
        }
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        calls = await counted(self.app(scope, receive, send))
        return sent[0]["status"], calls


# Two routes of its own, as a plugin might have.
SOURCE = "async def show(request):\n    return PlainTextResponse('shown')\n" + routes_source(
    "Route('/NAME', show)", "Route('/api/{user_id}/NAME', show)"
)


async def counted(work: Coroutine[Any, Any, None]) -> int:
    """Await *work*, and return how many Python functions it has called, itself included."""
    calls = 0

    def note(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    # Collecting what other tests have left behind calls functions, too.
    gc.disable()
    sys.setprofile(note)
    try:
        await work
    finally:
        sys.setprofile(before)
        gc.enable()
    return calls


async def test_requests_take_a_bounded_number_of_calls() -> None:
    """After the first request of each kind, which prepares things, all others take the same number, or a few more."""
    # The first of them also prepares ids for some of the next requests.
    response._unused_ids.clear()
    store = MemoryStore()
    client = Client(store)
    tasks = [await store.create(USER, NewTask(title=f"{number}")) for number in range(23)]
    body = b'{"title": "Water the plants", "priority": "high"}'
    requests = {
        "GET one": [("GET", f"/{tasks[0].id}", b"")] * 3,
        "PATCH": [("PATCH", f"/{tasks[0].id}/complete", b"")] * 3,
        "GET list": [("GET", "?limit=20", b"")] * 3,
        "POST": [("POST", "", body)] * 3,
        "DELETE": [("DELETE", f"/{task.id}", b"") for task in tasks[:3]],
    }
    # The place at the gate is given back in the next turn of the loop.
    results: dict[str, list[tuple[int, int]]] = {}
    for name, each in requests.items():
        results[name] = []
        for request in each:
            results[name].append(await client.send(*request))
            await asyncio.sleep(0)

    assert {200, 201, 204} == {status for each in results.values() for status, _ in each}
    counts = {name: [calls for _, calls in each[1:]] for name, each in results.items()}
    assert {} == {name: each for name, each in counts.items() if max(each) > BOUNDS[name]}


async def test_plugins_that_a_request_does_not_need_cost_nothing(site: Site) -> None:
    """With ten more plugins, each of which has two routes, a request takes no more calls."""
    store = MemoryStore()
    task = await store.create(USER, NewTask(title="Water the plants"))

    async def calls() -> int:
        client = Client(store)
        costs = []
        for _ in range(2):
            costs.append((await client.send("GET", f"/{task.id}"))[1])
            await asyncio.sleep(0)
        return costs[-1]

    before = await calls()
    for number in range(10):
        site.install(f"plugin{number}", SOURCE.replace("NAME", f"name{number}"), distribution=f"acme{number}")

    assert before == await calls()
