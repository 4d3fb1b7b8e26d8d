"""Check pages, their links, counts, and the compression of long lists."""

from __future__ import annotations

import re

import httpx

from taskd.conformance.client import Client
from taskd.conformance.expect import Failed, array_of, expect, expect_equal, expect_error, expect_status, token_list
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks"]

checks = Checks(Section.LISTS)

SORTS = ("created_at", "updated_at", "due_at", "priority", "title")
MAX_PAGES = 20
# For lists that are compressed, however few fields a server sends.
LONG_BYTES = 8 * 1024


def _next_path(client: Client, response: httpx.Response) -> str | None:
    """Return the path of the next page; None if there is none."""
    link = response.headers.get("Link")
    if link is None:
        return None
    found = re.search(r'<([^>]*)>\s*;[^,]*\brel="?next"?', link)
    if not found:
        raise Failed('a Link with rel="next"', response)
    expect(not re.match(r"[a-z]+:|//", found[1], re.IGNORECASE), "a Link that is a relative reference", response)
    return response.url.join(found[1]).raw_path.decode().removeprefix(client.prefix)


async def _pages(client: Client, path: str) -> list[httpx.Response]:
    """Return all pages, beginning with that at *path*."""
    pages: list[httpx.Response] = []
    next_path: str | None = path
    while next_path is not None:
        expect(len(pages) < MAX_PAGES, f"fewer than {MAX_PAGES} pages")
        response = await client.get(next_path)
        array_of(response)
        pages.append(response)
        next_path = _next_path(client, response)
    return pages


async def _fill(client: Client, names: str) -> None:
    """Create tasks that differ, and are alike, in every field by which lists are sorted."""
    for number, name in enumerate(names):
        due_at = f"2030-01-0{number % 3}T00:00:00Z" if number % 3 else None
        priority = ("low", "urgent", "medium")[number % 3]
        await client.create(name, due_at=due_at, priority=priority)


@checks.add
async def walking(client: Client) -> None:
    """Walking the pages shows each task once, in every order, and all pages but the last are full."""
    await _fill(client, "aabcaba")
    for sort in SORTS:
        for order in ("asc", "desc"):
            query = f"sort={sort}&order={order}"
            pages = await _pages(client, client.list_path(f"{query}&limit=3"))
            expect_equal([3, 3, 1], [len(page.json()) for page in pages], f"lengths of the pages for {query}")
            walked = [task for page in pages for task in page.json()]
            expect_equal(await client.listed(query), walked, f"the pages for {query}")


@checks.add
async def links(client: Client) -> None:
    """Link is a relative reference to the next page, and there is none after the last task."""
    await _fill(client, "abc")
    first = await client.get(client.list_path("limit=2"))
    expect_equal(2, len(array_of(first)), "length of the page", first)
    expect(_next_path(client, first), "a Link to the next page", first)
    for query in ("limit=3", "limit=1000", ""):
        response = await client.get(client.list_path(query))
        expect_equal(3, len(array_of(response)), "length of the list", response)
        expect_equal(None, response.headers.get("Link"), "Link", response)


@checks.add
async def limits(client: Client) -> None:
    """A limit is a whole number from 1 to 1000."""
    await _fill(client, "ab")
    expect_equal(["b"], await client.names("limit=1"), "the tasks for limit=1")
    for wrong in ("0", "-1", "1001", "1.5", "x", "1e2"):
        expect_error(await client.get(client.list_path(f"limit={wrong}")), 422, "invalid_parameter", "limit")


@checks.add
async def meanwhile(client: Client) -> None:
    """A walk shows no task twice and misses none, though others are created and deleted meanwhile."""
    tasks = {name: await client.create(name) for name in "abcdef"}
    first = await client.get(client.list_path("limit=2"))
    await client.create("new")
    for name in "fec":
        expect_status(await client.delete(tasks[name]), 204)
    following = _next_path(client, first)
    expect(following, "a Link to the next page", first)
    pages = [first, *await _pages(client, following or "")]
    names = [client.name(task) for page in pages for task in page.json()]
    expect_equal(["f", "e", "d", "b", "a"], names, "the tasks on all pages")


