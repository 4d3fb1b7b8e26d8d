"""
Writers that put load on servers, and know what the database must and may contain afterwards.

Each writer has its own user and one request in flight.  It tracks the states that each of its tasks may be in: an
acknowledged write leaves exactly one; a write that was refused or cut off may leave any state from before or after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import attrs
import httpx

from taskd.testing import RunningServer, running_server
from tests.conftest import token_for
from tests.support.processes import SERVE

__all__ = [
    "NO_RESPONSE_S",
    "Load",
    "Outcome",
    "Response",
    "Target",
    "Writer",
    "address_of",
    "ask",
    "load",
    "refusal_fault",
    "request_bytes",
    "target",
]

WRITERS = 8
# Longer than clients are promised: a response that takes even longer is reported as no response at all.
NO_RESPONSE_S = 30
# How long a refused writer waits.  It is impatient: Retry-After asks it to wait longer.
REFUSED_PAUSE_S = 0.05


@attrs.frozen
class Response:
    """An HTTP response; the names of *headers* are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def request_bytes(
    method: str, path: str, token: str, body: object = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """Return a whole request, with *body* as JSON if there is one."""
    content = b"" if body is None else json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", "Host: taskd", f"Authorization: Bearer {token}"]
    head += [f"{name}: {value}" for name, value in (headers or {}).items()]
    head += [] if body is None else ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*head, "", ""]).encode() + content


def address_of(server: RunningServer) -> tuple[str, int]:
    """Return the address of *server*."""
    url = httpx.URL(server.url)
    return url.host, url.port or 80


@attrs.define
class Connection:
    """A persistent connection; it uses less CPU time than any HTTP client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, server: RunningServer) -> Connection:
        return cls(*await asyncio.open_connection(*address_of(server)))

    async def ask(self, request: bytes) -> Response:
        """Send *request* and return the response, or raise OSError or EOFError if the connection ends first."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        is_chunked = headers.get("transfer-encoding") == "chunked"
        length = int(headers.get("content-length", "0"))
        body = await (self._read_chunks() if is_chunked else self.reader.readexactly(length))
        return Response(int(status_line.split()[1]), headers, body)

    async def _read_chunks(self) -> bytes:
        """Return a body without its chunks, as a long list has."""
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)
        return body

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def ask(server: RunningServer, request: bytes) -> Response:
    """Send *request* on its own connection and return the response."""
    connection = await Connection.open(server)
    try:
        async with asyncio.timeout(NO_RESPONSE_S):
            return await connection.ask(request)
    finally:
        await connection.close()


def refusal_fault(response: Response) -> str | None:
    """Return a complaint unless *response* is a proper refusal: a 503 with Retry-After in seconds."""
    is_json = response.headers.get("content-type") == "application/json"
    body = response.json() if is_json else None
    has_code = isinstance(body, dict) and {"detail": str(body.get("detail")), "code": "unavailable"} == body
    is_refusal = response.status == 503 and response.headers.get("retry-after", "").isdecimal() and has_code
    return None if is_refusal else f"a response that is not a refusal: {response}"


@attrs.define(eq=False)
class Target:
    """A server that may be killed and replaced: writers always use the current one."""

    environ: Mapping[str, str]
    arguments: Sequence[str]
    server: RunningServer = attrs.field(init=False)
    output: str = ""
    is_up: asyncio.Event = attrs.field(factory=asyncio.Event)
    _processes: contextlib.ExitStack = attrs.field(factory=contextlib.ExitStack)

    async def start(self) -> None:
        process = running_server(self.environ, self.arguments)
        self.server = await asyncio.to_thread(self._processes.enter_context, process)
        self.is_up.set()

    async def kill(self) -> None:
        # From here on, connections may break.
        self.is_up.clear()
        self.output += self.server.output + await asyncio.to_thread(self.server.kill)

    async def stop(self) -> None:
        self.output += self.server.output + await asyncio.to_thread(self.server.stop)

    async def close(self) -> None:
        await asyncio.to_thread(self._processes.close)

    def is_alive(self, server: RunningServer) -> bool:
        """Tell whether *server* is the current one, and is not being killed."""
        return server is self.server and self.is_up.is_set()


