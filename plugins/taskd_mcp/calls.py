"""A call of a tool by a user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
from starlette.requests import Request

from taskd.routes import FieldError, InvalidBody, parse_body
from taskd.storage import TaskStore

__all__ = ["Call"]

T = TypeVar("T")


@attrs.frozen
class Call:
    """
    A call of a tool.

    Attributes:
        request: The request that it came with.
        store: Where the tasks are.
        arguments: The arguments, as JSON has them.
    """

    request: Request
    store: TaskStore
    arguments: Mapping[str, Any]

    @property
    def owner(self) -> str:
        """The user, whom the guard has identified."""
        owner: str = self.request.user.identity
        return owner

    def read(self, cls: type[T], arguments: Mapping[str, Any] | None = None) -> T:
        """
        Make an instance of the attrs class *cls* from the arguments, or from others.

        Raises:
            InvalidBody: Some of them break a rule.
        """
        try:
            # As JSON again, because what is not allowed in a body is not allowed here: NaN, and lone surrogates.
            body = json.dumps(dict(self.arguments if arguments is None else arguments), allow_nan=False).encode()
        except ValueError:
            raise InvalidBody(FieldError("body", "is not valid JSON: NaN and Infinity are no numbers")) from None
        return parse_body(self.request, body, cls)
