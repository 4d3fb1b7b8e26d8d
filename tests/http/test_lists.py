"""Filters, sorting and pages of lists, over HTTP, on both databases."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Iterable
from urllib.parse import parse_qsl, quote

import httpx
import pytest
from starlette.types import ASGIApp

from tests.conftest import client_of, token_for
from tests.support.tasks import Json, create

pytestmark = pytest.mark.anyio

Parameters = list[tuple[str, str]]

# In the order of the contract's table.
PARAMETERS = [
    "status",
    "priority",
    "is_completed",
    "completed",
    "tag",
    "due_after",
    "due_before",
    "search",
    "sort",
    "order",
    "limit",
    "cursor",
    "count",
]
SORTS = ["created_at", "updated_at", "due_at", "priority", "title"]
# In order of creation; tests refer to each task by the first letter of its title.
TASKS: list[Json] = [
    {"title": "a stra\u00dfe", "status": "completed", "priority": "low", "tags": ["home", "x,y"]},
    {"title": "b", "description": "\u039f\u0394\u039f\u03a3 1", "due_at": "2026-11-27T12:00:00Z"},
    {"title": "c caf\u00e9", "status": "in_progress", "priority": "urgent", "tags": ["home", "work"]},
    {"title": "D", "due_at": "2026-11-26T12:00:00Z", "priority": "high", "tags": ["home"]},
    {"title": "e 100%", "status": "completed", "due_at": "2026-11-27T12:00:00Z", "priority": "low"},
]


@pytest.fixture(scope="module")
def database_url(each_database_url: str) -> str:
    """Lists are the same whatever the store."""
    return each_database_url


@pytest.fixture
async def filled(client: httpx.AsyncClient, tasks_url: str) -> list[Json]:
    """Return the tasks URL of a user who has the tasks in `TASKS`."""
    return [await create(client, tasks_url, **fields) for fields in TASKS]


def letters(response: httpx.Response) -> str:
    """Return the first letters of the titles in a list."""
    assert 200 == response.status_code, response.text
    return "".join(task["title"][0].lower() for task in response.json())


def following(response: httpx.Response) -> httpx.URL | None:
    """Return the URL of the next page, as a client resolves it."""
    if "Link" not in response.headers:
        return None
    found = re.fullmatch(r'<(\?[!-;=?-~]+)>; rel="next"', response.headers["Link"])
    assert found, response.headers["Link"]
    return response.url.join(found[1])


async def pages(client: httpx.AsyncClient, url: httpx.URL | str) -> AsyncIterator[httpx.Response]:
    """Yield the pages of a list, starting at *url*."""
    next_url: httpx.URL | str | None = url
    while next_url is not None:
        response = await client.get(next_url)
        assert 200 == response.status_code, response.text
        yield response
        next_url = following(response)


def fields_of(response: httpx.Response) -> list[str]:
    """Return the fields of a 422 for wrong parameters."""
    body = response.json()
    assert (422, "invalid_parameter") == (response.status_code, body["code"])
    assert all(error["message"].startswith("must be ") for error in body["errors"])
    return [error["field"] for error in body["errors"]]


@pytest.mark.usefixtures("filled")
class TestFilters:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", "edcba"),
            ("status=completed", "ea"),
            ("status=completed,in_progress", "eca"),
            ("status=in_progress&status=completed&status=completed", "eca"),
            ("status=completed,&status=", "ea"),
            ("status=completed,all", "edcba"),
            ("status=all&status=completed", "edcba"),
            ("status=all", "edcba"),
            ("priority=low,urgent", "eca"),
            ("priority=medium", "b"),
            ("priority=all", "edcba"),
            ("is_completed=true", "ea"),
            ("is_completed=false", "dcb"),
            ("completed=true", "ea"),
            ("completed=false", "dcb"),
            ("is_completed=true&completed=false", ""),
            ("is_completed=false&status=completed,pending", "db"),
            ("completed=true&status=in_progress", ""),
            ("tag=home", "dca"),
            ("tag=home&tag=work", "c"),
            ("tag=home&tag=home", "dca"),
            ("tag=x,y", "a"),
            ("tag=x&tag=y", ""),
            ("tag=Home", ""),
            ("tag=all", ""),
            ("tag=+", ""),
            ("tag=" + "x" * 51, ""),
            ("&".join(f"tag={number}" for number in range(21)), ""),
            ("due_after=2026-11-27T12:00:00Z", "eb"),
            ("due_after=2026-11-27T13:00:00%2B01:00", "eb"),
            ("due_after=2026-11-27T12:00:00.000001Z", ""),
            ("due_before=2026-11-27T12:00:00Z", "d"),
            ("due_after=2026-11-26T12:00:00Z&due_before=2026-11-27T12:00:00.000001Z", "edb"),
            ("due_after=0001-01-01T00:00:00Z", "edb"),
            ("search=STRASSE", "a"),
            ("search=stra%C3%9Fe", "a"),
            ("search=%CE%BF%CE%B4%CE%BF%CF%82", "b"),
            ("search=+", "ecba"),
            ("search=caf%C3%89", "c"),
            ("search=cafe%CC%81", ""),
            ("search=%25", "e"),
            ("search=_", ""),
            ("search=00%25", "e"),
            ("search=\\", ""),
            ("search='", ""),
            ("search=" + "%F0%9F%8E%89" * 200, ""),
            ("tag=home&is_completed=false&priority=high,urgent&search=d", "d"),
            ("status=&priority=&is_completed=&completed=&tag=&due_after=&due_before=&search=&sort=&order=", "edcba"),
            ("limit=&cursor=&count=", "edcba"),
            ("page=2&Status=pending&status%5B%5D=pending&unknown=%FF&%00=1&status", "edcba"),
        ],
        ids=repr,
    )
    async def test_a_filter_keeps_what_the_contract_says(
        self, client: httpx.AsyncClient, tasks_url: str, query: str, expected: str
    ) -> None:
        """All filters must match; empty and unknown parameters are ignored."""
        assert expected == letters(await client.get(f"{tasks_url}?{query}"))

    async def test_other_users_are_not_searched(self, app: ASGIApp, user_id: str) -> None:
        """A filter finds only the user's own tasks."""
        async with client_of(app, f"{user_id}2") as other:
            response = await other.get(f"/api/{user_id}2/tasks", params={"tag": "home", "count": "true"})

        assert ("", "0") == (letters(response), response.headers["X-Total-Count"])


