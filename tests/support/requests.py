"""Random requests about a user's tasks.  Each request checks its response against the model."""

from __future__ import annotations

import abc
import json
import re
from typing import Any

import attrs
import httpx
from hypothesis import strategies as st

from tests.support.model import Json, Model, Query

__all__ = ["LISTS", "REQUESTS", "Request", "Session"]

# Few values, so that they often match: some are equal after case folding, and some sort or match unusually.
PARTS = ["a", "A", "\u00df", "SS", "\u03c2", "\u03a3", "\U00010400", "\U00010428", "%", " "]
TEXTS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=2).map("".join)
TITLES = TEXTS.filter(lambda text: not text.isspace())
TAGS = st.sampled_from(["a", "A", "a,b", "b", '"', "\\", "{a}", "NULL", "\U0001f389"])
MOMENTS = st.sampled_from(
    ["2026-11-27T12:00:00Z", "2026-11-27T13:00:00+01:00", "2026-11-27T12:00:00.000001Z", "2026-11-28T00:00:00Z"]
)
STATUSES = st.sampled_from(["pending", "in_progress", "completed"])
PRIORITIES = st.sampled_from(["low", "medium", "high", "urgent"])
FLAGS: st.SearchStrategy[Json] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"status": STATUSES}),
    st.fixed_dictionaries({"is_completed": st.booleans()}),
    st.fixed_dictionaries({"completed": st.booleans()}),
)
OPTIONAL = {
    "description": st.none() | TEXTS,
    "priority": PRIORITIES,
    "due_at": st.none() | MOMENTS,
    "tags": st.lists(TAGS, max_size=4),
}


