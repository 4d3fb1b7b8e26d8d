"""The client that each check gets: it sends requests for a user, and remembers the tasks that it has created."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID

import attrs
import httpx

from taskd.conformance.expect import Json, Skipped, array_of, task_of

__all__ = ["ANONYMOUS", "Account", "Client", "Exchange"]

Header = tuple[str | bytes, str | bytes]
Headers = Iterable[Header] | Mapping[str, str]

# A server may refuse requests for a while: it is asked again so often, and after so long at most.
MAX_REPEATS, MAX_PAUSE_S = 3, 5
TRY_LATER = (429, 503)
# More than any list of a user that exists for this.
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
NOTHING = object()


@attrs.frozen
class Account:
    """
    A user, and the header with their credentials.

    Attributes:
        user: The id in paths; None means nobody in particular.
        header: The name and the value of the header; None sends no credentials.
        token: The part of the header that must not be shown.
    """

    user: str
    header: tuple[str, str] | None = attrs.field(repr=False)
    token: str = attrs.field(repr=False)

    @property
    def tasks(self) -> str:
        """The path of the user's tasks."""
        return f"/api/{quote(self.user, safe='')}/tasks"


ANONYMOUS: tuple[Header, ...] = ()


@attrs.define
class Exchange:
    """A request, and the response if one came."""

    request: httpx.Request
    response: httpx.Response | None = None


@attrs.frozen
class Client:
    """
    Sends the requests of one check.

    Attributes:
        account: The user whose tasks are created and read.
        tag: A tag that no other check gives to its tasks; its titles begin with it, too.
        history: All requests of the check so far.
        made: The accounts and the ids of the tasks to delete when the check ends.
        origin: The origin of the frontend, if it is known.
        prefix: The path below which a proxy serves the server; empty if none does.
        secrets: What must not be shown: tokens, and what is left of them after changes.
    """

    http: httpx.AsyncClient
    account: Account
    tag: str
    other_account: Account | None = None
    origin: str | None = None
    prefix: str = ""
    secrets: set[str] = attrs.field(factory=set, repr=False)
    history: list[Exchange] = attrs.field(factory=list)
    made: list[tuple[Account, str]] = attrs.field(factory=list)

    @property
    def tasks(self) -> str:
        """The path of the user's tasks."""
        return self.account.tasks

    def path(self, task: Json, suffix: str = "") -> str:
        """Return the path of *task*, followed by *suffix*."""
        return f"{self.tasks}/{task['id']}{suffix}"

    def other(self) -> Client:
        """
        Return a client for another user.

        Raises:
            Skipped: There are no credentials of another user.
        """
        if self.other_account is None:
            raise Skipped("needs the token of another user")
        return attrs.evolve(self, account=self.other_account)

    async def send(
        self,
        method: str,
        path: str,
        body: object = NOTHING,
        *,
        headers: Headers = (),
        credentials: Iterable[Header] | None = None,
    ) -> httpx.Response:
        """
        Send a request, and return the response; a server that says when to try again is asked again.

        Args:
            method: The method.
            path: The path as it is sent, below the prefix, with the query.
            body: The body; what is not `bytes` is sent as JSON.
            headers: More headers.  A `Content-Type` replaces that of JSON.
            credentials: The headers with credentials, in place of the account's own.
        """
        content, media_type = _encoded(body)
        given: list[Header] = list(headers.items() if isinstance(headers, Mapping) else headers)
        if media_type and not any(_lower(name) == "content-type" for name, _ in given):
            given.append(("Content-Type", media_type))
        for name, value in self._credentials(credentials):
            given.append((name, value))
        url = httpx.URL(self.http.base_url, raw_path=f"{self.prefix}{path}".encode())
        for attempt in range(MAX_REPEATS + 1):
            request = self.http.build_request(method, url, content=content, headers=_raw(given))
            response = await self._sent(request)
            pause_s = _pause_s(response)
            if pause_s is None or attempt == MAX_REPEATS:
                break
            await asyncio.sleep(pause_s)
        self._remember(method, path, response)
        return response

    def _credentials(self, credentials: Iterable[Header] | None) -> Iterable[Header]:
        if credentials is None:
            return [self.account.header] if self.account.header else []
        changed = list(credentials)
        self.secrets.update(_text(value).rpartition(" ")[2] for _, value in changed)
        return changed

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        exchange = Exchange(request)
        self.history.append(exchange)
        response = await self.http.send(request, stream=True)
        response.stream = _Bounded(response.stream, request)
        await response.aread()
        exchange.response = response
        return response

    def _remember(self, method: str, path: str, response: httpx.Response) -> None:
        """Note the id of a task that a request has created or changed."""
        if method not in {"POST", "PUT"} or not response.is_success or not path.startswith(self.tasks):
            return
        with contextlib.suppress(ValueError, KeyError, TypeError):
            self.made.append((self.account, str(UUID(response.json()["id"]))))

    async def get(self, path: str, headers: Headers = ()) -> httpx.Response:
        """Send a GET."""
        return await self.send("GET", path, headers=headers)

    async def post(self, body: object, headers: Headers = ()) -> httpx.Response:
        """Send a POST that creates a task, if *body* allows it."""
        return await self.send("POST", self.tasks, body, headers=headers)

    async def put(self, task: Json, body: object, headers: Headers = ()) -> httpx.Response:
        """Send a PUT that changes *task*."""
        return await self.send("PUT", self.path(task), body, headers=headers)

    async def complete(self, task: Json, body: object = NOTHING, headers: Headers = ()) -> httpx.Response:
        """Send a PATCH that toggles or sets whether *task* is completed."""
        return await self.send("PATCH", self.path(task, "/complete"), body, headers=headers)

    async def delete(self, task: Json, headers: Headers = ()) -> httpx.Response:
        """Send a DELETE for *task*."""
        return await self.send("DELETE", self.path(task), headers=headers)

    def body(self, name: str = "", /, **fields: Any) -> Json:
        """Return the body of a task called *name*, with *fields*, by which it can be recognized."""
        return {"title": f"{self.tag} {name}".rstrip(), "tags": [self.tag], **fields}

    async def create(self, name: str = "", /, **fields: Any) -> Json:
        """Create a task called *name*, with *fields*, and return it; the next one will be younger."""
        task = task_of(await self.post(self.body(name, **fields)), 201)
        # The time in an id is in milliseconds.
        await asyncio.sleep(0.002)
        return task

    async def now(self, task: Json) -> Json:
        """Return *task* as it is now."""
        return task_of(await self.get(self.path(task)))

    def list_path(self, query: str = "") -> str:
        """Return the path of a list of the tasks of this check, with another *query*."""
        return f"{self.tasks}?tag={quote(self.tag)}" + (f"&{query}" if query else "")

    async def listed(self, query: str = "") -> list[Json]:
        """Return the tasks of this check that *query* selects."""
        return array_of(await self.get(self.list_path(query)))

    async def names(self, query: str = "") -> list[str]:
        """Return the names of the tasks that *query* selects, in order."""
        return [self.name(task) for task in await self.listed(query)]

    def name(self, task: Json) -> str:
        """Return the name under which *task* was created."""
        return str(task["title"]).removeprefix(f"{self.tag} ")