@contextlib.asynccontextmanager
async def target(environ: Mapping[str, str], arguments: Sequence[str] = SERVE) -> AsyncIterator[Target]:
    """Run a server, which may be killed and replaced, for as long as the block lasts."""
    running = Target(environ, arguments)
    try:
        await running.start()
        yield running
    finally:
        await running.close()


@attrs.frozen
class State:
    """What a writer has set in a task that exists."""

    title: str
    description: str
    is_completed: bool


@attrs.define(eq=False)
class TrackedTask:
    """A writer's task, and the states that it may be in; None means that it does not exist."""

    title: str
    states: set[State | None] = attrs.field(factory=lambda: {None})
    id: str | None = None

    def may_be_there(self) -> bool:
        return self.id is not None and self.states != {None}


@attrs.frozen
class Operation:
    """
    A request about one task.

    Attributes:
        effect: Returns the state after the request, given the state before it.
        status: The status if it succeeds; if there is no task, 404 is just as good.
    """

    task: TrackedTask
    method: str
    path: str
    body: object
    effect: Callable[[State | None], State | None]
    status: int = 200

    def expected(self, before: State | None) -> tuple[int, State | None]:
        """Return the status and the task that are expected in the response if the task's state is *before*."""
        if before is None and self.method != "POST":
            return 404, None
        return self.status, self.effect(before)

    def on_response(self, response: Response) -> str | None:
        """Keep the states that follow from those that agree with *response*; return what is wrong if there are none."""
        seen = response.status, state_of(response.json()) if response.status in (200, 201) else None
        possible = self.task.states
        self.task.states = {self.effect(state) for state in possible if self.expected(state) == seen}
        return None if self.task.states else f"{self.method} {self.path} of {possible} answered {response}"

    def on_doubt(self) -> None:
        """Keep the states from before the request as well as those from after it."""
        self.task.states |= {self.effect(state) for state in self.task.states}


def state_of(task: Mapping[str, Any]) -> State:
    """Return the state of a task in a response."""
    return State(task["title"], task["description"], task["is_completed"])


