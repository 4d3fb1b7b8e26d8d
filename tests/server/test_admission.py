"""Which requests wait under overload, and what those get that have waited too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from taskd.auth import User
from taskd.limiter import Overloaded
from taskd.server.admission import HAS_LEFT, Admission
from taskd.server.gates import LOOK_INTERVAL_S, MAX_STORE_WAIT_S, GateLimits
from taskd.storage import TaskStore
from tests.conftest import ORIGIN, SECRET, client_of
from tests.support.serving import until
from tests.support.third_parties import Site, auth_source

START_CAPACITY, MIN_CAPACITY = GateLimits().start, GateLimits().minimum
# Where no credentials are recognized.
STRANGE = "/strange"
# Knows alice, whatever the key.
KEY_AUTH = auth_source("return AuthCredentials(), taskd.auth.User('alice')")
# However slow the machine is, nothing is refused for waiting.
PATIENCE_S = 60.0

pytestmark = pytest.mark.anyio


class IdleStore(TaskStore):
    """A store of which only one thing is asked here: how long calls wait, of each kind."""

    def __init__(self) -> None:
        self.read_wait_s = self.write_wait_s = 0.0

    def waited_s(self, *, is_read: bool) -> float:
        return self.read_wait_s if is_read else self.write_wait_s

    async def ping(self) -> None:
        raise NotImplementedError

    list = seq = get = create = update = toggle = delete = ping  # type: ignore[assignment]


class Endpoint:
    """An application whose requests come to their end when the test wants that."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.may_end = asyncio.Event()

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        self.running.append(scope["path"])
        [authorization] = [value for name, value in scope["headers"] if name == b"authorization"]
        if scope["path"] != STRANGE:
            scope["user"] = User(authorization.decode().removeprefix("Bearer "))
        await self.may_end.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def store() -> IdleStore:
    return IdleStore()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    made = Endpoint()
    yield made
    made.may_end.set()


@pytest.fixture
async def admission(endpoint: Endpoint, store: IdleStore) -> Admission:
    """One that knows alice and bob."""
    made = Admission(endpoint, store, PATIENCE_S)
    endpoint.may_end.set()
    for user in ("alice", "bob"):
        await request(made, user=user)
    endpoint.may_end.clear()
    endpoint.running.clear()
    return made


def request(
    app: ASGIApp, path: str = "/api/alice/tasks", user: str = "alice", method: str = "GET"
) -> asyncio.Task[httpx.Response]:
    """Begin to send a request."""

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://taskd") as client:
            return await client.request(method, path, headers={"Authorization": f"Bearer {user}"})

    return asyncio.create_task(send())


async def flood(app: ASGIApp, endpoint: Endpoint, store: IdleStore, method: str = "GET") -> list[Any]:
    """Let one client ask for more than is taken on, while the store can take no more."""
    store.read_wait_s = store.write_wait_s = 2 * MAX_STORE_WAIT_S
    requests = [request(app, method=method) for _ in range(2 * START_CAPACITY)]
    await until(lambda: len(endpoint.running) >= MIN_CAPACITY and gate_of(app, method).limiter.capacity == MIN_CAPACITY)
    return requests


def gate_of(app: Any, method: str = "GET") -> Any:
    return app._gates.reads if method == "GET" else app._gates.writes


async def first_gate(admission: Any) -> Any:
    """The gate at which strangers wait, as soon as it is there."""
    await until(lambda: admission._gates is not None)
    return admission._gates.strangers


async def test_what_is_too_much_waits_and_is_served_in_the_end(
    admission: Admission, endpoint: Endpoint, store: IdleStore
) -> None:
    """A burst is no overload: nothing of it is refused."""
    requests = await flood(admission, endpoint, store)
    before = len(endpoint.running)
    endpoint.may_end.set()
    responses = await asyncio.gather(*requests)

    assert before < len(requests)
    assert {200} == {response.status_code for response in responses}


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_a_supervisor_never_waits(admission: Admission, endpoint: Endpoint, store: IdleStore, path: str) -> None:
    """However many wait."""
    requests = await flood(admission, endpoint, store)
    asked = request(admission, path)
    await until(lambda: path in endpoint.running)
    endpoint.may_end.set()

    assert 200 == (await asked).status_code
    await asyncio.gather(*requests)


