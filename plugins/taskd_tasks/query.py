"""The query in a request for a list, and the response headers that depend on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import attrs
import msgspec
from starlette.requests import Request

from taskd.fields import FieldType
from taskd.queries import Sort, TaskPage, TaskQuery
from taskd.routes import FieldError, InvalidParameter
from taskd.storage import EVERYTHING
from taskd.tasks import Priority, Status, Tags
from taskd_tasks.cursors import Cursor
from taskd_tasks.pages import PAGE_LENGTH
from taskd_tasks.parameters import PARAMETERS

__all__ = ["ListRequest"]

_STATUSES = {True: frozenset({Status.COMPLETED}), False: frozenset(Status) - {Status.COMPLETED}}
_TAGS = FieldType.of(Tags)


@attrs.frozen
class ListRequest:
    """
    The query in a request for a list.

    Attributes:
        query: The tasks to list.
        given: The values of the parameters in the request, by name.
        first: The tasks to read first; the others are read while these are sent.
    """

    query: TaskQuery
    given: Mapping[str, Any]
    first: TaskQuery = attrs.field(init=False)

    @first.default
    def _first_page(self) -> TaskQuery:
        # In other orders, a store would sort all tasks for each page, and a change could move a task to another page.
        if self.query.limit is None and self.query.sort is Sort.CREATED_AT:
            return attrs.evolve(self.query, limit=PAGE_LENGTH)
        return self.query

    @classmethod
    def of(cls, request: Request) -> ListRequest:
        """
        Read the query of *request*.

        Raises:
            InvalidParameter: A parameter is invalid, or the cursor is for another query.
        """
        # Most requests have no query.
        given = PARAMETERS.read(request) if request.scope.get("query_string") else {}
        if not given:
            return _EVERYTHING
        query = _query(given)
        if "cursor" in given:
            try:
                query = attrs.evolve(query, after=given["cursor"].position(query, given))
            except ValueError as error:
                raise InvalidParameter(FieldError("cursor", str(error))) from None
        return cls(query, given)

    def headers(self, page: TaskPage) -> dict[str, str]:
        """Return the headers of the response with *page*."""
        headers = {}
        if page.has_more and self.query.limit is not None:
            headers["Link"] = f'<?{self._next(page)}>; rel="next"'
        if page.total is not None:
            headers["X-Total-Count"] = str(page.total)
        return headers

    def _next(self, page: TaskPage) -> str:
        """
        Return a reference to the page after *page*.

        It has no path, so it resolves to the path that the client requested, even if a proxy has changed that path on
        the way (RFC 3986, section 5.2.2).
        """
        cursor = Cursor.after(self.query.position_of(page.tasks[-1]), self.query, self.given)
        parameters = [(name, text) for name, value in self.given.items() if name != "cursor" for text in _texts(value)]
        return urlencode([*parameters, ("cursor", str(cursor))], quote_via=quote, safe="")


_EVERYTHING = ListRequest(EVERYTHING, {})


def _query(given: Mapping[str, Any]) -> TaskQuery:
    """Return the query that the parameters describe, without its cursor."""
    sort = given.get("sort", Sort.CREATED_AT)
    tags = given.get("tag", ())
    return TaskQuery(
        statuses=_statuses(given) if _are_tags(tags) else frozenset(),
        priorities=frozenset(given.get("priority", Priority)),
        tags=tags if _are_tags(tags) else (),
        due_after=given.get("due_after"),
        due_before=given.get("due_before"),
        search=given.get("search"),
        sort=sort,
        order=given.get("order", sort.default_order),
        limit=given.get("limit"),
        count=given.get("count", False),
    )


def _statuses(given: Mapping[str, Any]) -> frozenset[Status]:
    statuses = frozenset(given.get("status", Status))
    for flag in ("is_completed", "completed"):
        if flag in given:
            statuses &= _STATUSES[given[flag]]
    return statuses


def _are_tags(texts: tuple[str, ...]) -> bool:
    """Return whether a task can have these tags; if it cannot, there is no need to ask the store."""
    try:
        _TAGS.read(texts)
    except ValueError:
        return False
    return True


def _texts(value: object) -> Iterator[str]:
    """Yield the texts of a parameter with this *value*: several if the parameter is repeated."""
    plain = msgspec.to_builtins(value)
    for each in plain if isinstance(plain, (list, tuple)) else (plain,):
        yield each if isinstance(each, str) else msgspec.json.encode(each).decode()
