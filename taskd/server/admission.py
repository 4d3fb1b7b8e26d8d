"""
Admission: under overload, requests wait in front of the application, and those that have waited too long are refused.

Under taskd's own server, a request waits unparsed and without a task: a thousand suspended tasks would push other data
out of the processor's caches, and so slow down everything else.  Under other servers, a request waits in the
middleware.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from typing import Any

import attrs
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskd.auth import REQUEST_HEADERS
from taskd.health import HEALTH_PATHS
from taskd.limiter import Overloaded
from taskd.routes.errors import error_response
from taskd.server.credentials import CredentialsReader
from taskd.server.gates import GateLimits, Gates, Place
from taskd.storage import TaskStore
from taskd.telemetry import Measurement
from taskd.time_limit import Steps, rest_of, stepwise

__all__ = ["ENQUEUE", "HAS_LEFT", "PLACE", "Admission", "Enqueue"]

# An ASGI extension of taskd's server: a function that returns whether the client has closed its half of the connection.
# Most clients that do so have left.
HAS_LEFT = "taskd.has_left"
# The keys of an `Enqueue` in the lifespan's state, and of the place that it returned in a request's scope.
ENQUEUE = "taskd.enqueue"
PLACE = "taskd.place"

# How many credentials to remember the users of.
MAX_KNOWN_CREDENTIALS = 10_000
# Matches the method and target of a request for a health path, whatever its query (RFC 9112, section 3.2).
HEALTH_REQUEST = re.compile(rb"[^ ]+ (?:https?://[^/ ]*)?(?:%s)/*(?:\?[^ ]*)? " % "|".join(HEALTH_PATHS).encode())
DETAIL = "The server is overloaded; try again later."

# Takes the head of a request as it was received, and the running loop; returns the request's place, for which it may
# have to wait.  If this is None, the middleware assigns one.
Enqueue = Callable[[bytes, asyncio.AbstractEventLoop], Place | None]


class _Visit:
    """
    A request on its way through the application.

    It has a place at its gate while the server is working on it, but not while it is waiting for its client to send the
    rest of the body, or to read the response.
    """

    __slots__ = ("_has_begun", "_place", "_receive", "_scope", "_send")

    def __init__(self, place: Place, scope: Scope, receive: Receive, send: Send) -> None:
        self._place = place
        self._scope = scope
        self._receive = receive
        self._send = send
        self._has_begun = False

    async def enter(self) -> None:
        """Wait for the place; raise `HTTPException` if it is not granted in time, or if the client has left."""
        try:
            await self._place.wait()
        except (Overloaded, TimeoutError):
            headers = {"Retry-After": await self._place.refusals.next()}
            raise HTTPException(503, DETAIL, headers) from None
        if self._place.has_waited and _has_left(self._scope):
            # Impatient clients retry: if the server also served the requests that they gave up on, it would never catch
            # up.
            self.leave()
            raise HTTPException(503, DETAIL, {"Retry-After": "1"})

    def leave(self) -> None:
        """Give the place back, if the request has one."""
        if self._place.leave():
            self._place.refusals.earn()

    async def receive(self) -> Message:
        """Return the next part of the body; give up the place while waiting for the client."""
        message = await stepwise(self._receive(), self._wait_outside)
        if not self._place.is_inside and not self._has_begun and message["type"] == "http.request":
            self._place = self._place.again()
            await self.enter()
        return message

    def _wait_outside(self, steps: Steps[Message], waited_for: Any) -> Steps[Message]:
        self.leave()
        return rest_of(steps, waited_for)

    def send(self, message: Message) -> Awaitable[None]:
        """Send a part of the response and give up the place: the rest is up to the client."""
        if not self._has_begun:
            self._has_begun = True
            self.leave()
        return self._send(message)


@attrs.define(eq=False)
class Admission:
    """
    ASGI middleware that admits as many requests at once as can be served without delay.

    Clients take turns: however many requests one of them sends, another client waits for only one of those.  A client
    is identified by its user, who is known from the second request with the same credentials onwards, and before that
    by its address.

    Attributes:
        app: The application.
        store: The store, whose calls must not be kept waiting long.
        timeout_s: How long a request may wait before it is refused, in seconds.
        request_headers: The names of the headers in which credentials are sent.
        limits: The limits within which the number of admitted requests adapts.
    """

    app: ASGIApp
    store: TaskStore
    timeout_s: float
    request_headers: Iterable[str] = REQUEST_HEADERS
    limits: GateLimits = attrs.field(factory=GateLimits)
    _credentials: CredentialsReader = attrs.field(init=False, repr=False)
    _gates: Gates | None = attrs.field(init=False, default=None)
    # Keyed by hashes of the credentials, not by the credentials themselves.
    _users: dict[int, str] = attrs.field(init=False, factory=dict, repr=False)

    @_credentials.default
    def _reader(self) -> CredentialsReader:
        return CredentialsReader(self.request_headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on when its turn comes."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan" and "state" in scope:
                scope["state"][ENQUEUE] = self.enqueue
            await self.app(scope, receive, send)
            return
        place: Place | None = scope.pop(PLACE, None)
        credentials = None
        if place is None:
            credentials = self._credentials.in_headers(scope["headers"])
            place = self._place(self._gates_of(asyncio.get_running_loop()), scope, credentials)
        visit = _Visit(place, scope, receive, send)
        # Most requests do not have to wait.
        if place.has_waited or not place.is_inside:
            try:
                await visit.enter()
            except HTTPException as refusal:
                await error_response(refusal.status_code, refusal.detail, refusal.headers)(scope, receive, send)
                return
        try:
            await self.app(scope, visit.receive, visit.send)
        finally:
            visit.leave()
            if credentials is not None and "user" in scope:
                self._remember(credentials, scope["user"].identity)

    def enqueue(self, head: bytes, loop: asyncio.AbstractEventLoop) -> Place | None:
        """
        Return a place for a request of a known user, which may have to wait for it; return None for other requests.

        Those wait in the middleware: a client's address may depend on proxies, and there are few such requests.

        Args:
            head: The head of the request as it was received.  It need not be valid.
            loop: The running loop.
        """
        credentials = self._credentials.in_head(head)
        user = None if credentials is None else self._users.get(credentials)
        if user is None or HEALTH_REQUEST.match(head):
            return None
        method, _, _ = head.partition(b" ")
        return Place(self._gates_of(loop).of_user(method.decode("latin-1")), user)

    def measurements(self) -> Iterator[Measurement]:
        """Yield the numbers about the gates of the running loop."""
        gates = self._gates_of(asyncio.get_running_loop())
        return gates.measurements()

    def _gates_of(self, loop: asyncio.AbstractEventLoop) -> Gates:
        gates = self._gates
        if gates is None or gates.loop is not loop:
            gates = self._gates = Gates.of(loop, self.store, self.timeout_s, self.limits)
        return gates

    def _place(self, gates: Gates, scope: Scope, credentials: int | None) -> Place:
        """Return a place for a request, at the gate for its kind and among the requests of its client."""
        if scope["path"].removeprefix(scope.get("root_path", "")) in HEALTH_PATHS:
            # Supervisors need a response most when the server is busy.
            return Place(gates.health, _address_in(scope))
        user = None if credentials is None else self._users.get(credentials)
        if user is None:
            return Place(gates.strangers, _address_in(scope))
        return Place(gates.of_user(scope["method"]), user)

    def _remember(self, credentials: int, user: str) -> None:
        if credentials not in self._users:
            if len(self._users) >= MAX_KNOWN_CREDENTIALS:
                del self._users[next(iter(self._users))]
            self._users[credentials] = user


def _has_left(scope: Scope) -> bool:
    """Return whether the client seems to have left; False if the server cannot tell."""
    ask: Callable[[], bool] | None = scope.get("extensions", {}).get(HAS_LEFT)
    return ask is not None and ask()


def _address_in(scope: Scope) -> Hashable:
    client = scope.get("client")
    return client and client[0]
