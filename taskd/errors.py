"""
The codes of errors: one for each reason why a request is refused or fails.

`ErrorCode` is the only list of them.  The table of codes in the API document and in `docs/reference/errors.md` is made
from it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Self

from starlette.exceptions import HTTPException

__all__ = ["CodedError", "ErrorCode"]


class ErrorCode(enum.Enum):
    """Why a request was refused or failed, for programs. A code never changes."""

    # For each code: its value, its status, a cause and a remedy.  A final False marks a code that is more specific than
    # its status: an error that has the status but names no code does not get it.
    MISSING_CREDENTIALS = (
        "missing_credentials",
        401,
        "The credentials are missing or of an unsupported kind.",
        "Send credentials; `WWW-Authenticate` says how.",
        False,
    )
    INVALID_TOKEN = (
        "invalid_token",
        401,
        "The credentials are invalid; `detail` says why.",
        "Get new credentials and try again once; if that fails, too, let the user sign in again.",
    )
    EXPIRED_TOKEN = (
        "expired_token",
        401,
        "The credentials have expired.",
        "Get new credentials and try again once; if that fails, too, let the user sign in again.",
        False,
    )
    WRONG_USER = (
        "wrong_user",
        401,
        "The `{user_id}` in the path is not the user's own.",
        "Use the user's own id, percent-encoded.",
        False,
    )
    NOT_FOUND = (
        "not_found",
        404,
        "There is no such task, it belongs to another user, or there is nothing at this path.",
        "Remove the task from the display, or check the path against the API document.",
    )
    METHOD_NOT_ALLOWED = (
        "method_not_allowed",
        405,
        "The path does not support this method.",
        "Use one of the methods in `Allow`.",
    )
    INVALID_BODY = (
        "invalid_body",
        422,
        "The body is not JSON, or breaks a rule. Nothing was stored.",
        "Show each message in `errors` beside its field; the field `body` is the body as a whole.",
    )
    INVALID_PARAMETER = (
        "invalid_parameter",
        422,
        "A header, or a parameter in the query or in the path, is wrong. Nothing was stored.",
        "Correct each parameter or header as its message in `errors` says; `field` is its name.",
        False,
    )
    BODY_TOO_LARGE = (
        "body_too_large",
        413,
        "The body is larger than 64 KiB.",
        "Send a smaller body: no valid request about tasks is that large.",
    )
    UNSUPPORTED_MEDIA_TYPE = (
        "unsupported_media_type",
        415,
        "The `Content-Type` is not `application/json`, or names a charset other than UTF-8.",
        "Send `Content-Type: application/json`.",
    )
    PRECONDITION_FAILED = (
        "precondition_failed",
        412,
        "The task's version is not in `If-Match`, or the task exists despite `If-None-Match: *`. Nothing was stored.",
        "Read the task again, reapply the change, and send the new `ETag`.",
    )
    KEY_REUSED = (
        "key_reused",
        422,
        "The `Idempotency-Key` was already used with another body. Nothing was stored.",
        "Use a new key for each new task, and reuse a key only to repeat a request.",
        False,
    )
    TASK_DELETED = (
        "task_deleted",
        409,
        "The task that was created with this `Idempotency-Key` has been deleted.",
        "Treat the task as deleted, or create another one with a new key.",
        False,
    )
    UNAVAILABLE = (
        "unavailable",
        503,
        "A service that the server needs cannot be reached, or the server is overloaded or stopping.",
        "Wait `Retry-After` seconds, then try again; a write may have taken effect, so read the task first.",
    )
    BAD_REQUEST = (
        "bad_request",
        400,
        "The request is not valid HTTP, or is refused for a reason without a code of its own; `detail` says why.",
        "Use an HTTP library, and check whether a proxy changes the requests.",
    )
    REQUEST_TIMEOUT = (
        "request_timeout",
        408,
        "The headers or the body of the request did not arrive in time.",
        "Try again over a better connection.",
    )
    HEADERS_TOO_LARGE = (
        "headers_too_large",
        431,
        "The request has too many headers, or they are too large.",
        "Check whether cookies have piled up.",
    )
    INTERNAL_ERROR = (
        "internal_error",
        500,
        "An error in the server or in a plugin.",
        "Report it and quote the `X-Request-ID`: the server's log has the reason.",
    )

    status: int
    cause: str
    remedy: str
    is_default: bool

    def __new__(cls, value: str, status: int, cause: str, remedy: str, is_default: bool = True) -> Self:  # noqa: D102
        code = object.__new__(cls)
        code._value_ = value
        code.status, code.cause, code.remedy, code.is_default = status, cause, remedy, is_default
        return code

    @classmethod
    def of_status(cls, status: int) -> ErrorCode:
        """
        Return the code of an error that has a *status* but names no code.

        A status that has no code is treated like the first one of its class (RFC 9110, section 15): 405 like 400, and
        502 like 500.
        """
        return _DEFAULTS.get(status) or (cls.BAD_REQUEST if status < 500 else cls.INTERNAL_ERROR)


_DEFAULTS = {code.status: code for code in ErrorCode if code.is_default}


class CodedError(HTTPException):
    """
    An error whose code says more than its status; the status follows from the code.

    For other errors, raise Starlette's `HTTPException`: the status determines the code.

    Args:
        code: Why the request is refused.
        detail: One sentence, meant for people.
        headers: Headers to add to the response.
    """

    def __init__(self, code: ErrorCode, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code.status, detail, headers)
        self.code = code
