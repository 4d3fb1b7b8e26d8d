"""The API document: it says what the contract says, and what the server does."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate
from starlette.applications import Starlette
from starlette.convertors import CONVERTOR_TYPES
from starlette.routing import Route
from starlette.types import ASGIApp

from taskd import Completion, InvalidBody, NewTask, TaskChanges, build_app, structure
from taskd.app import api_document
from taskd.routing import operations_of
from taskd.testing import undescribed
from taskd.testing.documents import resolved
from tests.applications import build, get, refusal
from tests.commands import invoke, run_python
from tests.conftest import SECRET, token_for
from tests.processes import make_distribution
from tests.third_parties import Site, auth_source, hook_source, routes_source

pytestmark = pytest.mark.anyio

Json = dict[str, Any]

TASKS = "/api/{user_id}/tasks"
TASK = f"{TASKS}/{{id}}"
# The contract's table, with what holds for all: 401 where a token is wanted, 500, and 503 where the storage is asked.
OPERATIONS = {
    ("GET", TASKS): ("listTasks", {200, 401, 500, 503}),
    ("POST", TASKS): ("createTask", {201, 401, 413, 415, 422, 500, 503}),
    ("GET", TASK): ("getTask", {200, 401, 404, 500, 503}),
    ("PUT", TASK): ("updateTask", {200, 401, 404, 413, 415, 422, 500, 503}),
    ("DELETE", TASK): ("deleteTask", {204, 401, 404, 500, 503}),
    ("PATCH", f"{TASK}/complete"): ("completeTask", {200, 401, 404, 413, 415, 422, 500, 503}),
    ("GET", "/livez"): ("checkLiveness", {200, 500}),
    ("GET", "/readyz"): ("checkReadiness", {200, 500, 503}),
}
PUBLIC = {"/livez", "/readyz"}


def reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


BODIES: Mapping[tuple[str, int], Json | None] = {
    ("listTasks", 200): {"type": "array", "items": reference("Task")},
    ("createTask", 201): reference("Task"),
    ("getTask", 200): reference("Task"),
    ("updateTask", 200): reference("Task"),
    ("deleteTask", 204): None,
    ("completeTask", 200): reference("Task"),
    ("checkLiveness", 200): reference("Health"),
    ("checkReadiness", 200): reference("Health"),
}
HEADERS = {201: {"Location"}, 401: {"WWW-Authenticate"}, 503: {"Retry-After"}}

# No text holds NUL, and a title is not only white space.
SPACE = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
TITLE = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": rf"^[{SPACE}]*[^\x00{SPACE}][^\x00]*$"}
DESCRIPTION = {"type": "string", "maxLength": 10_000, "pattern": r"^[^\x00]*$"}
DATE_TIME = {"type": "string", "format": "date-time"}
NULL = {"type": "null"}
STATUS = {"enum": ["completed", "in_progress", "pending"], "type": "string"}
PRIORITY = {"enum": ["high", "low", "medium", "urgent"], "type": "string"}
WRITABLE: Json = {
    "title": TITLE,
    "description": {"anyOf": [DESCRIPTION, NULL]},
    "status": STATUS,
    "priority": PRIORITY,
    "due_at": {"anyOf": [DATE_TIME, NULL]},
    "is_completed": {"type": "boolean"},
}
# The contract's table of fields.
FIELDS: dict[str, tuple[Json, set[str]]] = {
    "NewTask": (WRITABLE, {"title"}),
    "TaskChanges": (WRITABLE, set()),
    "Completion": ({"is_completed": {"type": "boolean"}}, set()),
    "Task": (
        answered := {
            **WRITABLE,
            "id": {"type": "string", "format": "uuid"},
            "user_id": {"type": "string"},
            "created_at": DATE_TIME,
            "updated_at": DATE_TIME,
            "completed_at": {"anyOf": [DATE_TIME, NULL]},
        },
        set(answered),
    ),
    "Health": ({"status": {"enum": ["ok"], "type": "string"}}, {"status"}),
    "ErrorBody": ({"detail": {"type": "string"}}, {"detail"}),
    "InvalidBodyError": (
        {"detail": {"type": "string"}, "errors": {"type": "array", "items": reference("Fault")}},
        {"detail", "errors"},
    ),
    "Fault": ({"field": {"type": "string"}, "message": {"type": "string"}}, {"field", "message"}),
}
CLASSES: Mapping[str, type[Any]] = {"NewTask": NewTask, "TaskChanges": TaskChanges, "Completion": Completion}

WHOLE: Json = json.loads(api_document({}))


def operations(whole: Json = WHOLE) -> dict[tuple[str, str], Json]:
    """Return the operations of a document, by method and path."""
    return {
        (method.upper(), path): operation
        for path, methods in whole["paths"].items()
        for method, operation in methods.items()
    }


def responses() -> list[tuple[str, int, Json]]:
    """Return all responses, each with its operation's name and its status."""
    return [
        (operation["operationId"], int(status), resolved(response, WHOLE))
        for operation in operations().values()
        for status, response in operation["responses"].items()
    ]


