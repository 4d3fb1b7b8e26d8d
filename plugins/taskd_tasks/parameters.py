"""The query parameters of a list, in the order in which errors are reported."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Annotated, TypeVar

from msgspec import Meta

from taskd.fields import MustBe
from taskd.queries import Order, Sort
from taskd.routes import QueryParameters, ReadBy
from taskd.tasks import DueAt, Priority, Status
from taskd_tasks.cursors import Cursor

__all__ = ["PARAMETERS"]

E = TypeVar("E", bound=enum.Enum)

MAX_SEARCH = 200
MAX_LIMIT = 1000
# What frontends send for a filter that is not set.
ALL = "all"

_TEXT = r"^[^\x00]*$"


def _words(values: type[enum.Enum]) -> str:
    return ", ".join(each.value for each in values)


def _several(values: type[E]) -> Callable[[list[str]], tuple[E, ...] | None]:
    """Return a function that reads one or more of *values*, from repeated parameters or separated by commas."""
    known = {each.value: each for each in values}

    def read(texts: list[str]) -> tuple[E, ...] | None:
        sent = {item for text in texts for item in text.split(",")} - {""}
        if not sent <= known.keys() | {ALL}:
            raise ValueError(f"must be one or more of {_words(values)}")
        return None if ALL in sent or not sent else tuple(each for value, each in known.items() if value in sent)

    return read


def _distinct(tags: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags))


Statuses = Annotated[
    list[Status],
    Meta(
        description="Keep tasks with one of these statuses. Repeat the parameter, or separate the values by commas."
        " `all`, alone or among others, keeps every status."
    ),
    ReadBy(_several(Status)),
]
Priorities = Annotated[
    list[Priority],
    Meta(
        description="Keep tasks with one of these priorities. Repeat the parameter, or separate the values by commas."
        " `all`, alone or among others, keeps every priority."
    ),
    ReadBy(_several(Priority)),
]
IsCompleted = Annotated[
    bool, Meta(description="Keep completed tasks if true, and all others if false."), MustBe("true or false")
]
Completed = Annotated[bool, Meta(description="The same as `is_completed`."), MustBe("true or false")]
TaskTags = Annotated[
    list[Annotated[str, Meta(pattern=_TEXT)]],
    Meta(
        description="Keep tasks with this tag or, if you repeat the parameter, with all of these tags. A comma is"
        " part of the tag."
    ),
    ReadBy(_distinct),
]
DueAfter = Annotated[
    DueAt,
    Meta(
        description="Keep tasks that are due at this time or later: RFC 3339, with an offset. In a URL, write `+` as"
        " `%2B`."
    ),
]
DueBefore = Annotated[
    DueAt,
    Meta(
        description="Keep tasks that are due before this time: RFC 3339, with an offset. In a URL, write `+` as `%2B`."
    ),
]
Search = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_SEARCH,
        pattern=_TEXT,
        description="Keep tasks whose title or description contains this text, regardless of case. White space must"
        " match exactly.",
    ),
    MustBe(f"a text of 1 to {MAX_SEARCH} characters"),
]
SortBy = Annotated[
    Sort,
    Meta(
        description="What to sort by; by default, `created_at`. Titles are sorted by code point, ignoring case."
        " Tasks without `due_at` come last in both directions."
    ),
    MustBe(f"one of {_words(Sort)}"),
]
InOrder = Annotated[
    Order,
    Meta(
        description="The direction; by default, `asc` for `due_at` and `title`, and `desc` for the others. Ties are"
        " sorted by creation time, in the same direction."
    ),
    MustBe(f"one of {_words(Order)}"),
]
Limit = Annotated[
    int,
    Meta(
        ge=1,
        le=MAX_LIMIT,
        description="How many tasks to return at most; by default, all. If there are more, `Link` points to the next"
        " page.",
    ),
    MustBe(f"a whole number from 1 to {MAX_LIMIT}"),
]
PageCursor = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_\-]+$",
        description="Where the page begins: copy it from the `Link` of the previous page. All other parameters except"
        " `limit` and `count` must stay the same.",
    ),
    ReadBy(Cursor.parse),
]
Count = Annotated[
    bool,
    Meta(description="Whether to return `X-Total-Count`: how many tasks there are on all pages."),
    MustBe("true or false"),
]

PARAMETERS = QueryParameters(
    {
        "status": Statuses,
        "priority": Priorities,
        "is_completed": IsCompleted,
        "completed": Completed,
        "tag": TaskTags,
        "due_after": DueAfter,
        "due_before": DueBefore,
        "search": Search,
        "sort": SortBy,
        "order": InOrder,
        "limit": Limit,
        "cursor": PageCursor,
        "count": Count,
    }
)
