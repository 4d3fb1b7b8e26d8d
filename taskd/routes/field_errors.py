"""Refuse a request whose body or parameters break a rule, with an error for each field."""

from __future__ import annotations

from typing import ClassVar

import attrs

from taskd.errors import ErrorCode

__all__ = ["FieldError", "InvalidBody", "InvalidParameter", "InvalidRequest"]


@attrs.frozen
class FieldError:
    """
    A problem with a request: the *field*, and a *message* that says what it should be.

    The field is the name of a field in the body, `body` for the body as a whole, or the name of a header or of a
    parameter in the query or in the path.
    """

    field: str
    message: str


class InvalidRequest(Exception):
    """A request breaks a rule.  `errors` lists all problems, in the order of the fields, and is never empty."""

    code: ClassVar[ErrorCode]

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{error.field} {error.message}" for error in errors))
        self.errors = errors


class InvalidBody(InvalidRequest):
    """A body breaks a rule.  `errors` lists all problems, in the order of the fields, and is never empty."""

    code = ErrorCode.INVALID_BODY


class InvalidParameter(InvalidRequest):
    """
    A header, or a parameter in the query or in the path, breaks a rule.

    `errors` lists all problems, each with the name of the parameter or header, and is never empty.
    """

    code = ErrorCode.INVALID_PARAMETER
