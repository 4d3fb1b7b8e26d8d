"""Read the pages of a list while others write, over real HTTP, on both databases."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs
import httpx
import pytest

from taskd.testing import RunningServer, running_server
from tests.conftest import PATIENT, SECRET, token_for
from tests.support.processes import child_environ

pytestmark = pytest.mark.anyio

Json = dict[str, Any]

WRITERS = 4
# How many writes each writer makes while a page is read.  They create fewer tasks than fit on a page, so walks end.
WRITES_PER_PAGE = 2
LIMIT = 9
TASKS = 40
DUE = [None, "2026-11-27T12:00:00Z", "2026-11-28T12:00:00Z"]
TITLES = ["a", "A", "b", "stra\u00dfe", "STRASSE", "z"]
PRIORITIES = ["low", "medium", "high", "urgent"]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server in its own process."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('walking')}/tasks.db"
    else:
        url = request.getfixturevalue("postgres_url")
    with running_server(child_environ({"DATABASE_URL": url, "BETTER_AUTH_SECRET": SECRET, **PATIENT})) as running:
        yield running


@pytest.fixture
async def client(server: RunningServer, user_id: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {token_for(user_id)}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as connected:
        yield connected


def random_fields(chance: random.Random) -> Json:
    return {"title": chance.choice(TITLES), "due_at": chance.choice(DUE), "priority": chance.choice(PRIORITIES)}


async def create(client: httpx.AsyncClient, url: str, fields: Json) -> str:
    """Create a task and return its id."""
    response = await client.post(url, json=fields)
    assert 201 == response.status_code
    task_id: str = response.json()["id"]
    return task_id


@attrs.define
class Writer:
    """Creates and deletes its own tasks, and changes all tasks, except in the field that they are *sorted_by*."""

    client: httpx.AsyncClient
    url: str
    shared: list[str]
    sorted_by: str
    chance: random.Random
    own: list[str] = attrs.field(factory=list)

    async def write(self) -> None:
        for _ in range(WRITES_PER_PAGE):
            await self.chance.choice([self._create, self._delete, self._change, self._toggle])()

    async def _create(self) -> None:
        self.own.append(await create(self.client, self.url, random_fields(self.chance)))

    async def _delete(self) -> None:
        if self.own:
            task_id = self.own.pop(self.chance.randrange(len(self.own)))
            assert 204 == (await self.client.delete(f"{self.url}/{task_id}")).status_code

    async def _change(self) -> None:
        changes = {name: value for name, value in random_fields(self.chance).items() if name != self.sorted_by}
        assert 200 == (await self.client.put(self._any(), json={**changes, "description": "changed"})).status_code

    async def _toggle(self) -> None:
        assert 200 == (await self.client.patch(f"{self._any()}/complete")).status_code

    def _any(self) -> str:
        return f"{self.url}/{self.chance.choice(self.shared + self.own)}"


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("created_at", "asc"),
        ("due_at", "asc"),
        ("priority", "desc"),
        ("title", "desc"),
        pytest.param("created_at", "desc", marks=pytest.mark.thorough),
        pytest.param("due_at", "desc", marks=pytest.mark.thorough),
        pytest.param("priority", "asc", marks=pytest.mark.thorough),
        pytest.param("title", "asc", marks=pytest.mark.thorough),
    ],
)
async def test_each_task_that_exists_throughout_is_listed_once(
    client: httpx.AsyncClient, tasks_url: str, sort: str, order: str
) -> None:
    """Whatever four writers create, delete, or change in other fields, no such task is skipped or repeated."""
    chance = random.Random(f"{sort} {order}")
    there = [await create(client, tasks_url, random_fields(chance)) for _ in range(TASKS)]
    writers = [
        Writer(client, tasks_url, there, sort, random.Random(f"{sort} {order} {number}")) for number in range(WRITERS)
    ]
    seen: Counter[str] = Counter()
    url: httpx.URL | None = client.base_url.join(f"{tasks_url}?sort={sort}&order={order}&limit={LIMIT}")
    while url is not None:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(client.get(url))
            for writer in writers:
                group.create_task(writer.write())
        response = reading.result()
        assert 200 == response.status_code
        seen.update(task["id"] for task in response.json())
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        url = link and response.url.join(link[1])

    assert set(there) <= set(seen)
    assert {1} == set(seen.values())
