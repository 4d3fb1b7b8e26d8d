"""What the API document says about third-party plugins: their routes, and their credentials."""

from __future__ import annotations

import pytest
from openapi_spec_validator import validate
from starlette.convertors import CONVERTOR_TYPES

from taskd.openapi.document import UNKNOWN_SCHEME
from tests.support.applications import build, get, refusal
from tests.support.commands import invoke
from tests.support.documents import TASKS, WHOLE, document_of, operations, reference
from tests.support.third_parties import Site, auth_source, hook_source, routes_source

pytestmark = pytest.mark.anyio

NOTES = """
from collections.abc import Mapping
from typing import Annotated
from types import MappingProxyType
from msgspec import Meta

@attrs.frozen
class Note:
    text: Annotated[str, Meta(max_length=5)]
    stars: int = 0

@taskd.routes.operation(
    "putNote",
    taskd.routes.Returns(200, "The note.", type=Note, example=Note("hi")),
    taskd.routes.Returns(418, "It is a teapot."),
    body=taskd.routes.Body(Note, examples={"one": {"text": "hi"}}),
    errors=[404, 418],
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
    return taskd.routes.operation(*args, **options)(endpoint)
"""


def described(*routes: str) -> str:
    """Return the source of a plugin with *routes*, some of them declared."""
    return NOTES + routes_source(*routes)


