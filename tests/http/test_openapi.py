"""The API document says what the contract says, and what the server does."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate
from starlette.types import ASGIApp

from taskd import build_app
from taskd.routes.body import structure
from taskd.testing.documents import resolved
from tests.conftest import SECRET, token_for
from tests.support.applications import build, get
from tests.support.commands import invoke, run_python
from tests.support.documents import (
    CLASSES,
    CODES,
    OPERATIONS,
    TASK,
    TASKS,
    WHOLE,
    Json,
    document_of,
    operations,
    reference,
    responses,
    validator,
)
from tests.support.processes import make_distribution
from tests.support.third_parties import Site, routes_source

pytestmark = pytest.mark.anyio

PUBLIC = {"/livez", "/readyz"}
BODIES: Mapping[tuple[str, int], Json | None] = {
    ("listTasks", 200): {"type": "array", "items": reference("Task")},
    ("listTasks", 304): None,
    ("createTask", 201): reference("Task"),
    ("getTask", 200): reference("Task"),
    ("getTask", 304): None,
    ("updateTask", 200): reference("Task"),
    ("updateTask", 201): reference("Task"),
    ("deleteTask", 204): None,
    ("completeTask", 200): reference("Task"),
    ("checkLiveness", 200): reference("Health"),
    ("checkReadiness", 200): reference("Health"),
}
HEADERS = {200: {"ETag"}, 201: {"ETag", "Location"}, 304: {"ETag"}, 401: {"WWW-Authenticate"}, 503: {"Retry-After"}}
# The operations whose responses have no versions.
HEALTH = {"checkLiveness", "checkReadiness"}
# The headers that a list has only in some cases.
OPTIONAL_HEADERS = {("listTasks", 200): {"Link", "X-Total-Count"}}

# No text contains NUL, and a title is not only white space.
SPACE = r"\s\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
TITLE = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": rf"^[{SPACE}]*([^\x00{SPACE}]|\ufeff)[^\x00]*$"}
DESCRIPTION = {"type": "string", "maxLength": 10_000, "pattern": r"^[^\x00]*$"}
DATE_TIME = {"type": "string", "format": "date-time"}
NULL = {"type": "null"}
STATUS = {"enum": ["pending", "in_progress", "completed"], "type": "string"}
PRIORITY = {"enum": ["low", "medium", "high", "urgent"], "type": "string"}
ERROR: Json = {"detail": {"type": "string"}, "code": {"enum": list(CODES), "type": "string"}}
WRITABLE: Json = {
    "title": TITLE,
    "description": {"anyOf": [DESCRIPTION, NULL]},
    "status": STATUS,
    "priority": PRIORITY,
    "due_at": {"anyOf": [DATE_TIME, NULL]},
    "tags": {"type": "array", "items": {**TITLE, "maxLength": 50}, "maxItems": 20},
    "is_completed": {"type": "boolean"},
    "completed": {"type": "boolean"},
}
ENUMERATIONS = ("/Status", "/Priority", "/Sort", "/Order", "/ErrorCode")
TEXT = {"type": "string", "pattern": r"^[^\x00]*$"}
# The contract's table of the parameters of a list.
QUERY: Json = {
    "status": {"type": "array", "items": reference("Status")},
    "priority": {"type": "array", "items": reference("Priority")},
    "is_completed": {"type": "boolean"},
    "completed": {"type": "boolean"},
    "tag": {"type": "array", "items": TEXT},
    "due_after": DATE_TIME,
    "due_before": DATE_TIME,
    "search": {**TEXT, "minLength": 1, "maxLength": 200},
    "sort": {"enum": ["created_at", "updated_at", "due_at", "priority", "title"], "type": "string"},
    "order": {"enum": ["asc", "desc"], "type": "string"},
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
    "cursor": {"type": "string", "pattern": r"^[A-Za-z0-9_\-]+$"},
    "count": {"type": "boolean"},
}
# The headers that requests may have besides credentials and those about the body.
REQUEST_HEADERS = {
    "listTasks": {"If-None-Match"},
    "createTask": {"Idempotency-Key"},
    "getTask": {"If-None-Match"},
    "updateTask": {"If-Match", "If-None-Match"},
    "deleteTask": {"If-Match"},
    "completeTask": {"If-Match"},
}
# The contract's table of fields.
FIELDS: dict[str, tuple[Json, set[str]]] = {
    "NewTask": (WRITABLE, {"title"}),
    "TaskChanges": (WRITABLE, set()),
    "Completion": ({"is_completed": {"type": "boolean"}, "completed": {"type": "boolean"}}, set()),
    "Task": (
        answered := {
            **WRITABLE,
            "id": {"type": "string", "format": "uuid"},
            "user_id": {"type": "string"},
            "created_at": DATE_TIME,
            "updated_at": DATE_TIME,
            "completed_at": {"anyOf": [DATE_TIME, NULL]},
            "version": {"type": "integer", "minimum": 0},
        },
        set(answered),
    ),
    "Health": ({"status": {"enum": ["ok"], "type": "string"}}, {"status"}),
    "ErrorBody": (ERROR, {"detail", "code"}),
    "ValidationErrorBody": (
        {**ERROR, "errors": {"type": "array", "items": reference("FieldError")}},
        {"detail", "code"},
    ),
    "FieldError": ({"field": {"type": "string"}, "message": {"type": "string"}}, {"field", "message"}),
}


def limits(schema: Json) -> Json:
    """Return what *schema* requires, without descriptions, and without the patterns of formats."""
    schema = resolved(schema, WHOLE) if schema.get("$ref", "").endswith(ENUMERATIONS) else schema
    silent = {"title", "description", "examples"} | ({"pattern"} if "format" in schema else set())
    kept = {key: value for key, value in schema.items() if key not in silent}
    return {key: [limits(each) for each in value] if key == "anyOf" else value for key, value in kept.items()}


class TestContract:
    async def test_it_is_openapi_3_1(self, stranger: httpx.AsyncClient) -> None:
        """It is public, and valid according to the specification."""
        response = await stranger.get("/openapi.json")

        assert (200, "application/json") == (response.status_code, response.headers["Content-Type"])
        assert "3.1.0" == response.json()["openapi"]
        validate(response.json())

    async def test_it_has_the_operations_of_the_contract(self, app: ASGIApp) -> None:
        """Each row of the contract's table is an operation with all of its statuses, and there are no others."""
        found = {
            key: (operation["operationId"], {int(status) for status in operation["responses"]})
            for key, operation in operations(await document_of(app)).items()
        }

        assert OPERATIONS == found

    def test_only_public_operations_need_no_token(self) -> None:
        """Each operation says whether it needs credentials, that is, a bearer token."""
        for (_, path), operation in operations().items():
            assert ([] if path in PUBLIC else [{"credentials": []}]) == operation["security"]
        scheme = WHOLE["components"]["securitySchemes"]["credentials"]
        assert ("http", "bearer", "JWT") == (scheme["type"], scheme["scheme"], scheme["bearerFormat"])

    @pytest.mark.parametrize(("operation_id", "status", "response"), responses())
    def test_each_status_has_its_body(self, operation_id: str, status: int, response: Json) -> None:
        """A success has a task, several tasks or nothing; an error has its own body, with fields for a 422."""
        error = reference("ValidationErrorBody" if status == 422 else "ErrorBody")
        expected = error if status >= 400 else BODIES[operation_id, status]

        contents = response.get("content", {})
        assert ([] if expected is None else ["application/json"]) == list(contents)
        assert all(expected == content["schema"] for content in contents.values())
        assert response["description"]

    def test_the_example_of_each_error_has_a_code_of_its_status(self) -> None:
        """The code in an example belongs to the status that the example is for."""
        examples = [
            (status, content["example"]["code"])
            for _, status, response in responses()
            if status >= 400
            for content in response["content"].values()
        ]

        assert {401, 404, 409, 412, 413, 415, 422, 500, 503} == {status for status, _ in examples}
        assert [] == [(status, code) for status, code in examples if CODES[code] != status]

    @pytest.mark.parametrize(("operation_id", "status", "response"), responses())
    def test_each_status_has_its_headers(self, operation_id: str, status: int, response: Json) -> None:
        """All responses have an id; each declared header is described, and is always there unless it is optional."""
        headers = {name: resolved(header, WHOLE) for name, header in response["headers"].items()}
        optional = {name for name, header in headers.items() if not header["required"]}

        expected = HEADERS.get(status, set()) - ({"ETag"} if operation_id in HEALTH else set())
        assert expected | {"X-Request-ID"} == set(headers) - optional, operation_id
        assert OPTIONAL_HEADERS.get((operation_id, status), set()) == optional
        assert all(header["description"] for header in headers.values())

    @pytest.mark.parametrize(("path", "tag"), [(TASKS, 'W/"42"'), (TASK, '"42"')])
    def test_a_304_has_the_tag_that_was_sent(self, path: str, tag: str) -> None:
        """It is described as that of the whole response: a list has another one than a task."""
        described = operations()["GET", path]["responses"]
        whole, unchanged = (described[status]["headers"]["ETag"] for status in ("200", "304"))

        assert whole == unchanged
        assert [tag] == unchanged["schema"]["examples"]

    def test_the_schemas_are_those_of_the_contract(self) -> None:
        """They describe only bodies and enumerations."""
        assert {*FIELDS, "Status", "Priority", "Sort", "Order", "ErrorCode"} == set(WHOLE["components"]["schemas"])

    @pytest.mark.parametrize("name", FIELDS)
    def test_each_field_has_its_limits(self, name: str) -> None:
        """Types, lengths, values, formats, nulls and required fields are those of the contract."""
        fields, required = FIELDS[name]
        schema = WHOLE["components"]["schemas"][name]

        assert fields == {field: limits(described) for field, described in schema["properties"].items()}
        assert required == set(schema["required"])
        assert "object" == schema["type"]
        # Unknown keys are ignored.
        assert "additionalProperties" not in schema

    def test_no_pattern_contains_a_line_terminator(self) -> None:
        """Generators unescape patterns and write them as JavaScript literals, which must not contain one."""
        patterns = [json.loads(text) for text in re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json.dumps(WHOLE))]
        unescaped = [re.sub(r"\\u([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), each) for each in patterns]

        assert unescaped
        assert [] == [pattern for pattern in unescaped if set("\n\r\u2028\u2029") & set(pattern)]

    def test_only_the_toggle_has_an_optional_body(self) -> None:
        """The three operations that read a body declare it and its class."""
        read = {
            operation["operationId"]: (
                operation["requestBody"]["required"],
                operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2],
            )
            for operation in operations().values()
            if "requestBody" in operation
        }

        assert {
            "createTask": (True, "NewTask"),
            "updateTask": (True, "TaskChanges"),
            "completeTask": (False, "Completion"),
        } == read

    @pytest.mark.parametrize(("method", "path"), OPERATIONS)
    def test_the_path_parameters_are_described(self, method: str, path: str) -> None:
        """Each has a description, and ids are UUIDs."""
        parameters = [
            each for each in operations()[method, path]["parameters"] if each["in"] not in ("query", "header")
        ]
        formats = {each["name"]: each["schema"].get("format") for each in parameters}

        expected = {"user_id": None} if "{user_id}" in path else {}
        assert {**expected, **({"id": "uuid"} if "{id}" in path else {})} == formats
        assert all(each["required"] and each["in"] == "path" and each["description"] for each in parameters)

    def test_only_lists_have_query_parameters(self) -> None:
        """They are those in the contract's table, in the same order, with their limits; none is required."""
        [(operation_id, parameters)] = [
            (operation["operationId"], found)
            for operation in operations().values()
            if (found := [each for each in operation["parameters"] if each["in"] == "query"])
        ]
        repeated = [each["name"] for each in parameters if (each.get("style"), each.get("explode")) == ("form", True)]

        assert "listTasks" == operation_id
        assert list(QUERY.items()) == [(each["name"], limits(each["schema"])) for each in parameters]
        assert ["status", "priority", "tag"] == repeated
        assert all(each["required"] is False and each["description"] for each in parameters)
        # An empty value counts as not sent.
        assert all(each["allowEmptyValue"] is True for each in parameters)

    def test_the_headers_of_requests_are_those_of_the_contract(self) -> None:
        """Each operation lists the headers that it reads; all are optional and described."""
        found = {
            operation["operationId"]: headers
            for operation in operations().values()
            if (headers := [each for each in operation["parameters"] if each["in"] == "header"])
        }

        assert REQUEST_HEADERS == {name: {each["name"] for each in headers} for name, headers in found.items()}
        declared = [each for headers in found.values() for each in headers]
        assert all(each["required"] is False and each["description"] for each in declared)

    @pytest.mark.parametrize(
        ("key", "is_valid"),
        [
            ("a", True),
            ("~" * 255, True),
            ("~" * 256, False),
            ('"~"', True),
            (f'"{"~" * 255}"', True),
            (f'"{"~" * 256}"', False),
            ('"', True),
            ('""', False),
            ("", False),
            ("a b", False),
            ("\u00e9", False),
            ("a\n", False),
        ],
    )
    def test_an_idempotency_key_is_described_exactly(self, key: str, is_valid: bool) -> None:
        """A key is 1 to 255 visible ASCII characters, not counting quotes around them."""
        [schema] = [
            each["schema"] for each in operations()["POST", TASKS]["parameters"] if each["name"] == "Idempotency-Key"
        ]

        assert is_valid is validator(schema).is_valid(key)


class TestSameBytes:
    async def test_the_settings_do_not_matter(self) -> None:
        """Whatever the secret, the database and the origins are, the document is the same, byte for byte."""
        first = build(FRONTEND_URL="https://one.example.com", BETTER_AUTH_URL="https://auth.example.com")
        second = build_app(
            {"BETTER_AUTH_SECRET": SECRET[::-1], "DATABASE_URL": "postgresql://tasks:hunter2@db.example.com/tasks"}
        )

        served = [(await get(app, "/openapi.json")).content for app in (first, second)]

        assert served[0] == served[1]

    async def test_the_command_prints_what_is_served(self) -> None:
        """`taskd openapi` needs no secret, and creates no database."""
        # A command has its own event loop.
        result = await asyncio.to_thread(invoke, "openapi", settings={})

        assert (0, "") == (result.exit_code, result.stderr)
        assert [] == list(Path().iterdir())
        assert (await get(build(), "/openapi.json")).content == result.stdout_bytes

    def test_the_process_does_not_matter(self, tmp_path: Path) -> None:
        """Neither the order in which plugins are found nor the order of sets changes a byte."""
        source = """
import taskd
from starlette.routing import Route

async def endpoint(request): ...

@taskd.hookimpl
def taskd_routes():
    return [Route(f"/{__name__}/{path}", endpoint, methods=["PUT", "GET", "DELETE"]) for path in "zya"]
"""
        for name in ("alpha", "omega"):
            make_distribution(tmp_path / name, name, source)
        printed = [
            run_python("-m", "taskd", "openapi", settings={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(paths)})
            for seed, paths in (
                ("0", [str(tmp_path / "alpha"), str(tmp_path / "omega")]),
                ("1", [str(tmp_path / "omega"), str(tmp_path / "alpha")]),
            )
        ]

        assert [(0, ""), (0, "")] == [(ended.returncode, ended.stderr) for ended in printed]
        assert printed[0].stdout == printed[1].stdout
        assert {f"/{name}_plugin/{path}" for name in ("alpha", "omega") for path in "zya"} <= set(
            json.loads(printed[0].stdout)["paths"]
        )

    def test_a_broken_declaration_is_one_line(self, site: Site) -> None:
        """The command exits with status 1, and names the plugin."""
        site.install(
            "hello", routes_source("Route('/hello', taskd.routes.operation('a', parameters={'x': int})(endpoint))")
        )

        result = invoke("openapi", settings={})

        assert 1 == result.exit_code
        [line] = result.output.splitlines()
        refusal = "plugin 'hello' of acme 1.0 declares x, which /hello does not have"
        assert f"taskd: {refusal}; or set TASKD_DISABLED_PLUGINS=hello" == line

    async def test_it_contains_no_secret(self) -> None:
        """It contains no settings, no token, and not the version of the server."""
        app = build(
            DATABASE_URL="postgresql://tasks:hunter2@db.example.com/tasks", FRONTEND_URL="https://x.example.com"
        )
        document = await document_of(app)
        del document["info"]["version"]
        text = json.dumps(document)

        version = importlib.metadata.version("taskd-server")
        private = [SECRET, "hunter2", "example.com", "eyJ", token_for("dev").rpartition(".")[2], version]
        assert [] == [word for word in private if word in text]


def body_examples() -> list[Any]:
    """Return each example body, with the name of its class and the schema of the body."""
    return [
        pytest.param(
            content["schema"]["$ref"].rpartition("/")[2], content["schema"], shown["value"],
            id=f"{operation['operationId']}: {title}",
        )
        for operation in operations().values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        for title, shown in content["examples"].items()
    ]  # fmt: skip


class TestExamples:
    @pytest.mark.parametrize(("name", "schema", "shown"), body_examples())
    def test_example_bodies_are_valid(self, name: str, schema: Json, shown: object) -> None:
        """Both the server and the schema accept them."""
        assert isinstance(structure(shown, CLASSES[name]), CLASSES[name])
        validator(schema).validate(shown)

    @pytest.mark.parametrize(("operation_id", "status", "response"), responses())
    def test_example_responses_are_valid(self, operation_id: str, status: int, response: Json) -> None:
        """They are valid according to their schemas."""
        contents = response.get("content", {}).values()
        wrong = [content for content in contents if not validator(content["schema"]).is_valid(content["example"])]

        assert [] == wrong, f"{operation_id} {status}"