def bodies(**required: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    optional = OPTIONAL if required else {**OPTIONAL, "title": TITLES}
    fields = st.fixed_dictionaries(required, optional=optional)
    return st.builds(lambda fields, flags: {**fields, **flags}, fields, FLAGS)


def parameters(**values: st.SearchStrategy[list[str]]) -> st.SearchStrategy[Query]:
    """Return at most two of these parameters: with more, most lists would be empty."""
    pairs = [st.tuples(st.just(name), strategy) for name, strategy in values.items()]
    # There are more search texts than other values.
    each = st.one_of([*pairs, *[pairs[-1]] * 3])
    return st.lists(each, max_size=2, unique_by=lambda pair: pair[0]).map(dict)


def one(values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return values.map(lambda value: [value])


FLAG_VALUES = one(st.sampled_from(["true", "false"]))
FILTERS = parameters(
    status=st.lists(STATUSES | st.sampled_from(["", "all", "pending,completed"]), min_size=1, max_size=2),
    priority=st.lists(PRIORITIES | st.sampled_from(["", "low,urgent"]), min_size=1, max_size=2),
    is_completed=FLAG_VALUES,
    completed=FLAG_VALUES,
    tag=st.lists(TAGS, min_size=1, max_size=2),
    due_after=one(MOMENTS),
    due_before=one(MOMENTS),
    search=one(st.sampled_from(PARTS) | TEXTS),
)
SORTS = one(st.sampled_from(["created_at", "updated_at", "due_at", "priority", "title"]))
ORDERS = st.fixed_dictionaries({}, optional={"sort": SORTS, "order": one(st.sampled_from(["asc", "desc"]))})
PAGES = st.fixed_dictionaries({}, optional={"limit": one(st.sampled_from(["1", "2", "1000"])), "count": FLAG_VALUES})
QUERIES = st.builds(lambda filters, order, page: {**filters, **order, **page}, FILTERS, ORDERS, PAGES)
# Which task: an existing one, a deleted one, or one that never existed.
WHICH = st.integers(0, 5)
CONDITIONS = st.none() | st.sampled_from(["*", "current", "current", "listed", "old", "next", "weak", "nonsense"])


@attrs.frozen
class Session:
    """A user who sends requests, and what must hold after them."""

    client: httpx.AsyncClient
    url: str
    model: Model
    # The tags of lists, each with the number of writes before it.
    tags: dict[str, int] = attrs.field(factory=dict)

    def which(self, number: int) -> str:
        """Return the id of a task, which may have been deleted or may never have existed."""
        spare = f"019b0000-0000-7000-8000-00000000000{number}"
        return self.model.ids[number % len(self.model.ids)] if number and self.model.ids else spare

    def path(self, task_id: str) -> str:
        return f"{self.url}/{task_id}"

    def if_match(self, task_id: str, condition: str | None) -> tuple[dict[str, str], bool]:
        """Return headers with a *condition*, and whether an existing task meets it."""
        current = self.model.tasks.get(task_id, {}).get("version", 1)
        old = next((version for version in reversed(self.model.versions) if version < current), 0)
        header, is_met = {
            None: (None, True),
            "*": ("*", True),
            "current": (f'"{current}"', True),
            "listed": (f'"{old}" , "x",, "{current}"', True),
            "old": (f'"{old}"', False),
            "next": (f'"{max(self.model.versions) + 1}"', False),
            "weak": (f'W/"{current}"', False),
            "nonsense": (str(current), False),
        }[condition]
        return ({} if header is None else {"If-Match": header}), is_met


def status_of(session: Session, task_id: str, is_met: bool, success: int) -> int:
    """Return the expected status of a conditional write to a task."""
    if task_id not in session.model.tasks:
        return 404
    return success if is_met else 412


def task_in(response: httpx.Response) -> Json:
    """Return the task in a successful response, whose tag must be the task's version."""
    task: Json = response.json()
    assert f'"{task["version"]}"' == response.headers["ETag"]
    return task


class Request(abc.ABC):
    @abc.abstractmethod
    async def send(self, session: Session) -> None:
        """Send the request, and check the response."""


@attrs.frozen
class Create(Request):
    body: Json
    key: str | None
    is_repeated: bool

    async def send(self, session: Session) -> None:
        content = json.dumps(self.body).encode()
        known = session.model.keys.get(self.key or "")
        if known and self.is_repeated:
            content = known[0]
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": self.key} if self.key else {})
        response = await session.client.post(session.url, content=content, headers=headers)
        if known is None:
            assert 201 == response.status_code
            session.model.created(self.body, task_in(response))
            if self.key:
                session.model.keys[self.key] = (content, response.json()["id"])
        elif content != known[0]:
            assert (422, "key_reused") == (response.status_code, response.json()["code"])
        elif known[1] not in session.model.tasks:
            assert (409, "task_deleted") == (response.status_code, response.json()["code"])
        else:
            assert (201, session.model.tasks[known[1]]) == (response.status_code, task_in(response))


@attrs.frozen
class CreateAt(Request):
    which: int
    body: Json

    async def send(self, session: Session) -> None:
        task_id = session.which(self.which)
        response = await session.client.put(session.path(task_id), json=self.body, headers={"If-None-Match": "*"})
        if task_id in session.model.tasks:
            assert 412 == response.status_code
        else:
            assert (201, session.path(task_id)) == (response.status_code, response.headers["Location"])
            session.model.created(self.body, task_in(response), task_id)


@attrs.frozen
class Update(Request):
    which: int
    body: Json
    condition: str | None

    async def send(self, session: Session) -> None:
        task_id = session.which(self.which)
        headers, is_met = session.if_match(task_id, self.condition)
        response = await session.client.put(session.path(task_id), json=self.body, headers=headers)
        assert status_of(session, task_id, is_met, 200) == response.status_code
        if response.status_code == 200:
            session.model.changed(task_id, self.body, task_in(response))


@attrs.frozen
class Complete(Request):
    which: int
    flag: bool | None
    condition: str | None

    async def send(self, session: Session) -> None:
        task_id = session.which(self.which)
        headers, is_met = session.if_match(task_id, self.condition)
        body = None if self.flag is None else {"is_completed": self.flag}
        response = await session.client.patch(f"{session.path(task_id)}/complete", json=body, headers=headers)
        assert status_of(session, task_id, is_met, 200) == response.status_code
        if response.status_code != 200:
            return
        if body is None:
            session.model.toggled(task_id, task_in(response))
        else:
            session.model.changed(task_id, body, task_in(response))


@attrs.frozen
class Delete(Request):
    which: int
    condition: str | None

    async def send(self, session: Session) -> None:
        task_id = session.which(self.which)
        headers, is_met = session.if_match(task_id, self.condition)
        response = await session.client.delete(session.path(task_id), headers=headers)
        assert status_of(session, task_id, is_met, 204) == response.status_code
        if response.status_code == 204:
            session.model.deleted(task_id)


@attrs.frozen
class Get(Request):
    which: int
    knows: bool

    async def send(self, session: Session) -> None:
        task_id = session.which(self.which)
        task = session.model.tasks.get(task_id)
        version = task["version"] if task and self.knows else max(session.model.versions) + 1
        response = await session.client.get(session.path(task_id), headers={"If-None-Match": f'W/"{version}"'})
        if task is None:
            assert 404 == response.status_code
        elif self.knows:
            assert (304, b"") == (response.status_code, response.content)
        else:
            assert (200, task) == (response.status_code, task_in(response))


@attrs.frozen
class List(Request):
    query: Query

    async def send(self, session: Session) -> None:
        """Read all pages, and then the first one again, which must not have changed."""
        expected = session.model.listed(self.query)
        [limit] = self.query.get("limit", ["1000"])
        [count] = self.query.get("count", ["false"])
        url = httpx.URL(session.url, params=dict(self.query))
        pages = await walk(session.client, url)
        lengths = [len(page.json()) for page in pages]

        assert expected == [task for page in pages for task in page.json()]
        assert [int(limit)] * (len(pages) - 1) == lengths[:-1]
        assert lengths[-1] <= int(limit)
        assert {str(len(expected)) if count == "true" else None} == {
            page.headers.get("X-Total-Count") for page in pages
        }
        [tag] = {page.headers["ETag"] for page in pages}
        await self._revalidate(session, url, tag)

    async def _revalidate(self, session: Session, url: httpx.URL, tag: str) -> None:
        """Ask whether the list has changed since it was last read, and keep its new tag."""
        for known, writes in session.tags.items():
            response = await session.client.get(url, headers={"If-None-Match": known})
            assert (304 if writes == session.model.writes else 200) == response.status_code
        session.tags.clear()
        session.tags[tag] = session.model.writes


async def walk(client: httpx.AsyncClient, url: httpx.URL) -> list[httpx.Response]:
    """Return all pages, starting at *url*."""
    pages: list[httpx.Response] = []
    next_url: httpx.URL | None = url
    while next_url is not None:
        response = await client.get(next_url)
        assert 200 == response.status_code, response.text
        pages.append(response)
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        next_url = link and response.url.join(link[1])
    return pages


LISTS = st.builds(List, QUERIES)
WRITES = st.one_of(
    st.builds(Create, bodies(title=TITLES), st.none(), st.just(False)),
    st.builds(Create, bodies(title=TITLES), st.sampled_from(["a", "A"]), st.booleans()),
    st.builds(CreateAt, WHICH, bodies(title=TITLES)),
    st.builds(Update, WHICH, bodies(), CONDITIONS),
    st.builds(Complete, WHICH, st.none() | st.booleans(), CONDITIONS),
    st.builds(Delete, WHICH, CONDITIONS),
)
REQUESTS = st.one_of(WRITES, WRITES, WRITES, st.builds(Get, WHICH, st.booleans()), LISTS)