def limits(schema: Json) -> Json:
    """Return what *schema* demands, less what it says to people, and the pattern of what has a format."""
    schema = resolved(schema, WHOLE) if schema.get("$ref", "").endswith(("/Status", "/Priority")) else schema
    silent = {"title", "description", "examples"} | ({"pattern"} if "format" in schema else set())
    kept = {key: value for key, value in schema.items() if key not in silent}
    return {key: [limits(each) for each in value] if key == "anyOf" else value for key, value in kept.items()}


def validator(schema: Json) -> Any:
    """Return a validator of *schema*, which may refer to the document's."""
    whole = json.loads(json.dumps({**schema, "components": WHOLE["components"]}), object_hook=_in_python)
    return OAS31Validator(whole, format_checker=oas31_format_checker)


def _in_python(node: Json) -> Json:
    # In ECMA's regular expressions, and so in JSON Schema, `$` is the very end, not before a line break there.
    pattern = node.get("pattern")
    return {**node, "pattern": pattern.removesuffix("$") + r"\Z"} if isinstance(pattern, str) else node


async def document_of(app: ASGIApp) -> Json:
    """Return the document that *app* serves."""
    document: Json = (await get(app, "/openapi.json")).json()
    return document


class TestContract:
    async def test_it_is_openapi_3_1(self, stranger: httpx.AsyncClient) -> None:
        """Anyone may read it, and it is valid by the specification."""
        answer = await stranger.get("/openapi.json")

        assert (200, "application/json") == (answer.status_code, answer.headers["Content-Type"])
        assert "3.1.0" == answer.json()["openapi"]
        validate(answer.json())

    async def test_it_has_the_operations_of_the_contract(self, app: ASGIApp) -> None:
        """Each line of the contract's table is an operation with all of its statuses, and there is no other."""
        found = {
            key: (operation["operationId"], {int(status) for status in operation["responses"]})
            for key, operation in operations(await document_of(app)).items()
        }

        assert OPERATIONS == found

    def test_only_what_the_contract_calls_public_needs_no_token(self) -> None:
        """Each operation says whether credentials are wanted, and they are a bearer token."""
        for (_, path), operation in operations().items():
            assert ([] if path in PUBLIC else [{"credentials": []}]) == operation["security"]
        scheme = WHOLE["components"]["securitySchemes"]["credentials"]
        assert ("http", "bearer", "JWT") == (scheme["type"], scheme["scheme"], scheme["bearerFormat"])

    @pytest.mark.parametrize(("operation_id", "status", "response"), responses())
    def test_each_status_has_its_body(self, operation_id: str, status: int, response: Json) -> None:
        """A task, several or none where it went well; else an error, which for 422 has a list of faults."""
        error = reference("InvalidBodyError" if status == 422 else "ErrorBody")
        expected = error if status >= 400 else BODIES[operation_id, status]

        contents = response.get("content", {})
        assert ([] if expected is None else ["application/json"]) == list(contents)
        assert all(expected == content["schema"] for content in contents.values())
        assert response["description"]

    @pytest.mark.parametrize(("operation_id", "status", "response"), responses())
    def test_each_status_has_its_headers(self, operation_id: str, status: int, response: Json) -> None:
        """Each has an id, and each header that is declared is always there and explained."""
        headers = {name: resolved(header, WHOLE) for name, header in response["headers"].items()}

        assert HEADERS.get(status, set()) | {"X-Request-ID"} == set(headers), operation_id
        assert all(header["required"] and header["description"] for header in headers.values())

    def test_the_schemas_are_those_of_the_contract(self) -> None:
        """Nothing is described but bodies, and the values of text that there are."""
        assert {*FIELDS, "Status", "Priority"} == set(WHOLE["components"]["schemas"])

    @pytest.mark.parametrize("name", FIELDS)
    def test_each_field_has_its_limits(self, name: str) -> None:
        """Types, lengths, values, formats, nulls and which are required are those of the contract."""
        fields, required = FIELDS[name]
        schema = WHOLE["components"]["schemas"][name]

        assert fields == {field: limits(described) for field, described in schema["properties"].items()}
        assert required == set(schema["required"])
        assert "object" == schema["type"]
        # Keys that are not known are ignored.
        assert "additionalProperties" not in schema

    def test_only_the_toggle_may_come_without_a_body(self) -> None:
        """The three operations that read a body say so, and of which class it is."""
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
    def test_the_parameters_are_those_of_the_path(self, method: str, path: str) -> None:
        """Each has a description; an id is a UUID."""
        parameters = operations()[method, path]["parameters"]
        formats = {each["name"]: each["schema"].get("format") for each in parameters}

        expected = {"user_id": None} if "{user_id}" in path else {}
        assert {**expected, **({"id": "uuid"} if "{id}" in path else {})} == formats
        assert all(each["required"] and each["in"] == "path" and each["description"] for each in parameters)


