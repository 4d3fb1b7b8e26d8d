"""Let another endpoint of the same application respond to a request."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope

from taskd.routes.router import ENCODED_SLASH, HAS_ENCODED_SLASH

__all__ = ["forward"]

# What routing puts into a scope, and the path as it was received.
_ROUTING = ("endpoint", "path_params", "raw_path", "route", "router")


async def forward(
    request: Request, path: str, *, prefix: str = "", body: bytes | None = None, **changes: object
) -> Response:
    """
    Let another endpoint of the same application respond to *request*, and return its response.

    The request is routed and admitted as if it had come from the client, and errors are raised here.  The whole
    response is read into memory, so limit the length of lists.

    Args:
        request: The request.
        path: The path of the other endpoint as its route declares it, such as "/api/{user_id}/tasks".  Its parameters
            have the values that they have in *request*.
        prefix: What precedes that path in the URLs of the response, such as its `Location`.
        body: The body, if it is another, or if the body of *request* has already been received.
        changes: What is different in the ASGI scope, such as `method`, `query_string` or `headers`.
    """
    scope = {name: value for name, value in request.scope.items() if name not in _ROUTING} | changes
    scope["root_path"] = f"{scope.get('root_path', '')}{prefix}"
    scope["path"] = scope["root_path"] + _filled(path, request.path_params, scope)
    receive = request.receive if body is None else _receiving(body, request.receive)
    return await _response_of(request.app, scope, receive)


def _filled(path: str, values: Mapping[str, object], scope: Scope) -> str:
    """Return *path* with the *values* of its parameters; a slash in a value does not end a segment."""
    parts = []
    for text, name, _, _ in Formatter().parse(path):
        value = str(values[name]) if name else ""
        if "/" in value:
            scope[HAS_ENCODED_SLASH] = True
        parts += [text, value.replace("/", ENCODED_SLASH)]
    return "".join(parts)


def _receiving(body: bytes, receive: Receive) -> Receive:
    """Return a function that receives *body*, and after that, what *receive* does."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_body() -> Message:
        return messages.pop() if messages else await receive()

    return receive_body


async def _response_of(app: ASGIApp, scope: Scope, receive: Receive) -> Response:
    """Run *app*, and return its response."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, send)
    [start, *rest] = messages
    response = Response(b"".join(message.get("body", b"") for message in rest), start["status"])
    response.raw_headers = list(start["headers"])
    return response