class TestThirdParties:
    async def test_a_declared_route_is_described(self, site: Site) -> None:
        """The document has the declared descriptions, parameters, body and statuses, and those common to all routes."""
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

    @pytest.mark.parametrize(
        ("endpoint", "operation_id", "summary"),
        [
            ("shelf.put", "putBook", "Put a book"),
            ("taskd.routes.operation('keepBook')(shelf.put)", "keepBook", "Put a book"),
            ("functools.partial(shelf.put)", "putBook", "Put a book"),
            ("taskd.routes.operation('keepBook')(functools.partial(put))", "keepBook", "Put a note"),
            ("taskd.routes.public(taskd.routes.operation('keepBook')(shelf.put))", "keepBook", "Put a book"),
            ("taskd.routes.operation('keepBook')(shelf)", "keepBook", "Keep books"),
        ],
    )
    async def test_an_endpoint_of_any_kind_is_described(
        self, site: Site, endpoint: str, operation_id: str, summary: str
    ) -> None:
        """Declarations on a method or a partial itself come first; descriptions come from what it is made of."""
        source = """
import functools

@attrs.frozen
class Shelf:
    \"\"\"Keep books.\"\"\"

    @taskd.routes.operation("putBook")
    async def put(self, request):
        \"\"\"Put a book.\"\"\"

    async def __call__(self, scope, receive, send): ...

shelf = Shelf()
"""
        site.install("books", source + described(f"Route('/books', {endpoint}, methods=['PUT'])"))

        put = operations(await document_of(build()))["PUT", "/books"]

        assert (operation_id, summary) == (put["operationId"], put["summary"])

    async def test_an_error_is_described_by_its_status(self, site: Site) -> None:
        """The description of a 422 depends on whether there is a body."""
        site.install(
            "notes",
            described(
                "Route('/a', declared('a', errors=[409, 412, 422]))",
                "Route('/b', declared('b', errors=[422], body=taskd.routes.Body(Note, examples={'one': {}})))",
            ),
        )
        found = operations(await document_of(build()))

        responses = found["GET", "/a"]["responses"]
        assert {"409": "Conflict", "412": "PreconditionFailed", "422": "InvalidParameter"} == {
            status: responses[status]["$ref"].rpartition("/")[2] for status in ("409", "412", "422")
        }
        assert "#/components/responses/InvalidBody" == found["GET", "/b"]["responses"]["422"]["$ref"]

    async def test_parameters_in_the_query_and_optional_headers_are_described(self, site: Site) -> None:
        """All are optional; an operation with such parameters has a 422, even if it reads no body."""
        site.install(
            "notes",
            described(
                "Route('/notes', declared('listNotes', taskd.routes.Returns(200, '.', optional_headers={'Age': int}),"
                " query={'n': Annotated[int, Meta(description='How many.', le=5)], 'tag': list[str]}), methods=['GET'])"
            ),
        )
        document = await document_of(build())
        validate(document)

        found = operations(document)["GET", "/notes"]

        assert [
            {
                "name": "n",
                "in": "query",
                "required": False,
                "allowEmptyValue": True,
                "description": "How many.",
                "schema": {"type": "integer", "maximum": 5},
            },
            {
                "name": "tag",
                "in": "query",
                "required": False,
                "allowEmptyValue": True,
                "style": "form",
                "explode": True,
                "schema": {"type": "array", "items": {"type": "string"}},
            },
        ] == found["parameters"]
        assert {"schema": {"type": "integer"}, "required": False} == found["responses"]["200"]["headers"]["Age"]
        assert "#/components/responses/InvalidParameter" == found["responses"]["422"]["$ref"]

    async def test_an_undeclared_route_is_listed_anyway(self, site: Site) -> None:
        """Its operation has a summary with its path and a default response, but no made-up name."""
        site.install("hello", described("Route('/hello/{my_name}', endpoint, methods=['POST'])"))
        document = await document_of(build())
        validate(document)

        operation = operations(document)["POST", "/hello/{my_name}"]

        assert "POST /hello/{my_name}" == operation["summary"]
        assert {"401", "500", "503", "default"} == set(operation["responses"])
        assert not {"description", "operationId"} & operation.keys()

    def test_the_name_of_a_core_class_is_refused(self, site: Site) -> None:
        """Otherwise, the core's class would be renamed in the document that clients know."""
        source = """
@attrs.frozen
class Task:
    x: int
"""
        site.install(
            "hello", source + described("Route('/hello', declared('a', taskd.routes.Returns(200, '.', type=Task)))")
        )

        message = refusal()

        assert message.startswith("two classes have the same name in the API document: ")
        assert "taskd.tasks.Task" in message

    async def test_an_enumeration_keeps_its_order(self, site: Site) -> None:
        """This holds wherever it occurs in a type, even in a recursive one."""
        source = """
import enum

class Size(enum.Enum):
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"

@attrs.frozen
class Box:
    boxes: "list[Box]"
    size: Size | None = None
"""
        site.install(
            "boxes",
            source + described("Route('/boxes', declared('a', taskd.routes.Returns(200, '.', type=list[Box])))"),
        )

        schemas = (await document_of(build()))["components"]["schemas"]

        assert ["small", "medium", "large"] == schemas["Size"]["enum"]
        assert {"type": "array", "items": reference("Box")} == schemas["Box"]["properties"]["boxes"]

    async def test_a_route_may_be_left_out(self, site: Site) -> None:
        """A route with `include_in_schema=False` is served, but not described."""
        site.install("hello", described("Route('/hello', open_endpoint, include_in_schema=False)"))
        app = build()

        assert "/hello" not in (await document_of(app))["paths"]
        assert 200 == (await get(app, "/hello")).status_code

    async def test_methods_that_openapi_does_not_know_are_left_out(self, site: Site) -> None:
        """The document stays valid whatever other methods a path has; HEAD is described only if there is no GET."""
        site.install(
            "hello",
            described("Route('/a', endpoint, methods=['GET', 'PURGE'])", "Route('/b', endpoint, methods=['HEAD'])"),
        )
        document = await document_of(build())
        validate(document)

        assert [{"get"}, {"head"}] == [set(document["paths"][path]) for path in ("/a", "/b")]

    async def test_a_public_route_needs_no_credentials(self, site: Site) -> None:
        """It has no 401, and no 503 unless one is declared; its `user_id` is any text."""
        site.install("hello", described("Route('/hello/{user_id}', open_endpoint)"))

        operation = operations(await document_of(build()))["GET", "/hello/{user_id}"]

        assert [] == operation["security"]
        assert {"500", "default"} == set(operation["responses"])
        assert [{"type": "string"}] == [parameter["schema"] for parameter in operation["parameters"]]

    async def test_a_class_is_described_by_method(self, site: Site) -> None:
        """Each method of an `HTTPEndpoint` has its own docstring and declaration, or else those of the class."""
        source = """
class Notes(HTTPEndpoint):
    \"\"\"Look after notes.\"\"\"

    @taskd.routes.operation("readNotes")
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
    async def test_a_custom_convertor_may_have_a_type(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, annotation: str
    ) -> None:
        """A parameter is text unless the annotation of its convertor says that it is a number."""
        source = f"""
