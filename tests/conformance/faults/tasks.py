"""Faults in the fields of tasks, and in how bodies are read."""

from __future__ import annotations

import re
from typing import Any

import attrs

from taskd.conformance.sections import bodies, fields, ids, times
from tests.conformance.broken import Call, Json, Request, Response, breaks, error

DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d)?")


def changing(name: str, change: Any) -> Any:
    """Return a fault that changes the field *name* of each body before the server reads it."""

    async def fault(request: Request, call: Call) -> Response:
        sent = request.fields
        if request.method in {"POST", "PUT"} and name in sent and change(sent[name]) != sent[name]:
            request = request.of({**sent, name: change(sent[name])})
        return await call(request)

    return fault


def named(name: str, fault: Any) -> Any:
    """Return *fault* under *name*."""
    fault.__name__ = name
    return fault


def truncated(length: int) -> Any:
    return lambda value: value[:length] if isinstance(value, str) else value


def stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def boolean(value: Any) -> bool:
    return value in (True, 1, "yes", "true")


def dated(value: Any) -> Any:
    if isinstance(value, str) and DATE.fullmatch(value):
        return f"{value}Z" if "T" in value else f"{value}T00:00:00Z"
    return value


breaks(fields.kept_titles)(named("titles_are_stripped", changing("title", stripped)))
breaks(fields.wrong_titles)(named("titles_are_cut", changing("title", truncated(200))))
breaks(fields.wrong_titles, fields.no_coercion)(named("titles_are_texts", changing("title", str)))
breaks(fields.descriptions)(named("descriptions_are_cut", changing("description", truncated(1000))))
breaks(fields.statuses)(named("statuses_in_any_case", changing("status", lower)))
breaks(fields.priorities)(named("priorities_in_any_case", changing("priority", lower)))
breaks(fields.kept_tags)(named("tags_are_sorted", changing("tags", sorted)))
breaks(fields.wrong_tags)(
    named("some_tags_are_dropped", changing("tags", lambda value: value[:20] if isinstance(value, list) else value))
)
breaks(fields.wrong_flags)(named("a_flag_may_be_any_value", changing("is_completed", boolean)))
breaks(times.wrong_due_dates)(named("dates_without_offset", changing("due_at", dated)))


@breaks(fields.defaults)
async def another_default(request: Request, call: Call) -> Response:
    if request.method == "POST" and request.fields:
        request = request.of({"priority": "low", **request.fields})
    return await call(request)


@breaks(fields.defaults)
async def no_completed(request: Request, call: Call) -> Response:
    """Has only the name of the flag that version 1 of the contract had."""

    def change(task: Json) -> Json:
        return {name: value for name, value in task.items() if name != "completed"}

    return (await call(request)).each(change)


