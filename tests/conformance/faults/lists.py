"""Faults in lists."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs

from taskd.conformance.sections import filters, ids, pages, parameters, searches, sorting
from tests.conformance.broken import Call, Json, Request, Response, breaks, error

Pairs = list[tuple[str, str]]
PRIORITIES = ["low", "medium", "high", "urgent"]
SINGLE = {"is_completed", "completed", "due_after", "due_before", "search", "sort", "order", "limit", "count"}


def asking(name: str, change: Callable[[Pairs], Pairs]) -> Any:
    """Return a fault called *name* that changes the parameters of each list."""

    async def fault(request: Request, call: Call) -> Response:
        return await call(request.asking(change(request.parameters)) if request.is_list else request)

    fault.__name__ = name
    return fault


def without(*names: str) -> Callable[[Pairs], Pairs]:
    return lambda pairs: [(name, value) for name, value in pairs if name not in names]


def listing(name: str, change: Callable[[list[Json], dict[str, str]], list[Json]]) -> Any:
    """Return a fault called *name* that changes the tasks in each list, given its parameters."""

    async def fault(request: Request, call: Call) -> Response:
        response = await call(request)
        if request.is_list and response.status == 200:
            return response.of(change(response.json, dict(request.parameters)))
        return response

    fault.__name__ = name
    return fault


def found(text: Callable[[Json], str]) -> Callable[[list[Json], dict[str, str]], list[Json]]:
    """Return a change that keeps tasks in whose *text* the search is found literally."""
    return lambda tasks, asked: [task for task in tasks if asked.get("search", "") in text(task)]


def texts(task: Json) -> str:
    return f"{task['title']}\n{task['description']}"


def first_of_several(pairs: Pairs) -> Pairs:
    return [(name, value.partition(",")[0] if name in ("status", "priority") else value) for name, value in pairs]


def split_tags(pairs: Pairs) -> Pairs:
    return [(name, part) for name, value in pairs for part in (value.split(",") if name == "tag" else [value])]


def last_wins(pairs: Pairs) -> Pairs:
    last = dict(pairs)
    return [(name, value) for name, value in pairs if name not in SINGLE] + [
        (name, value) for name, value in last.items() if name in SINGLE
    ]


def one_filter(pairs: Pairs) -> Pairs:
    return [pair for pair in pairs if pair[0] != "completed"] if "priority" in dict(pairs) else pairs


def normalized(pairs: Pairs) -> Pairs:
    return [(name, unicodedata.normalize("NFC", value) if name == "search" else value) for name, value in pairs]


def collapsed(pairs: Pairs) -> Pairs:
    return [(name, " ".join(value.split()) if name == "search" else value) for name, value in pairs]


def clamped(pairs: Pairs) -> Pairs:
    return [
        (name, str(min(max(int(value), 1), 1000)) if name == "limit" and value.lstrip("-").isdigit() else value)
        for name, value in pairs
    ]


def cleaned(pairs: Pairs) -> Pairs:
    return [(name, value.replace("\0", "").replace("\ufffd", "")) for name, value in pairs]


def sorted_by(sort: str, key: Callable[[Json], Any]) -> Callable[[list[Json], dict[str, str]], list[Json]]:
    def change(tasks: list[Json], asked: dict[str, str]) -> list[Json]:
        if asked.get("sort") != sort:
            return tasks
        return sorted(tasks, key=key, reverse=asked.get("order") == "desc")

    return change


breaks(filters.statuses, filters.priorities)(asking("one_value_of_several", first_of_several))
breaks(filters.flags)(asking("one_flag_in_lists", without("completed")))
breaks(filters.tags)(asking("tags_are_split", split_tags))
breaks(filters.tags)(listing("tags_by_prefix", lambda tasks, _: tasks * 2))
breaks(filters.combined)(asking("one_filter", one_filter))
breaks(filters.due_dates)(asking("no_due_after", without("due_after")))
breaks(searches.texts)(listing("titles_are_searched", found(lambda task: task["title"])))
breaks(searches.case)(listing("case_sensitive_search", found(texts)))
breaks(searches.normalization)(asking("normalized_search", normalized))
breaks(searches.literally)(asking("collapsed_search", collapsed))
breaks(sorting.everything)(listing("oldest_first", lambda tasks, asked: tasks[::-1] if "tag" not in asked else tasks))
breaks(sorting.by_age)(asking("no_order", without("order")))
breaks(sorting.by_change)(asking("no_sort", without("sort")))
breaks(sorting.by_due_date)(listing("no_due_date_first", sorted_by("due_at", lambda task: task["due_at"] or "")))
breaks(sorting.by_priority)(listing("priorities_by_name", sorted_by("priority", lambda task: task["priority"])))
breaks(sorting.by_title)(listing("titles_by_code_point", sorted_by("title", lambda task: task["title"])))
breaks(ids.place)(
    listing("ordered_by_change", lambda tasks, _: sorted(tasks, key=lambda task: task["updated_at"], reverse=True))
)
breaks(pages.limits)(asking("limits_are_clamped", clamped))
breaks(parameters.given_twice)(asking("the_last_one_wins", last_wins))
breaks(parameters.bad_texts)(asking("bad_texts_are_cleaned", cleaned))


@breaks(sorting.empty)
async def no_list_without_tasks(request: Request, call: Call) -> Response:
    response = await call(request)
    return error(404, "not_found") if request.is_list and response.json == [] else response


@breaks(sorting.whole_tasks, sorting.everything, sorting.empty)
async def envelope(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.of({"tasks": response.json}) if request.is_list and response.status == 200 else response


@breaks(filters.no_tags)
async def long_tags_refused(request: Request, call: Call) -> Response:
    if any(name == "tag" and len(value) > 50 for name, value in request.parameters):
        return error(422, "invalid_parameter", errors=[{"field": "tag", "message": "is too long"}])
    return await call(request)


@breaks(filters.not_given)
async def empty_values_refused(request: Request, call: Call) -> Response:
    for name, value in request.parameters:
        if not value:
            return error(422, "invalid_parameter", errors=[{"field": name, "message": "is empty"}])
    return await call(request)


@breaks(filters.unknown)
async def unknown_parameters_refused(request: Request, call: Call) -> Response:
    for name, _ in request.parameters:
        if name == "page":
            return error(422, "invalid_parameter", errors=[{"field": name, "message": "is unknown"}])
    return await call(request)


@breaks(searches.length)
async def short_searches(request: Request, call: Call) -> Response:
    if any(name == "search" and len(value) > 100 for name, value in request.parameters):
        return error(422, "invalid_parameter", errors=[{"field": "search", "message": "is too long"}])
    return await call(request)


@breaks(pages.meanwhile, pages.changed_cursors, pages.foreign_cursors)
async def cursors_are_offsets(request: Request, call: Call) -> Response:
    asked = dict(request.parameters)
    if not (request.is_list and asked.get("limit", "").isdigit()):
        return await call(request)
    start, limit = int(asked.get("cursor") or 0) if asked.get("cursor", "0").isdigit() else 0, int(asked["limit"])
    others = without("limit", "cursor")(request.parameters)
    response = await call(request.asking(others))
    if response.status != 200:
        return response
    tasks = response.json
    page = response.of(tasks[start : start + limit])
    query = request.asking([*others, ("limit", str(limit)), ("cursor", str(start + limit))]).query
    return page.having(link=f'<?{query}>; rel="next"') if len(tasks) > start + limit else page


@breaks(pages.walking, pages.meanwhile, pages.changed_meanwhile)
async def pages_skip_a_task(request: Request, call: Call) -> Response:
    response = await call(request)
    if request.is_list and response.status == 200 and "cursor" in dict(request.parameters):
        return response.of(response.json[1:])
    return response


@breaks(pages.links)
async def absolute_links(request: Request, call: Call) -> Response:
    response = await call(request)
    link = response.header("link")
    return response.having(link=link.replace("<", f"<http://taskd{request.path}")) if link else response


@breaks(pages.links)
async def always_a_link(request: Request, call: Call) -> Response:
    response = await call(request)
    return (
        response.having(link='<?cursor=x>; rel="next"') if request.is_list and not response.header("link") else response
    )


@breaks(pages.walking)
async def no_links(request: Request, call: Call) -> Response:
    return (await call(request)).without("link")


@breaks(pages.kept_cursors)
class CursorsWithTheirLimit:
    """Refuses a cursor with another limit than that of its page."""

    def __init__(self) -> None:
        self.limits: dict[str, str] = {}

    async def __call__(self, request: Request, call: Call) -> Response:
        asked = dict(request.parameters)
        cursor, limit = asked.get("cursor"), asked.get("limit", "")
        if cursor and self.limits.get(cursor, limit) != limit:
            return error(422, "invalid_parameter", errors=[{"field": "cursor", "message": "must keep its limit"}])
        response = await call(request)
        for value in parse_qs(urlsplit((response.header("link") or "<>")[1:].partition(">")[0]).query).get(
            "cursor", []
        ):
            self.limits[value] = limit
        return response


@breaks(pages.counts)
async def count_of_the_page(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.having(x_total_count=str(len(response.json))) if response.header("x-total-count") else response


@breaks(pages.counts)
async def always_counted(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.having(x_total_count="4") if request.is_list and response.status == 200 else response


@breaks(pages.compression)
async def no_compression(request: Request, call: Call) -> Response:
    return await call(request.without("accept-encoding"))


@breaks(pages.compression)
async def one_representation(request: Request, call: Call) -> Response:
    response = await call(request)
    vary = [name for name in (response.header("vary") or "").split(", ") if name != "Accept-Encoding"]
    return response.having(vary=", ".join(vary))


@breaks(parameters.wrong_values, parameters.all_errors)
async def wrong_values_are_ignored(request: Request, call: Call) -> Response:
    response = await call(request)
    if request.is_list and response.status == 422:
        wrong = {each["field"] for each in response.json["errors"]}
        return await call(request.asking(without(*wrong)(request.parameters)))
    return response


@breaks(parameters.wrong_values)
async def another_code(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.given(code="invalid_query") if request.is_list and response.status == 422 else response


@breaks(parameters.all_errors)
async def one_error_at_a_time(request: Request, call: Call) -> Response:
    response = await call(request)
    if request.is_list and response.status == 422:
        return response.given(errors=response.json["errors"][:1])
    return response


@breaks(sorting.everything)
async def twenty_at_most(request: Request, call: Call) -> Response:
    response = await call(request)
    if request.is_list and response.status == 200 and not request.query:
        return attrs.evolve(response.of(response.json[:2]))
    return response