async def test_another_client_is_taken_on_at_once(admission: Admission, endpoint: Endpoint, store: IdleStore) -> None:
    """One client's flood leaves a part of the capacity to others."""
    gate = gate_of(admission)
    gate.limiter.per_key, gate.limiter.capacity = START_CAPACITY // 2, START_CAPACITY
    store.read_wait_s = 0.0
    requests = [request(admission) for _ in range(START_CAPACITY)]
    await until(lambda: gate.limiter.waiting > 0)
    other = request(admission, "/api/bob/tasks", user="bob")
    await until(lambda: "/api/bob/tasks" in endpoint.running)
    waiting = gate.limiter.waiting
    endpoint.may_end.set()

    assert waiting > 0
    assert {200} == {response.status_code for response in await asyncio.gather(other, *requests)}


async def test_reads_do_not_wait_for_writes(admission: Admission, endpoint: Endpoint, store: IdleStore) -> None:
    """A store that can write no more may well be read."""
    requests = await flood(admission, endpoint, store, "POST")
    store.read_wait_s = 0.0
    read = request(admission, "/api/alice/tasks/1")
    await until(lambda: "/api/alice/tasks/1" in endpoint.running)
    endpoint.may_end.set()

    assert {200} == {response.status_code for response in await asyncio.gather(read, *requests)}


async def test_more_are_taken_on_when_that_does_no_harm(admission: Admission, endpoint: Endpoint) -> None:
    """Requests that wait for something else than this process, a slow client for one, keep nobody out."""
    # The machine on which this is run may be late for its own reasons.
    gate_of(admission).limits = GateLimits(max_lag_s=60)
    requests = [request(admission) for _ in range(10 * START_CAPACITY)]
    await until(lambda: len(endpoint.running) == len(requests))
    endpoint.may_end.set()

    assert {200} == {response.status_code for response in await asyncio.gather(*requests)}