@breaks(fields.unknown_keys)
async def unknown_keys_are_kept(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.each(lambda task: {**request.fields, **task}) if response.status in (200, 201) else response


@breaks(fields.ids)
async def version_4(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.each(lambda task: {**task, "id": f"{task['id'][:14]}4{task['id'][15:]}"})


@breaks(fields.ids)
async def ids_are_numbers(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.each(lambda task: {**task, "id": task["version"]}) if request.method == "POST" else response


@breaks(fields.ignored)
async def the_client_dates_tasks(request: Request, call: Call) -> Response:
    response = await call(request)
    given: Json = {name: request.fields[name] for name in ("created_at", "completed_at") if name in request.fields}
    return response.each(lambda task: {**task, **given})


@breaks(fields.ignored, fields.unknown_keys)
async def unknown_keys_refused(request: Request, call: Call) -> Response:
    known = {"title", "description", "status", "priority", "due_at", "tags", "is_completed", "completed"}
    for name in set(request.fields) - known:
        return error(422, "invalid_body", errors=[{"field": name, "message": "is unknown"}])
    return await call(request)


@breaks(fields.required_title, ids.bodies)
async def untitled(request: Request, call: Call) -> Response:
    if request.method == "POST" or request.is_creation:
        request = request.of({**request.fields, "title": request.fields.get("title") or "Untitled"})
    return await call(request)


@breaks(fields.flags)
async def one_flag_only(request: Request, call: Call) -> Response:
    return await call(_without(request, "completed"))


@breaks(fields.contradictions)
async def status_wins(request: Request, call: Call) -> Response:
    return await call(_without(request, "completed", "is_completed") if "status" in request.fields else request)


@breaks(fields.reopened)
async def false_changes_nothing(request: Request, call: Call) -> Response:
    if request.method == "PUT" and False in (request.fields.get("completed"), request.fields.get("is_completed")):
        request = _without(request, "completed", "is_completed")
    return await call(request)


def _without(request: Request, *names: str) -> Request:
    if not request.fields or request.method == "PATCH":
        return request
    return request.of({name: value for name, value in request.fields.items() if name not in names})


@breaks(times.due_dates, times.created_at)
async def offset_in_place_of_z(request: Request, call: Call) -> Response:
    def change(task: Json) -> Json:
        return {
            name: re.sub("Z$", "+00:00", value) if name.endswith("_at") and value else value
            for name, value in task.items()
        }

    return (await call(request)).each(change)


@breaks(times.due_dates)
async def offsets_are_dropped(request: Request, call: Call) -> Response:
    sent = request.fields.get("due_at")
    if isinstance(sent, str):
        request = request.given(due_at=re.sub(r"[+-]\d\d:\d\d$", "Z", sent))
    return await call(request)


@breaks(times.created_at)
async def time_goes_back(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.given(updated_at="2001-01-01T00:00:00Z") if request.method == "PATCH" else response


@breaks(times.completed_at)
async def completed_again(request: Request, call: Call) -> Response:
    return (await call(request)).each(
        lambda task: {**task, "completed_at": task["updated_at"] if task["completed"] else None}
    )


@breaks(times.completed_at)
async def never_reopened(request: Request, call: Call) -> Response:
    return (await call(request)).each(lambda task: {**task, "completed_at": task["completed_at"] or task["updated_at"]})


@breaks(bodies.malformed, bodies.no_objects, bodies.numbers, bodies.surrogates)
async def malformed_is_400(request: Request, call: Call) -> Response:
    response = await call(request)
    is_whole = response.status == 422 and [each["field"] for each in response.json.get("errors", [])] == ["body"]
    return attrs.evolve(response, status=400) if is_whole else response


@breaks(bodies.numbers)
async def lenient_numbers(request: Request, call: Call) -> Response:
    return await call(request.of(re.sub(rb"NaN|-?Infinity", b"null", request.body)) if request.body else request)


@breaks(bodies.surrogates)
async def lenient_texts(request: Request, call: Call) -> Response:
    return await call(request.of(re.sub(rb"\\ud[89a-f]..", b"?", request.body)) if request.body else request)


@breaks(bodies.malformed)
async def lenient_json(request: Request, call: Call) -> Response:
    return await call(request.of(request.body.replace(b",}", b"}")) if request.body else request)


@breaks(bodies.no_objects)
async def first_of_an_array(request: Request, call: Call) -> Response:
    if isinstance(request.json, list) and request.json:
        request = request.of(request.json[0])
    return await call(request)


@breaks(bodies.half_right)
async def fields_are_written_one_by_one(request: Request, call: Call) -> Response:
    response = await call(request)
    if request.method == "PUT" and response.status == 422 and "errors" in response.json:
        wrong = {each["field"] for each in response.json["errors"]}
        await call(_without(request, *wrong))
    return response


@breaks(bodies.sizes)
async def smaller_bodies(request: Request, call: Call) -> Response:
    return error(413, "body_too_large") if len(request.body) > 60_000 else await call(request)


@breaks(bodies.sizes)
async def larger_bodies(request: Request, call: Call) -> Response:
    return await call(request.of(request.body.strip()) if request.body else request)


@breaks(bodies.media_types)
async def any_media_type(request: Request, call: Call) -> Response:
    return await call(request.having(content_type="application/json") if request.body else request)


@breaks(bodies.json_types)
async def one_spelling_of_the_media_type(request: Request, call: Call) -> Response:
    if request.body and request.header("content-type") not in ("application/json", "text/plain"):
        return error(415, "unsupported_media_type")
    return await call(request)


@breaks(bodies.no_body)
async def no_body_no_type(request: Request, call: Call) -> Response:
    if request.method in {"POST", "PUT"} and request.header("content-type") is None:
        return error(415, "unsupported_media_type")
    return await call(request)