@checks.add
async def changed_meanwhile(client: Client) -> None:
    """A walk sorted by title misses nothing, though tasks are changed in other fields meanwhile."""
    tasks = {name: await client.create(name) for name in "abcd"}
    first = await client.get(client.list_path("sort=title&limit=2"))
    for name in "bc":
        expect_status(await client.put(tasks[name], {"priority": "urgent"}), 200)
    following = _next_path(client, first)
    expect(following, "a Link to the next page", first)
    pages = [first, *await _pages(client, following or "")]
    expect_equal(list("abcd"), [client.name(task) for page in pages for task in page.json()], "the tasks on all pages")


async def _first_cursor(client: Client, query: str) -> str:
    """Return the cursor of the second page of the list for *query*."""
    response = await client.get(client.list_path(query))
    following = _next_path(client, response)
    expect(following, "a Link to the next page", response)
    cursor = str(httpx.URL(following or "").params.get("cursor", ""))
    expect(cursor, "a cursor in Link", response)
    return cursor


@checks.add
async def foreign_cursors(client: Client) -> None:
    """A cursor is refused if a filter, sort or order is changed, added or left out."""
    await _fill(client, "abc")
    cursor = await _first_cursor(client, "limit=1&sort=title&order=asc&completed=false")
    for query in (
        "sort=title&order=desc&completed=false",
        "sort=due_at&order=asc&completed=false",
        "sort=title&order=asc&completed=true",
        "sort=title&order=asc",
        "sort=title&completed=false",
        "order=asc&completed=false",
        "sort=title&order=asc&completed=false&priority=low",
        "",
    ):
        response = await client.get(client.list_path(f"{query}&limit=1&cursor={cursor}"))
        expect_error(response, 422, "invalid_parameter", "cursor")


@checks.add
async def changed_cursors(client: Client) -> None:
    """A cursor with a single character changed is refused."""
    await _fill(client, "abc")
    cursor = await _first_cursor(client, "limit=1")
    for place in range(len(cursor)):
        other = "A" if cursor[place] != "A" else "B"
        wrong = cursor[:place] + other + cursor[place + 1 :]
        response = await client.get(client.list_path(f"limit=1&cursor={wrong}"))
        expect_error(response, 422, "invalid_parameter", "cursor")


@checks.add
async def kept_cursors(client: Client) -> None:
    """The limit and the count may change from page to page."""
    await _fill(client, "abcd")
    cursor = await _first_cursor(client, "limit=1")
    response = await client.get(client.list_path(f"limit=2&count=true&cursor={cursor}"))
    expect_equal(["c", "b"], [client.name(task) for task in array_of(response)], "the second page", response)
    expect_equal("4", response.headers.get("X-Total-Count"), "X-Total-Count", response)


@checks.add
async def counts(client: Client) -> None:
    """With count=true, there is X-Total-Count: how many tasks match, over all pages."""
    await _fill(client, "abcd")
    for query, count in {
        "count=true": "4",
        "count=true&limit=1": "4",
        "count=true&priority=low": "2",
        "count=true&status=completed": "0",
        "count=false": None,
        "": None,
    }.items():
        response = expect_status(await client.get(client.list_path(query)), 200)
        expect_equal(count, response.headers.get("X-Total-Count"), f"X-Total-Count for {query or 'no query'}", response)


@checks.add
async def compression(client: Client) -> None:
    """Lists and /openapi.json of 8 KiB or more are gzipped for clients that accept it; a task never is."""
    task = await client.create("a", description="x" * LONG_BYTES)
    for path in (client.list_path(), "/openapi.json"):
        plain, packed = await client.get(path), await client.get(path, {"Accept-Encoding": "gzip"})
        if len(plain.content) < LONG_BYTES:
            continue
        expect_equal("gzip", packed.headers.get("Content-Encoding"), "Content-Encoding", packed)
        expect_equal(plain.content, packed.content, "the body", packed)
        for response in (plain, packed):
            expect("accept-encoding" in token_list(response, "Vary"), "Vary with Accept-Encoding", response)
        expect_equal(None, plain.headers.get("Content-Encoding"), "Content-Encoding", plain)
    response = await client.get(client.path(task), {"Accept-Encoding": "gzip"})
    expect_equal(None, response.headers.get("Content-Encoding"), "Content-Encoding", response)
