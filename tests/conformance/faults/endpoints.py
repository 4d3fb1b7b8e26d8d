"""Faults in endpoints, and in what holds for every path."""

from __future__ import annotations

import asyncio
import json
import re

import attrs

from taskd.conformance.sections import access, completing, documents, endpoints, sorting
from tests.conformance.broken import Call, Request, Response, breaks, error


@breaks(endpoints.create)
async def created_with_200(request: Request, call: Call) -> Response:
    response = await call(request)
    return attrs.evolve(response, status=200) if request.method == "POST" else response


@breaks(endpoints.create)
async def no_location(request: Request, call: Call) -> Response:
    return (await call(request)).without("location")


@breaks(endpoints.read, sorting.whole_tasks)
async def read_without_description(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.given(description=None) if request.method == "GET" and not request.is_list else response


@breaks(endpoints.partial)
async def put_replaces(request: Request, call: Call) -> Response:
    if request.method == "PUT" and not request.is_creation and request.fields:
        request = request.of({"description": None, "priority": "medium", "due_at": None, **request.fields})
    return await call(request)


@breaks(endpoints.clearing)
async def null_is_left_out(request: Request, call: Call) -> Response:
    if request.method == "PUT" and request.fields:
        request = request.of({name: value for name, value in request.fields.items() if value is not None})
    return await call(request)


@breaks(endpoints.empty)
async def empty_put_refused(request: Request, call: Call) -> Response:
    if request.method == "PUT" and request.json == {}:
        return error(422, "invalid_body", errors=[{"field": "body", "message": "is empty"}])
    return await call(request)


@breaks(endpoints.delete)
async def deleted_with_body(request: Request, call: Call) -> Response:
    response = await call(request)
    if response.status == 204:
        return attrs.evolve(error(200, "deleted"), body=b'{"message": "deleted"}')
    return response


@breaks(endpoints.delete)
class SoftDelete:
    """Hides a deleted task in lists only."""

    def __init__(self) -> None:
        self.deleted: set[str] = set()

    async def __call__(self, request: Request, call: Call) -> Response:
        if request.method == "DELETE":
            response = await call(request.get())
            if response.status == 200:
                self.deleted.add(response.json["id"])
                return attrs.evolve(response.of(b""), status=204)
            return response
        response = await call(request)
        if request.is_list and response.status == 200:
            return response.of([task for task in response.json if task["id"] not in self.deleted])
        return response


@breaks(endpoints.missing, endpoints.no_id)
async def missing_is_gone(request: Request, call: Call) -> Response:
    response = await call(request)
    return attrs.evolve(response, status=410) if response.status == 404 else response


@breaks(endpoints.missing)
async def delete_of_nothing_succeeds(request: Request, call: Call) -> Response:
    response = await call(request)
    if request.method == "DELETE" and response.status == 404:
        return attrs.evolve(response.of(b""), status=204)
    return response


@breaks(endpoints.no_id)
async def no_uuid_is_422(request: Request, call: Call) -> Response:
    found = re.fullmatch("/api/[^/]+/tasks/([^/]+)(/complete)?", request.path)
    if found and not re.fullmatch("[0-9a-f-]{36}", found[1]):
        return error(422, "invalid_parameter", errors=[{"field": "id", "message": "must be a UUID"}])
    return await call(request)


@breaks(endpoints.canonical)
async def any_form_of_uuid(request: Request, call: Call) -> Response:
    path = re.sub(r"%7B|%7D|urn:uuid:", "", request.path)
    path = re.sub(r"(/tasks/)(.*)", lambda match: match[1] + match[2].lower(), path)
    path = re.sub(r"/([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})", r"/\1-\2-\3-\4-\5", path)
    return await call(attrs.evolve(request, path=path))


@breaks(endpoints.trailing_slash)
async def slash_redirects(request: Request, call: Call) -> Response:
    if request.path.endswith("/"):
        return attrs.evolve(error(307, "moved"), headers=[("location", request.path[:-1])])
    return await call(request)


@breaks(endpoints.trailing_slash)
async def slash_is_not_found(request: Request, call: Call) -> Response:
    return error(404, "not_found") if request.path.endswith("/") else await call(request)


@breaks(endpoints.head)
async def no_head(request: Request, call: Call) -> Response:
    return error(405, "method_not_allowed").having(allow="GET") if request.method == "HEAD" else await call(request)


@breaks(endpoints.head)
async def head_without_tag(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.without("etag") if request.method == "HEAD" else response


@breaks(endpoints.other_methods)
async def no_allow(request: Request, call: Call) -> Response:
    return (await call(request)).without("allow")


@breaks(endpoints.other_methods)
async def other_method_is_not_found(request: Request, call: Call) -> Response:
    response = await call(request)
    return error(404, "not_found") if response.status == 405 else response


@breaks(endpoints.unknown_path)
async def unknown_path_is_the_frontend(request: Request, call: Call) -> Response:
    response = await call(request)
    if response.status == 404 and "nothing at this path" in response.json["detail"]:
        return Response([("content-type", "text/html")], b"<html>", 200)
    return response


@breaks(completing.toggle, completing.in_progress, completing.atomic)
async def patch_only_completes(request: Request, call: Call) -> Response:
    if request.method == "PATCH" and request.json in (None, {}):
        request = request.of({"is_completed": True}).having(content_type="application/json")
    return await call(request)


@breaks(completing.toggle)
async def patch_needs_a_body(request: Request, call: Call) -> Response:
    if request.method == "PATCH" and not request.body:
        return error(422, "invalid_body", errors=[{"field": "body", "message": "is missing"}])
    return await call(request)


@breaks(completing.set_flag)
async def patch_always_toggles(request: Request, call: Call) -> Response:
    return await call(request.of({}) if request.method == "PATCH" and request.fields else request)


@breaks(completing.other_keys)
async def patch_ignores_other_keys(request: Request, call: Call) -> Response:
    if request.method == "PATCH" and request.fields and not {"is_completed", "completed"} & set(request.fields):
        request = request.of({})
    return await call(request)


@breaks(completing.only_flags)
async def patch_reads_status(request: Request, call: Call) -> Response:
    if request.method == "PATCH" and {"status", "completed"} <= set(request.fields):
        return error(422, "invalid_body", errors=[{"field": "completed", "message": "contradicts status"}])
    return await call(request)


@breaks(completing.flag_type)
async def patch_coerces(request: Request, call: Call) -> Response:
    if request.method == "PATCH":
        request = (
            request.of({name: bool(value) for name, value in request.fields.items()}) if request.fields else request
        )
    return await call(request)


@breaks(completing.atomic)
async def toggle_reads_then_writes(request: Request, call: Call) -> Response:
    if request.method == "PATCH" and not request.body:
        task = await call(request.get())
        await asyncio.sleep(0.01)
        if task.status == 200:
            request = request.of({"completed": not task.json["completed"]}).having(content_type="application/json")
    return await call(request)


@breaks(completing.in_progress)
async def reopened_in_progress(request: Request, call: Call) -> Response:
    response = await call(request)
    if request.method == "PATCH" and response.status == 200 and not response.json["completed"]:
        return response.given(status="in_progress")
    return response


@breaks(documents.health)
async def health_needs_a_token(request: Request, call: Call) -> Response:
    if request.path == "/readyz" and request.header("authorization") is None:
        return error(401, "missing_credentials")
    return await call(request)


@breaks(documents.docs, documents.document)
async def docs_are_private(request: Request, call: Call) -> Response:
    if request.path in ("/docs", "/openapi.json") and request.header("authorization") is None:
        return error(401, "missing_credentials")
    return await call(request)


@breaks(documents.document)
async def an_operation_is_not_described(request: Request, call: Call) -> Response:
    response = await call(request)
    if request.path == "/openapi.json":
        document = json.loads(response.body)
        del document["paths"]["/api/{user_id}/tasks/{id}/complete"]
        return response.of(document)
    return response


@breaks(access.no_credentials)
async def created_before_the_credentials_are_checked(request: Request, call: Call) -> Response:
    if request.header("authorization") is None and request.method == "DELETE":
        return error(404, "not_found")
    return await call(request)
