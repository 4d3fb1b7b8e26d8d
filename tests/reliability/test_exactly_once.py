"""Writes that must happen at most once, with several servers on one database, and with crashes."""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from collections.abc import AsyncIterator, Sequence

import attrs
import pytest

from taskd.testing import RunningServer
from tests.conftest import PATIENT, SECRET, token_for
from tests.support.processes import child_environ
from tests.support.writers import Response, Target, ask, request_bytes, target

WRITERS = 50
CREATIONS = 200
IN_FLIGHT = 16

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def environ(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of servers that refuse no request, however slow the machine is."""
    url = f"sqlite:///{tmp_path_factory.mktemp('once')}/tasks.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    patience = dict.fromkeys(["TASKD_SQL_ACQUIRE_TIMEOUT", "TASKD_SQL_STATEMENT_TIMEOUT"], "60")
    return child_environ({"DATABASE_URL": url, "BETTER_AUTH_SECRET": SECRET, **PATIENT, **patience})


@pytest.fixture(scope="module")
async def two(environ: dict[str, str]) -> AsyncIterator[tuple[Target, Target]]:
    """Two processes on one database."""
    async with target(environ) as one, target(environ) as other:
        yield one, other


async def ask_both(two: tuple[Target, Target], requests: Sequence[bytes]) -> list[Response]:
    """Send all *requests* at once, alternating between the two servers."""
    servers = itertools.cycle(each.server for each in two)
    return await asyncio.gather(*map(ask, servers, requests))


def creation(user_id: str, number: int) -> bytes:
    """Return a request to create a task whose title and key are its *number*."""
    headers = {"Idempotency-Key": f"{number}"}
    return request_bytes("POST", f"/api/{user_id}/tasks", token_for(user_id), {"title": f"{number}"}, headers)


async def titles(server: RunningServer, user_id: str) -> list[str]:
    """Return the titles of all tasks, oldest first."""
    response = await ask(server, request_bytes("GET", f"/api/{user_id}/tasks", token_for(user_id)))
    assert 200 == response.status
    return [task["title"] for task in response.json()][::-1]


class TestTwoServers:
    async def test_of_writers_with_the_same_tag_exactly_one_succeeds(
        self, two: tuple[Target, Target], user_id: str, is_thorough: bool
    ) -> None:
        """For each version of a task, one of fifty writers succeeds, and all others get a 412."""
        token = token_for(user_id)
        response = await ask(two[0].server, creation(user_id, 0))
        path = f"/api/{user_id}/tasks/{response.json()['id']}"
        for number in range(100 if is_thorough else 5):
            headers = {"If-Match": response.headers["etag"]}
            bodies = [{"description": f"{number}: {writer}"} for writer in range(WRITERS)]
            responses = await ask_both(two, [request_bytes("PUT", path, token, body, headers) for body in bodies])

            assert [200, *[412] * (WRITERS - 1)] == sorted(each.status for each in responses)
            [winner] = [each for each in responses if each.status == 200]
            response = await ask(two[number % 2].server, request_bytes("GET", path, token))
            assert winner.json() == response.json()

    async def test_concurrent_retries_create_one_task(
        self, two: tuple[Target, Target], user_id: str, is_thorough: bool
    ) -> None:
        """Whichever process receives them, all requests with the same key get the same task."""
        rounds = 100 if is_thorough else 5
        for number in range(rounds):
            responses = await ask_both(two, [creation(user_id, number)] * 20)

            assert {201} == {each.status for each in responses}
            assert 1 == len({each.body for each in responses})
        assert [f"{number}" for number in range(rounds)] == await titles(two[1].server, user_id)


@attrs.define
class Creator:
    """
    Creates tasks, each with its own key, until the server is killed.

    Attributes:
        ids: The ids of acknowledged tasks, by number.
        is_due: Set when enough tasks have been acknowledged to kill the server.
    """

    user_id: str
    kill_after: int
    ids: dict[int, str] = attrs.field(factory=dict)
    is_due: asyncio.Event = attrs.field(factory=asyncio.Event)
    _in_flight: asyncio.Semaphore = attrs.field(factory=lambda: asyncio.Semaphore(IN_FLIGHT))

    async def create(self, server: RunningServer, number: int) -> None:
        async with self._in_flight:
            try:
                response = await ask(server, creation(self.user_id, number))
            except (OSError, EOFError):
                return
        assert 201 == response.status
        self.ids[number] = response.json()["id"]
        if len(self.ids) >= self.kill_after:
            self.is_due.set()

    async def create_until_killed(self, running: Target) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(CREATIONS):
                group.create_task(self.create(running.server, number))
            await self.is_due.wait()
            await running.kill()

    async def repeat(self, server: RunningServer) -> list[Response]:
        """Send each request again, whatever happened to it."""

        async def again(number: int) -> Response:
            async with self._in_flight:
                return await ask(server, creation(self.user_id, number))

        return await asyncio.gather(*map(again, range(CREATIONS)))


class TestKilledServer:
    """`kill -9` of taskd while tasks are being created."""

    async def test_each_key_has_one_task(self, two: tuple[Target, Target], is_thorough: bool) -> None:
        """Clients that retry everything get the acknowledged tasks, and no task exists twice."""
        running = two[0]
        for number in range(20 if is_thorough else 1):
            creator = Creator(uuid.uuid4().hex, kill_after=random.Random(number).randint(50, 100))
            await creator.create_until_killed(running)
            await running.start()
            responses = await creator.repeat(running.server)

            assert {201} == {each.status for each in responses}
            assert creator.ids == {each: responses[each].json()["id"] for each in creator.ids}
            assert len(creator.ids) < CREATIONS
            found = await titles(running.server, creator.user_id)
            assert sorted(f"{each}" for each in range(CREATIONS)) == sorted(found)