class TestSameBytes:
    async def test_the_settings_do_not_matter(self) -> None:
        """Whatever the secret, the database and the origins are, the document is the same, to the byte."""
        first = build(FRONTEND_URL="https://one.example.com", BETTER_AUTH_URL="https://auth.example.com")
        second = build_app(
            {"BETTER_AUTH_SECRET": SECRET[::-1], "DATABASE_URL": "postgresql://tasks:hunter2@db.example.com/tasks"}
        )

        served = [(await get(app, "/openapi.json")).content for app in (first, second)]

        assert served[0] == served[1]

    async def test_the_command_prints_what_is_served(self) -> None:
        """`taskd openapi` prints it without a secret, and makes no database."""
        result = invoke("openapi", settings={})

        assert (0, "") == (result.exit_code, result.stderr)
        assert [] == list(Path().iterdir())
        assert (await get(build(), "/openapi.json")).content == result.stdout_bytes

    def test_the_process_does_not_matter(self, tmp_path: Path) -> None:
        """Neither the order in which plugins are found nor that of sets changes a byte."""
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
        """The command ends with status 1, and names the plugin."""
        site.install("hello", routes_source("Route('/hello', taskd.operation('a', parameters={'x': int})(endpoint))"))

        result = invoke("openapi", settings={})

        assert 1 == result.exit_code
        [line] = result.output.splitlines()
        assert "taskd: plugin 'hello' of acme 1.0 declares x, which /hello does not have" == line

    async def test_nothing_in_it_is_secret(self) -> None:
        """Neither a setting nor a token nor the version of the server is in it."""
        app = build(
            DATABASE_URL="postgresql://tasks:hunter2@db.example.com/tasks", FRONTEND_URL="https://x.example.com"
        )
        document = await document_of(app)
        del document["info"]["version"]
        text = json.dumps(document)

        version = importlib.metadata.version("taskd")
        private = [SECRET, "hunter2", "example.com", "eyJ", token_for("dev").rpartition(".")[2], version]
        assert [] == [word for word in private if word in text]


def body_examples() -> list[Any]:
    """Return each example of a body, with the name of its class and the schema of the body."""
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
    def test_an_example_of_a_body_is_one(self, name: str, schema: Json, shown: object) -> None:
        """The server takes it, and its schema does."""
        assert isinstance(structure(shown, CLASSES[name]), CLASSES[name])
        validator(schema).validate(shown)

    @pytest.mark.parametrize(("operation_id", "status", "response"), responses())
    def test_an_example_of_an_answer_is_one(self, operation_id: str, status: int, response: Json) -> None:
        """It is valid by its schema."""
        contents = response.get("content", {}).values()
        wrong = [content for content in contents if not validator(content["schema"]).is_valid(content["example"])]

        assert [] == wrong, f"{operation_id} {status}"


# The parts of a date-time: good ones, and what is nearly one.
PARTS: tuple[tuple[str, ...], ...] = (
    ("2026", "0000", "0001", "1900", "2000", "2024", "9999", "10000", "226", "-2026", "\uff12026"),
    ("-", "", "/"),
    ("12", "01", "02", "04", "00", "13", "1"),
    ("-", ""),
    ("31", "01", "28", "29", "30", "00", "32"),
    ("T", "t", " ", "", "_"),
    ("23", "00", "24", "7"),
    (":", ""),
    ("59", "00", "60"),
    (":", ""),
    ("59", "00", "60", "61", ""),
    ("", ".5", ".999999", ".9999994", ".9999995", ".123456789012", ".", ",5"),
    (
        "Z",
        "z",
        "",
        "+00:00",
        "-00:00",
        "+23:59",
        "-23:59",
        "+00:01",
        "-00:01",
        "+24:00",
        "+05:60",
        "+0530",
        "+05",
        "\n",
    ),
)


