"""Write the Operation Objects of the API document."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

import attrs
import msgspec
from msgspec import Meta
from starlette.convertors import Convertor

from taskd.openapi.schemas import Schemas
from taskd.plugins import PluginError
from taskd.routes.errors import ERRORS
from taskd.routes.operations import Body, Returns
from taskd.routes.responses import HEADERS, encode
from taskd.routes.router import Endpoint

__all__ = ["SCHEME", "OperationWriter", "check", "types_of", "types_of_returns"]

# The name of the security scheme, or of the first of several.
SCHEME = "credentials"

UserID = Annotated[str, Meta(description="Your user id: the one that your credentials are for.", examples=["dev"])]

# Keyed by name, because the annotation of a plugin's convertor may be a string that cannot be evaluated.
_PARAMETER_TYPES: Mapping[str, Any] = {"int": int, "float": float, "UUID": UUID, "uuid.UUID": UUID}

# The first code of each status; in operations without a body, another code describes a 422.
_ERROR_NAMES = {returns.status: name for name, returns in reversed(ERRORS.items())}
_ERROR_NAMES_WITHOUT_BODY = {**_ERROR_NAMES, 422: "InvalidParameter"}


def check(endpoint: Endpoint) -> None:
    """
    Check that the declarations of *endpoint* fit its path, and that all its errors are described.

    Raises:
        PluginError: A declaration does not fit the path, or an error is not described.
    """
    operation, path = endpoint.operation, endpoint.path
    if unknown := operation.parameters.keys() - endpoint.route.param_convertors.keys():
        message = f"{endpoint.source} declares {', '.join(sorted(unknown))}, which {path} does not have"
        raise PluginError(message, plugin=endpoint.source.name)
    if unknown_errors := operation.errors - _ERROR_NAMES.keys() - _own_statuses(endpoint):
        statuses = ", ".join(map(str, sorted(unknown_errors)))
        message = f"{endpoint.source} declares the errors {statuses} of {path} without a taskd.routes.Returns"
        raise PluginError(message, plugin=endpoint.source.name)


def types_of(endpoint: Endpoint) -> Iterator[Any]:
    """Yield the types that the operation of *endpoint* needs schemas for."""
    yield from _parameters(endpoint).values()
    yield from endpoint.operation.query.values()
    yield from endpoint.operation.headers.values()
    if endpoint.operation.body is not None:
        yield endpoint.operation.body.type
    for returns in endpoint.operation.returns:
        yield from types_of_returns(returns)


def types_of_returns(returns: Returns) -> Iterator[Any]:
    """Yield the types that *returns* needs schemas for."""
    yield from returns.headers.values()
    yield from returns.optional_headers.values()
    if returns.type is not None:
        yield returns.type


def _own_statuses(endpoint: Endpoint) -> set[int]:
    return {returns.status for returns in endpoint.operation.returns}


def _common_statuses(endpoint: Endpoint) -> list[int]:
    """Return the statuses of the common errors of *endpoint*."""
    common = {500, *endpoint.operation.errors}
    if not endpoint.is_public:
        common |= {401, 503}
    if endpoint.operation.body is not None:
        common |= {413, 415, 422}
    if endpoint.operation.query:
        common |= {422}
    return sorted(common - _own_statuses(endpoint))


def _parameters(endpoint: Endpoint) -> Mapping[str, Any]:
    """Return the types of the path's parameters, by name."""
    found = {name: _type_of(convertor) for name, convertor in endpoint.route.param_convertors.items()}
    if "user_id" in found and not endpoint.is_public:
        found["user_id"] = UserID
    return {**found, **endpoint.operation.parameters}


def _type_of(convertor: Convertor[Any]) -> Any:
    """Return the type of a path parameter, according to the annotation of its Starlette *convertor*."""
    returned = inspect.get_annotations(type(convertor).convert).get("return")
    name = returned if isinstance(returned, str) else getattr(returned, "__name__", "")
    return _PARAMETER_TYPES.get(name, str)


