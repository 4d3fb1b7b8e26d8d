"""Which requests wait under overload, and what happens to those that have waited too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from taskd.auth import User
from taskd.limiter import Overloaded
from taskd.server.admission import HAS_LEFT, Admission
from taskd.server.gates import MAX_STORE_WAIT_S, TURNS_OF_REQUEST, Gate, GateLimits
from taskd.storage import TaskStore
from tests.conftest import ORIGIN, SECRET, client_of
from tests.support.serving import until
from tests.support.third_parties import Site, auth_source

START_CAPACITY, MIN_CAPACITY = GateLimits().start, GateLimits().minimum
# An application in which no credentials are recognized.
STRANGE = "/strange"
# Recognizes alice, whatever the key.
KEY_AUTH = auth_source("return AuthCredentials(), taskd.auth.User('alice')")
# No request is refused for waiting, however slow the machine is.
PATIENCE_S = 60.0

pytestmark = pytest.mark.anyio


class IdleStore(TaskStore):
    """A store that only reports how long calls wait, for reads and for writes."""

    def __init__(self) -> None:
        self.read_wait_s = self.write_wait_s = 0.0

    def waited_s(self, *, is_read: bool) -> float:
        return self.read_wait_s if is_read else self.write_wait_s

    async def ping(self) -> None:
        raise NotImplementedError

    list = seq = get = create = update = toggle = delete = ping  # type: ignore[assignment]


class Endpoint:
    """An application whose requests end when the test says so."""

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
    """Return an application that recognizes alice and bob."""
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
    """Start a request."""

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://taskd") as client:
            return await client.request(method, path, headers={"Authorization": f"Bearer {user}"})

    return asyncio.create_task(send())


async def flood(app: ASGIApp, endpoint: Endpoint, store: IdleStore, method: str = "GET") -> list[Any]:
    """Let one client send more requests than are admitted, while the store is at its limit."""
    store.read_wait_s = store.write_wait_s = 2 * MAX_STORE_WAIT_S
    requests = [request(app, method=method) for _ in range(2 * START_CAPACITY)]
    await until(lambda: len(endpoint.running) >= MIN_CAPACITY and gate_of(app, method).limiter.capacity == MIN_CAPACITY)
    return requests


def gate_of(app: Any, method: str = "GET") -> Any:
    return app._gates.reads if method == "GET" else app._gates.writes


async def first_gate(admission: Any) -> Any:
    """Return the gate at which unknown clients wait, once it exists."""
    await until(lambda: admission._gates is not None)
    return admission._gates.strangers


async def test_excess_requests_wait_and_are_served(admission: Admission, endpoint: Endpoint, store: IdleStore) -> None:
    """A burst is not an overload: none of its requests are refused."""
    requests = await flood(admission, endpoint, store)
    before = len(endpoint.running)
    endpoint.may_end.set()
    responses = await asyncio.gather(*requests)

    assert before < len(requests)
    assert {200} == {response.status_code for response in responses}


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_checks_never_wait(admission: Admission, endpoint: Endpoint, store: IdleStore, path: str) -> None:
    """This holds however many requests are waiting."""
    requests = await flood(admission, endpoint, store)
    asked = request(admission, path)
    await until(lambda: path in endpoint.running)
    endpoint.may_end.set()

    assert 200 == (await asked).status_code
    await asyncio.gather(*requests)


async def test_another_client_is_admitted_at_once(admission: Admission, endpoint: Endpoint, store: IdleStore) -> None:
    """A flood from one client leaves some of the capacity to others."""
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
    """A store that is too slow for more writes may still be able to serve reads."""
    requests = await flood(admission, endpoint, store, "POST")
    store.read_wait_s = 0.0
    read = request(admission, "/api/alice/tasks/1")
    await until(lambda: "/api/alice/tasks/1" in endpoint.running)
    endpoint.may_end.set()

    assert {200} == {response.status_code for response in await asyncio.gather(read, *requests)}


async def test_more_requests_are_admitted_if_that_does_no_harm(admission: Admission, endpoint: Endpoint) -> None:
    """Requests that wait for something outside this process, such as a slow client, do not block others."""
    # The machine that runs this may be late for other reasons.
    gate_of(admission).limits = GateLimits(max_turns_s=60)
    requests = [request(admission) for _ in range(10 * START_CAPACITY)]
    await until(lambda: len(endpoint.running) == len(requests))
    endpoint.may_end.set()

    assert {200} == {response.status_code for response in await asyncio.gather(*requests)}


async def test_a_started_response_does_not_block_others(store: IdleStore) -> None:
    """An endless stream, or a client that reads slowly, is not work that others would have to wait for."""
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


async def test_a_client_that_sends_slowly_does_not_block_others(store: IdleStore) -> None:
    """While a request waits for the rest of its body it has no place; afterwards, it has one again."""
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


async def test_a_server_may_handle_a_time_out_while_it_waits_for_a_body(store: IdleStore) -> None:
    """The application does not notice such a time-out."""
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


async def test_unknown_clients_do_not_block_users(admission: Admission, endpoint: Endpoint) -> None:
    """This holds however many credentials they make up."""
    strangers = [request(admission, STRANGE, user=str(number)) for number in range(4 * START_CAPACITY)]
    gate = await first_gate(admission)
    gate._set_capacity(0)
    await until(lambda: gate.limiter.waiting > 0)
    known = request(admission)
    await until(lambda: "/api/alice/tasks" in endpoint.running)
    gate._set_capacity(START_CAPACITY)
    endpoint.may_end.set()

    assert {200} == {response.status_code for response in await asyncio.gather(known, *strangers)}


async def test_a_client_is_the_same_with_different_credentials(admission: Admission, endpoint: Endpoint) -> None:
    """Another spelling of the same token does not get another place in the queue."""
    endpoint.may_end.set()
    await request(admission, user="alice ")
    hashes = admission._users

    assert 3 == len(hashes)
    assert {"alice", "bob", "alice "} == set(hashes.values())


async def test_fast_requests_do_not_all_run_in_one_iteration(store: IdleStore) -> None:
    """A thousand requests that each take only one step of the event loop would block everybody else."""
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


async def test_a_store_that_cannot_say_how_long_calls_wait_is_not_asked_again(
    admission: Admission,
    endpoint: Endpoint,
    store: IdleStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Requests are admitted anyway, and the log says so once."""

    def fail(**_: bool) -> float:
        raise RuntimeError

    monkeypatch.setattr(store, "waited_s", fail)
    requests = [request(admission) for _ in range(4 * START_CAPACITY)]
    await until(lambda: bool(caplog.records))
    endpoint.may_end.set()

    assert {200} == {response.status_code for response in await asyncio.gather(*requests)}
    assert 1 == len(caplog.records)


