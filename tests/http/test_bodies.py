"""Request bodies: the rules for fields, the errors that are reported, and the limits on size and type."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
TITLE = "must be a text of 1 to 200 characters, not only white space, without NUL"
DESCRIPTION = "must be a text of up to 10,000 characters, without NUL, or null"
STATUS = "must be one of pending, in_progress, completed"
PRIORITY = "must be one of low, medium, high, urgent"
DUE_AT = "must be an RFC 3339 date-time with an offset, or null"
TAGS = "must be a list of up to 20 texts of 1 to 50 characters, not only white space, without NUL"
IS_COMPLETED = "must be true or false"
CONTRADICTION = 'must be true exactly when status is "completed"'
DIFFERENCE = "must be the same as is_completed"


BROKEN_DATE_TIMES = [
    "2030-01-01T00:00:00",
    "2030-01-01",
    "2030-01-01T00:00Z",
    "2030-01-01 00:00:00Z",
    "2030-01-01T00:00:00+0530",
    "2030-01-01T00:00:00+05",
    "2030-01-01T00:00:00,5Z",
    "2030-02-30T00:00:00Z",
    "2030-01-01T24:00:00Z",
    "2030-01-01T00:00:00+24:00",
    "0001-01-01T00:00:00+05:30",
    "9999-12-31T23:59:59-00:01",
    "\u0662030-01-01T00:00:00Z",
    " 2030-01-01T00:00:00Z",
    "2030-01-01T00:00:00Z\n",
    "tomorrow",
    "",
    1893456000,
    True,
]


def broken(field: str, message: str, *values: Any) -> list[tuple[str, Any, str]]:
    """Return cases with *values* of *field* that all lead to *message*."""
    return [(field, value, message) for value in values]


async def send(client: httpx.AsyncClient, url: str, method: str, body: Any) -> httpx.Response:
    """Send *body* to create a task or, with a method that changes one, to a task created for it."""
    if method != "POST":
        url = (await client.post(url, json={"title": "t"})).headers["Location"]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.request(method, url + ("/complete" if method == "PATCH" else ""), content=content, headers=JSON)


def field_errors(response: httpx.Response) -> list[tuple[str, str]]:
    """Return the field errors of a 422, after checking its form."""
    assert 422 == response.status_code, response.text
    body = response.json()
    assert ["detail", "code", "errors"] == list(body)
    assert "invalid_body" == body["code"]
    found = [(error["field"], error["message"]) for error in body["errors"]]
    assert "; ".join(f"{field} {message}" for field, message in found) + "." == body["detail"]
    return found


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        *broken("title", TITLE, "", " \t\n\u3000", "\x1c\x85", "x" * 201, "a\0b", 5, None, True, ["t"], {"t": 1}),
        *broken("description", DESCRIPTION, "x" * 10_001, "\0", 5, False, []),
        *broken("status", STATUS, "done", "PENDING", "", None, 1, True, ["pending"], {}),
        *broken("priority", PRIORITY, "highest", None, 0, []),
        *broken(
            "tags", TAGS, None, "a", 5, True, {}, {"a": "b"}, [None], ["a", 5], [["a"]], [{}], ["a", ""], [" \u3000"]
        ),
        *broken("tags", TAGS, ["a\0"], ["x" * 51], ["a"] * 21, [str(number) for number in range(21)]),
        *broken("is_completed", IS_COMPLETED, "yes", "true", 1, 0, None, []),
        *broken("completed", IS_COMPLETED, "yes", "true", 1, 0, None, []),
        *broken("due_at", DUE_AT, *BROKEN_DATE_TIMES),
    ],
)
async def test_a_value_that_breaks_a_rule_is_refused(
    client: httpx.AsyncClient, tasks_url: str, method: str, field: str, value: Any, message: str
) -> None:
    """Nothing is coerced: the error names the field and says what it must be."""
    response = await send(client, tasks_url, method, {"title": "t", field: value})

    assert [(field, message)] == field_errors(response)
    assert ["t"] * (method == "PUT") == [task["title"] for task in (await client.get(tasks_url)).json()]


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    "fields",
    [
        {"title": "\U0001f389" * 200},
        {"title": "x" * 200, "description": "\n" * 10_000},
        {"tags": ["\U0001f389" * 50, *["x"] * 19]},
        {"tags": [str(number) for number in range(20)]},
        {"due_at": "0001-01-01T00:00:00Z"},
        {"due_at": "9999-12-31T23:59:59.999999Z"},
        {"due_at": "2030-01-01t00:00:00z"},
        {"due_at": "2030-01-01T00:00:00-00:00"},
        {"due_at": None, "description": None},
    ],
    ids=lambda fields: str(fields)[:40],
)
async def test_a_value_at_the_limit_is_accepted(
    client: httpx.AsyncClient, tasks_url: str, method: str, fields: dict[str, Any]
) -> None:
    """Limits are inclusive, and count characters, not bytes."""
    response = await send(client, tasks_url, method, {"title": "t", **fields})

    assert {"POST": 201, "PUT": 200}[method] == response.status_code, response.text


async def test_a_new_task_needs_a_title(client: httpx.AsyncClient, tasks_url: str) -> None:
    """If the only required field is missing, the error says so."""
    assert [("title", "is required")] == field_errors(await send(client, tasks_url, "POST", {"description": "d"}))


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"status": "pending", "is_completed": True}, [("is_completed", CONTRADICTION)]),
        ({"status": "in_progress", "is_completed": True}, [("is_completed", CONTRADICTION)]),
        ({"status": "completed", "is_completed": False}, [("is_completed", CONTRADICTION)]),
        ({"status": "pending", "completed": True}, [("completed", CONTRADICTION)]),
        ({"status": "in_progress", "completed": True}, [("completed", CONTRADICTION)]),
        ({"status": "completed", "completed": False}, [("completed", CONTRADICTION)]),
        ({"status": "completed", "is_completed": True, "completed": False}, [("completed", CONTRADICTION)]),
        ({"status": "completed", "is_completed": False, "completed": True}, [("is_completed", CONTRADICTION)]),
        (
            {"status": "completed", "is_completed": False, "completed": False},
            [("is_completed", CONTRADICTION), ("completed", CONTRADICTION)],
        ),
        ({"is_completed": True, "completed": False}, [("completed", DIFFERENCE)]),
        ({"is_completed": False, "completed": True}, [("completed", DIFFERENCE)]),
        ({"is_completed": "yes", "completed": True}, [("is_completed", IS_COMPLETED)]),
    ],
    ids=str,
)
async def test_a_body_that_contradicts_itself_is_refused(
    client: httpx.AsyncClient,
    tasks_url: str,
    method: str,
    fields: dict[str, Any],
    errors: list[tuple[str, str]],
) -> None:
    """The fields that say whether a task is completed must agree; the error names the flag that does not."""
    response = await send(client, tasks_url, method, {"title": "t", **fields})

    assert errors == field_errors(response)


async def test_every_error_is_reported_in_the_order_of_the_fields(client: httpx.AsyncClient, tasks_url: str) -> None:
    """All errors in a body are reported at once, whatever the order of its fields."""
    body = {
        "completed": 1,
        "is_completed": True,
        "tags": "home",
        "due_at": "soon",
        "priority": 1,
        "status": "pending",
        "description": 2,
    }

    assert [
        ("title", "is required"),
        ("description", DESCRIPTION),
        ("priority", PRIORITY),
        ("due_at", DUE_AT),
        ("tags", TAGS),
        ("is_completed", CONTRADICTION),
        ("completed", IS_COMPLETED),
    ] == field_errors(await send(client, tasks_url, "POST", body))


async def test_completion_ignores_other_fields(client: httpx.AsyncClient, tasks_url: str) -> None:
    """A status in the body of PATCH is an unknown key: it is ignored, and contradicts nothing."""
    response = await send(client, tasks_url, "PATCH", {"completed": True, "status": "pending"})

    assert (200, "completed") == (response.status_code, response.json()["status"])


@pytest.mark.parametrize("body", [{"status": "completed"}, {"done": True}, {"isCompleted": None}, {"": 0, "id": 1}])
async def test_completion_with_only_other_keys_is_refused(
    client: httpx.AsyncClient, tasks_url: str, body: dict[str, Any]
) -> None:
    """A client that misspells the flag does not toggle the task."""
    response = await send(client, tasks_url, "PATCH", body)

    assert [("is_completed", "is required unless the body is empty")] == field_errors(response)
    assert ["pending"] == [task["status"] for task in (await client.get(tasks_url)).json()]


@pytest.mark.parametrize("value", [True, False])
async def test_completion_that_contradicts_itself_is_refused(
    client: httpx.AsyncClient, tasks_url: str, *, value: bool
) -> None:
    """The two names for the flag must agree."""
    response = await send(client, tasks_url, "PATCH", {"is_completed": value, "completed": not value})

    assert [("completed", DIFFERENCE)] == field_errors(response)
    assert ["pending"] == [task["status"] for task in (await client.get(tasks_url)).json()]


@pytest.mark.parametrize("flag", ["is_completed", "completed"])
@pytest.mark.parametrize("value", ["yes", 1, None, "true", []])
async def test_completion_is_true_or_false(client: httpx.AsyncClient, tasks_url: str, flag: str, value: Any) -> None:
    """The flag in the body of PATCH must be a boolean, if it is given."""
    assert [(flag, IS_COMPLETED)] == field_errors(await send(client, tasks_url, "PATCH", {flag: value}))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("body", [[], "title", 5, True, None, [{"title": "t"}]], ids=repr)
async def test_a_body_must_be_an_object(client: httpx.AsyncClient, tasks_url: str, method: str, body: Any) -> None:
    """JSON that is not an object is refused."""
    assert [("body", "must be a JSON object")] == field_errors(await send(client, tasks_url, method, body))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"title=t",
        b"  ",
        b'{"title": "t",}',
        b'{"title": "t"} x',
        b"{'title': 't'}",
        b'{"title": NaN}',
        b'{"title": Infinity}',
        b'{"title": -Infinity}',
        b'{"title": 1e999}',
        b'{"title": "\\ud800"}',
        b'{"title": "\\udc00\\ud800"}',
        b'{"title": "\xed\xa0\x80"}',
        b'{"title": "\xff"}',
        b'{"title": "\x01"}',
        '{"title": "t"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"title": "t"}',
        b'{"unknown": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"unknown": ' + b"9" * 5_000 + b"}",
        b'{"unknown": NaN}',
    ],
    ids=lambda body: repr(body[:24]),
)
async def test_malformed_json_is_refused(client: httpx.AsyncClient, tasks_url: str, method: str, body: bytes) -> None:
    """It is reported as one error in the whole body, and nothing is stored."""
    response = await send(client, tasks_url, method, body)
    [(field, message)] = field_errors(response)

    assert "body" == field
    assert message.startswith("is not valid JSON in UTF-8: ")
    assert not any(task["is_completed"] for task in (await client.get(tasks_url)).json())


async def test_nul_in_an_ignored_field_is_accepted(client: httpx.AsyncClient, tasks_url: str) -> None:
    """Only fields that are stored must follow the rules."""
    response = await send(client, tasks_url, "POST", {"title": "t", "id": "\0", "\0": "\0"})

    assert 201 == response.status_code


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_missing_body_is_not_an_object(client: httpx.AsyncClient, tasks_url: str, method: str) -> None:
    """A request without a body needs no Content-Type, but no task can be read from it."""
    url = tasks_url if method == "POST" else (await client.post(tasks_url, json={"title": "t"})).headers["Location"]

    assert [("body", "must be a JSON object")] == field_errors(await client.request(method, url))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize(
    ("content_type", "is_json"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ('application/json;charset="UTF-8"', True),
        ("application/json ;", True),
        ("application/json; charset=utf8", True),
        ("application/json; version=1", True),
        (' application/json;profile="a; charset=latin-1 \\" b" ;; Charset="utf-\\8" ; v=1', True),
        ("application/json; charset=latin-1", False),
        ("application/json; charset=utf-8; charset=utf-16", False),
        ("application/json; version", False),
        ("application/json version=1", False),
        ("application/jsonp", False),
        ("application/merge-patch+json", False),
        ("text/plain", False),
        ("text/plain, application/json", False),
        ("application/x-www-form-urlencoded", False),
        ("", False),
        (None, False),
    ],
)
async def test_a_body_must_be_declared_as_json(
    client: httpx.AsyncClient, tasks_url: str, method: str, content_type: str | None, *, is_json: bool
) -> None:
    """Any other Content-Type, or none, leads to a 415, and nothing is stored."""
    url = (await client.post(tasks_url, json={"title": "t"})).headers["Location"]
    url = {"POST": tasks_url, "PUT": url, "PATCH": f"{url}/complete"}[method]
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = await client.request(method, url, content=b'{"title": "u", "is_completed": true}', headers=headers)

    assert is_json == (response.status_code in (200, 201))
    assert is_json or (415, ["t"]) == (response.status_code, [t["title"] for t in (await client.get(tasks_url)).json()])


@pytest.mark.parametrize(
    ("content_type", "detail"),
    [
        (None, "The body must be sent with Content-Type: application/json."),
        ("json", "The body must be sent with Content-Type: application/json."),
        ("Text/Plain; charset=utf-8", "The body must be sent with Content-Type: application/json, not Text/Plain."),
        (
            "application/json; charset=Latin-1; v=1",
            "The body must be in UTF-8: send it without charset=Latin-1.",
        ),
        (
            'application/json; v=1;charset="utf-16"',
            "The body must be in UTF-8: send it without charset=utf-16.",
        ),
        (
            "application/json; v=1; charset",
            "The Content-Type is malformed from 'charset' on: remove that part.",
        ),
        (
            'application/json; v="1',
            "The Content-Type is malformed from 'v=\"1' on: remove that part.",
        ),
        (
            "application/json, text/plain",
            "The Content-Type is malformed from ', text/plain' on: remove that part.",
        ),
    ],
)
async def test_a_refused_media_type_says_what_is_wrong_with_it(
    client: httpx.AsyncClient, tasks_url: str, content_type: str | None, detail: str
) -> None:
    """The message names the parameter that is wrong, not what the client did right (RFC 9110, section 8.3)."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = await client.post(tasks_url, content=b'{"title": "t"}', headers=headers)

    assert (415, {"detail": detail, "code": "unsupported_media_type"}) == (response.status_code, response.json())


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    """Send *body* without a Content-Length."""
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("excess", "is_refused"), [(0, False), (1, True), (200_000, True)])
async def test_a_body_has_at_most_64_kib(
    client: httpx.AsyncClient, tasks_url: str, method: str, *, chunked: bool, excess: int, is_refused: bool
) -> None:
    """One byte more leads to a 413, with or without a Content-Length."""
    url = (await client.post(tasks_url, json={"title": "t"})).headers["Location"]
    url = {"POST": tasks_url, "PUT": url, "PATCH": f"{url}/complete"}[method]
    body = b'{"title": "u"}'.ljust(64 * 1024 + excess)
    response = await client.request(method, url, content=in_chunks(body) if chunked else body, headers=JSON)

    assert is_refused == (response.status_code == 413), response.text
    refusal = {"detail": "The body must not be larger than 65536 bytes.", "code": "body_too_large"}
    assert is_refused == (refusal == response.json())


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=8,
)
FIELDS = ["title", "description", "status", "priority", "due_at", "tags", "is_completed", "completed", "id", "user_id"]
BODIES = st.dictionaries(st.sampled_from(FIELDS) | st.text(), JSON_VALUES | st.sampled_from(["pending", "low"]))


@given(body=BODIES | JSON_VALUES, method=st.sampled_from(["POST", "PUT", "PATCH"]))
@example(body={"title": "\ud800"}, method="POST")
@example(body={"title": "t", "due_at": 1e300}, method="PUT")
async def test_random_json_leads_to_a_documented_response(
    client: httpx.AsyncClient, tasks_url: str, body: Any, method: str
) -> None:
    """Any JSON is either accepted or refused with one sentence, and never makes the server fail."""
    response = await send(client, tasks_url, method, body)

    assert response.status_code in (200, 201, 422)
    assert response.status_code != 422 or isinstance(response.json()["detail"], str)


@given(body=st.binary(max_size=200), method=st.sampled_from(["POST", "PUT", "PATCH"]))
async def test_random_bytes_lead_to_a_documented_response(
    client: httpx.AsyncClient, tasks_url: str, body: bytes, method: str
) -> None:
    """Bytes that are not JSON are refused with one sentence."""
    response = await send(client, tasks_url, method, body)

    assert response.status_code in (200, 422)
    assert isinstance(response.json().get("detail", ""), str)
