"""
A conversation between a client and a server in the same process, controlled down to the last byte and second.

The bytes go through a kernel socket.  Time passes only when a test says so, so nothing depends on how fast the machine
is.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar, cast

import attrs
import uvloop
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from taskd.server.admission import ENQUEUE
from taskd.server.limits import Limits
from taskd.server.protocol import HTTPProtocol
from tests.support.processes import descriptors
from tests.support.reference_parser import Reference, ReferenceRequest, Response, read_requests, read_response

__all__ = ["LARGEST_RESPONSE", "LIMITS", "LOOPS", "App", "Conversation", "Plan", "conversations"]

T = TypeVar("T")

# So small that scripts reach them often; the kernel's buffers are as small as it allows.
LIMITS = Limits(head_bytes=512, held_bytes=512, body_rate=10, send_rate=10)
KERNEL_BYTES = 4096
HIGH_WATER_BYTES = 2048
LARGEST_RESPONSE = 40_000
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class PlannedFailure(Exception):
    """The application fails because the script says so."""


# The application


@attrs.frozen
class Plan:
    """
    How the application treats one request.

    Attributes:
        queues: The request waits in the server for its turn.
        reads: How many parts of the body it reads before it responds; 1000 means all of them.
        polls: In between, it checks whether the client is gone, as Starlette's `Request.is_disconnected` does.
        is_slow: It waits for something else before it responds.
        listens: Once it has the body, it also waits for the client to disconnect, as `StreamingResponse` does.
        status: The status of the response.
        pieces: The sizes of the pieces that it sends.
        is_streamed: It does not say how long the response is.
        reads_late: It reads the rest of the body after the first piece of the response.
        closes: It says that the connection is to be closed.
        failure: Where it fails, if it does.
    """

    queues: bool = False
    reads: int = 1000
    polls: bool = False
    is_slow: bool = False
    listens: bool = False
    status: int = 200
    pieces: tuple[int, ...] = (3,)
    is_streamed: bool = False
    reads_late: bool = False
    closes: bool = False
    failure: str = ""


@attrs.define
class Seen:
    """
    What the application saw of a request, and what it did.

    Attributes:
        content: What it read of the body.
        has_all: It read the body to the end.
        had_all: It had done so when it began to respond.
        refusal: The status with which the body was refused.
        is_gone: It was told that the client had gone.
        status: The status of its response; 0 if it gave none.
        has_begun: It sent a part of the content, perhaps an empty one.
        sent: The content of its response.
        is_complete: It said that the response was complete.
        is_over: It has returned.
    """

    scope: Scope
    plan: Plan
    content: bytes = b""
    has_all: bool = False
    had_all: bool = False
    refusal: int = 0
    is_gone: bool = False
    status: int = 0
    has_begun: bool = False
    sent: bytes = b""
    is_complete: bool = False
    is_over: bool = False

    async def read(self, receive: Receive, parts: int) -> None:
        """Read at most *parts* parts of the body."""
        for _ in range(parts):
            if self.has_all or self.is_gone:
                return
            self.take(await receive())

    def take(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self.is_gone = True
        else:
            assert not self.has_all, "the body has ended twice"
            assert message["body"] or not message["more_body"], "an empty part says nothing"
            assert LIMITS.held_bytes >= len(message["body"])
            self.content += message["body"]
            self.has_all = not message["more_body"]


@attrs.define
class Turn:
    """What a queued request waits for in the server."""

    begin: Callable[[], None] | None = None

    def call_on_turn(self, begin: Callable[[], None]) -> None:
        self.begin = begin

    def leave(self) -> None:
        self.begin = None

    def come(self) -> None:
        begin, self.begin = self.begin, None
        if begin is not None:
            begin()


@attrs.define
class App:
    """An application that treats each request according to a plan of its own."""

    plans: list[Plan] = attrs.field(factory=list)
    seen: list[Seen] = attrs.field(factory=list)
    gate: asyncio.Event = attrs.field(factory=asyncio.Event)
    is_waiting: bool = False
    turn: Turn = attrs.field(factory=Turn)

    @property
    def next_plan(self) -> Plan:
        return self.plans[len(self.seen)] if len(self.seen) < len(self.plans) else Plan()

    def enqueue(self, _: bytes, __: object) -> Turn | None:
        """Make the next request wait, if that is planned."""
        if not self.next_plan.queues:
            return None
        self.turn = Turn()
        return self.turn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plan = self.next_plan
        seen = Seen(scope, plan)
        self.seen.append(seen)
        try:
            await self.respond(seen, receive, send)
        finally:
            seen.is_over = True

    async def respond(self, seen: Seen, receive: Receive, send: Send) -> None:
        plan = seen.plan
        try:
            await seen.read(receive, plan.reads)
            await self.poll(seen, receive)
        except HTTPException as error:
            seen.refusal = error.status_code
            await self.send(seen, send, attrs.evolve(plan, status=error.status_code, failure=""), receive)
            return
        if plan.is_slow:
            self.is_waiting = True
            await self.gate.wait()
            self.is_waiting = False
            self.gate.clear()
        listener = asyncio.ensure_future(receive()) if plan.listens and seen.has_all else None
        if listener is not None:
            await asyncio.sleep(0)
            await self.poll(seen, receive)
        try:
            if plan.failure == "before":
                raise PlannedFailure
            await self.send(seen, send, plan, receive)
        finally:
            if listener is not None and not (seen.is_complete or seen.is_gone):
                listener.cancel()
        if listener is not None and seen.is_complete:
            seen.take(await listener)

    async def poll(self, seen: Seen, receive: Receive) -> None:
        if not seen.plan.polls:
            return
        task = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            seen.take(await task)

    async def send(self, seen: Seen, send: Send, plan: Plan, receive: Receive) -> None:
        if plan.failure == "silent":
            return
        status = plan.status if seen.scope["method"] != "CONNECT" or plan.status >= 300 else 405
        pieces = [bytes([ord("a") + at % 26]) * size for at, size in enumerate(plan.pieces)]
        pieces = pieces if status not in (204, 304) else [b""]
        headers = [] if plan.is_streamed else [(b"content-length", b"%d" % sum(map(len, pieces)))]
        headers += [(b"connection", b"close")] * plan.closes
        seen.had_all, seen.status = seen.has_all, status
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for at, piece in enumerate(pieces):
            if at == 1 and plan.reads_late and not seen.refusal:
                with contextlib.suppress(HTTPException):
                    await seen.read(receive, 1000)
            if at == 1 and plan.failure == "between":
                raise PlannedFailure
            seen.sent += piece
            is_last = at == len(pieces) - 1
            if is_last and plan.failure == "endless":
                return
            seen.is_complete, seen.has_begun = is_last, True
            await send({"type": "http.response.body", "body": piece, "more_body": not is_last})


# Time


@attrs.define
class StoppedLoop:
    """An event loop whose time passes only in `fire_next`; everything else is the *loop*'s."""

    loop: asyncio.AbstractEventLoop
    now: float = 1000.0
    timers: list[tuple[float, int, Callable[[], None]]] = attrs.field(factory=list)
    _numbers: Iterator[int] = attrs.field(factory=itertools.count)
    _cancelled: set[int] = attrs.field(factory=set)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = (when, next(self._numbers), callback)
        heapq.heappush(self.timers, timer)
        return Timer(self, timer[1])

    def cancel(self, number: int) -> None:
        self._cancelled.add(number)

    def next_at(self) -> float | None:
        """Return when the next timer fires, if there is one."""
        while self.timers and self.timers[0][1] in self._cancelled:
            heapq.heappop(self.timers)
        return self.timers[0][0] if self.timers else None

    def fire_next(self) -> None:
        at, _, callback = heapq.heappop(self.timers)
        self.now = max(self.now, at)
        callback()


