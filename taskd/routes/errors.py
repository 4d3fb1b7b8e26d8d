"""Turn errors into responses, and describe common errors for the API document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import attrs
from msgspec import Meta
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from taskd.routes.body import TOO_LARGE, FieldError, InvalidBody
from taskd.routes.media_types import NOT_JSON
from taskd.routes.operations import Returns
from taskd.routes.responses import JSONResponse
from taskd.storage import StoreUnavailable, TaskNotFound

__all__ = [
    "ERRORS",
    "ERROR_HANDLERS",
    "INTERNAL_ERROR",
    "NOTHING_HERE",
    "ErrorBody",
    "ValidationErrorBody",
    "error_response",
]

INTERNAL_ERROR = "Internal server error"
NOTHING_HERE = "There is nothing at this path."
"""The detail of a 404 for a path that nothing serves."""
NO_SUCH_TASK = "There is no such task."
STORE_DOWN = "The storage cannot be reached now; try again later."


# Without slots, so that the JSON has the fields in this order.
@attrs.frozen(slots=False)
class ErrorBody:
    """Why a request was refused, or failed."""

    detail: Annotated[str, Meta(description="One sentence for people.")]


@attrs.frozen(slots=False)
class ValidationErrorBody(ErrorBody):
    """What is wrong with a body. Nothing was stored."""

    errors: Annotated[tuple[FieldError, ...], Meta(description="All that is wrong, in the order of the body's fields.")]


def error_response(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the response to a request that failed; *detail* is one sentence for users."""
    return JSONResponse(ErrorBody(detail), status, headers)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, str(error.detail), error.headers)


async def _on_invalid_body(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidBody)
    return JSONResponse(ValidationErrorBody(f"{error}.", error.errors), 422)


async def _on_task_not_found(request: Request, error: Exception) -> Response:
    return error_response(404, NO_SUCH_TASK)


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


ERROR_HANDLERS: Mapping[Any, Any] = {
    HTTPException: _on_http_exception,
    InvalidBody: _on_invalid_body,
    TaskNotFound: _on_task_not_found,
    StoreUnavailable: _on_store_unavailable,
    ClientDisconnect: _on_client_disconnect,
    Exception: _on_any_exception,
}


def _returns(status: int, description: str, detail: str, *, headers: Mapping[str, Any] | None = None) -> Returns:
    """Describe the response for an error; *detail* is an example."""
    return Returns(status, description, type=ErrorBody, example=ErrorBody(detail), headers=headers or {})


Challenge = Annotated[str, Meta(description="How to send credentials (RFC 9110, section 11.6.1).")]
RetryAfter = Annotated[int, Meta(description="Seconds to wait before the next try.", ge=0)]

# Common errors, by their names in the API document.
ERRORS = {
    "Unauthorized": _returns(
        401,
        "The credentials are missing or invalid, or `{user_id}` is another user's.",
        "The credentials are invalid.",
        headers={"WWW-Authenticate": Challenge},
    ),
    "NotFound": _returns(404, "There is no such task, or it is another user's.", NO_SUCH_TASK),
    "TooLarge": _returns(413, "The body is larger than 64 KiB.", TOO_LARGE),
    "NotJSON": _returns(
        415, "The `Content-Type` is not `application/json`, or names a charset other than UTF-8.", NOT_JSON
    ),
    "InvalidBody": Returns(
        422,
        "The body is not JSON, or breaks a rule. Nothing was stored.",
        type=ValidationErrorBody,
        example=ValidationErrorBody(
            "title is required; is_completed must be true or false.",
            (FieldError("title", "is required"), FieldError("is_completed", "must be true or false")),
        ),
    ),
    "Failed": _returns(500, "An error in the server. Quote `X-Request-ID` when you report it.", INTERNAL_ERROR),
    "Unavailable": _returns(
        503,
        "A service that the server needs cannot be reached. If the request was a write, it may have taken effect.",
        STORE_DOWN,
        headers={"Retry-After": RetryAfter},
    ),
}