def test_each_event_loop_has_its_own_gates(store: IdleStore) -> None:
    """A server that is restarted in the same process does not inherit waiting requests."""
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


async def test_an_idle_gate_has_no_timer(admission: Admission, endpoint: Endpoint, store: IdleStore) -> None:
    """Timers run only while requests are waiting."""
    requests = await flood(admission, endpoint, store)
    endpoint.may_end.set()
    await asyncio.gather(*requests)
    await until(lambda: gate_of(admission)._next_look is None)

    assert 0 == gate_of(admission).limiter.in_use


async def test_the_loop_is_measured_over_as_many_turns_as_a_request_takes(
    admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each turn holds but a part of the work that the requests inside have for the processor."""
    gate = gate_of(admission)
    loop = asyncio.get_running_loop()
    gate.limiter.enqueue("alice", loop.create_future())
    measured: list[float] = []
    monkeypatch.setattr(Gate, "_adapt", lambda _, __, turns_s: measured.append(turns_s))
    gate._look(loop)
    while not measured:
        time.sleep(0.01)  # noqa: ASYNC251  the loop is to be slow
        await asyncio.sleep(0)

    assert measured[0] >= 0.01 * (TURNS_OF_REQUEST - 1)


async def test_a_slow_event_loop_admits_fewer_requests(admission: Admission) -> None:
    """It does so as long as it is slow."""
    gate = gate_of(admission)
    gate.limits = GateLimits(increase=1)
    loop = asyncio.get_running_loop()
    for _ in range(2 * START_CAPACITY):
        gate.limiter.enqueue("alice", loop.create_future())
    gate._adapt(loop, 1.0)
    assert START_CAPACITY // 2 == gate.limiter.capacity

    gate._adapt(loop, 0.0)
    assert START_CAPACITY // 2 == gate.limiter.capacity

    for _ in range(10):
        gate._adapt(loop, 1.0)
    assert MIN_CAPACITY == gate.limiter.capacity


async def test_bursts_of_responses_admit_no_fewer_requests(admission: Admission) -> None:
    """Calls of the store that end together fill a turn of the event loop now and then, although it is mostly idle."""
    gate = gate_of(admission)
    loop = asyncio.get_running_loop()
    for _ in range(2 * START_CAPACITY):
        gate.limiter.enqueue("alice", loop.create_future())
    for turns_s in (2 * gate.limits.max_turns_s, 0.0, 0.0) * 20:
        gate._adapt(loop, turns_s)

    assert START_CAPACITY <= gate.limiter.capacity


def head_of(user: str, target: str = "/") -> bytes:
    """Return the head of a request with *user*'s token."""
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
async def test_only_requests_of_known_users_wait_in_the_server(admission: Admission, user: str, target: str) -> None:
    """The address of an unknown client may depend on proxies, and health checks do not wait."""
    assert admission.enqueue(head_of(user, target), asyncio.get_running_loop()) is None
    assert admission.enqueue(head_of("alice", "/livezx"), asyncio.get_running_loop()) is not None


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
    """Any of these headers may decide who the user is; no other header does."""
    site.install("key", KEY_AUTH + "\nBackend.request_headers = ['X-Key', 'X-Tenant']\n")

    assert is_known == await is_known_after(settings, {"X-Key": "k", "X-Tenant": "t"}, sent)


@pytest.mark.parametrize(("sent", "is_known"), [("k", True), ("l", False)])
async def test_a_user_is_known_by_the_backend_s_own_header(
    site: Site, settings: dict[str, str], sent: str, is_known: bool
) -> None:
    """It need not be `Authorization`."""
    site.install("key", KEY_AUTH + "\nBackend.request_headers = ['X-Key']\n")

    assert is_known == await is_known_after(settings, {"X-Key": "k"}, {"x-key": sent})


async def is_known_after(settings: dict[str, str], first: dict[str, str], second: dict[str, str]) -> bool:
    """Send a request with the headers *first*, and return whether the user is then known by *second*."""
    from taskd import build_app  # noqa: PLC0415

    app: Any = build_app(settings | {"TASKD_AUTH": "key"})
    async with client_of(app) as client:
        await client.get("/api/alice/tasks/none", headers=first)
    headers = "".join(f"{name}: {value}\r\n" for name, value in second.items())
    place = app._asgi.app.enqueue(
        f"GET /api/alice/tasks HTTP/1.1\r\n{headers}\r\n".encode(), asyncio.get_running_loop()
    )
    return place is not None


async def test_a_request_that_leaves_before_its_turn_is_not_started(admission: Admission) -> None:
    """The next one gets its place."""
    admission.enqueue(head_of("bob"), asyncio.get_running_loop())
    gate = gate_of(admission)
    gate.limiter.per_key = gate.limiter.capacity = 1
    places = [admission.enqueue(head_of("alice"), asyncio.get_running_loop()) for _ in range(2)]
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
    """Further requests are refused at once by the application, with a response like all others."""
    admission.enqueue(head_of("bob"), asyncio.get_running_loop())
    gate = gate_of(admission)
    gate.limiter.capacity = gate.limiter.max_waiting = 0
    refused = admission.enqueue(head_of("alice"), asyncio.get_running_loop())
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


async def test_a_refusal_says_when_to_try_again(settings: dict[str, str]) -> None:
    """It has the form of all errors, so pages may read it; the time differs between clients."""
    from taskd import build_app  # noqa: PLC0415

    app: Any = build_app(settings)
    # Every gate refuses, as if too many requests had been waiting for too long.
    app._asgi.app.limits = GateLimits(start=0, minimum=0)
    async with client_of(app, "alice") as client:
        responses = [await client.get("/api/alice/tasks", headers={"Origin": ORIGIN}) for _ in range(3)]

    assert {503} == {response.status_code for response in responses}
    assert {"1", "2", "3"} == {response.headers["Retry-After"] for response in responses}
    assert {ORIGIN} == {response.headers["Access-Control-Allow-Origin"] for response in responses}
    assert {"no-store"} == {response.headers["Cache-Control"] for response in responses}
    refusal = {"detail": "The server is overloaded; try again later.", "code": "unavailable"}
    assert [refusal] * 3 == [response.json() for response in responses]


async def test_a_client_that_left_while_waiting_is_refused(
    admission: Admission, endpoint: Endpoint, store: IdleStore
) -> None:
    """It may have sent another request by then, which is enough work for the server."""
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
