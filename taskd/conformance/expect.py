"""Compare what the server sent with what the contract promises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx

__all__ = [
    "FIELDS",
    "Failed",
    "Json",
    "Skipped",
    "array_of",
    "expect",
    "expect_equal",
    "expect_error",
    "expect_fields",
    "expect_status",
    "json_of",
    "object_of",
    "task_of",
    "token_list",
]

Json = dict[str, Any]

FIELDS = (
    *("id", "user_id", "title", "description", "status", "priority", "due_at", "tags", "is_completed", "completed"),
    *("created_at", "updated_at", "completed_at", "version"),
)


class Failed(Exception):
    """
    A promise is broken.

    Args:
        expected: What should have come back.
        response: What came back; None if it is the response to the last request.
    """

    def __init__(self, expected: str, response: httpx.Response | None = None) -> None:
        super().__init__(expected)
        self.response = response


class Skipped(Exception):
    """A check cannot be run; the text says what it needs."""


def expect(is_so: object, expected: str, response: httpx.Response | None = None) -> None:
    """
    Go on only if *is_so*.

    Raises:
        Failed: It is not so.
    """
    if not is_so:
        raise Failed(expected, response)


def expect_equal(expected: object, actual: object, what: str, response: httpx.Response | None = None) -> None:
    """Go on only if *what*, whose value is *actual*, is as *expected*."""
    expect(
        type(expected) is type(actual) and expected == actual,
        f"{what}: {_short(expected)}, not {_short(actual)}",
        response,
    )


def expect_status(response: httpx.Response, *statuses: int) -> httpx.Response:
    """Return *response* if its status is one of *statuses*."""
    wanted = " or ".join(map(str, statuses))
    expect(response.status_code in statuses, f"status {wanted}, not {response.status_code}", response)
    return response


def json_of(response: httpx.Response) -> Any:
    """Return the JSON in the body of *response*."""
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    expect_equal("application/json", media_type, "Content-Type", response)
    try:
        return json.loads(response.content)
    except ValueError:
        raise Failed("a body in JSON", response) from None


def object_of(response: httpx.Response) -> Json:
    """Return the JSON object in the body of *response*."""
    body = json_of(response)
    expect(isinstance(body, dict), "a JSON object", response)
    found: Json = body
    return found


def array_of(response: httpx.Response) -> list[Json]:
    """Return the tasks in the body of *response*, which must be a bare JSON array."""
    body = json_of(expect_status(response, 200))
    is_array = isinstance(body, list) and all(isinstance(task, dict) and set(FIELDS) <= set(task) for task in body)
    expect(is_array, "a JSON array of tasks", response)
    found: list[Json] = body
    return found


def task_of(response: httpx.Response, status: int = 200) -> Json:
    """Return the task in the body of *response*, whose status must be *status*."""
    task = object_of(expect_status(response, status))
    missing = [name for name in FIELDS if name not in task]
    expect(not missing, f"a task with the fields {', '.join(missing)}", response)
    return task


def expect_fields(task: Json, response: httpx.Response | None = None, **expected: object) -> None:
    """Go on only if the fields of *task* are as *expected*."""
    for name, value in expected.items():
        expect_equal(value, task[name], name, response)


def expect_error(response: httpx.Response, status: int, code: str, *fields: str) -> Json:
    """
    Return the body of an error, which must have this *status* and *code*.

    Args:
        response: The response.
        status: Its status.
        code: Its code.
        fields: The fields that `errors` must name, in this order; none if it may name any, or be missing.
    """
    body = object_of(expect_status(response, status))
    expect_equal(code, body.get("code"), "code", response)
    detail = body.get("detail")
    expect(isinstance(detail, str) and detail.strip(), "a detail that is one sentence", response)
    if fields:
        expect_equal(list(fields), [error["field"] for error in _errors(body, response)], "fields in errors", response)
    return body


def _errors(body: Json, response: httpx.Response) -> Sequence[Json]:
    errors = body.get("errors")
    is_well_formed = isinstance(errors, list) and all(
        isinstance(error, dict)
        and all(error.get(name) and isinstance(error[name], str) for name in ("field", "message"))
        for error in errors
    )
    expect(is_well_formed, "errors, each with a field and a message", response)
    found: Sequence[Json] = body["errors"]
    return found


def token_list(response: httpx.Response, name: str) -> set[str]:
    """Return the items of the comma-separated header *name*, in lower case."""
    values = response.headers.get_list(name, split_commas=True)
    return {value.strip().lower() for value in values if value.strip()}


def _short(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
