"""Turn errors into responses, and describe common errors for the API document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import attrs
from msgspec import UNSET, Meta, UnsetType
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from taskd.errors import CodedError, ErrorCode
from taskd.routes.body import TOO_LARGE
from taskd.routes.field_errors import FieldError, InvalidRequest
from taskd.routes.media_types import NOT_JSON
from taskd.routes.operations import Returns
from taskd.routes.responses import JSONResponse
from taskd.storage import KeyReused, PreconditionFailed, StoreUnavailable, TaskDeleted, TaskNotFound

__all__ = [
    "ERRORS",
    "ERROR_HANDLERS",
    "EXPECTED_ERRORS",
    "INTERNAL_ERROR",
    "NOTHING_HERE",
    "ErrorBody",
    "ValidationErrorBody",
    "error_response",
    "handler_of",
    "response_to_error",
]

INTERNAL_ERROR = "Internal server error"
NOTHING_HERE = "There is nothing at this path."
"""The detail of a 404 for a path that nothing serves."""
NO_SUCH_TASK = "There is no such task."
CHANGED = "The task's version is not in If-Match, or the task already exists."
DELETED = "The task that was created with this key has been deleted."
REUSED = "This key was already used with another body."
STORE_DOWN = "The storage is not available now; try again later."


# Without slots, so that the fields appear in the JSON in this order.
@attrs.frozen(slots=False)
class ErrorBody:
    """Why a request was refused or failed."""

    detail: Annotated[str, Meta(description="One sentence for people.")]
    code: ErrorCode

    @staticmethod
    def of(status: int, detail: str) -> ErrorBody:
        """Return the body of an error whose code follows from its *status*."""
        return ErrorBody(detail, ErrorCode.of_status(status))


@attrs.frozen(slots=False)
class ValidationErrorBody(ErrorBody):
    """What is wrong with a request. Nothing was stored."""

    errors: (
        Annotated[
            tuple[FieldError, ...],
            Meta(
                description="Everything that is wrong, in the order of the fields. Only `key_reused` comes without it."
            ),
        ]
        | UnsetType
    ) = UNSET


def error_response(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response to a request that failed; *detail* is one sentence for users."""
    return JSONResponse(ErrorBody.of(status, detail), status, headers)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = error.code if isinstance(error, CodedError) else ErrorCode.of_status(error.status_code)
    return JSONResponse(ErrorBody(str(error.detail), code), error.status_code, error.headers)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidRequest)
    return JSONResponse(ValidationErrorBody(f"{error}.", error.code, error.errors), error.code.status)


def _refusing(code: ErrorCode, detail: str) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Return the handler for an error whose response is always the same."""

    async def refuse(request: Request, error: Exception) -> Response:
        return JSONResponse(ErrorBody(detail, code), code.status)

    return refuse


async def _on_store_unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreUnavailable)
    if not error.is_logged:
        request.app.state.storage.failed(str(error))
    return error_response(503, STORE_DOWN, {"Retry-After": str(error.retry_after_s)})


async def _on_client_disconnect(request: Request, error: Exception) -> Response:
    """Return a response that is never read: the client disconnected before its body was complete."""
    return Response(status_code=400)


async def _on_any_exception(request: Request, error: Exception) -> Response:
    """Reveal nothing about the error; `taskd.server.middleware` logs it."""
    return error_response(500, INTERNAL_ERROR)


Handler = Callable[[Request, Exception], Awaitable[Response]]

EXPECTED_ERRORS: Mapping[Any, Handler] = {
    HTTPException: _on_http_exception,
    InvalidRequest: _on_invalid_request,
    TaskNotFound: _refusing(ErrorCode.NOT_FOUND, NO_SUCH_TASK),
    PreconditionFailed: _refusing(ErrorCode.PRECONDITION_FAILED, CHANGED),
    KeyReused: _refusing(ErrorCode.KEY_REUSED, REUSED),
    TaskDeleted: _refusing(ErrorCode.TASK_DELETED, DELETED),
    StoreUnavailable: _on_store_unavailable,
    ClientDisconnect: _on_client_disconnect,
}
ERROR_HANDLERS: Mapping[Any, Handler] = {**EXPECTED_ERRORS, Exception: _on_any_exception}


async def response_to_error(request: Request, error: Exception) -> Response:
    """
    Return the response that *request* gets if its endpoint raises *error*, for endpoints that pass on errors otherwise.

    An unexpected error has a 500 that reveals nothing about it; only if it is raised does the core log it.
    """
    return await (handler_of(error) or _on_any_exception)(request, error)


def handler_of(error: Exception) -> Handler | None:
    """Return the handler of *error*; None if the error is a fault in the server or in a plugin."""
    return next((EXPECTED_ERRORS[each] for each in type(error).__mro__ if each in EXPECTED_ERRORS), None)


def _returns(
    code: ErrorCode, example: str | ErrorBody, description: str = "", headers: Mapping[str, Any] | None = None
) -> Returns:
    """Describe the response for an error; *example* is its body, or only the detail."""
    body = ErrorBody(example, code) if isinstance(example, str) else example
    described = description or f"{code.cause} {code.remedy}"
    return Returns(code.status, described, type=type(body), example=body, headers=headers or {})


Challenge = Annotated[str, Meta(description="How to send credentials (RFC 9110, section 11.6.1).")]
RetryAfter = Annotated[int, Meta(description="Seconds to wait before the next try.", ge=0)]

# Common errors, by their names in the API document.
ERRORS = {
    "Unauthorized": _returns(
        ErrorCode.INVALID_TOKEN,
        "The credentials are invalid.",
        "The credentials are missing, invalid or expired, or `{user_id}` is another user; `code` says which.",
        {"WWW-Authenticate": Challenge},
    ),
    "NotFound": _returns(ErrorCode.NOT_FOUND, NO_SUCH_TASK, "There is no such task, or it belongs to another user."),
    "Conflict": _returns(ErrorCode.TASK_DELETED, DELETED),
    "PreconditionFailed": _returns(ErrorCode.PRECONDITION_FAILED, CHANGED),
    "TooLarge": _returns(ErrorCode.BODY_TOO_LARGE, TOO_LARGE),
    "NotJSON": _returns(ErrorCode.UNSUPPORTED_MEDIA_TYPE, NOT_JSON),
    "InvalidBody": _returns(
        ErrorCode.INVALID_BODY,
        ValidationErrorBody(
            "title is required; is_completed must be true or false.",
            ErrorCode.INVALID_BODY,
            (FieldError("title", "is required"), FieldError("is_completed", "must be true or false")),
        ),
        "The body, a parameter or a header breaks a rule; `code` says which. Nothing was stored. Show each message in"
        " `errors` beside its field; the field `body` is the body as a whole.",
    ),
    "InvalidParameter": _returns(
        ErrorCode.INVALID_PARAMETER,
        ValidationErrorBody(
            "limit must be a whole number from 1 to 1000.",
            ErrorCode.INVALID_PARAMETER,
            (FieldError("limit", "must be a whole number from 1 to 1000"),),
        ),
    ),
    "Failed": _returns(ErrorCode.INTERNAL_ERROR, INTERNAL_ERROR),
    "Unavailable": _returns(ErrorCode.UNAVAILABLE, STORE_DOWN, headers={"Retry-After": RetryAfter}),
}