@st.composite
def date_times(draw: st.DrawFn) -> str:
    """Return a date-time, or what differs from one in a few parts."""
    changed = draw(st.sets(st.integers(0, len(PARTS) - 1), max_size=4))
    return "".join(draw(st.sampled_from(part)) if at in changed else part[0] for at, part in enumerate(PARTS))


def is_on_the_first_or_the_last_day(body: object) -> bool:
    """Tell whether *body* has a moment that the schema refuses for its offset, though it exists in UTC."""
    due_at = body.get("due_at") if isinstance(body, dict) else None
    return isinstance(due_at, str) and due_at.startswith(("0001-01-01", "9999-12-31"))


WRONG = st.sampled_from([None, True, False, 0, 1, -5, 1.5, "", "true", "1", [], ["t"], {}, {"title": "t"}])
TEXTS = st.text() | st.sampled_from(
    ["t", " ", "\t\n\u00a0\u2003", "\u200b", " t ", "t\n", "\x00", "t\x00", "\x1f", "\u00e9", "e\u0301"]
)
LONG = st.builds(
    str.__mul__, st.sampled_from(["t", " ", "\U0001f389"]), st.sampled_from([199, 200, 201, 9_999, 10_000, 10_001])
)
CHOICES = {
    "title": TEXTS | LONG | WRONG,
    "description": TEXTS | LONG | WRONG,
    "status": st.sampled_from(["pending", "in_progress", "completed", "Pending", "done", "completed "]) | WRONG,
    "priority": st.sampled_from(["low", "medium", "high", "urgent", "LOW", "none"]) | WRONG,
    "due_at": date_times() | date_times() | WRONG,
    "is_completed": st.booleans() | WRONG,
    "id": WRONG,
    "created_at": WRONG,
    "colour": WRONG,
}
GOOD = {
    "title": st.just("t"),
    "status": st.sampled_from(["pending", "in_progress", "completed"]),
    "is_completed": st.booleans(),
}


@st.composite
def bodies(draw: st.DrawFn) -> object:
    """Return a body of which a few fields are of all kinds and the others, if they are there, are good."""
    if draw(st.integers(0, 19)) == 0:
        return draw(WRONG)
    odd = draw(st.sets(st.sampled_from(list(CHOICES)), max_size=2))
    kept = draw(st.sets(st.sampled_from(list(GOOD)))) | ({"title"} if draw(st.booleans()) else set())
    return {field: draw(CHOICES[field] if field in odd else GOOD[field]) for field in sorted(odd | kept)}


def schema_of_body(name: str) -> Json:
    """Return the schema of the body that is read into the class *name*, in an operation."""
    [schema] = {
        json.dumps(content["schema"])
        for operation in operations().values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if content["schema"]["$ref"] == reference(name)["$ref"]
    }
    parsed: Json = json.loads(schema)
    return parsed


VALIDATORS = {name: validator(schema_of_body(name)) for name in CLASSES}


def is_accepted(body: object, cls: type[Any]) -> bool:
    """Tell whether the server takes *body* for a *cls*."""
    try:
        structure(body, cls)
    except InvalidBody:
        return False
    return True


@pytest.mark.parametrize("name", CLASSES)
@settings(max_examples=300, deadline=None)
@given(body=bodies())
@example(body={"title": "t", "due_at": "9999-12-31T23:59:59.9999995Z"})
@example(body={"title": "t", "due_at": "9999-12-31T23:59:59.9999994Z"})
@example(body={"title": "t", "due_at": "2026-02-29T00:00:00Z"})
@example(body={"title": "t", "due_at": "2016-12-31T23:59:60Z"})
@example(body={"title": "t", "due_at": "2026-11-27T17:00:00Z\n"})
@example(body={"title": "t", "due_at": "9999-12-31T00:00:00-00:01"})
@example(body={"title": "t", "due_at": "0001-01-01T00:00:00+00:01"})
@example(body={"title": "t", "due_at": "0000-12-31T23:59:59Z"})
@example(body={"title": "t", "status": None, "is_completed": True})
@example(body={"title": "t", "status": "completed", "is_completed": None})
def test_the_schema_and_the_server_take_the_same_bodies(name: str, body: object) -> None:
    """A body is valid by the document exactly if the server takes it, but for offsets on the first and the last day."""
    is_valid = VALIDATORS[name].is_valid(body)

    if is_valid or not is_on_the_first_or_the_last_day(body):
        assert is_valid == is_accepted(body, CLASSES[name])


