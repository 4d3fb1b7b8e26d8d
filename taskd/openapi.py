"""
The API document: OpenAPI 3.1, made from the routes that are mounted and from the classes that read and write bodies.

The same plugins give the same bytes.  JSON Schema comes from msgspec, which checks bodies by the same annotations.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Annotated, Any
from uuid import UUID

import attrs
import msgspec
from msgspec import Meta
from starlette.convertors import Convertor
from starlette.routing import Route

from taskd.answers import ERRORS, HEADERS
from taskd.conversion import encode
from taskd.operations import Answer, Body, Declaration
from taskd.plugins import PluginError
from taskd.routing import Operation, operations_of

__all__ = ["BEARER", "document"]

# Of what this document promises.  The server's own version is nobody's business.
API_VERSION = "1.0.0"

_SCHEME = "credentials"

BEARER: Mapping[str, object] = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "Send exactly one header `Authorization: Bearer TOKEN`, where TOKEN is a JSON Web Token. Its `sub`"
    " is your user id. Tokens in a query string or in a cookie are ignored. `taskd dev` prints a token of `dev`.",
}

UserID = Annotated[str, Meta(description="Your user id, which the credentials are for.", examples=["dev"])]

_ERROR_NAMES = {answer.status: name for name, answer in ERRORS.items()}

# A Path Item Object has a field for each of these, and none for any other.
_METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}


@attrs.frozen
class _Described:
    """An operation of the document."""

    path: str
    method: str
    operation: Operation
    declaration: Declaration
    parameters: Mapping[str, Any]

    @classmethod
    def of(cls, route: Route, method: str, operation: Operation) -> _Described:
        """
        Take what was declared of *operation*.

        Raises:
            PluginError: That does not fit its path, or needs an answer that was not declared.
        """
        path = re.sub(r":\w+}", "}", route.path)
        declaration = operation.declaration or Declaration()
        found = {name: _converted(convertor) for name, convertor in route.param_convertors.items()}
        if "user_id" in found and not operation.is_public:
            found["user_id"] = UserID
        if unknown := declaration.parameters.keys() - found:
            raise PluginError(f"{operation.claimant} declares {', '.join(sorted(unknown))}, which {path} does not have")
        if strange := declaration.errors - _ERROR_NAMES.keys() - {answer.status for answer in declaration.answers}:
            statuses = ", ".join(map(str, sorted(strange)))
            raise PluginError(f"{operation.claimant} declares the errors {statuses} of {path} without a taskd.Answer")
        return cls(path, method, operation, declaration, {**found, **declaration.parameters})

    def __str__(self) -> str:
        return f"{self.method} {self.path} of {self.operation.claimant}"

    @property
    def statuses(self) -> list[int]:
        """The statuses, of those that many operations have in common, in which it may end."""
        common = {500, *self.declaration.errors}
        if not self.operation.is_public:
            common |= {401, 503}
        if self.declaration.body is not None:
            common |= {413, 415, 422}
        return sorted(common - {answer.status for answer in self.declaration.answers})

    def types(self) -> Iterator[Any]:
        """Yield all types of which there must be a schema."""
        yield from self.parameters.values()
        if self.declaration.body is not None:
            yield self.declaration.body.type
        for answer in self.declaration.answers:
            yield from _types(answer)


def _types(answer: Answer) -> Iterator[Any]:
    yield from answer.headers.values()
    if answer.type is not None:
        yield answer.type


# By their names: who writes a convertor need not make its annotations known when it runs.
_PARAMETER_TYPES: Mapping[str, Any] = {"int": int, "float": float, "UUID": UUID, "uuid.UUID": UUID}


def _converted(convertor: Convertor[Any]) -> Any:
    """Return the type of a path's parameter: Starlette's convertors say what they make of it."""
    made = inspect.get_annotations(type(convertor).convert).get("return")
    return _PARAMETER_TYPES.get(made if isinstance(made, str) else getattr(made, "__name__", ""), str)


@attrs.frozen
class _Writer:
    """Writes the parts of the document.  *schemas* are those of *types*, in their order."""

    types: Sequence[Any]
    schemas: Sequence[Mapping[str, Any]]

    def operation(self, described: _Described) -> dict[str, Any]:
        """Write an Operation Object."""
        operation, declaration = described.operation, described.declaration
        summary, _, description = operation.docstring.partition("\n\n")
        body = declaration.body
        return {
            "tags": [operation.claimant.name],
            "summary": summary.rstrip(".") or f"{described.method} {described.path}",
            **({"description": description} if description else {}),
            **({"operationId": declaration.operation_id} if declaration.operation_id is not None else {}),
            "parameters": [self.parameter(name, type_) for name, type_ in described.parameters.items()],
            **({"requestBody": self.body(body)} if body is not None else {}),
            "responses": self.responses(described),
            "security": [] if operation.is_public else [{_SCHEME: []}],
        }

    def parameter(self, name: str, type_: Any) -> dict[str, Any]:
        """Write a Parameter Object."""
        described = self._schema_and_description(type_)
        # Who shows a form to try it takes this for the field's first value; an example in the schema is not.
        examples = described["schema"].pop("examples", [])
        example = {"example": examples[0]} if examples else {}
        return {"name": name, "in": "path", "required": True, **described, **example}

    def body(self, body: Body) -> dict[str, Any]:
        """Write a Request Body Object."""
        examples = {name: {"value": value} for name, value in body.examples.items()}
        content = {"application/json": {"schema": self._schema(body.type), "examples": examples}}
        return {"content": content, "required": body.is_required}

    def responses(self, described: _Described) -> dict[str, Any]:
        """Write a Responses Object."""
        answers = {str(answer.status): self.response(answer) for answer in described.declaration.answers}
        errors = {
            str(status): {"$ref": f"#/components/responses/{_ERROR_NAMES[status]}"} for status in described.statuses
        }
        unknown = {} if answers else {"default": {"description": "What this endpoint answers was not declared."}}
        return {**answers, **errors, **unknown}

    def header(self, type_: Any) -> dict[str, Any]:
        """Write a Header Object."""
        return {**self._schema_and_description(type_), "required": True}

    def response(self, answer: Answer) -> dict[str, Any]:
        """Write a Response Object."""
        headers = {name: self.header(type_) for name, type_ in answer.headers.items()}
        headers |= {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}
        if answer.type is None:
            return {"description": answer.description, "headers": headers}
        example = {} if answer.example is None else {"example": msgspec.Raw(encode(answer.example))}
        content = {"application/json": {"schema": self._schema(answer.type), **example}}
        return {"description": answer.description, "headers": headers, "content": content}

    def _schema(self, type_: Any) -> Mapping[str, Any]:
        return next(schema for known, schema in zip(self.types, self.schemas, strict=True) if known is type_)

    def _schema_and_description(self, type_: Any) -> dict[str, Any]:
        """Write what is said of a value, of which the description does not belong to its schema."""
        schema = dict(self._schema(type_))
        description = schema.pop("description", None)
        return {**({"description": description} if description else {}), "schema": schema}


def document(routes: Iterable[Route], security_scheme: Mapping[str, object] | None) -> bytes:
    """
    Describe what *routes* answer, as JSON.

    Args:
        routes: Those that `taskd.routing.resources` returns.
        security_scheme: How clients send credentials; None for a bearer token.

    Raises:
        PluginError: Two operations have one name, or a declaration cannot be described.
    """
    described = _all_described(routes)
    types = [type_ for each in described for type_ in _describable(each)]
    types += [type_ for answer in ERRORS.values() for type_ in _types(answer)]
    types += HEADERS.values()
    schemas, components = _schemas(types)
    writer = _Writer(types, schemas)
    paths: dict[str, dict[str, Any]] = {}
    for each in described:
        paths.setdefault(each.path, {})[each.method.lower()] = writer.operation(each)
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "taskd API", "version": API_VERSION, "description": _introduction()},
        # Relative to where the document is: taskd may be served below a prefix.
        "servers": [{"url": "."}],
        "tags": [{"name": name} for name in dict.fromkeys(each.operation.claimant.name for each in described)],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {name: writer.response(answer) for name, answer in ERRORS.items()},
            "headers": {name: writer.header(type_) for name, type_ in HEADERS.items()},
            "securitySchemes": {_SCHEME: BEARER if security_scheme is None else security_scheme},
        },
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


def _all_described(routes: Iterable[Route]) -> list[_Described]:
    """Return all operations, in the order of their paths."""
    described = []
    for route in sorted(routes, key=lambda route: route.path):
        operations = operations_of(route)
        # HEAD goes without saying where there is GET.
        methods = _METHODS - {"HEAD"} if "GET" in operations else _METHODS
        for method, operation in operations.items():
            if operation.is_documented and method in methods:
                described.append(_Described.of(route, method, operation))
    _check_names(described)
    return described


def _check_names(described: Iterable[_Described]) -> None:
    """Refuse two operations that are declared by one name."""
    taken: dict[str, _Described] = {}
    for each in described:
        name = each.declaration.operation_id
        if name is not None and (other := taken.setdefault(name, each)) is not each:
            raise PluginError(f"{other} and {each} are both called {name!r}")


def _describable(described: _Described) -> list[Any]:
    """Return all types of which there must be a schema, and there can be."""
    types = list(described.types())
    try:
        schemas, _ = _schemas(types)
        msgspec.json.encode(_Writer(types, schemas).operation(described))
    # Whatever its classes raise when they are looked at: a broken plugin stops the start.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(f"{described} declares what cannot be described: {reason}") from error
    return types


def _schemas(types: Sequence[Any]) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
    """Return the schemas of *types*, and those that they refer to, by name."""
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    # Of two classes with one name msgspec gives both a longer one: that would rename what clients know already.
    if clashing := sorted(name for name in components if "." in name):
        raise PluginError(f"two classes have one name in the API document: {', '.join(clashing)}: rename one")
    for schema in components.values():
        for described in (schema, *schema.get("properties", {}).values()):
            _make_plain(described)
    return schemas, components


def _make_plain(schema: dict[str, Any]) -> None:
    """Put into *schema* what others than validators look for in it, and take out what they misread."""
    # Those who generate code take a property with a default for one that is always there.
    schema.pop("default", None)
    # msgspec leaves it out of enumerations, and so those who generate code would, too.
    if schema.get("enum") and all(isinstance(value, str) for value in schema["enum"]):
        schema["type"] = "string"
    # What can be null is described where nobody looks.
    for branch in schema.get("anyOf", ()):
        if "description" in branch:
            schema["description"] = branch.pop("description")


def _introduction() -> str:
    return (files("taskd") / "introduction.md").read_text(encoding="utf-8")
