"""Servers that break promises of the contract: taskd itself, with a fault between it and its clients."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

import attrs
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskd.conformance.client import Client

__all__ = ["SERVERS", "BrokenServer", "Call", "Json", "Request", "Response", "breaks", "error"]

Json = dict[str, Any]
Pairs = list[tuple[str, str]]


def _as_tuple(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(pairs)


@attrs.frozen
class Headers:
    """What requests and responses have in common."""

    headers: tuple[tuple[str, str], ...] = attrs.field(converter=_as_tuple)
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the value of a header; None if it is missing."""
        return next((value for each, value in self.headers if each == name), None)

    def without(self, *names: str) -> Self:
        return attrs.evolve(self, headers=[(name, value) for name, value in self.headers if name not in names])

    def having(self, **headers: str) -> Self:
        """Return this message with *headers*, whose names have _ in place of -."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return attrs.evolve(self, headers=[*self.without(*given).headers, *given.items()])

    @property
    def json(self) -> Any:
        """The JSON in the body; None if there is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def fields(self) -> Json:
        """The JSON object in the body; empty if there is none."""
        found = self.json
        return found if isinstance(found, dict) else {}

    def of(self, body: object) -> Self:
        """Return this message with *body*, bytes or JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        changed = attrs.evolve(self, body=content)
        return changed.having(content_length=str(len(content))) if self.header("content-length") else changed

    def given(self, **fields: object) -> Self:
        """Return this message with *fields* in its JSON object, if it has one."""
        return self.of({**self.fields, **fields}) if self.fields else self


@attrs.frozen
class Request(Headers):
    method: str
    path: str
    query: str

    @property
    def parameters(self) -> Pairs:
        return parse_qsl(self.query, keep_blank_values=True)

    def asking(self, parameters: Iterable[tuple[str, str]]) -> Self:
        """Return this request with other *parameters*."""
        return attrs.evolve(self, query=urlencode(list(parameters)))

    @property
    def is_list(self) -> bool:
        return self.path.endswith("/tasks") and self.method in {"GET", "HEAD"}

    @property
    def is_creation(self) -> bool:
        """Whether this is a PUT that creates."""
        return self.method == "PUT" and self.header("if-none-match") == "*"

    @property
    def task_path(self) -> str:
        """The path of the task."""
        return self.path.rstrip("/").removesuffix("/complete")

    def get(self, path: str | None = None) -> Self:
        """Return a request by the same user that reads a task."""
        request = self.without("if-match", "if-none-match", "content-type", "content-length", "idempotency-key")
        return attrs.evolve(request, method="GET", path=path or self.task_path, query="", body=b"")


@attrs.frozen
class Response(Headers):
    status: int

    def each(self, change: Callable[[Json], Json]) -> Response:
        """Return this response with each task changed."""
        found = self.json
        if isinstance(found, dict) and "id" in found:
            return self.of(change(found))
        return self.of([change(task) for task in found]) if isinstance(found, list) else self

    def listing(self, tasks: list[Json]) -> Response:
        """Return this response with other *tasks*."""
        return self.of(tasks)


Call = Callable[[Request], Awaitable[Response]]
Fault = Callable[[Request, Call], Awaitable[Response]]
Check = Callable[[Client], Awaitable[None]]


def error(status: int, code: str, detail: str = "No.", **more: object) -> Response:
    """Return an error of the contract's form."""
    headers = [
        ("content-type", "application/json"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ]
    return Response(
        [*headers, ("x-request-id", "made-up")], json.dumps({"detail": detail, "code": code, **more}).encode(), status
    )


@attrs.frozen
class BrokenServer:
    """
    A server with a fault.

    Attributes:
        make: Returns the fault, with a state of its own.
        checks: The checks that must find it.
    """

    name: str
    make: Callable[[], Fault]
    checks: tuple[Check, ...]

    def app(self, app: ASGIApp) -> ASGIApp:
        """Return *app* with the fault."""
        fault = self.make()

        async def broken(scope: Scope, receive: Receive, send: Send) -> None:
            request = await _request(scope, receive)

            async def call(changed: Request) -> Response:
                return await _response(app, scope, changed)

            await _send(await fault(request, call), send)

        return broken


SERVERS: list[BrokenServer] = []


def breaks(*checks: Check) -> Callable[[Any], Any]:
    """Register a fault, a function or a class of objects that can be called, which *checks* must find."""

    def register(fault: Any) -> Any:
        make = fault if isinstance(fault, type) else lambda: fault
        SERVERS.append(BrokenServer(fault.__name__, make, checks))
        return fault

    return register


async def _request(scope: Scope, receive: Receive) -> Request:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    return Request(headers, body, scope["method"], scope["raw_path"].decode(), scope["query_string"].decode())


async def _response(app: ASGIApp, scope: Scope, request: Request) -> Response:
    """Return *app*'s response to *request*."""
    messages: list[Message] = []
    pending: list[Message] = [{"type": "http.request", "body": request.body}]

    async def receive() -> Message:
        return pending.pop() if pending else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        messages.append(message)

    changed = {
        "method": request.method,
        "path": unquote_to_bytes(request.path).decode("utf-8", "replace"),
        "raw_path": request.path.encode(),
        "query_string": request.query.encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers],
    }
    await app({**scope, **changed}, receive, send)
    start, *rest = messages
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in start["headers"]]
    return Response(headers, b"".join(message.get("body", b"") for message in rest), start["status"])


async def _send(response: Response, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