from starlette.convertors import Convertor, register_url_convertor

class Convertor(Convertor):
    regex = "[0-9]+"

    def convert(self, value){annotation}: ...

    def to_string(self, value): ...

register_url_convertor("own", Convertor())
"""
        # The plugin's convertor is removed again.
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
            pytest.param("Route('/hello', declared('a', taskd.routes.Returns(200, '.', type=Odd)))", "Odd", id="class"),
            pytest.param(
                "Route('/hello', declared('a', taskd.routes.Returns(200, '.', type=Unknown)))", "NoSuchName", id="name"
            ),
            pytest.param("Route('/hello', declared('a', taskd.routes.Returns(200, '.', type=5)))", "5", id="no type"),
            pytest.param(
                "Route('/hello', declared('a', body=taskd.routes.Body(Note, examples={'x': Odd()})))",
                "Odd",
                id="example of a body",
            ),
            pytest.param(
                "Route('/hello', declared('a', taskd.routes.Returns(200, '.', type=Note, example=Odd())))",
                "Odd",
                id="example",
            ),
            pytest.param("Route('/hello', declared('a', 5))", "Returns", id="no response"),
            pytest.param("Route('/hello', declared('a', errors=404))", "not iterable", id="errors"),
            pytest.param("Route('/hello', declared('a', errors=['404']))", "int", id="text for an error"),
            pytest.param("Route('/hello', declared('a', parameters=['x']))", "Mapping", id="parameters"),
            pytest.param("Route('/hello', declared('a', taskd.routes.Returns(99, '.')))", "99", id="no status"),
            pytest.param("Route('/hello', declared('a', taskd.routes.Returns(200, None)))", "str", id="no description"),
            pytest.param(
                "Route('/hello', declared('a', taskd.routes.Returns(200, '.', headers=['X'])))", "Mapping", id="headers"
            ),
            pytest.param(
                "Route('/hello', declared('a', taskd.routes.Returns(200, '.'), taskd.routes.Returns(200, '.')))",
                "two taskd.routes.Returns with the same status",
                id="one status twice",
            ),
            pytest.param(
                "Route('/hello', declared('a', body=taskd.routes.Body(Note, examples={})))", "examples", id="no example"
            ),
            pytest.param(
                "Route('/hello', declared('a', taskd.routes.Returns(200, '\\ud800')))", "surrogate", id="lone surrogate"
            ),
            pytest.param("Route('/hello', declared('a', body=Note))", "Body", id="no body"),
            pytest.param("Route('/hello', declared(5))", "str", id="no text for a name"),
            pytest.param("Route('/x', declared('listTasks'))", "are both called 'listTasks'", id="name is taken"),
            pytest.param(
                "Route('/x', declared('a')), Route('/y', declared('a'))",
                "GET /x of plugin 'hello' of acme 1.0 and GET /y",
                id="twice one name",
            ),
        ],
    )
    def test_a_declaration_that_cannot_be_described_stops_the_start(self, site: Site, route: str, reason: str) -> None:
        """One line names the plugin and says what is wrong."""
        site.install("hello", described(route))

        message = refusal()

        assert "plugin 'hello' of acme 1.0" in message
        assert reason in message
        assert "\n" not in message

    def test_both_plugins_that_claim_a_name_are_named(self, site: Site) -> None:
        """If two plugins declare operations with the same name, the message names both."""
        site.install("hello", described("Route('/hello', declared('greet'))"), distribution="acme")
        site.install("zeal", described("Route('/zeal', declared('greet'))"), distribution="zenith")

        both = "GET /hello of plugin 'hello' of acme 1.0 and GET /zeal of plugin 'zeal' of zenith 1.0"
        assert f"{both} are both called 'greet'; or set TASKD_DISABLED_PLUGINS=zeal" == refusal()


SCHEME = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
BACKEND = auth_source("return None")


class TestCredentials:
    @pytest.mark.parametrize(
        "statement", [f"return {SCHEME}", f"from types import MappingProxyType\n    return MappingProxyType({SCHEME})"]
    )
    async def test_an_auth_plugin_says_how_credentials_are_sent(self, site: Site, statement: str) -> None:
        """The selected plugin's scheme applies to each protected operation."""
        site.install("key", BACKEND + hook_source("taskd_security_scheme", statement))
        document = await document_of(build(TASKD_AUTH="key"))
        validate(document)

        assert {"credentials": SCHEME} == document["components"]["securitySchemes"]
        assert [{"credentials": []}] == document["paths"][TASKS]["get"]["security"]

    async def test_the_scheme_may_depend_on_settings(self, site: Site) -> None:
        """The hook reads the settings from the same environment as the plugin's other hooks."""
        hook = "@hookimpl\ndef taskd_security_scheme(environ):\n    return {'name': environ['KEY_HEADER']}\n"
        site.install("key", BACKEND + hook)
        document = await document_of(build(TASKD_AUTH="key", KEY_HEADER="X-Key"))

        assert {"credentials": {"name": "X-Key"}} == document["components"]["securitySchemes"]

    async def test_by_default_credentials_are_in_the_usual_header(self, site: Site) -> None:
        """If a plugin has no scheme, the document promises no more than that; other plugins' schemes are ignored."""
        site.install("plain", BACKEND, distribution="acme")
        site.install("key", BACKEND + hook_source("taskd_security_scheme", f"return {SCHEME}"), distribution="zenith")

        schemes = [
            (await document_of(build(TASKD_AUTH=name)))["components"]["securitySchemes"] for name in ("plain", "jwt")
        ]

        assert [{"credentials": UNKNOWN_SCHEME}, WHOLE["components"]["securitySchemes"]] == schemes

    @pytest.mark.parametrize(
        "statement", ["return 'bearer'", "return None", "return [1]", "raise LookupError", "return {'type': object()}"]
    )
    def test_an_invalid_scheme_stops_the_start(self, site: Site, statement: str) -> None:
        """Anything but a mapping that can be written as JSON is refused in one line."""
        site.install("broken", BACKEND + hook_source("taskd_security_scheme", statement))

        message = refusal(TASKD_AUTH="broken")

        assert "plugin 'broken' of acme 1.0 " in message
        assert "taskd_security_scheme" in message
        assert "\n" not in message

    @pytest.mark.parametrize(("selected", "status"), [("key", "selected"), ("jwt", "installed")])
    def test_the_list_of_plugins_knows_the_hook(self, site: Site, selected: str, status: str) -> None:
        """A plugin that provides only auth and its scheme serves only if it is selected."""
        site.install("key", BACKEND + hook_source("taskd_security_scheme", f"return {SCHEME}"))

        result = invoke("plugins", settings={"TASKD_AUTH": selected})

        [row] = [line for line in result.stdout.splitlines() if line.startswith("key ")]
        assert ["auth, security_scheme", status, "acme 1.0"] == [cell.strip() for cell in row.split("  ") if cell][1:]