@attrs.frozen
class OperationWriter:
    """
    Writes Operation Objects and their parts.

    Attributes:
        schemas: Describe types.
        security_schemes: The names of the security schemes, of which a client uses one.
    """

    schemas: Schemas
    security_schemes: Sequence[str] = (SCHEME,)

    def operation(self, endpoint: Endpoint) -> dict[str, Any]:
        """Write an Operation Object."""
        operation = endpoint.operation
        summary, _, description = endpoint.docstring.partition("\n\n")
        return {
            "tags": [endpoint.source.name],
            "summary": summary.rstrip(".") or f"{endpoint.method} {endpoint.path}",
            **({"description": description} if description else {}),
            **({"operationId": operation.operation_id} if operation.operation_id is not None else {}),
            "parameters": [
                *[self._path_parameter(name, type_) for name, type_ in _parameters(endpoint).items()],
                *[self._query_parameter(name, type_) for name, type_ in operation.query.items()],
                *[self._header_parameter(name, type_) for name, type_ in operation.headers.items()],
            ],
            **({"requestBody": self._body(operation.body)} if operation.body is not None else {}),
            "responses": self._responses(endpoint),
            "security": [] if endpoint.is_public else [{name: []} for name in self.security_schemes],
        }

    def _path_parameter(self, name: str, type_: Any) -> dict[str, Any]:
        """Write a Parameter Object for a part of the path."""
        return {"name": name, "in": "path", "required": True, **self._described(type_)}

    def _query_parameter(self, name: str, type_: Any) -> dict[str, Any]:
        """Write a Parameter Object for a part of the query."""
        described = self._described(type_)
        # A list is sent by repeating the parameter.
        form = {"style": "form", "explode": True} if described["schema"].get("type") == "array" else {}
        # In OpenAPI, this means what `QueryParameters` does: an empty value counts as not sent.
        return {"name": name, "in": "query", "required": False, "allowEmptyValue": True, **form, **described}

    def _header_parameter(self, name: str, type_: Any) -> dict[str, Any]:
        """Write a Parameter Object for a header."""
        return {"name": name, "in": "header", "required": False, **self._described(type_)}

    def _described(self, type_: Any) -> dict[str, Any]:
        described = self.schemas.described(type_)
        # Swagger UI fills in the example of a parameter, but ignores the examples in its schema.
        examples = described["schema"].pop("examples", [])
        example = {"example": examples[0]} if examples else {}
        return {**described, **example}

    def _body(self, body: Body) -> dict[str, Any]:
        """Write a Request Body Object."""
        examples = {name: {"value": value} for name, value in body.examples.items()}
        content = {"application/json": {"schema": self.schemas.schema(body.type), "examples": examples}}
        return {"content": content, "required": body.is_required}

    def _responses(self, endpoint: Endpoint) -> dict[str, Any]:
        """Write a Responses Object."""
        own = {str(returns.status): self.response(returns) for returns in endpoint.operation.returns}
        names = _ERROR_NAMES if endpoint.operation.body is not None else _ERROR_NAMES_WITHOUT_BODY
        common = {
            str(status): {"$ref": f"#/components/responses/{names[status]}"} for status in _common_statuses(endpoint)
        }
        unknown = {} if own else {"default": {"description": "This endpoint does not declare its responses."}}
        return {**own, **common, **unknown}

    def response(self, returns: Returns) -> dict[str, Any]:
        """Write a Response Object."""
        headers = {name: self.header(type_) for name, type_ in returns.headers.items()}
        headers |= {name: self.header(type_, is_required=False) for name, type_ in returns.optional_headers.items()}
        headers |= {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}
        if returns.type is None:
            return {"description": returns.description, "headers": headers}
        example = {} if returns.example is None else {"example": msgspec.Raw(encode(returns.example))}
        content = {"application/json": {"schema": self.schemas.schema(returns.type), **example}}
        return {"description": returns.description, "headers": headers, "content": content}

    def header(self, type_: Any, *, is_required: bool = True) -> dict[str, Any]:
        """Write a Header Object."""
        return {**self.schemas.described(type_), "required": is_required}
