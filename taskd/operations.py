"""
What clients are told of an endpoint: a decorator beside it carries what `taskd.openapi` writes down.

The summary and the description are the endpoint's docstring.  What holds for every operation (how credentials are sent,
what comes back when they are no good, when a body breaks a rule, when the storage is away) need not be said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import attrs
from attrs.validators import deep_iterable, deep_mapping, ge, instance_of, lt, min_len, optional

__all__ = ["Answer", "Body", "Declaration", "declaration_of", "operation"]

E = TypeVar("E", bound=Callable[..., Any])

_DECLARATION = "__taskd_operation__"

_is_mapping: Any = instance_of(Mapping)


@attrs.frozen
class Body:
    """
    A JSON body that an operation reads.

    Args:
        type: The attrs class that it is read into.  `Annotated` with a `msgspec.Meta`, it says more of this one body.
        examples: Bodies as clients send them, by what they are for; at least one.
        is_required: A request without a body is refused.
    """

    type: Any
    examples: Mapping[str, object] = attrs.field(kw_only=True, validator=[_is_mapping, min_len(1)])
    is_required: bool = attrs.field(default=True, kw_only=True, validator=instance_of(bool))


@attrs.frozen
class Answer:
    """
    What an operation answers with one status.

    Args:
        status: The HTTP status code.
        description: One sentence.
        type: What the JSON body is made from: an attrs class, or a type made of such; None if there is no body.
        example: A value of that type.
        headers: The types of the headers that it has besides those that all have, with their descriptions.
    """

    status: int = attrs.field(validator=[instance_of(int), ge(100), lt(600)])
    description: str = attrs.field(validator=instance_of(str))
    type: Any = attrs.field(default=None, kw_only=True)
    example: object = attrs.field(default=None, kw_only=True)
    headers: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, validator=_is_mapping)


@attrs.frozen
class Declaration:
    """All that was declared of an endpoint by `operation`; nothing at all, if *operation_id* is None."""

    operation_id: str | None = attrs.field(default=None, validator=optional(instance_of(str)))
    answers: tuple[Answer, ...] = attrs.field(default=(), validator=deep_iterable(instance_of(Answer)))
    body: Body | None = attrs.field(default=None, validator=optional(instance_of(Body)))
    errors: frozenset[int] = attrs.field(default=frozenset(), validator=deep_iterable(instance_of(int)))
    parameters: Mapping[str, Any] = attrs.field(
        factory=dict, validator=deep_mapping(key_validator=instance_of(str), mapping_validator=_is_mapping)
    )

    @answers.validator
    def _check_statuses(self, _: attrs.Attribute[Any], answers: tuple[Answer, ...]) -> None:
        if len({answer.status for answer in answers}) < len(answers):
            raise ValueError(f"operation {self.operation_id!r} has two answers with one status")


def operation(
    operation_id: str,
    *answers: Answer,
    body: Body | None = None,
    errors: Iterable[int] = (),
    parameters: Mapping[str, Any] | None = None,
) -> Callable[[E], E]:
    """
    Declare what the API document says of an endpoint.

    Args:
        operation_id: The name of the method in generated clients, in camel case; no other operation may have it.
        answers: What it answers when all goes well, and answers of its own when not.
        body: The body that it reads with `taskd.read_json` and `taskd.structure`.
        errors: The statuses of those errors, besides the ones that any such operation has, that it may end in: 404.
        parameters: The types of the path's parameters but `user_id`, with their descriptions as `msgspec.Meta`.
    """
    declaration = Declaration(operation_id, answers, body, frozenset(errors), parameters or {})

    def declare(endpoint: E) -> E:
        setattr(endpoint, _DECLARATION, declaration)
        return endpoint

    return declare


def declaration_of(endpoint: Any) -> Declaration | None:
    """Return what was declared of *endpoint* itself, if anything was."""
    declaration: Declaration | None = getattr(endpoint, "__dict__", {}).get(_DECLARATION)
    return declaration
