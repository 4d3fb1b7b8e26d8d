"""Faults in `Idempotency-Key`."""

from __future__ import annotations

import asyncio
import json

import attrs

from taskd.conformance.sections import creating_once
from tests.conformance.broken import Call, Request, Response, breaks, error

KEY = "idempotency-key"


@breaks(
    creating_once.repeated,
    creating_once.as_it_is,
    creating_once.other_bodies,
    creating_once.deleted,
    creating_once.quotes,
    creating_once.long_keys,
    creating_once.bad_keys,
    creating_once.at_once,
)
async def no_keys(request: Request, call: Call) -> Response:
    return await call(request.without(KEY))


@breaks(creating_once.as_it_is, creating_once.deleted)
class FirstResponses:
    """Repeats the first response, as it was."""

    def __init__(self) -> None:
        self.responses: dict[tuple[str, bytes], Response] = {}

    async def __call__(self, request: Request, call: Call) -> Response:
        key = request.header(KEY)
        if request.method != "POST" or not key:
            return await call(request)
        if (key, request.body) in self.responses:
            return self.responses[key, request.body]
        response = await call(request)
        if response.status == 201:
            self.responses[key, request.body] = response
        return response


@breaks(creating_once.other_bodies)
async def bodies_are_compared_as_json(request: Request, call: Call) -> Response:
    if request.method == "POST" and request.fields:
        request = request.of(json.dumps(request.json).encode())
    return await call(request)


@breaks(creating_once.other_bodies)
async def a_reused_key_is_a_conflict(request: Request, call: Call) -> Response:
    response = await call(request)
    return attrs.evolve(response, status=409) if response.fields.get("code") == "key_reused" else response


@breaks(creating_once.deleted)
async def a_deleted_task_is_not_found(request: Request, call: Call) -> Response:
    response = await call(request)
    return error(404, "not_found") if response.status == 409 else response


@breaks(creating_once.each_key)
async def keys_in_any_case(request: Request, call: Call) -> Response:
    key = request.header(KEY)
    return await call(request.having(idempotency_key=key.lower()) if key else request)


@breaks(creating_once.quotes)
async def quotes_count(request: Request, call: Call) -> Response:
    key = request.header(KEY)
    return await call(request.having(idempotency_key=key.replace('"', "!")) if key else request)


@breaks(creating_once.long_keys)
async def short_keys(request: Request, call: Call) -> Response:
    if len(request.header(KEY) or "") > 64:
        return error(422, "invalid_parameter", errors=[{"field": "Idempotency-Key", "message": "is too long"}])
    return await call(request)


@breaks(creating_once.bad_keys)
async def bad_keys_do_not_count(request: Request, call: Call) -> Response:
    response = await call(request)
    if "Idempotency-Key" in [each["field"] for each in response.fields.get("errors", [])]:
        return await call(request.without(KEY))
    return response


@breaks(creating_once.refused)
class KeysAreUsedUp:
    """Remembers the key of a refused request."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    async def __call__(self, request: Request, call: Call) -> Response:
        key = request.header(KEY)
        if key in self.used:
            return error(422, "key_reused")
        response = await call(request)
        if key and response.status == 422:
            self.used.add(key)
        return response


@breaks(creating_once.at_once)
class KeysAreNotedTooLate:
    """Notes a key after the task is created."""

    def __init__(self) -> None:
        self.paths: dict[str, str] = {}

    async def __call__(self, request: Request, call: Call) -> Response:
        key = request.header(KEY)
        if request.method != "POST" or not key:
            return await call(request)
        if key not in self.paths:
            await asyncio.sleep(0.01)
            response = await call(request.without(KEY))
            self.paths[key] = response.header("location") or ""
            return response
        return attrs.evolve(await call(request.get(self.paths[key])), status=201)


@breaks(creating_once.each_user)
class KeysOfEveryone:
    """Keeps the keys of all users together."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}

    async def __call__(self, request: Request, call: Call) -> Response:
        key = request.header(KEY)
        if request.method == "POST" and key and self.users.setdefault(key, request.path) != request.path:
            return error(422, "key_reused")
        return await call(request)


@breaks(creating_once.other_methods)
class KeysOfEveryMethod:
    """Repeats the response to a PATCH with the same key."""

    def __init__(self) -> None:
        self.responses: dict[str, Response] = {}

    async def __call__(self, request: Request, call: Call) -> Response:
        key = request.header(KEY)
        if request.method != "PATCH" or not key:
            return await call(request)
        if key not in self.responses:
            self.responses[key] = await call(request)
        return self.responses[key]
