"""Plugins that observe responses, and the numbers that the core and other plugins publish for them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from taskd.telemetry import Distribution, Measurement
from taskd.testing import lifespan
from tests.conftest import client_of
from tests.support.applications import build, get
from tests.support.third_parties import Site

pytestmark = pytest.mark.anyio

# Keeps what it is told, and what it can ask.
OBSERVER = """
seen = []

@hookimpl
def taskd_observer(environ, measurements):
    seen.append(measurements)
    return seen.append
"""
# A wrapper that counts the calls of a method.
COUNTING = """
from taskd.telemetry import Kind, Measurement

class Counting(taskd.storage.StoreWrapper):
    calls = 0

    async def list(self, owner, query):
        self.calls += 1
        return await super().list(owner, query)

    def measurements(self):
        return [MEASURED]

@hookimpl
def taskd_wrap_store(store):
    return Counting(store)
"""
MEASURED = 'Measurement("lists", "Lists that were read.", self.calls, Kind.COUNTER)'


def seen_by(module: str) -> list[Any]:
    """Return what the observer in *module* was given: first the function to ask for numbers, and then each request."""
    seen: list[Any] = sys.modules[module].seen
    return seen


def values_of(module: str, *names: str) -> Mapping[str, float | Distribution]:
    """Return those of the numbers that the observer in *module* can read that have these *names*, by their labels."""
    found: list[Measurement] = list(seen_by(module)[0]())
    return {" ".join((each.name, *each.labels.values())): each.value for each in found if each.name in names}


async def test_an_observer_is_told_of_every_response(site: Site) -> None:
    """It learns the method, the route, the status, the user, the time and the size, whoever has responded."""
    module = site.install("observer", OBSERVER)
    async with client_of(build(FRONTEND_URL="https://app.example.com"), "alice") as client:
        listed = await client.get("/api/alice/tasks?search=secret")
        await client.get("/nowhere")
        preflight = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PUT"}
        await client.options("/api/alice/tasks", headers=preflight)

    _, *requests = seen_by(module)
    assert [
        ("GET", "/api/{user_id}/tasks", 200, "alice"),
        ("GET", None, 404, None),
        ("OPTIONS", None, 204, None),
    ] == [(each.method, each.route, each.status, each.user) for each in requests]
    assert len(listed.content) == requests[0].size
    assert all(0 < each.seconds < 60 for each in requests)


async def test_an_observer_that_fails_does_no_harm(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The response has been sent by then, and the failure is logged."""
    site.install("observer", "@hookimpl\ndef taskd_observer():\n    return lambda request: request.nothing\n")

    assert 200 == (await get(build(), "/livez")).status_code
    assert ["An observer failed"] == [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]


async def test_the_core_and_the_default_plugins_publish_numbers(site: Site) -> None:
    """They are about requests, connections, tokens and outages, as they are when someone asks."""
    module = site.install("observer", OBSERVER)
    app = build()
    async with lifespan(app), client_of(app, "alice") as client:
        for _ in range(3):
            await client.post("/api/alice/tasks", json={"title": "T"})

        counted = values_of(module, "token_cache_hits", "token_cache_misses", "token_cache_size", "outages")
        pools = values_of(module, "store_connections_open", "store_connections_busy", "store_calls_waiting")
        waiting = values_of(module, "http_requests_waiting")
        sizes = values_of(module, "store_batch_size")["store_batch_size writer"]

    assert {"token_cache_hits": 2, "token_cache_misses": 1, "token_cache_size": 1} == {
        name: value for name, value in counted.items() if name.startswith("token")
    }
    assert dict.fromkeys(("outages storage", "outages database", "outages writes", "outages schema"), 0).items() <= (
        counted.items()
    )
    assert (1, 0, 0) == tuple(
        pools[f"{name} writer"] for name in ("store_connections_open", "store_connections_busy", "store_calls_waiting")
    )
    gates = ("health", "strangers", "reads", "writes")
    assert dict.fromkeys([f"http_requests_waiting {gate}" for gate in gates], 0) == waiting
    assert isinstance(sizes, Distribution)
    assert (3, 3.0) == (sum(sizes.counts), sizes.total)


async def test_postgresql_has_one_pool(site: Site, postgres_url: str) -> None:
    """Its connections are for reads and writes alike, and the setting says how many there may be."""
    module = site.install("observer", OBSERVER)
    app = build(DATABASE_URL=postgres_url, TASKD_SQL_POOL_SIZE="7")
    async with lifespan(app), client_of(app, "alice") as client:
        await client.get("/api/alice/tasks")

        names = ("store_connections_open", "store_connections_busy", "store_connections_limit", "store_calls_waiting")
        pool = values_of(module, *names)
        sizes = values_of(module, "store_batch_size")["store_batch_size all"]

    opened, busy, limit, waiting = (pool[f"{name} all"] for name in names)
    # The ping at the start may have a connection of its own.
    assert (busy, opened) in ((0, 1), (0, 2), (1, 1), (1, 2))
    assert (7, 0) == (limit, waiting)
    assert isinstance(sizes, Distribution)
    assert sum(sizes.counts) >= 1


async def test_a_wrapper_publishes_numbers_beside_those_of_the_store(site: Site) -> None:
    """Neither hides the other's."""
    module = site.install("observer", OBSERVER)
    site.install("counting", COUNTING.replace("MEASURED", MEASURED), "zenith", group="taskd.on_demand")
    async with client_of(build(TASKD_STORE_WRAPPERS="counting"), "alice") as client:
        await client.get("/api/alice/tasks")

        assert {"lists": 1} == values_of(module, "lists")
        assert {"outages database": 0}.items() <= values_of(module, "outages").items()


@pytest.mark.parametrize("measured", ["1", 'Measurement("Two words", "It fails.", 1)', "self.nothing"])
async def test_numbers_that_cannot_be_read_are_left_out(
    measured: str, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so, but only once, and all other numbers remain."""
    module = site.install("observer", OBSERVER)
    site.install("counting", COUNTING.replace("MEASURED", measured), "zenith", group="taskd.on_demand")
    async with client_of(build(TASKD_STORE_WRAPPERS="counting"), "alice") as client:
        await client.get("/livez")

        assert values_of(module, "outages") == values_of(module, "outages") != {}
    assert ["The Counting of a plugin failed to say what it measures"] == [
        each.getMessage() for each in caplog.records if each.levelno == logging.ERROR
    ]