async def test_a_response_that_has_begun_keeps_nobody_out(store: IdleStore) -> None:
    """A stream without an end, or a client that reads slowly, is no work that others would have to wait for."""
    may_end = asyncio.Event()

    async def stream(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await may_end.wait()
        await send({"type": "http.response.body", "body": b""})

    admission = Admission(stream, store, PATIENCE_S)
    requests = [request(admission) for _ in range(2 * START_CAPACITY)]
    gate = await first_gate(admission)
    await until(lambda: 0 == gate.limiter.in_use == gate.limiter.waiting)
    may_end.set()

    assert {200} == {response.status_code for response in await asyncio.gather(*requests)}


async def test_a_client_that_is_slow_to_send_keeps_nobody_out(store: IdleStore) -> None:
    """While the rest of a body is waited for, its request has no place, and afterwards it has one again."""
    may_come = asyncio.Event()
    in_use: list[int] = []

    async def read_body(_: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        in_use.append((await first_gate(patient)).limiter.in_use)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        await may_come.wait()
        yield b"b"

    async def post() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(patient), base_url="http://taskd") as client:
            return (await client.post("/api/alice/tasks", content=body())).status_code

    patient = Admission(read_body, store, PATIENCE_S)
    posts = [asyncio.create_task(post()) for _ in range(2 * START_CAPACITY)]
    gate = await first_gate(patient)
    await until(lambda: 0 == gate.limiter.in_use == gate.limiter.waiting)
    may_come.set()

    assert [200] * len(posts) == await asyncio.gather(*posts)
    assert 0 < min(in_use)


async def test_a_server_may_deal_with_what_happens_while_it_waits_for_a_body(store: IdleStore) -> None:
    """A time-out of its own, for one, is none for the application."""
    received: list[Any] = []

    async def receive() -> Any:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
        return {"type": "http.request", "body": b"a", "more_body": False}

    async def send(_: Any) -> None:
        raise NotImplementedError

    async def read_body(_: Scope, receive: Receive, __: Send) -> None:
        received.append(await receive())

    scope = {"type": "http", "method": "POST", "path": "/api/alice/tasks", "headers": []}
    await Admission(read_body, store, PATIENCE_S)(scope, receive, send)

    assert [b"a"] == [message["body"] for message in received]


async def test_strangers_keep_no_user_out(admission: Admission, endpoint: Endpoint) -> None:
    """However many credentials they make up."""
    strangers = [request(admission, STRANGE, user=str(number)) for number in range(4 * START_CAPACITY)]
    gate = await first_gate(admission)
    gate.limiter.capacity = 0
    await until(lambda: gate.limiter.waiting > 0)
    known = request(admission)
    await until(lambda: "/api/alice/tasks" in endpoint.running)
    gate.limiter.capacity = START_CAPACITY
    endpoint.may_end.set()

    assert {200} == {response.status_code for response in await asyncio.gather(known, *strangers)}


async def test_one_client_is_one_client_with_any_credentials(admission: Admission, endpoint: Endpoint) -> None:
    """Another spelling of the same token gives no other place in the queue."""
    endpoint.may_end.set()
    await request(admission, user="alice ")
    hashes = admission._users

    assert 3 == len(hashes)
    assert {"alice", "bob", "alice "} == set(hashes.values())


async def test_quick_requests_do_not_all_run_in_one_turn(store: IdleStore) -> None:
    """A thousand that need no more than one step of the event loop would hold up everybody else."""
    turns: list[int] = []

    async def quick(_: Scope, __: Receive, send: Send) -> None:
        turns[-1] += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def turn() -> None:
        turns.append(0)
        asyncio.get_running_loop().call_soon(turn)

    turn()
    admission = Admission(quick, store, PATIENCE_S, limits=GateLimits(increase=1))
    requests = [request(admission) for _ in range(1000)]
    responses = await asyncio.gather(*requests)

    assert {200} == {response.status_code for response in responses}
    assert max(turns) <= START_CAPACITY


async def test_a_store_that_fails_to_say_how_long_calls_wait_is_not_asked_again(
    admission: Admission,
    endpoint: Endpoint,
    store: IdleStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Requests are taken on all the same, and the log says so once."""

    def fail(**_: bool) -> float:
        raise RuntimeError

    monkeypatch.setattr(store, "waited_s", fail)
    requests = [request(admission) for _ in range(4 * START_CAPACITY)]
    await until(lambda: bool(caplog.records))
    endpoint.may_end.set()

    assert {200} == {response.status_code for response in await asyncio.gather(*requests)}
    assert 1 == len(caplog.records)


def test_another_event_loop_has_gates_of_its_own(store: IdleStore) -> None:
    """A server that is started again, in the same process, does not inherit who waited."""
    endpoint = Endpoint()
    admission = Admission(endpoint, store, PATIENCE_S)

    async def serve() -> int:
        asked = request(admission)
        await until(lambda: len(endpoint.running) == 1)
        endpoint.may_end.set()
        return (await asked).status_code

    statuses = []
    for _ in range(2):
        endpoint.running, endpoint.may_end = [], asyncio.Event()
        statuses.append(asyncio.run(serve()))

    assert [200, 200] == statuses


async def test_the_gate_rests_when_nobody_waits(admission: Admission, endpoint: Endpoint, store: IdleStore) -> None:
    """An idle server has no timer of it."""
    requests = await flood(admission, endpoint, store)
    endpoint.may_end.set()
    await asyncio.gather(*requests)
    await until(lambda: gate_of(admission)._next_look is None)

    assert 0 == gate_of(admission).limiter.in_use


async def test_a_late_event_loop_takes_on_fewer(admission: Admission) -> None:
    """As long as it is late."""
    gate = gate_of(admission)
    gate.limits = GateLimits(increase=1)
    loop = asyncio.get_running_loop()
    for _ in range(2 * START_CAPACITY):
        gate.limiter.enqueue("alice", loop.create_future())
    for late_s, factor in ((1.0, 0.5), (0.0, 1.0)):
        before = gate.limiter.capacity
        gate._look(loop, loop.time() + LOOK_INTERVAL_S - late_s)

        assert int(before * factor) == gate.limiter.capacity


def head_of(user: str, target: str = "/") -> bytes:
    """Return the head of a request with the token of *user*."""
    return f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user}\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("user", "target"),
    [
        ("carol", "/api/carol/tasks"),
        ("alice", "/livez"),
        ("alice", "/readyz/"),
        ("alice", "/livez?verbose"),
        ("alice", "http://localhost:8000/livez"),
    ],
)
async def test_only_requests_of_users_wait_in_the_server(admission: Admission, user: str, target: str) -> None:
    """Who strangers are is known after proxies were asked, and a supervisor does not wait."""
    assert admission.enqueue(head_of(user, target)) is None
    assert admission.enqueue(head_of("alice", "/livezx")) is not None


@pytest.mark.parametrize(
    ("sent", "is_known"),
    [
        ({"x-key": "k", "x-tenant": "t"}, True),
        ({"x-key": "k", "accept": "text/html", "x-tenant": "t"}, True),
        ({"x-key": "k", "x-tenant": "u"}, False),
        ({"x-key": "k"}, False),
        ({"accept": "text/html"}, False),
        ({"authorization": "k"}, False),
    ],
    ids=str,
)
async def test_a_user_is_known_by_all_headers_that_the_backend_reads(
    site: Site, settings: dict[str, str], sent: dict[str, str], is_known: bool
) -> None:
    """Any of them may decide who the user is; no other header does."""
    site.install("key", KEY_AUTH + "\nBackend.request_headers = ['X-Key', 'X-Tenant']\n")

    assert is_known == await is_known_after(settings, {"X-Key": "k", "X-Tenant": "t"}, sent)


@pytest.mark.parametrize(("sent", "is_known"), [("k", True), ("l", False)])
async def test_a_user_is_known_by_the_header_that_the_backend_reads(
    site: Site, settings: dict[str, str], sent: str, is_known: bool
) -> None:
    """Which need not be `Authorization`."""
    site.install("key", KEY_AUTH + "\nBackend.request_headers = ['X-Key']\n")

    assert is_known == await is_known_after(settings, {"X-Key": "k"}, {"x-key": sent})


async def is_known_after(settings: dict[str, str], first: dict[str, str], second: dict[str, str]) -> bool:
    """Send a request with the headers *first*, and return whether the user of one with *second* is known then."""
    from taskd import build_app  # noqa: PLC0415

    app: Any = build_app(settings | {"TASKD_AUTH": "key"})
    async with client_of(app) as client:
        await client.get("/api/alice/tasks/none", headers=first)
    headers = "".join(f"{name}: {value}\r\n" for name, value in second.items())
    place = app._asgi.app.enqueue(f"GET /api/alice/tasks HTTP/1.1\r\n{headers}\r\n".encode())
    return place is not None


async def test_a_request_that_leaves_before_its_turn_is_not_begun(admission: Admission) -> None:
    """And the next one gets its place."""
    admission.enqueue(head_of("bob"))
    gate = gate_of(admission)
    gate.limiter.per_key = gate.limiter.capacity = 1
    places = [admission.enqueue(head_of("alice")) for _ in range(2)]
    begun: list[int] = []
    for number, place in enumerate(places):
        assert place is not None
        place.call_on_turn(partial(begun.append, number))
    assert places[0] is not None
    places[0].leave()
    gate.limiter.release("bob")
    await until(lambda: bool(begun))

    assert [1] == begun
    assert 1 == gate.limiter.in_use


async def test_the_queue_is_bounded(admission: Admission) -> None:
    """Beyond its bound a request is refused at once, by the application: its response is like all others."""
    admission.enqueue(head_of("bob"))
    gate = gate_of(admission)
    gate.limiter.capacity = gate.limiter.max_waiting = 0
    refused = admission.enqueue(head_of("alice"))
    begun: list[bool] = []
    assert refused is not None
    refused.call_on_turn(lambda: begun.append(True))

    assert [True] == begun
    with pytest.raises(Overloaded):
        await refused.wait()


@pytest.fixture
def settings() -> dict[str, str]:
    given = {"BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN, "TASKD_QUEUE_TIMEOUT": "0.1"}
    return {"DATABASE_URL": "sqlite:///tasks.db", **given}


async def test_a_refusal_says_when_to_come_again(settings: dict[str, str]) -> None:
    """In the form of all errors, so that a page may read it; not all clients are told the same time."""
    from taskd import build_app  # noqa: PLC0415

    app: Any = build_app(settings)
    # Every gate refuses, as if too many had been waiting for too long.
    app._asgi.app.limits = GateLimits(start=0, minimum=0)
    async with client_of(app, "alice") as client:
        responses = [await client.get("/api/alice/tasks", headers={"Origin": ORIGIN}) for _ in range(3)]

    assert {503} == {response.status_code for response in responses}
    assert {"1", "2", "3"} == {response.headers["Retry-After"] for response in responses}
    assert {ORIGIN} == {response.headers["Access-Control-Allow-Origin"] for response in responses}
    assert {"no-store"} == {response.headers["Cache-Control"] for response in responses}
    refusal = {"detail": "The server is overloaded; try again later.", "code": "unavailable"}
    assert [refusal] * 3 == [response.json() for response in responses]


async def test_a_client_that_left_while_it_waited_is_refused(
    admission: Admission, endpoint: Endpoint, store: IdleStore
) -> None:
    """It may have come again by then, and the server has enough to do with that."""
    requests = await flood(admission, endpoint, store)
    paths = {"/gone": True, "/here": False}
    scopes = [
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "headers": [(b"authorization", b"Bearer alice")],
            "extensions": {HAS_LEFT: lambda has_left=has_left: has_left},
        }
        for path, has_left in paths.items()
    ]

    statuses: list[int] = []

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    async def receive() -> Any:
        raise NotImplementedError

    before = gate_of(admission).limiter.waiting
    waiting = [asyncio.create_task(admission(scope, receive, send)) for scope in scopes]
    await until(lambda: gate_of(admission).limiter.waiting == before + len(scopes))
    endpoint.may_end.set()
    await asyncio.gather(*requests, *waiting)
    await until(lambda: not gate_of(admission).limiter.in_use)

    assert {"/gone", "/here"} & set(endpoint.running) == {"/here"}
    assert {200, 503, None} == set(statuses)
