"""Translate the query parameters of lists."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, quote, urlencode

import attrs
from starlette.requests import Request

from taskd.routes import FieldError, InvalidParameter
from taskd_compat import values
from taskd_compat.settings import Dialect

__all__ = ["MAX_LENGTH", "ListQuery", "encoded", "replaced"]

Pairs = list[tuple[str, str]]

# The most tasks in one response: all that the API returns for a `limit`.
MAX_LENGTH = 1000
# How many tasks a page has if the request has `page`, but no `limit`.
PAGE_LENGTH = 20
# The tasks that are skipped must be read, too.
MAX_SKIPPED = 10_000

# Other names of the API's parameters, and of `offset`, which it does not have.
_SPELLINGS = {
    "is_completed": ("isCompleted",),
    "due_after": ("dueAfter", "due_from"),
    "due_before": ("dueBefore", "due_to"),
    "search": ("q", "query", "keyword"),
    "sort": ("sort_by", "sortBy", "order_by", "orderBy", "ordering"),
    "order": ("sort_order", "sortOrder", "sort_dir", "direction", "dir"),
    "limit": ("per_page", "perPage", "page_size", "pageSize"),
    "offset": ("skip",),
    "tag": ("tags",),
}
_NAMES = {other: name for name, others in _SPELLINGS.items() for other in others}
_FLAGS = {"1": "true", "yes": "true", "0": "false", "no": "false"}
_ORDERS = {"ascending": "asc", "descending": "desc"}
_SORTS = {"created": "created_at", "updated": "updated_at", "due": "due_at"}
# What filters call the statuses of tasks that are not completed.
_ACTIVE = ("active", "incomplete")
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


@attrs.frozen
class ListQuery:
    """
    A request for a list, as the API expects it.

    Attributes:
        pairs: The parameters, which include a `limit`.
        skipped: How many tasks to leave out at the beginning.
        names: What the client calls parameters, by their names in the API, if it uses other names.
    """

    pairs: Pairs
    skipped: int
    names: Mapping[str, str]

    @classmethod
    def of(cls, request: Request, dialects: Collection[Dialect]) -> ListQuery:
        """
        Read the query of *request*.

        Raises:
            InvalidParameter: `page` or `offset` is wrong, or a parameter is not UTF-8.
        """
        try:
            query = request.scope.get("query_string", b"").decode()
            sent = parse_qsl(query, keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            raise InvalidParameter(FieldError("query", "must be percent-encoded text in UTF-8")) from None
        names: dict[str, str] = {}
        if Dialect.PARAMETERS in dialects:
            names = {_NAMES[name]: name for name, _ in sent if name in _NAMES}
            sent = [pair for name, value in sent for pair in _respelled(_NAMES.get(name, name), name, value)]
        pairs = [(name, _value(name, value, dialects)) for name, value in sent]
        skipped = 0
        if Dialect.PARAMETERS in dialects:
            pairs, skipped = _paged(_with_direction(pairs), names)
        # For the API, an empty limit is none.
        pairs = [pair for pair in pairs if pair != ("limit", "")]
        if all(name != "limit" for name, _ in pairs):
            pairs = replaced(pairs, "limit", str(MAX_LENGTH))
        return cls(pairs, skipped, names)


def encoded(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return *pairs* as a query string."""
    return urlencode(list(pairs), quote_via=quote, safe="").encode()


def replaced(pairs: Iterable[tuple[str, str]], name: str, value: str) -> Pairs:
    """Return *pairs* with one parameter *name*, which has this *value*."""
    return [*(pair for pair in pairs if pair[0] != name), (name, value)]


def _respelled(name: str, sent_as: str, value: str) -> Iterator[tuple[str, str]]:
    """Yield the parameter *name* of the API, for each value that the client put into one."""
    for each in value.split(",") if sent_as == "tags" else (value,):
        yield name, _spelling(name, each)


def _spelling(name: str, value: str) -> str:
    if name in ("is_completed", "completed", "count"):
        return _FLAGS.get(value.lower(), value.lower())
    if name == "order":
        return _ORDERS.get(value.lower(), value.lower())
    if name == "sort":
        snake = re.sub("(?<=[a-z])(?=[A-Z])", "_", value).lower()
        return _SORTS.get(snake, snake)
    return value


def _value(name: str, value: str, dialects: Collection[Dialect]) -> str:
    if Dialect.DUE_DATE in dialects:
        if name == "sort":
            value = value.replace("due_date", "due_at")
        elif name in ("due_after", "due_before"):
            value = values.due_at(value)
    if Dialect.ENUMS in dialects and name in ("status", "priority"):
        value = ",".join(map(_statuses if name == "status" else values.priority, value.split(",")))
    return value


def _statuses(text: str) -> str:
    name = values.status(text)
    return "pending,in_progress" if name in _ACTIVE else name


def _with_direction(pairs: Pairs) -> Pairs:
    """Return *pairs* with an `order`, if `sort` begins with a minus sign, as in `-created_at`."""
    sort = next((value for name, value in pairs if name == "sort" and value.startswith("-")), None)
    return pairs if sort is None else replaced(replaced(pairs, "sort", sort[1:]), "order", "desc")


def _paged(pairs: Pairs, names: Mapping[str, str]) -> tuple[Pairs, int]:
    """Return *pairs* without `page` and `offset`, and how many tasks these skip."""
    given = {name: value for name, value in pairs if value}
    pairs = [pair for pair in pairs if pair[0] not in ("page", "offset")]
    sent_as, skipped = names.get("offset", "offset"), 0
    if "page" in given:
        limit = given.get("limit", str(PAGE_LENGTH))
        pairs = replaced(pairs, "limit", limit)
        # The API refuses a limit that is no number.
        length = int(limit) if _NUMBER.fullmatch(limit) else 0
        sent_as, skipped = "page", (_number("page", given["page"], 1) - 1) * length
    elif "offset" in given:
        skipped = _number(sent_as, given["offset"], 0)
    if skipped > MAX_SKIPPED:
        message = f"must not skip more than {MAX_SKIPPED:,} tasks: follow the Link to the next page instead"
        raise InvalidParameter(FieldError(sent_as, message))
    return pairs, skipped


def _number(name: str, value: str, least: int) -> int:
    if not _NUMBER.fullmatch(value) or int(value) < least:
        raise InvalidParameter(FieldError(name, f"must be a whole number from {least}"))
    return int(value)
