"""
Describe an endpoint for the API document.

The decorator `operation` attaches an `Operation` to the endpoint, whose docstring adds the summary and the description.
You need not declare what all operations have in common: credentials, and the errors for invalid credentials, an invalid
body or a store that is down.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import attrs
from attrs.validators import deep_iterable, deep_mapping, ge, instance_of, lt, min_len, optional

__all__ = [
    "Body",
    "Operation",
    "Returns",
    "challenge_parameters",
    "is_public",
    "operation",
    "operation_of",
    "parameters_of",
    "public",
]

E = TypeVar("E", bound=Callable[..., Any])

_OPERATION = "__taskd_operation__"
_PUBLIC = "__taskd_public__"
_CHALLENGE = "__taskd_challenge__"

# What a quoted string may contain without escapes (RFC 9110, section 5.6.4).
_QUOTABLE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*")

_is_mapping: Any = instance_of(Mapping)
_has_names: Any = deep_mapping(key_validator=instance_of(str), mapping_validator=_is_mapping)


@attrs.frozen
class Body:
    """
    A JSON body that an operation reads.

    Args:
        type: The attrs class of the object that `taskd.routes.read_body` returns.  Wrap it in `Annotated`, with a
            `msgspec.Meta`, to add to the schema of this body.
        examples: Example bodies, keyed by what they are for; at least one.
        is_required: Whether a request without a body is refused.
    """

    type: Any
    examples: Mapping[str, object] = attrs.field(kw_only=True, validator=[_is_mapping, min_len(1)])
    is_required: bool = attrs.field(default=True, kw_only=True, validator=instance_of(bool))


@attrs.frozen
class Returns:
    """
    A response that an operation returns.

    Args:
        status: Its HTTP status code.
        description: One sentence.
        type: The type of the JSON body: an attrs class, or a type that contains attrs classes; None if there is no
            body.
        example: A value of this type.
        headers: The types of its headers, with descriptions, except for the headers that every response has.
        optional_headers: The types of headers that only some of these responses have.
    """

    status: int = attrs.field(validator=[instance_of(int), ge(100), lt(600)])
    description: str = attrs.field(validator=instance_of(str))
    type: Any = attrs.field(default=None, kw_only=True)
    example: object = attrs.field(default=None, kw_only=True)
    headers: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, validator=_is_mapping)
    optional_headers: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, validator=_is_mapping)


@attrs.frozen
class Operation:
    """What the decorator `operation` declares; by default, nothing."""

    operation_id: str | None = attrs.field(default=None, validator=optional(instance_of(str)))
    returns: tuple[Returns, ...] = attrs.field(default=(), validator=deep_iterable(instance_of(Returns)))
    body: Body | None = attrs.field(default=None, validator=optional(instance_of(Body)))
    errors: frozenset[int] = attrs.field(default=frozenset(), validator=deep_iterable(instance_of(int)))
    parameters: Mapping[str, Any] = attrs.field(factory=dict, validator=_has_names)
    query: Mapping[str, Any] = attrs.field(factory=dict, validator=_has_names)
    headers: Mapping[str, Any] = attrs.field(factory=dict, validator=_has_names)

    @returns.validator
    def _check_statuses(self, _: attrs.Attribute[Any], returns: tuple[Returns, ...]) -> None:
        if len({each.status for each in returns}) < len(returns):
            raise ValueError(f"operation {self.operation_id!r} has two taskd.routes.Returns with the same status")


def operation(
    operation_id: str,
    *returns: Returns,
    body: Body | None = None,
    errors: Iterable[int] = (),
    parameters: Mapping[str, Any] | None = None,
    query: Mapping[str, Any] | None = None,
    headers: Mapping[str, Any] | None = None,
) -> Callable[[E], E]:
    """
    Describe an endpoint for the API document.

    Args:
        operation_id: The name of the method in generated clients, in camel case; no other operation may have it.
        returns: The responses for a request that succeeds, and for errors that only this operation has.
        body: The body that it reads with `taskd.routes.read_body`.
        errors: The statuses of the core's errors that it may raise, such as 404, except those that all operations of
            its kind have.
        parameters: The types of the path's parameters, except for `user_id`, with a `msgspec.Meta` to describe each.
        query: The types of the query parameters that it reads with `taskd.routes.QueryParameters`.
        headers: The types of the request headers that it reads, except for those with credentials.  All are optional.

    Returns:
        A decorator.  It returns the endpoint itself, or a wrapper if the endpoint does not allow attributes to be set,
        as with a bound method.
    """
    declared = Operation(operation_id, returns, body, frozenset(errors), parameters or {}, query or {}, headers or {})

    def declare(endpoint: E) -> E:
        return _mark(endpoint, _OPERATION, declared)

    return declare


def public(endpoint: E) -> E:
    """
    Allow requests to *endpoint* without credentials.

    Returns:
        *endpoint* itself, or a wrapper if it does not allow attributes to be set, as with a bound method.  Create the
        route with the endpoint that is returned.
    """
    return _mark(endpoint, _PUBLIC, True)


def challenge_parameters(endpoint: E, **parameters: str) -> E:
    """
    Add *parameters* to the `WWW-Authenticate` of each 401 for *endpoint* (RFC 9110, section 11.2).

    If the auth plugin sends several challenges, the last one gets them.

    Returns:
        *endpoint* itself, or a wrapper if it does not allow attributes to be set, as with a bound method.  Create the
        route with the endpoint that is returned.

    Raises:
        ValueError: A value has characters that are not printable ASCII, or quotes or backslashes.
    """
    if not all(map(_QUOTABLE.fullmatch, parameters.values())):
        raise ValueError("the parameters of a challenge must be printable ASCII, without quotes and backslashes")
    return _mark(endpoint, _CHALLENGE, ", ".join(f'{name}="{value}"' for name, value in parameters.items()))


def parameters_of(endpoint: Any) -> str:
    """Return the parameters that 401s for *endpoint* itself add to the challenge; empty if there are none."""
    found: str = _marks(endpoint).get(_CHALLENGE, "")
    return found


def operation_of(endpoint: Any) -> Operation | None:
    """Return the `Operation` of *endpoint* itself, if it has one."""
    found: Operation | None = _marks(endpoint).get(_OPERATION)
    return found


def is_public(endpoint: Any) -> bool:
    """Tell whether *endpoint* itself is marked as public; a subclass of a public endpoint is protected."""
    return _PUBLIC in _marks(endpoint)


def _mark(endpoint: E, name: str, value: object) -> E:
    """
    Return *endpoint* with a mark that `_marks` finds.

    An endpoint that does not allow attributes to be set, such as a bound method, is wrapped.  Marking the function of a
    bound method instead would also mark the methods of other objects, which share it.
    """
    if isinstance(endpoint, (staticmethod, classmethod)):
        # This happens in the body of a class.  Later, only the wrapped function is visible.
        setattr(endpoint.__func__, name, value)
        return endpoint
    marked: Any = endpoint
    try:
        setattr(marked, name, value)
    except (AttributeError, TypeError):
        marked = functools.partial(endpoint)
        setattr(marked, name, value)
    return cast("E", marked)


def _marks(endpoint: Any) -> Mapping[str, Any]:
    """Return the marks of *endpoint* itself, not those of its class or of a wrapped function."""
    marks: Mapping[str, Any] = getattr(endpoint, "__dict__", {})
    return marks