@attrs.frozen
class _Bounded(httpx.AsyncByteStream):
    """The body of the response to *request*, which a server might never end."""

    stream: Any
    request: httpx.Request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the chunks, as long as there are not too many."""
        left = MAX_RESPONSE_BYTES
        async for chunk in self.stream:
            left -= len(chunk)
            if left < 0:
                raise httpx.ReadError(f"the response has more than {MAX_RESPONSE_BYTES} bytes", request=self.request)
            yield chunk

    async def aclose(self) -> None:
        """Close the connection, unless the whole body has been read."""
        await self.stream.aclose()


def _encoded(body: object) -> tuple[bytes | None, str]:
    """Return the bytes of *body*, and their media type."""
    if body is NOTHING:
        return None, ""
    return body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode(), "application/json"


def _raw(headers: Iterable[Header]) -> list[tuple[bytes, bytes]]:
    return [tuple(part if isinstance(part, bytes) else part.encode() for part in header) for header in headers]  # type: ignore[misc]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _lower(name: str | bytes) -> str:
    return _text(name).lower()


def _pause_s(response: httpx.Response) -> float | None:
    """Return after how many seconds to send a request again; None if its response is final."""
    text = response.headers.get("Retry-After", "")
    if response.status_code not in TRY_LATER or not text.isascii() or not text.isdigit():
        return None
    return min(int(text), MAX_PAUSE_S)