NOTES = """
from collections.abc import Mapping
from typing import Annotated
from types import MappingProxyType
from msgspec import Meta

@attrs.frozen
class Note:
    text: Annotated[str, Meta(max_length=5)]
    stars: int = 0

@taskd.operation(
    "putNote",
    taskd.Answer(200, "The note.", type=Note, example=Note("hi")),
    taskd.Answer(418, "It is a teapot."),
    body=taskd.Body(Note, examples={"one": {"text": "hi"}}),
    errors=[404],
    parameters={"n": Annotated[int, Meta(description="Which note.", ge=1)]},
)
async def put(request):
    \"\"\"
    Put a note.

    It is kept.

    For good.
    \"\"\"

class Odd:
    pass

@attrs.frozen
class Unknown:
    it: "NoSuchName"

def declared(*args, **options):
    async def endpoint(request): ...
    return taskd.operation(*args, **options)(endpoint)
"""


def described(*routes: str) -> str:
    """Return the source of a plugin that brings *routes*, of which some are declared."""
    return NOTES + routes_source(*routes)


class TestThirdParties:
    async def test_a_declared_route_is_described(self, site: Site) -> None:
        """Words, parameters, body and statuses are those that were declared, and those that all such routes have."""
        path = "/api/{user_id}/notes/{n:int}/{x:uuid}/{y:float}/{rest:path}"
        site.install("notes", described(f"Route({path!r}, put, methods=['PUT'])"))
        document = await document_of(build())
        validate(document)

        put = operations(document)["PUT", "/api/{user_id}/notes/{n}/{x}/{y}/{rest}"]

        assert ("Put a note", "It is kept.\n\nFor good.") == (put["summary"], put["description"])
        assert (["notes"], "putNote", [{"credentials": []}]) == (put["tags"], put["operationId"], put["security"])
        assert {"200", "401", "404", "413", "415", "418", "422", "500", "503"} <= set(put["responses"])
        assert "content" not in put["responses"]["418"]
        assert {
            "user_id": {"type": "string"},
            "n": {"type": "integer", "minimum": 1},
            "x": {"type": "string", "format": "uuid"},
            "y": {"type": "number"},
            "rest": {"type": "string"},
        } == {parameter["name"]: parameter["schema"] for parameter in put["parameters"]}
        [body] = put["requestBody"]["content"].values()
        assert reference("Note") == body["schema"] == put["responses"]["200"]["content"]["application/json"]["schema"]
        assert {"type": "string", "maxLength": 5} == document["components"]["schemas"]["Note"]["properties"]["text"]

    async def test_what_is_not_declared_is_listed_all_the_same(self, site: Site) -> None:
        """An operation of which nothing is known has a summary of its path, and any answer; nobody made up a name."""
        site.install("hello", described("Route('/hello/{my_name}', endpoint, methods=['POST'])"))
        document = await document_of(build())
        validate(document)

        operation = operations(document)["POST", "/hello/{my_name}"]

        assert "POST /hello/{my_name}" == operation["summary"]
        assert {"401", "500", "503", "default"} == set(operation["responses"])
        assert not {"description", "operationId"} & operation.keys()

    def test_a_name_that_a_class_of_the_core_has_is_refused(self, site: Site) -> None:
        """Or else what clients know by that name would be called otherwise from now on."""
        source = """
@attrs.frozen
class Task:
    x: int
"""
        site.install("hello", source + described("Route('/hello', declared('a', taskd.Answer(200, '.', type=Task)))"))

        message = refusal()

        assert message.startswith("two classes have one name in the API document: ")
        assert "taskd.model.Task" in message

    async def test_a_route_may_be_left_out(self, site: Site) -> None:
        """What asks not to be in the schema is served and not described."""
        site.install("hello", described("Route('/hello', open_endpoint, include_in_schema=False)"))
        app = build()

        assert "/hello" not in (await document_of(app))["paths"]
        assert 200 == (await get(app, "/hello")).status_code

    async def test_a_method_that_openapi_does_not_know_is_left_out(self, site: Site) -> None:
        """The document stays valid whatever else a path answers; HEAD is there only where GET is not."""
        site.install(
            "hello",
            described("Route('/a', endpoint, methods=['GET', 'PURGE'])", "Route('/b', endpoint, methods=['HEAD'])"),
        )
        document = await document_of(build())
        validate(document)

        assert [{"get"}, {"head"}] == [set(document["paths"][path]) for path in ("/a", "/b")]

    async def test_a_public_route_wants_no_credentials(self, site: Site) -> None:
        """It has no 401, and no 503 unless that is declared; its `user_id` is any text."""
        site.install("hello", described("Route('/hello/{user_id}', open_endpoint)"))

        operation = operations(await document_of(build()))["GET", "/hello/{user_id}"]

        assert [] == operation["security"]
        assert {"500", "default"} == set(operation["responses"])
        assert [{"type": "string"}] == [parameter["schema"] for parameter in operation["parameters"]]

    async def test_a_class_is_described_method_by_method(self, site: Site) -> None:
        """Each function of an `HTTPEndpoint` has its own words and declaration; else those of the class are taken."""
        source = """
class Notes(HTTPEndpoint):
    \"\"\"Look after notes.\"\"\"

    @taskd.operation("readNotes")
    async def get(self, request):
        \"\"\"
        Read the notes.

        All of them.
        \"\"\"

    async def post(self, request): ...
"""
        site.install("hello", source + described("Route('/notes', Notes, methods=['GET', 'POST', 'PUT'])"))

        found = operations(await document_of(build()))

        words = {
            method: (operation.get("operationId"), operation["summary"], operation.get("description"))
            for (method, path), operation in found.items()
            if path == "/notes"
        }
        assert {
            "GET": ("readNotes", "Read the notes", "All of them."),
            "POST": (None, "Look after notes", None),
            "PUT": (None, "Look after notes", None),
        } == words

    @pytest.mark.parametrize("annotation", ["", " -> 'NoSuchName'", " -> int", " -> 'int'"])
    async def test_a_convertor_of_ones_own_may_say_what_it_makes(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, annotation: str
    ) -> None:
        """A parameter is a text unless its convertor says that it makes a number."""
        source = f"""
from starlette.convertors import Convertor, register_url_convertor

class Convertor(Convertor):
    regex = "[0-9]+"

    def convert(self, value){annotation}: ...

    def to_string(self, value): ...

register_url_convertor("own", Convertor())
"""
        # What the plugin puts in its place is taken out again.
        monkeypatch.setitem(CONVERTOR_TYPES, "own", CONVERTOR_TYPES["str"])
        site.install("hello", source + described("Route('/hello/{x:own}', endpoint)"))

        operation = operations(await document_of(build()))["GET", "/hello/{x}"]

        expected = "integer" if "int" in annotation else "string"
        assert [expected] == [parameter["schema"]["type"] for parameter in operation["parameters"]]

    @pytest.mark.parametrize(
        ("route", "reason"),
        [
            pytest.param(
                "Route('/hello', declared('a', parameters={'x': int}))", "declares x, which /hello", id="parameter"
            ),
            pytest.param(
                "Route('/hello', declared('a', errors=[418, 404]))", "declares the errors 418 of /hello", id="error"
            ),
            pytest.param("Route('/hello', declared('a', taskd.Answer(200, '.', type=Odd)))", "Odd", id="class"),
            pytest.param(
                "Route('/hello', declared('a', taskd.Answer(200, '.', type=Unknown)))", "NoSuchName", id="name"
            ),
            pytest.param("Route('/hello', declared('a', taskd.Answer(200, '.', type=5)))", "5", id="no type"),
            pytest.param(
                "Route('/hello', declared('a', body=taskd.Body(Note, examples={'x': Odd()})))",
                "Odd",
                id="example of a body",
            ),
            pytest.param(
                "Route('/hello', declared('a', taskd.Answer(200, '.', type=Note, example=Odd())))", "Odd", id="example"
            ),
            pytest.param("Route('/hello', declared('a', 5))", "Answer", id="no answer"),
            pytest.param("Route('/hello', declared('a', errors=404))", "not iterable", id="errors"),
            pytest.param("Route('/hello', declared('a', errors=['404']))", "int", id="text for an error"),
            pytest.param("Route('/hello', declared('a', parameters=['x']))", "Mapping", id="parameters"),
            pytest.param("Route('/hello', declared('a', taskd.Answer(99, '.')))", "99", id="no status"),
            pytest.param("Route('/hello', declared('a', taskd.Answer(200, None)))", "str", id="no description"),
            pytest.param(
                "Route('/hello', declared('a', taskd.Answer(200, '.', headers=['X'])))", "Mapping", id="headers"
            ),
            pytest.param(
                "Route('/hello', declared('a', taskd.Answer(200, '.'), taskd.Answer(200, '.')))",
                "two answers with one status",
                id="two answers",
            ),
            pytest.param(
                "Route('/hello', declared('a', body=taskd.Body(Note, examples={})))", "examples", id="no example"
            ),
            pytest.param(
                "Route('/hello', declared('a', taskd.Answer(200, '\\ud800')))", "surrogate", id="lone surrogate"
            ),
            pytest.param("Route('/hello', declared('a', body=Note))", "Body", id="no body"),
            pytest.param("Route('/hello', declared(5))", "str", id="no text for a name"),
            pytest.param("Route('/{x}', declared('listTasks'))", "are both called 'listTasks'", id="name is taken"),
            pytest.param(
                "Route('/x', declared('a')), Route('/y', declared('a'))",
                "GET /x of plugin 'hello' of acme 1.0 and GET /y",
                id="twice one name",
            ),
        ],
    )
    def test_what_cannot_be_described_stops_the_start(self, site: Site, route: str, reason: str) -> None:
        """One line names the plugin, and what is wrong."""
        site.install("hello", described(route))

        message = refusal()

        assert "plugin 'hello' of acme 1.0" in message
        assert reason in message
        assert "\n" not in message

    def test_both_claimants_of_a_name_are_named(self, site: Site) -> None:
        """Two plugins that declare one name for their operations are told which."""
        site.install("hello", described("Route('/hello', declared('greet'))"), distribution="acme")
        site.install("zeal", described("Route('/zeal', declared('greet'))"), distribution="zenith")

        both = "GET /hello of plugin 'hello' of acme 1.0 and GET /zeal of plugin 'zeal' of zenith 1.0"
        assert f"{both} are both called 'greet'" == refusal()


