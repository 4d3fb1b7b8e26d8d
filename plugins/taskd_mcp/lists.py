"""Read lists page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from taskd.queries import Position, TaskQuery
from taskd.routes import FieldError, InvalidBody
from taskd.tasks import Priority, Status
from taskd_mcp import cursors
from taskd_mcp.arguments import ListTasks, SearchTasks, TaskList
from taskd_mcp.calls import Call
from taskd_mcp.cursors import Continuation

__all__ = ["page"]

OTHER_LIST = "must be sent alone, or with the arguments of the first page"

Arguments = Mapping[str, Any]


async def page(call: Call, tool: str, cls: type[ListTasks]) -> TaskList:
    """
    Return the page that *call* asks for.

    Args:
        call: The call.
        tool: The name of the tool.
        cls: The class of its arguments.
    """
    filters, continuation = _filters(call.arguments, tool, cls)
    limit = {name: value for name, value in call.arguments.items() if name == "limit"}
    query = _query(call.read(cls, {**filters, **limit}), continuation)
    found = await call.store.list(call.owner, query)
    position = query.position_of(found.tasks[-1]) if found.has_more else None
    return TaskList(found.tasks, None if position is None else cursors.encoded(tool, filters, position))


def _filters(arguments: Arguments, tool: str, cls: type[ListTasks]) -> tuple[Arguments, Continuation | None]:
    """Return the arguments of the first page, except for `limit`, and where to continue; None if this is that page."""
    names = {field.name for field in attrs.fields(cls)} - {"cursor", "limit"}
    given = {name: value for name, value in arguments.items() if name in names}
    cursor = arguments.get("cursor")
    if cursor is None:
        return given, None
    try:
        continuation = cursors.parsed(str(cursor))
    except ValueError as error:
        raise InvalidBody(FieldError("cursor", str(error))) from None
    if continuation.tool != tool or given not in ({}, continuation.arguments):
        raise InvalidBody(FieldError("cursor", OTHER_LIST))
    return continuation.arguments, continuation


def _query(asked: ListTasks, continuation: Continuation | None) -> TaskQuery:
    after = None
    if continuation is not None:
        try:
            after = Position.read(asked.sort, continuation.key, continuation.id)
        except ValueError:
            raise InvalidBody(FieldError("cursor", cursors.DAMAGED)) from None
    return TaskQuery(
        statuses=frozenset(asked.status or Status),
        priorities=frozenset(asked.priority or Priority),
        tags=asked.tags,
        due_after=asked.due_after,
        due_before=asked.due_before,
        search=asked.text if isinstance(asked, SearchTasks) else None,
        sort=asked.sort,
        order=asked.order or asked.sort.default_order,
        limit=asked.limit,
        after=after,
    )
