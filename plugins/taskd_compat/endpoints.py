"""
The endpoints.  Each translates a request, lets the API's own endpoint respond, and translates the response.

So all rules are the API's, and only spellings and shapes differ.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import attrs
from starlette.requests import Request
from starlette.responses import Response

from taskd.routes import FieldError, InvalidBody, InvalidParameter, JSONResponse, forward, receive_body
from taskd_compat.bodies import dated, dated_list, enveloped, names_in, translated
from taskd_compat.queries import MAX_LENGTH, ListQuery, encoded, replaced
from taskd_compat.settings import Dialect

__all__ = ["PREFIX", "CompatEndpoints"]

# What a frontend appends to its base URL.
PREFIX = "/compat"
TASKS = "/api/{user_id}/tasks"
TASK = "/api/{user_id}/tasks/{id}"
COMPLETE = "/api/{user_id}/tasks/{id}/complete"
DELETED = "The task has been deleted."

_NEXT = re.compile(r'<\?(?P<query>[^>]*)>; rel="next"')
# Which representation a client has depends on the dialects, which may have changed since.
_HEADERS = {"Cache-Control": "no-store"}
# The headers that make a response without the tasks, or a compressed one.
_OF_READS = (b"accept-encoding", b"if-none-match")


@attrs.frozen
class CompatEndpoints:
    """The endpoints that speak *dialects*."""

    dialects: frozenset[Dialect]

    async def list(self, request: Request) -> Response:
        """List tasks."""
        asked = ListQuery.of(request, self.dialects)
        with _naming(asked.names):
            response = await self._page(request, asked)
        tasks = response.body
        if Dialect.DUE_DATE in self.dialects:
            tasks = await dated_list(bytes(tasks))
        if Dialect.ENVELOPES in self.dialects:
            tasks = enveloped(bytes(tasks), response.headers["X-Total-Count"])
        return _with_body(response, bytes(tasks))

    async def _page(self, request: Request, asked: ListQuery) -> Response:
        """Return the API's response with the tasks that *asked* wants, after those to skip."""
        pairs, skipped = asked.pairs, asked.skipped
        if Dialect.ENVELOPES in self.dialects:
            pairs = replaced(pairs, "count", "true")
        [limit] = [value for name, value in pairs if name == "limit"][:1]
        while skipped:
            length = min(skipped, MAX_LENGTH)
            response = await self._read(request, TASKS, encoded(replaced(pairs, "limit", str(length))))
            following = _NEXT.search(response.headers.get("Link", ""))
            if following is None:
                return _with_body(response, b"[]")
            pairs, skipped = replaced(parse_qsl(following["query"]), "limit", limit), skipped - length
        return await self._read(request, TASKS, encoded(pairs))

    async def get(self, request: Request) -> Response:
        """Return a task."""
        return self._task(await self._read(request, TASK))

    async def create(self, request: Request) -> Response:
        """Create a task."""
        return await self._write(request, TASKS, "POST")

    async def update(self, request: Request) -> Response:
        """Change a task."""
        return await self._write(request, TASK, "PUT")

    async def complete(self, request: Request) -> Response:
        """Complete or reopen a task."""
        return await self._write(request, COMPLETE, "PATCH")

    async def delete(self, request: Request) -> Response:
        """Delete a task."""
        response = await forward(request, TASK, prefix=PREFIX)
        if Dialect.DELETE_BODY not in self.dialects:
            return _with_body(response, b"")
        return JSONResponse({"message": DELETED, "id": request.path_params["id"]}, headers=_HEADERS)

    async def _read(self, request: Request, path: str, query: bytes | None = None) -> Response:
        headers = [header for header in request.scope["headers"] if header[0] not in _OF_READS]
        changes = {} if query is None else {"query_string": query}
        return await forward(request, path, prefix=PREFIX, method="GET", headers=headers, **changes)

    async def _write(self, request: Request, path: str, method: str) -> Response:
        body = await receive_body(request)
        with _naming(names_in(body, self.dialects)):
            body = translated(body, self.dialects)
            return self._task(await forward(request, path, prefix=PREFIX, method=method, body=body))

    def _task(self, response: Response) -> Response:
        """Return the *response* with a task, as the client expects it."""
        body = bytes(response.body)
        return _with_body(response, dated(body) if Dialect.DUE_DATE in self.dialects else body)


@contextlib.contextmanager
def _naming(names: Mapping[str, str]) -> Iterator[None]:
    """Let errors in the block call fields and parameters by the *names* that the client uses."""
    try:
        yield
    except (InvalidBody, InvalidParameter) as error:
        errors = [FieldError(names.get(each.field, each.field), each.message) for each in error.errors]
        raise type(error)(*errors) from None


def _with_body(response: Response, body: bytes) -> Response:
    """Return a *response* with another body."""
    kept: dict[str, Any] = {name: value for name, value in response.headers.items() if name != "content-length"}
    return Response(body, response.status_code, {**kept, **_HEADERS})
