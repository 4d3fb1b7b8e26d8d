"""API documents: their operations, responses and schemas, and what the contract requires of taskd's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from openapi_schema_validator import OAS31Validator, oas31_format_checker
from starlette.types import ASGIApp

from taskd.application import Application
from taskd.tasks import Completion, NewTask, TaskChanges
from taskd.testing.documents import resolved
from tests.support.applications import get

Json = dict[str, Any]

TASKS = "/api/{user_id}/tasks"
TASK = f"{TASKS}/{{id}}"
# The contract's table, plus general errors: 401 where a token is required, 500, and 503 where the store is used.
OPERATIONS = {
    ("GET", TASKS): ("listTasks", {200, 304, 401, 422, 500, 503}),
    ("POST", TASKS): ("createTask", {201, 401, 409, 413, 415, 422, 500, 503}),
    ("GET", TASK): ("getTask", {200, 304, 401, 404, 500, 503}),
    ("PUT", TASK): ("updateTask", {200, 201, 401, 404, 412, 413, 415, 422, 500, 503}),
    ("DELETE", TASK): ("deleteTask", {204, 401, 404, 412, 500, 503}),
    ("PATCH", f"{TASK}/complete"): ("completeTask", {200, 401, 404, 412, 413, 415, 422, 500, 503}),
    ("GET", "/livez"): ("checkLiveness", {200, 500}),
    ("GET", "/readyz"): ("checkReadiness", {200, 500, 503}),
}
# The contract's error codes, and their statuses.
CODES = {
    "missing_credentials": 401,
    "invalid_token": 401,
    "expired_token": 401,
    "wrong_user": 401,
    "not_found": 404,
    "method_not_allowed": 405,
    "invalid_body": 422,
    "invalid_parameter": 422,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "precondition_failed": 412,
    "key_reused": 422,
    "task_deleted": 409,
    "unavailable": 503,
    "bad_request": 400,
    "request_timeout": 408,
    "headers_too_large": 431,
    "internal_error": 500,
}
CLASSES: Mapping[str, type[Any]] = {"NewTask": NewTask, "TaskChanges": TaskChanges, "Completion": Completion}
WHOLE: Json = json.loads(Application.assemble({}, verifies_credentials=False).document)


def reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def operations(whole: Json = WHOLE) -> dict[tuple[str, str], Json]:
    """Return the operations of a document, by method and path."""
    return {
        (method.upper(), path): operation
        for path, methods in whole["paths"].items()
        for method, operation in methods.items()
    }


def responses() -> list[tuple[str, int, Json]]:
    """Return all responses, each with the name of its operation and its status."""
    return [
        (operation["operationId"], int(status), resolved(response, WHOLE))
        for operation in operations().values()
        for status, response in operation["responses"].items()
    ]


def validator(schema: Json) -> Any:
    """Return a validator for *schema*, which may refer to the document's schemas."""
    whole = json.loads(json.dumps({**schema, "components": WHOLE["components"]}), object_hook=_in_python)
    return OAS31Validator(whole, format_checker=oas31_format_checker)


def _in_python(node: Json) -> Json:
    # In ECMAScript's regular expressions, and so in JSON Schema, `$` matches only the very end, never before a newline.
    # The validator may use either language: ECMAScript's if the package regress is installed.
    pattern = node.get("pattern")
    return {**node, "pattern": pattern.removesuffix("$") + r"(?![\s\S])"} if isinstance(pattern, str) else node


async def document_of(app: ASGIApp) -> Json:
    """Return the document that *app* serves."""
    document: Json = (await get(app, "/openapi.json")).json()
    return document