@pytest.mark.usefixtures("filled")
class TestSorting:
    @pytest.mark.parametrize(
        ("sort", "ascending", "descending"),
        [
            ("created_at", "abcde", "edcba"),
            ("due_at", "dbeac", "ebdca"),
            ("priority", "aebdc", "cdbea"),
            ("title", "abcde", "edcba"),
        ],
    )
    async def test_a_list_is_sorted_in_both_directions(
        self, client: httpx.AsyncClient, tasks_url: str, sort: str, ascending: str, descending: str
    ) -> None:
        """Ties are sorted by age, in the same direction, and tasks without `due_at` come last in both."""
        for order, expected in (("asc", ascending), ("desc", descending)):
            assert expected == letters(await client.get(tasks_url, params={"sort": sort, "order": order}))
        default = ascending if sort in {"due_at", "title"} else descending
        assert default == letters(await client.get(tasks_url, params={"sort": sort}))

    async def test_the_last_changed_tasks_come_first(
        self, client: httpx.AsyncClient, tasks_url: str, filled: list[Json]
    ) -> None:
        """`updated_at` sorts by the last change of any kind."""
        await client.put(f"{tasks_url}/{filled[1]['id']}", json={"priority": "low"})

        assert "bedca" == letters(await client.get(tasks_url, params={"sort": "updated_at"}))
        assert "acdeb" == letters(await client.get(tasks_url, params={"sort": "updated_at", "order": "asc"}))

    async def test_the_order_alone_reverses_the_list(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Even without `sort`, the oldest task can come first."""
        assert "abcde" == letters(await client.get(tasks_url, params={"order": "asc"}))


@pytest.mark.usefixtures("filled")
class TestErrors:
    @pytest.mark.parametrize(
        ("query", "fields"),
        [
            *[
                (f"{name}={value}", [name])
                for name in ("status", "priority")
                for value in ("done", "Pending", "pending%20", "low;urgent", "all,done", "%FF", "%00")
            ],
            *[
                (f"{name}={value}", [name])
                for name in ("is_completed", "completed", "count")
                for value in ("yes", "1", "True", "true,false", "all", "true%00")
            ],
            *[
                (f"{name}={value}", [name])
                for name in ("due_after", "due_before")
                for value in (
                    "2026-11-27", "2026-11-27T12:00:00", "2026-11-27T13:00:00+01:00", "tomorrow", "1764244800",
                    "2026-02-30T12:00:00Z", "0001-01-01T00:00:00%2B01:00",
                )
            ],
            *[(f"limit={value}", ["limit"]) for value in ("0", "-1", "1001", "01", "1.0", "%2B5", "all", "9" * 5000)],
            *[(f"cursor={value}", ["cursor"]) for value in ("x", "AAAA", "%00", "%FF", "null", "A" * 51)],
            ("search=" + "x" * 201, ["search"]),
            ("search=a%00b", ["search"]),
            ("search=%ED%A0%80", ["search"]),
            ("tag=%C3", ["tag"]),
            ("tag=a&tag=%00", ["tag"]),
            ("sort=id", ["sort"]),
            ("sort=-title", ["sort"]),
            ("sort=title,priority", ["sort"]),
            ("order=DESC", ["order"]),
            *[
                (f"{name}={value}&{name}={value}", [name])
                for name, value in {
                    "is_completed": "true", "completed": "true", "due_after": "2026-11-27T12:00:00Z", "search": "x",
                    "due_before": "2026-11-27T12:00:00Z", "sort": "title", "order": "asc", "limit": "5",
                    "count": "true",
                }.items()
            ],
            ("&".join(f"{name}=x%00" for name in reversed(PARAMETERS)), PARAMETERS),
            ("cursor=x&limit=0&status=x&cursor=x&tag=x", ["status", "limit", "cursor"]),
        ],
        ids=repr,
    )  # fmt: skip
    async def test_a_wrong_value_is_refused(
        self, client: httpx.AsyncClient, tasks_url: str, query: str, fields: list[str]
    ) -> None:
        """All errors are reported at once, in the order of the contract's table."""
        assert fields == fields_of(await client.get(f"{tasks_url}?{query}"))

    async def test_credentials_are_checked_first(self, stranger: httpx.AsyncClient, tasks_url: str) -> None:
        """Without credentials, parameters are not even read."""
        assert 401 == (await stranger.get(f"{tasks_url}?limit=0")).status_code

    async def test_other_endpoints_have_no_parameters(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """They ignore the query."""
        response = await client.post(f"{tasks_url}?limit=0&cursor=x", json={"title": "t"})

        assert 201 == response.status_code
        assert 200 == (await client.get(f"{response.headers['Location']}?sort=x&status=%FF")).status_code


class TestPages:
    @pytest.mark.parametrize("order", ["asc", "desc"])
    @pytest.mark.parametrize("sort", SORTS)
    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 1000])
    async def test_pages_are_parts_of_the_list(
        self, client: httpx.AsyncClient, tasks_url: str, filled: list[Json], sort: str, order: str, limit: int
    ) -> None:
        """Each page but the last is full and leads to the next one; together, they are the whole list."""
        asked = {"sort": sort, "order": order}
        whole = (await client.get(tasks_url, params=asked)).json()
        url = str(httpx.URL(tasks_url, params={**asked, "limit": limit, "count": "true"}))
        walked = [page async for page in pages(client, url)]

        assert whole == [task for page in walked for task in page.json()]
        assert [limit] * (len(walked) - 1) == [len(page.json()) for page in walked[:-1]]
        assert -(-len(filled) // limit) == len(walked)
        assert {str(len(filled))} == {page.headers["X-Total-Count"] for page in walked}

    @pytest.mark.usefixtures("filled")
    @pytest.mark.parametrize("slash", ["", "/"])
    async def test_the_link_repeats_the_client_s_parameters(
        self, client: httpx.AsyncClient, tasks_url: str, slash: str
    ) -> None:
        """It has all of them except unknown and empty ones, and leads to the path of the request."""
        query = "limit=1&status=completed,pending&tag=&x=%FF&priority=all&search=+&sort=title&count=true"
        response = await client.get(f"{tasks_url}{slash}?{query}")
        url = following(response)

        assert url is not None
        *sent, (last, _) = parse_qsl(url.query.decode())
        filters = [("status", "pending"), ("status", "completed"), ("search", " ")]
        assert [*filters, ("sort", "title"), ("limit", "1"), ("count", "true")] == sent
        assert "cursor" == last
        assert f"{tasks_url}{slash}" == url.path
        assert "ab" == letters(response) + letters(await client.get(url))

    async def test_any_text_survives_in_the_link(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Whatever the search text is, the next page searches for the same."""
        text = "\u00e9\U0001f389 &=#+%,;'\"<>\\/?@\n:"
        for _ in range(2):
            await create(client, tasks_url, title=f"x{text}", tags=[text, "a"])
        parameters = {"limit": "1", "search": text, "tag": [text, "a"], "due_after": ""}
        first = await client.get(tasks_url, params=parameters)

        url = following(first)
        assert url is not None
        assert text == url.params["search"]
        assert [text, "a"] == url.params.get_list("tag")
        last = await client.get(url)
        assert (1, None) == (len(last.json()), following(last))

    async def test_an_encoded_user_id_and_a_prefix_are_kept(self, app: ASGIApp, user_id: str) -> None:
        """The link works relative to the URL that the client used, even if the server does not know that URL."""
        owner = f"{user_id}/\u00e9 %"
        path = f"/prefix/api/{quote(owner, safe='')}/tasks"
        headers = {"Authorization": f"Bearer {token_for(owner)}"}
        transport = httpx.ASGITransport(app, root_path="/prefix")
        async with httpx.AsyncClient(transport=transport, base_url="http://taskd", headers=headers) as client:
            for _ in range(2):
                await create(client, path)
            url = following(await client.get(f"{path}?limit=1"))

            assert url is not None
            assert path == url.raw_path.partition(b"?")[0].decode()
            assert 1 == len((await client.get(url)).json())

    async def test_an_exact_fit_has_no_next_page(
        self, client: httpx.AsyncClient, tasks_url: str, filled: list[Json]
    ) -> None:
        """If nothing follows, there is no link; without `count`, nothing is counted."""
        response = await client.get(tasks_url, params={"limit": len(filled), "count": "false"})

        assert "edcba" == letters(response)
        assert not {"Link", "X-Total-Count"} & {*response.headers}
        assert not {"Link", "X-Total-Count"} & {*(await client.get(tasks_url)).headers}

    @pytest.mark.usefixtures("filled")
    async def test_head_has_the_same_headers(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """HEAD returns the number of tasks without sending them."""
        url = f"{tasks_url}?limit=2&count=true"
        head, get = await client.head(url), await client.get(url)

        assert (b"", "5") == (head.content, head.headers["X-Total-Count"])
        assert get.headers["Link"] == head.headers["Link"]

    @pytest.mark.usefixtures("filled")
    async def test_the_count_covers_all_matching_tasks(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """Filters reduce it; pages and cursors do not."""
        first = await client.get(f"{tasks_url}?limit=1&count=true&tag=home")
        url = following(first)
        assert url is not None

        counts = [response.headers["X-Total-Count"] for response in (first, await client.get(url))]
        assert ["3", "3"] == counts


@pytest.mark.usefixtures("filled")
class TestCursors:
    async def test_limit_and_count_may_change(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """For example, a client can read all remaining tasks at once."""
        url = following(await client.get(f"{tasks_url}?limit=1&count=true"))
        assert url is not None

        for other in (url.copy_set_param("limit", "3").copy_remove_param("count"), url.copy_remove_param("limit")):
            assert "dcba".startswith(letters(await client.get(other)))

    @pytest.mark.parametrize(
        ("query", "other"),
        [
            ("", "status=pending"),
            ("", "completed=false"),
            ("", "search=x"),
            ("", "sort=title"),
            ("", "sort=priority"),
            ("", "order=asc"),
            ("sort=created_at", ""),
            ("order=desc", ""),
            ("sort=due_at&order=asc", "sort=due_at"),
            ("sort=due_at", "sort=title"),
            ("tag=home", ""),
            ("tag=home", "tag=work"),
            ("tag=home", "tag=home&tag=work"),
            ("status=pending", "status=pending,completed"),
            ("status=completed", "is_completed=true"),
            ("status=completed&is_completed=true", "status=completed"),
            ("priority=low", "priority=high"),
            ("due_after=2026-11-26T12:00:00Z", "due_after=2026-11-26T12:00:01Z"),
            ("due_before=2026-11-28T12:00:00Z", ""),
            ("due_before=2026-11-28T12:00:00Z", "due_after=2026-11-28T12:00:00Z"),
        ],
    )
    async def test_another_query_needs_another_cursor(
        self, client: httpx.AsyncClient, tasks_url: str, query: str, other: str
    ) -> None:
        """A cursor is refused if a filter, the sort or the order is changed or left out."""
        url = following(await client.get(f"{tasks_url}?limit=1&{query}"))
        assert url is not None

        cursor = url.params["cursor"]
        assert ["cursor"] == fields_of(await client.get(f"{tasks_url}?limit=1&{other}&cursor={cursor}"))
        assert 200 == (await client.get(f"{tasks_url}?{query}&cursor={cursor}")).status_code

    @pytest.mark.parametrize(
        ("query", "same"),
        [
            ("status=pending,completed", "status=completed&status=pending"),
            ("tag=home&tag=work", "tag=work&tag=home&tag=home"),
            ("due_after=2026-11-26T12:00:00Z", "due_after=2026-11-26T13:00:00%2B01:00"),
            ("", "sort=created_at&order=desc&status=all&search="),
        ],
    )
    async def test_another_spelling_is_the_same_query(
        self, client: httpx.AsyncClient, tasks_url: str, query: str, same: str
    ) -> None:
        """A client may write the query differently, or add default values."""
        await create(client, tasks_url, title="f", tags=["home", "work"])
        url = following(await client.get(f"{tasks_url}?limit=1&{query}"))
        assert url is not None

        cursor = url.params["cursor"]
        assert 200 == (await client.get(f"{tasks_url}?{same}&cursor={cursor}")).status_code

    async def test_every_change_to_a_cursor_is_refused(self, client: httpx.AsyncClient, tasks_url: str) -> None:
        """A cursor with one changed character is not valid."""
        url = following(await client.get(f"{tasks_url}?limit=1"))
        assert url is not None

        cursor = url.params["cursor"]
        for place in range(len(cursor)):
            changed = cursor[:place] + ("B" if cursor[place] == "A" else "A") + cursor[place + 1 :]
            assert ["cursor"] == fields_of(await client.get(f"{tasks_url}?limit=1&cursor={changed}"))

    async def test_another_user_s_cursor_shows_only_one_s_own_tasks(
        self, app: ASGIApp, client: httpx.AsyncClient, tasks_url: str, user_id: str
    ) -> None:
        """A cursor gives access to nothing that its query would not return anyway."""
        url = following(await client.get(f"{tasks_url}?limit=1"))
        assert url is not None
        async with client_of(app, f"{user_id}2") as other:
            path = f"/api/{user_id}2/tasks"
            mine = await create(other, path, title="mine")
            found = (await other.get(f"{path}?order=desc&cursor={url.params['cursor']}")).json()

        # It is newer than the start of the page.
        assert mine not in found
        assert [] == found


class TestWalking:
    @pytest.mark.parametrize("order", ["asc", "desc"])
    @pytest.mark.parametrize("sort", [sort for sort in SORTS if sort != "updated_at"])
    async def test_no_task_is_repeated_or_skipped(
        self, client: httpx.AsyncClient, tasks_url: str, sort: str, order: str
    ) -> None:
        """Whatever is created, deleted or changed between pages, each task that exists throughout is listed once."""
        due = itertools.cycle([None, "2026-11-27T12:00:00Z", "2026-11-28T12:00:00Z"])
        priorities = itertools.cycle(["low", "urgent"])
        made = [
            await create(client, tasks_url, title=title, due_at=next(due), priority=next(priorities))
            for title in ("b", "B", "a", "b", "c", "A", "b", "d", "a")
        ]
        seen: list[str] = []
        gone = {made[4]["id"]}
        async for page in pages(client, f"{tasks_url}?limit=2&sort={sort}&order={order}"):
            seen += ids(page.json())
            # The tasks before and after the start of the next page.
            gone |= {seen[-1], *[task["id"] for task in made if task["id"] not in seen][:1]} if len(gone) < 4 else set()
            for task_id in gone:
                await client.delete(f"{tasks_url}/{task_id}")
            for task in made:
                await client.put(f"{tasks_url}/{task['id']}", json={"description": "changed", "status": "completed"})
            if len(seen) < 8:
                await create(client, tasks_url, title="b", priority="low", due_at=next(due))

        throughout = {task["id"] for task in made} - gone
        assert throughout <= set(seen)
        assert len(seen) == len(set(seen))

    async def test_new_tasks_do_not_appear_on_later_pages(
        self, client: httpx.AsyncClient, tasks_url: str, filled: list[Json]
    ) -> None:
        """With the newest first, tasks created after the first page come before it."""
        seen = ""
        async for page in pages(client, f"{tasks_url}?limit=2"):
            seen += letters(page)
            await create(client, tasks_url, title="new")

        assert "edcba" == seen
        assert 5 == len(filled)


def ids(tasks: Iterable[Json]) -> list[str]:
    """Return the ids of *tasks*."""
    return [task["id"] for task in tasks]