class Outcome(enum.Enum):
    """How a request ended."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@attrs.frozen
class Exchange:
    """A request of *writer* that has ended."""

    writer: Writer
    sent_s: float
    ended_s: float
    outcome: Outcome


@attrs.define(eq=False)
class Writer:
    """A user who creates tasks, and reads, changes, toggles and deletes some of them."""

    number: int
    target: Target
    user_id: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    tasks: list[TrackedTask] = attrs.field(factory=list)
    faults: list[str] = attrs.field(factory=list)
    _random: random.Random = attrs.field(init=False)
    _token: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.number)
        self._token = token_for(self.user_id)

    def next_operation(self) -> Operation:
        """Choose what to do next; about half of the time, that is a new task."""
        there = [task for task in self.tasks[-50:] if task.may_be_there()]
        if not there or self._random.random() < 0.5:
            return self._create()
        act = self._random.choice([self._read, self._update, self._update, self._toggle, self._delete])
        return act(self._random.choice(there))

    def _create(self) -> Operation:
        # Unique over all rounds: if a title is found twice, it was written twice.
        task = TrackedTask(f"{self.number}-{len(self.tasks)}")
        self.tasks.append(task)
        new = State(task.title, "new", is_completed=False)
        body = {"title": new.title, "description": new.description}
        return Operation(task, "POST", "", body, lambda _: new, 201)

    def _read(self, task: TrackedTask) -> Operation:
        return Operation(task, "GET", f"/{task.id}", None, lambda state: state)

    def _update(self, task: TrackedTask) -> Operation:
        text = f"update {self._random.getrandbits(64):x}"
        return Operation(
            task,
            "PUT",
            f"/{task.id}",
            {"description": text},
            lambda state: state and attrs.evolve(state, description=text),
        )

    def _toggle(self, task: TrackedTask) -> Operation:
        return Operation(
            task,
            "PATCH",
            f"/{task.id}/complete",
            None,
            lambda state: state and attrs.evolve(state, is_completed=not state.is_completed),
        )

    def _delete(self, task: TrackedTask) -> Operation:
        return Operation(task, "DELETE", f"/{task.id}", None, lambda _: None, 204)

    async def run(self, connection: Connection, operation: Operation) -> Outcome:
        """Send *operation*, compare its response with the possible ones, and update the possible states."""
        server = self.target.server
        path = f"/api/{self.user_id}/tasks{operation.path}"
        try:
            async with asyncio.timeout(NO_RESPONSE_S):
                response = await connection.ask(request_bytes(operation.method, path, self._token, operation.body))
        except (OSError, EOFError) as error:
            operation.on_doubt()
            self._note(
                f"{operation.method} {path}: {error!r} of a live server" if self.target.is_alive(server) else None
            )
            return Outcome.UNKNOWN
        if response.status == 503:
            operation.on_doubt()
            self._note(refusal_fault(response))
            return Outcome.REFUSED
        self._note(operation.on_response(response))
        if response.status == 201:
            operation.task.id = response.json()["id"]
        return Outcome.ACKNOWLEDGED

    def _note(self, fault: str | None) -> None:
        self.faults += [] if fault is None else [fault]

    async def verify(self) -> None:
        """Read all tasks back and compare them with the possible states."""
        response = await ask(self.target.server, request_bytes("GET", f"/api/{self.user_id}/tasks", self._token))
        found: dict[str, list[State]] = {}
        for task in response.json():
            found.setdefault(task["title"], []).append(state_of(task))
        for tracked in self.tasks:
            states: Sequence[State | None] = found.pop(tracked.title, [None])
            if len(states) > 1:
                self.faults.append(f"{tracked.title} is there twice: {states}")
            elif states[0] not in tracked.states:
                self.faults.append(f"{tracked.title} is {states[0]}, but may only be {tracked.states}")
        self.faults += [f"{title} was never sent" for title in found]


@attrs.define(eq=False)
class Load:
    """Writers at work, and the outcomes of their requests."""

    writers: Sequence[Writer]
    journal: list[Exchange] = attrs.field(factory=list)
    _is_over: bool = False
    _progress: asyncio.Event = attrs.field(factory=asyncio.Event)

    def count(self, outcome: Outcome) -> int:
        return sum(exchange.outcome is outcome for exchange in self.journal)

    def longest_s(self) -> float:
        return max(exchange.ended_s - exchange.sent_s for exchange in self.journal)

    def faults(self) -> list[str]:
        return [fault for writer in self.writers for fault in writer.faults]

    async def more(self, count: int, outcome: Outcome = Outcome.ACKNOWLEDGED) -> None:
        """Wait until *count* more requests have ended in *outcome*."""
        start = len(self.journal)
        await self._until(lambda: sum(each.outcome is outcome for each in self.journal[start:]) >= count)

    async def each(self, outcome: Outcome) -> float:
        """Wait until each writer has sent another request that has ended in *outcome*; return how long that took."""
        since = time.monotonic()
        start = len(self.journal)

        def have_all() -> bool:
            recent = self.journal[start:]
            done = {each.writer for each in recent if each.outcome is outcome and each.sent_s >= since}
            return len(done) == len(self.writers)

        await self._until(have_all)
        return time.monotonic() - since

    async def _until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(NO_RESPONSE_S):
            while not is_so():
                self._progress.clear()
                await self._progress.wait()

    async def _write(self, writer: Writer) -> None:
        while not self._is_over:
            await writer.target.is_up.wait()
            with contextlib.suppress(OSError):
                connection = await Connection.open(writer.target.server)
                await self._write_to(writer, connection)
                await connection.close()

    async def _write_to(self, writer: Writer, connection: Connection) -> None:
        outcome = Outcome.ACKNOWLEDGED
        while not self._is_over and outcome is not Outcome.UNKNOWN:
            sent_s = time.monotonic()
            outcome = await writer.run(connection, writer.next_operation())
            self.journal.append(Exchange(writer, sent_s, time.monotonic(), outcome))
            self._progress.set()
            if outcome is Outcome.REFUSED:
                await asyncio.sleep(REFUSED_PAUSE_S)


@contextlib.asynccontextmanager
async def load(*targets: Target) -> AsyncIterator[Load]:
    """Let writers work on *targets* for the duration of the block, and check the database afterwards."""
    working = Load([Writer(number, targets[number % len(targets)]) for number in range(WRITERS)])
    async with asyncio.TaskGroup() as group:
        for writer in working.writers:
            group.create_task(working._write(writer))
        yield working
        working._is_over = True
    for writer in working.writers:
        await writer.verify()