@attrs.frozen
class Timer:
    """A handle that cancels a timer."""

    loop: StoppedLoop
    number: int

    def cancel(self) -> None:
        self.loop.cancel(self.number)


# The connection


class Protocol(HTTPProtocol):
    """The protocol under test, with checks of how much it holds."""

    limits = LIMITS
    received_bytes = 0
    is_lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        assert not self.is_lost
        super().data_received(data)
        self.received_bytes += len(data)
        # What was there before, plus one read.
        assert len(self._buffer) < max(LIMITS.head_bytes, LIMITS.held_bytes) + len(data)
        self.check_bounds()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.is_lost = True

    def check_bounds(self) -> None:
        """Check that nothing is held beyond what `Limits` allow and the application has sent."""
        if self._exchange is not None:
            assert LIMITS.held_bytes >= len(self._exchange.body)
        if not self.is_lost:
            assert HIGH_WATER_BYTES + LARGEST_RESPONSE + 1000 >= self.transport.get_write_buffer_size()


class Problems(logging.Handler):
    """Messages that are logged or reported to the event loop, although no client should be able to cause them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        is_failure = record.exc_info is not None and record.exc_info[0] is PlannedFailure
        is_silence = record.getMessage() == "The ASGI application returned without completing its response."
        self.found += [] if is_failure or is_silence else [logging.Formatter().format(record)]

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the loggers, and keep their messages from everyone else."""
        loggers = [logging.getLogger(name) for name in ("asyncio", "uvicorn.error", "taskd.server")]
        before = [logger.propagate for logger in loggers]
        for logger in loggers:
            logger.propagate = False
            logger.addHandler(self if logger.name != "taskd.server" else logging.NullHandler())
        try:
            yield
        finally:
            for logger, propagate in zip(loggers, before, strict=True):
                logger.propagate = propagate
                logger.removeHandler(self)