SCHEME = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
BACKEND = auth_source("return None")


class TestCredentials:
    @pytest.mark.parametrize(
        "statement", [f"return {SCHEME}", f"from types import MappingProxyType\n    return MappingProxyType({SCHEME})"]
    )
    async def test_another_auth_plugin_says_how_they_are_sent(self, site: Site, statement: str) -> None:
        """The scheme of the plugin that is selected is that of each protected operation."""
        site.install("key", BACKEND + hook_source("taskd_security_scheme", statement))
        document = await document_of(build(TASKD_AUTH="key"))
        validate(document)

        assert {"credentials": SCHEME} == document["components"]["securitySchemes"]
        assert [{"credentials": []}] == document["paths"][TASKS]["get"]["security"]

    async def test_they_are_a_bearer_token_unless_told(self, site: Site) -> None:
        """A plugin that says nothing takes what taskd's own does; what another one says is not heard."""
        site.install("plain", BACKEND, distribution="acme")
        site.install("key", BACKEND + hook_source("taskd_security_scheme", f"return {SCHEME}"), distribution="zenith")

        schemes = [
            (await document_of(build(TASKD_AUTH=name)))["components"]["securitySchemes"] for name in ("plain", "jwt")
        ]

        assert [WHOLE["components"]["securitySchemes"]] * 2 == schemes

    @pytest.mark.parametrize(
        "statement", ["return 'bearer'", "return None", "return [1]", "raise LookupError", "return {'type': object()}"]
    )
    def test_a_scheme_that_is_none_stops_the_start(self, site: Site, statement: str) -> None:
        """What is no mapping, or cannot be written as JSON, is refused in one line."""
        site.install("broken", BACKEND + hook_source("taskd_security_scheme", statement))

        message = refusal(TASKD_AUTH="broken")

        assert "plugin 'broken' of acme 1.0 " in message
        assert "taskd_security_scheme" in message
        assert "\n" not in message

    @pytest.mark.parametrize(("selected", "status"), [("key", "selected"), ("jwt", "installed")])
    def test_the_list_of_plugins_knows_the_hook(self, site: Site, selected: str, status: str) -> None:
        """A plugin that has nothing but auth and its scheme serves only if it is selected."""
        site.install("key", BACKEND + hook_source("taskd_security_scheme", f"return {SCHEME}"))

        result = invoke("plugins", settings={"TASKD_AUTH": selected})

        [row] = [line for line in result.stdout.splitlines() if line.startswith("key ")]
        assert ["auth, security_scheme", status, "acme 1.0"] == [cell.strip() for cell in row.split("  ") if cell][1:]


