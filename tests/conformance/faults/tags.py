"""Faults in versions, conditions, ids that clients make, and caching."""

from __future__ import annotations

import asyncio
import re
import time
import uuid

import attrs

from taskd.conformance.sections import caching, conditions, ids, versions
from tests.conformance.broken import Call, Request, Response, breaks, error

WRITES = {"PUT", "PATCH", "DELETE"}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@breaks(versions.versions)
async def empty_put_is_a_read(request: Request, call: Call) -> Response:
    is_empty = request.method == "PUT" and request.json == {} and not request.header("if-match")
    return await call(request.get() if is_empty else request)


@breaks(versions.refused, conditions.wrong_version)
async def refused_writes_count(request: Request, call: Call) -> Response:
    response = await call(request)
    if request.method in WRITES and response.status == 412:
        await call(attrs.evolve(request.get(), method="PUT", body=b"{}").having(content_type="application/json"))
    return response


@breaks(versions.entity_tags)
async def no_tag_after_a_patch(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.without("etag") if request.method == "PATCH" else response


@breaks(versions.entity_tags, conditions.unchanged)
async def weak_tags(request: Request, call: Call) -> Response:
    response = await call(request)
    tag = response.header("etag")
    return response.having(etag=f"W/{tag}") if tag and not tag.startswith("W/") else response


@breaks(versions.list_tags)
async def strong_tags_of_lists(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.having(etag=(response.header("etag") or "").removeprefix("W/")) if request.is_list else response


@breaks(versions.list_tags, conditions.unchanged_list)
async def the_same_tag_for_all_lists(request: Request, call: Call) -> Response:
    if not request.is_list:
        return await call(request)
    if request.header("if-none-match"):
        return Response(
            [("etag", 'W/"1"'), ("cache-control", "private, no-cache"), ("vary", "Authorization")], b"", 304
        )
    return (await call(request)).having(etag='W/"1"')


@breaks(versions.reused_ids)
async def versions_begin_anew(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.given(version=1).having(etag='"1"') if response.status == 201 else response


@breaks(conditions.unchanged, conditions.unchanged_list, caching.reads)
async def no_304(request: Request, call: Call) -> Response:
    return await call(request if request.is_creation else request.without("if-none-match"))


@breaks(conditions.unchanged)
async def strong_comparison(request: Request, call: Call) -> Response:
    value = request.header("if-none-match") or ""
    return await call(request.without("if-none-match") if value.startswith("W/") and not request.is_list else request)


@breaks(conditions.changed)
async def always_304(request: Request, call: Call) -> Response:
    if request.method in {"GET", "HEAD"} and request.header("if-none-match") and not request.is_list:
        return await call(request.having(if_none_match="*"))
    return await call(request)


@breaks(conditions.unchanged_list)
class TagOfTheFirstList:
    """Compares with the first list that was ever sent."""

    def __init__(self) -> None:
        self.known: str | None = None

    async def __call__(self, request: Request, call: Call) -> Response:
        response = await call(request)
        if request.is_list and request.header("if-none-match") and response.status == 200:
            return attrs.evolve(response.of(b""), status=304)
        return response


@breaks(conditions.wrong_version, conditions.malformed, conditions.two_writers)
async def no_conditions(request: Request, call: Call) -> Response:
    return await call(request.without("if-match") if request.method in WRITES else request)


@breaks(conditions.wrong_version)
async def weak_comparison(request: Request, call: Call) -> Response:
    condition = request.header("if-match")
    return await call(request.having(if_match=condition.replace("W/", "")) if condition else request)


@breaks(conditions.malformed)
async def tags_without_quotes(request: Request, call: Call) -> Response:
    condition = request.header("if-match") or ""
    return await call(request.having(if_match=f'"{condition}"') if condition.isdigit() else request)


@breaks(conditions.right_version)
async def one_tag_only(request: Request, call: Call) -> Response:
    condition = request.header("if-match")
    return await call(request.having(if_match=condition.partition(",")[0]) if condition else request)


@breaks(conditions.right_version)
async def no_star(request: Request, call: Call) -> Response:
    return error(412, "precondition_failed") if request.header("if-match") == "*" else await call(request)


@breaks(conditions.two_writers)
async def condition_before_the_write(request: Request, call: Call) -> Response:
    condition = request.header("if-match")
    if request.method == "PUT" and condition:
        task = await call(request.get())
        await asyncio.sleep(0.01)
        if task.header("etag") != condition:
            return error(412, "precondition_failed")
        return await call(request.without("if-match"))
    return await call(request)


@breaks(conditions.order_of_errors)
async def the_task_before_the_body(request: Request, call: Call) -> Response:
    if request.method == "PUT" and not request.is_creation and request.header("authorization"):
        response = await call(request.get())
        if response.status == 404:
            return response
    return await call(request)


@breaks(conditions.order_of_errors)
async def the_condition_before_the_body(request: Request, call: Call) -> Response:
    is_stale = request.header("if-match") == '"0"' and request.method == "PUT" and request.header("authorization")
    return error(412, "precondition_failed") if is_stale else await call(request)


@breaks(conditions.ignored)
async def conditions_on_every_write(request: Request, call: Call) -> Response:
    if request.method in {"POST", "PATCH", "DELETE"} and request.header("if-none-match") == "*":
        return error(412, "precondition_failed")
    return await call(request)


@breaks(conditions.ignored)
async def any_condition_creates(request: Request, call: Call) -> Response:
    response = await call(request)
    if request.method == "PUT" and request.header("if-none-match") and response.status == 404:
        return await call(request.having(if_none_match="*"))
    return response


@breaks(ids.created)
async def an_id_of_its_own(request: Request, call: Call) -> Response:
    if request.is_creation:
        path = request.path.rpartition("/")[0]
        return await call(attrs.evolve(request.without("if-none-match"), method="POST", path=path))
    return await call(request)


@breaks(ids.created)
async def created_now(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.given(created_at=response.fields.get("updated_at")) if request.is_creation else response


@breaks(ids.exists, ids.at_once)
async def created_twice(request: Request, call: Call) -> Response:
    response = await call(request)
    if request.is_creation and response.status == 412:
        return attrs.evolve(await call(request.without("if-none-match")), status=201)
    return response


@breaks(ids.restored, versions.reused_ids)
class Tombstones:
    """Never lets an id be used again."""

    def __init__(self) -> None:
        self.deleted: set[str] = set()

    async def __call__(self, request: Request, call: Call) -> Response:
        if request.is_creation and request.path in self.deleted:
            return error(412, "precondition_failed")
        response = await call(request)
        if request.method == "DELETE" and response.status == 204:
            self.deleted.add(request.path)
        return response


@breaks(ids.wrong_ids)
async def any_id(request: Request, call: Call) -> Response:
    path, _, task_id = request.path.rpartition("/")
    if request.is_creation and not UUID.fullmatch(task_id):
        valid = f"01a202b8-f11b-754f-a9d2-{uuid.uuid4().hex[:12]}"
        return await call(attrs.evolve(request, path=f"{path}/{valid}"))
    return await call(request)


@breaks(ids.ahead)
async def no_ids_ahead(request: Request, call: Call) -> Response:
    time_in_id = request.path.rpartition("/")[2].replace("-", "")[:12]
    if request.is_creation and int(time_in_id, 16) / 1000 > time.time() + 60:
        return error(422, "invalid_parameter", errors=[{"field": "id", "message": "is in the future"}])
    return await call(request)


@breaks(ids.both_conditions)
async def one_condition_wins(request: Request, call: Call) -> Response:
    return await call(request.without("if-match") if request.is_creation else request)


@breaks(ids.at_once)
async def looks_before_it_creates(request: Request, call: Call) -> Response:
    if request.is_creation:
        before = await call(request.get())
        await asyncio.sleep(0.01)
        if before.status == 404:
            response = await call(request)
            return response if response.status == 201 else attrs.evolve(await call(request.get()), status=201)
    return await call(request)


@breaks(caching.reads)
async def nothing_is_stored(request: Request, call: Call) -> Response:
    return (await call(request)).having(cache_control="no-store")


@breaks(caching.reads)
async def the_same_for_everyone(request: Request, call: Call) -> Response:
    return (await call(request)).having(vary="Origin")


@breaks(caching.others)
async def everything_is_stored(request: Request, call: Call) -> Response:
    return (await call(request)).having(cache_control="private, no-cache")