class Conversation:
    """One connection, from its beginning to its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, config: Config, problems: Problems) -> None:
        self.loop = loop
        self.config = config
        self.problems = problems
        self.clock = StoppedLoop(loop)
        self.app = App()
        self.state = ServerState()
        self.descriptors = descriptors(os.getpid())
        self.unsent = bytearray()
        self.sent = bytearray()
        self.received = bytearray()
        # What the client has closed, and whether it has seen the end of what the server sends.
        self.is_half_closed = self.is_closed = self.is_at_end = False
        # Whether something other than the bytes decides how far the conversation gets.
        self.is_disturbed = False
        self.ending = "half close"
        assert [] == self.problems.found, "of the conversation before"
        self.run(self.connect())

    def run(self, script: Coroutine[Any, Any, T]) -> T:
        result = self.loop.run_until_complete(script)
        self.protocol.check_bounds()
        found, self.problems.found = self.problems.found, []
        assert [] == found
        return result

    protocol: Protocol

    async def connect(self) -> None:
        client, server = socket.socketpair()
        for each in (client, server):
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        self.client = client
        self.config.loaded_app = self.app
        clock = cast("asyncio.AbstractEventLoop", self.clock)
        self.protocol = Protocol(self.config, self.state, {ENQUEUE: self.app.enqueue}, clock)
        await self.loop.connect_accepted_socket(lambda: self.protocol, server)
        await self.settle()

    @property
    def has_begun(self) -> bool:
        """Whether the server has begun to handle a request."""
        return bool(self.app.seen or self.app.turn.begin)

    # What either side does, and what follows immediately

    def write(self, data: bytes, plan: Plan) -> None:
        """Add *data* to what will be sent; *plan* applies to the next request in it."""
        self.unsent += data
        self.app.plans.append(plan)

    def send(self, count: int = 100_000) -> None:
        self.push(count)
        self.run(self.settle())

    def read(self, count: int = 100_000) -> None:
        if not self.is_closed:
            self.pull(count)
            self.run(self.settle())

    def half_close(self) -> None:
        self.unsent.clear()
        self.shut()
        self.run(self.settle())

    def close(self) -> None:
        self.leave()
        self.run(self.settle())

    def let_the_application_go_on(self) -> None:
        self.app.gate.set()
        self.run(self.settle())

    def let_its_turn_come(self) -> None:
        self.app.turn.come()
        self.run(self.settle())

    def let_time_pass(self) -> None:
        """Let time pass until the next timer fires, as long as the connection has not ended."""
        self.run(self.tick())

    def stop_the_server(self) -> None:
        self.is_disturbed = True
        self.protocol.shutdown()
        self.run(self.settle())

    def push(self, count: int) -> int:
        try:
            sent = self.client.send(self.unsent[:count])
        except BlockingIOError:
            return 0
        except ConnectionError:
            self.unsent.clear()
            self.is_disturbed = self.is_disturbed or not self.is_at_end
            return 0
        self.sent += self.unsent[:sent]
        del self.unsent[:sent]
        return sent

    def pull(self, count: int) -> int:
        try:
            data = self.client.recv(count)
        except BlockingIOError:
            return 0
        except ConnectionResetError:
            data = b""
        self.is_at_end = self.is_at_end or not data
        self.received += data
        return len(data)

    def shut(self) -> None:
        self.is_half_closed = True
        with contextlib.suppress(OSError):
            self.client.shutdown(socket.SHUT_WR)

    def leave(self) -> None:
        self.is_disturbed = self.is_half_closed = self.is_closed = True
        self.unsent.clear()
        self.client.close()

    # What happens meanwhile

    @property
    def progress(self) -> tuple[Any, ...]:
        seen = self.app.seen[-1] if self.app.seen else None
        said = () if seen is None else (len(seen.content), len(seen.sent), seen.is_over, seen.status)
        unsent = 0 if self.protocol.is_lost else self.protocol.transport.get_write_buffer_size()
        return (
            self.protocol.received_bytes, self.protocol.is_lost, len(self.app.seen), said, unsent, self.app.is_waiting,
            self.app.turn.begin,
            len(self.state.tasks), len(self.sent), len(self.received), self.is_at_end,
        )  # fmt: skip

    async def settle(self) -> None:
        """Let the event loop run until nothing more happens."""
        before, still = self.progress, 0
        while still < 6:
            await asyncio.sleep(0)
            still = still + 1 if self.progress == before else 0
            before = self.progress

    async def tick(self) -> None:
        self.is_disturbed = True
        await self.settle()
        if not self.protocol.is_lost:
            assert self.clock.next_at() is not None, "nothing bounds for how long the server waits"
            self.clock.fire_next()
            await self.settle()

    def end(self) -> None:
        """Let the conversation end, and check everything that happened in it."""
        try:
            self.run(self.finish())
            self.check()
            self.check_what_is_left()
        finally:
            self.loop.run_until_complete(self.clear_up())

    async def clear_up(self) -> None:
        """Leave nothing behind that another conversation could be blamed for if this one has failed."""
        self.client.close()
        if not self.protocol.is_lost:
            self.protocol.transport.abort()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for _ in range(4):
            await asyncio.sleep(0)
        self.problems.found.clear()

    async def finish(self) -> None:
        """Let the connection end, whatever the client has done so far, and check that it does."""
        if self.ending == "gone" and not self.is_closed:
            self.push(100_000)
            await self.settle()
            self.leave()
        is_deaf = self.ending == "deaf"
        ticks = 0
        while not (self.protocol.is_lost and not self.state.tasks):
            before = self.progress
            self.app.turn.come()
            if self.app.is_waiting:
                self.app.gate.set()
            if not self.is_closed:
                self.push(100_000)
                if not (self.is_at_end or is_deaf):
                    self.pull(100_000)
                if not self.unsent and not self.is_half_closed and (self.ending == "half close" or self.is_at_end):
                    self.shut()
            await self.settle()
            if self.progress == before:
                ticks += 1
                assert ticks < 100, "the connection does not end"
                await self.tick()
        while not (self.is_closed or self.is_at_end):
            self.pull(100_000)

    # What must have happened

    def check(self) -> None:
        """Compare what the application and the client saw with what there was to see."""
        reference = read_requests(bytes(self.sent), LIMITS)
        is_doubtful = any(request.is_doubtful for request in reference.requests)
        assert is_doubtful or len(self.app.seen) <= len(reference.requests)
        data = bytes(self.received)
        goes_on = True
        for seen, request in zip(self.app.seen, reference.requests, strict=False):
            assert goes_on or (self.is_disturbed and not data), "there was a request after the last one"
            self.check_request(seen, request)
            response, data = read_response(data, request.method)
            goes_on = self.check_response(seen, request, response)
        if goes_on and not is_doubtful:
            self.check_rest(reference, data)
        elif not goes_on:
            assert b"" == data

    def check_request(self, seen: Seen, request: ReferenceRequest) -> None:
        scope = seen.scope
        target = scope["raw_path"] + b"?" * bool(scope["query_string"]) + scope["query_string"]
        assert request.method == scope["method"].encode()
        assert request.http_version == scope["http_version"].encode()
        assert target in {each.removesuffix(b"?") for each in request.targets}
        assert request.content.startswith(seen.content) or request.is_doubtful
        assert not seen.has_all or request.is_doubtful or (request.is_whole and seen.content == request.content)
        assert seen.refusal in (0, 400, 408)
        assert seen.refusal != 400 or request.is_refused or request.is_doubtful
        assert seen.refusal != 408 or self.is_disturbed
        if seen.plan.reads == 1000 and not (self.is_disturbed or request.is_doubtful):
            assert request.is_whole == seen.has_all
            assert request.is_refused == (seen.refusal == 400)
            assert seen.is_gone == request.ends_early or seen.is_complete or self.may_count_as_gone(seen)
        assert seen.is_over

    def may_count_as_gone(self, seen: Seen) -> bool:
        """A client that closes its half just when the application checks whether it has left counts as having left."""
        return seen.plan.polls and self.is_half_closed

    def check_response(self, seen: Seen, request: ReferenceRequest, response: Response | None) -> bool:
        """Compare a response with what the application sent; return whether another may follow."""
        has_content = request.method != b"HEAD" and seen.status not in (204, 304)
        fails_late = seen.status != 0 and has_content and not seen.is_complete
        if response is None or not response.is_whole:
            is_expected = fails_late or request.ends_early or request.is_doubtful or self.may_count_as_gone(seen)
            assert self.is_disturbed or is_expected
        if response is None:
            return False
        assert response.interim <= (request.expects_continue and request.has_body)
        # Before the first part of the content, nothing has been sent yet.
        has_begun = seen.has_begun or not has_content
        assert ((seen.status if has_begun else 0) or 500) == response.status
        if response.status == 500:
            return False
        if response.is_whole:
            is_cut_off = request.http_version == b"1.0" and seen.plan.is_streamed and not seen.is_complete
            assert (seen.sent * has_content == response.content) or (is_cut_off or self.is_disturbed)
        assert seen.sent.startswith(response.content)
        must_close = (
            not request.keep_alive
            or seen.plan.closes
            or bool(seen.refusal)
            or not (request.is_whole or request.is_doubtful)
        )
        may_close = self.is_disturbed or request.is_doubtful or (request.has_body and not seen.had_all)
        assert not must_close or response.closes
        assert not response.closes or must_close or may_close
        # A failure may come after everything that the client is waiting for.
        return response.is_whole and not response.closes and not fails_late

    def check_rest(self, reference: Reference, data: bytes) -> None:
        """Check that what is not a request is refused at most once, and correctly."""
        # A HEAD that times out may not have been recognizable when it was refused.
        is_head = reference.rest.startswith(b"HEAD ") and data.endswith(b"\r\n\r\n")
        response, rest = read_response(data, b"HEAD" if is_head else b"GET")
        assert b"" == rest
        if not self.is_disturbed:
            assert len(self.app.seen) == len(reference.requests)
            assert (response is not None) == bool(reference.refusals)
        if response is not None:
            assert response.status in (reference.refusals | ({408, 400, 431} if self.is_disturbed else set()))
            assert response.closes
            assert response.is_whole or self.is_disturbed

    def check_what_is_left(self) -> None:
        """Check that nothing is left: no descriptor, no task, no timer, no connection that the server knows of."""
        self.client.close()
        self.run(self.settle())
        assert set() == self.state.connections
        assert set() == self.state.tasks
        assert set() == asyncio.all_tasks(self.loop)
        assert self.clock.next_at() is None
        assert self.descriptors == descriptors(os.getpid())


@contextlib.contextmanager
def conversations(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[Callable[[], Conversation]]:
    """Yield a function that starts a conversation; all conversations share one event loop."""
    problems = Problems()
    config = Config(App(), lifespan="off", log_config=None, proxy_headers=False, interface="asgi3")
    config.load()
    with contextlib.closing(new_loop()) as loop, problems.watched():
        loop.set_exception_handler(lambda _, context: problems.found.append(repr(context)))
        # uvloop opens some descriptors when it first needs them.
        loop.run_until_complete(Conversation(loop, config, problems).clear_up())
        yield lambda: Conversation(loop, config, problems)