def mounted(app: Any) -> Iterator[tuple[str, str, bool]]:
    """Yield the method and the path of all that *app* answers, and whether it is described."""
    while not isinstance(app, Starlette):
        app = app.app
    for route in app.routes:
        assert isinstance(route, Route)
        for method, operation in operations_of(route).items():
            yield method, route.path, operation.is_documented


def test_all_that_is_mounted_is_described() -> None:
    """Words, examples and statuses are there for each operation; only the documentation itself is left out."""
    answered = list(mounted(build()))

    assert [] == undescribed(api_document({}))
    assert {"/", "/docs", "/docs/{name}", "/openapi.json"} == {
        path for _, path, is_described in answered if not is_described
    }
    assert set(operations()) == {
        (method, path) for method, path, is_described in answered if is_described and method != "HEAD"
    }


# How an operation's fault is made, and what is said of it.
FAULTS: dict[str, tuple[Callable[[Json], object], str]] = {
    "no summary": (lambda operation: operation.pop("summary"), "has no summary."),
    "empty summary": (lambda operation: operation.update(summary=""), "has no summary."),
    "summary of the path": (lambda operation: operation.update(summary=f"PUT {TASK}"), "has no summary."),
    "no description": (lambda operation: operation.pop("description"), "has no description."),
    "no description of a parameter": (
        lambda operation: operation["parameters"][1].pop("description"),
        "has no description of its parameter id.",
    ),
    "no example of the body": (
        lambda operation: operation["requestBody"]["content"]["application/json"].pop("examples"),
        "has no example of the body that it reads.",
    ),
    "empty examples of the body": (
        lambda operation: operation["requestBody"]["content"]["application/json"]["examples"].clear(),
        "has no example of the body that it reads.",
    ),
    "no example of an answer": (
        lambda operation: operation["responses"]["200"]["content"]["application/json"].update(example=None),
        "has no example of what it answers with 200.",
    ),
    "no answer": (lambda operation: operation["responses"].update(default={}), "does not declare what it answers."),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_left_open_is_told(fault: str) -> None:
    """Each fault of an operation is a sentence, and nothing is said of the others."""
    document = json.loads(api_document({}))
    spoil, sentence = FAULTS[fault]
    spoil(document["paths"][TASK]["put"])

    assert [f"PUT {TASK} {sentence}"] == undescribed(json.dumps(document).encode())


def test_an_answer_of_many_operations_needs_an_example_too() -> None:
    """What an operation refers to is looked at."""
    document = json.loads(api_document({}))
    del document["components"]["responses"]["NotFound"]["content"]["application/json"]["example"]

    assert 4 == len(undescribed(json.dumps(document).encode()))


async def test_a_route_without_words_is_told(site: Site) -> None:
    """All that an endpoint without a docstring and a declaration leaves open is said of it."""
    site.install("hello", routes_source("Route('/hello', open_endpoint, methods=['DELETE'])"))

    faults = undescribed((await get(build(), "/openapi.json")).content)

    assert [
        f"DELETE /hello {fault}."
        for fault in ("has no summary", "has no description", "does not declare what it answers")
    ] == faults


UNDECLARED = """
import anyio
import httpx
import pytest

def answer(request):
    return httpx.Response(418, headers={} if "foreign" in request.headers else {"X-Request-ID": "1"})

async def send(*args, **options):
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://taskd") as client:
        return await client.request(*args, **options)

@pytest.mark.parametrize("path", ["/nowhere", "/api/alice/tasks/", "/livez?x=y"])
def test_async(path):
    assert 418 == anyio.run(send, "HEAD", path).status_code

@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("PATCH", "/api/a%2Fb/tasks/5/%63omplete", {}),
        ("POST", "/livez", {}),
        ("GET", "/api//tasks", {}),
        ("GET", "/livez", {"foreign": "yes"}),
    ],
)
def test_sync(method, path, headers):
    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://taskd") as client:
        assert 418 == client.request(method, path, headers=headers).status_code
"""


class TestWitness:
    def test_an_undeclared_status_fails_the_test_that_sees_it(self, tmp_path: Path) -> None:
        """Whatever client a test has, it fails at its end, and says what an operation of taskd answered."""
        (tmp_path / "test_it.py").write_text(UNDECLARED)

        ended = run_python(
            "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "test_it.py",
            settings={"PYTHONPATH": str(Path(__file__).parent.parent)},
        )  # fmt: skip

        assert (1, True) == (ended.returncode, "7 passed, 3 errors" in ended.stdout), ended.stdout
        for answered in ("HEAD /api/alice/tasks/", "HEAD /livez", "PATCH /api/a%2Fb/tasks/5/%63omplete"):
            assert f"'{answered} was answered with 418, which the API document does not declare.'" in ended.stdout
