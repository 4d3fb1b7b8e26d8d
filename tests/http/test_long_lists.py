"""Lists of more tasks than a page of the store has, over HTTP, on both databases."""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import AsyncIterator

import attrs
import httpx
import pytest
from starlette.types import ASGIApp

from taskd.queries import TaskPage, TaskQuery
from taskd.storage import EVERYTHING
from taskd.tasks import NewTask
from taskd_tasks.pages import PAGE_LENGTH, Pages
from tests.conftest import client_of
from tests.support.memory_store import MemoryStore
from tests.support.tasks import Json

pytestmark = pytest.mark.anyio

URL = "/api/alice/tasks"
COUNT = 1200
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture(scope="module")
def database_url(each_database_url: str) -> str:
    """Long lists are the same whatever the store."""
    return each_database_url


@pytest.fixture(scope="module")
async def alice(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A user with 1,200 tasks; as many as a page has are tagged `page`, and one more are tagged `more`."""
    async with client_of(app, "alice") as client:

        async def create(number: int) -> None:
            tags = [name for name, count in (("page", PAGE_LENGTH), ("more", PAGE_LENGTH + 1)) if number < count]
            status = "completed" if number % 3 else "pending"
            body = {"title": f"task {number}", "tags": tags, "status": status}
            assert 201 == (await client.post(URL, json=body)).status_code

        for start in range(0, COUNT, 100):
            await asyncio.gather(*[create(number) for number in range(start, start + 100)])
        yield client


async def in_pages(client: httpx.AsyncClient, query: str) -> list[Json]:
    """Return the tasks on all pages of a list."""
    tasks: list[Json] = []
    url: httpx.URL | str | None = f"{URL}?{query}&limit=333"
    while url is not None:
        response = await client.get(url)
        tasks += response.json()
        url = (
            response.links["next"]["url"] and response.url.join(response.links["next"]["url"])
            if response.links
            else None
        )
    return tasks


@pytest.mark.parametrize("query", ["", "order=asc", "completed=true", "search=TASK", "tag=more", "sort=title"])
async def test_a_list_equals_its_pages(alice: httpx.AsyncClient, query: str) -> None:
    """It has the same tasks in the same order, whatever it is filtered and sorted by."""
    response = await alice.get(f"{URL}?{query}")

    assert response.json() == await in_pages(alice, query)
    assert "Link" not in response.headers


async def test_it_begins_at_a_cursor(alice: httpx.AsyncClient) -> None:
    """Without a limit, the page that a `Link` leads to has all remaining tasks."""
    whole = (await alice.get(URL)).json()
    link = (await alice.get(f"{URL}?limit=10")).links["next"]["url"]
    rest = await alice.get(f"{URL}{link.replace('limit=10', 'limit=')}")

    assert COUNT == len(whole)
    assert whole[10:] == rest.json()


async def test_a_list_that_fits_on_a_page_has_a_length(alice: httpx.AsyncClient) -> None:
    """With one more task, its length is not known when it begins to be sent."""
    page, more = [await alice.get(f"{URL}?tag={tag}&count=true", headers=PLAIN) for tag in ("page", "more")]

    assert [PAGE_LENGTH, PAGE_LENGTH + 1] == [len(response.json()) for response in (page, more)]
    assert [str(PAGE_LENGTH), str(PAGE_LENGTH + 1)] == [each.headers["X-Total-Count"] for each in (page, more)]
    assert [str(len(page.content)), None] == [each.headers.get("Content-Length") for each in (page, more)]


async def test_it_can_be_revalidated(alice: httpx.AsyncClient) -> None:
    """Its `ETag` is that of its first page."""
    tag = (await alice.get(URL)).headers["ETag"]

    assert tag == (await alice.get(f"{URL}?limit=1")).headers["ETag"]
    assert 304 == (await alice.get(URL, headers={"If-None-Match": tag})).status_code


async def test_it_is_compressed(alice: httpx.AsyncClient) -> None:
    """The content is the same in less than a third of the bytes, and HEAD has the headers of GET."""
    plain = await alice.get(URL, headers=PLAIN)
    async with alice.stream("GET", URL, headers={"Accept-Encoding": "gzip", "X-Request-ID": "same"}) as response:
        sent = b"".join([part async for part in response.aiter_raw()])
    head = await alice.head(URL, headers={"Accept-Encoding": "gzip", "X-Request-ID": "same"})

    assert plain.content == gzip.decompress(sent)
    assert 3 * len(sent) < len(plain.content)
    assert response.headers == head.headers
    assert "gzip" == head.headers["Content-Encoding"]


@attrs.define(eq=False, slots=False)
class SlowStore(MemoryStore):
    """Notes whose lists it reads, and how many at once."""

    owners: list[str] = attrs.field(factory=list)
    reading: Counter[str] = attrs.field(factory=Counter)
    together: list[int] = attrs.field(factory=list)

    async def list(self, owner: str, query: TaskQuery = EVERYTHING) -> TaskPage:
        self.owners.append(owner)
        self.reading[owner] += 1
        self.together.append(self.reading.total())
        await asyncio.sleep(0)
        self.reading[owner] -= 1
        return await super().list(owner, query)


async def test_users_take_turns() -> None:
    """One page is read at a time, and a user with many long lists does not keep others waiting."""
    store = SlowStore()
    pages = Pages(store)
    newest = {}
    for owner in ("alice", "bob"):
        await store.create(owner, NewTask(title="older"))
        newest[owner] = await store.create(owner, NewTask(title="newer"))
    owners = ["alice"] * 5 + ["bob"]
    rests = await asyncio.gather(*[pages.after(owner, EVERYTHING, newest[owner], 10) for owner in owners])

    assert [["older"]] * 6 == [[task.title for task in tasks] for tasks, _ in rests]
    assert {1} == set(store.together)
    assert "bob" in store.owners[:3]
