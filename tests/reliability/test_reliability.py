"""Crashes, restarts, locks and rude clients: acknowledged writes survive, and every request gets a response."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import random
import re
import socket
import sqlite3
import struct
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import attrs
import pytest

from benchmarks.load import percentile
from tests.conftest import PATIENT, SECRET, token_for
from tests.support.figures import Figures
from tests.support.names import IMPATIENT_RESOLVER, NAME, NameServer, asking, name_server
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres import PostgresServer
from tests.support.processes import SERVE, child_environ
from tests.support.proxy import LOOPBACK
from tests.support.writers import (
    NO_RESPONSE_S,
    Load,
    Outcome,
    Response,
    Target,
    address_of,
    ask,
    load,
    refusal_fault,
    request_bytes,
    target,
)

RESPONSE_BOUND_S = 10
CLIENTS_AT_ONCE = 100

pytestmark = pytest.mark.anyio


@attrs.frozen
class Extent:
    """
    The extent of a run.

    Attributes:
        requests: How many requests are served before an outage, and how many after it.
        hold_s: How long an outage lasts after every writer has been refused.
        livez_bound_s: The limit for 99 of 100 responses of `/livez`; the slowest ones depend on the machine.
        return_bound_s: The time within which all requests must be served again.
        settings: taskd's settings; with short time-outs if nobody looks at the figures.
    """

    kills: int
    shared_kills: int
    stops: int
    terminations: int
    clients: int
    requests: tuple[int, int]
    hold_s: float
    livez_bound_s: float
    return_bound_s: float
    settings: dict[str, str]


BRIEF = Extent(
    kills=1,
    shared_kills=2,
    stops=1,
    terminations=3,
    clients=200,
    requests=(20, 50),
    hold_s=0.1,
    # Other tests may be using all cores.
    livez_bound_s=RESPONSE_BOUND_S,
    return_bound_s=RESPONSE_BOUND_S,
    settings={
        "TASKD_SQL_CONNECT_TIMEOUT": "0.5",
        "TASKD_SQL_ACQUIRE_TIMEOUT": "0.5",
        "TASKD_SQL_STATEMENT_TIMEOUT": "0.5",
    },
)
THOROUGH = Extent(
    kills=20,
    shared_kills=10,
    stops=10,
    terminations=100,
    clients=10_000,
    requests=(100, 500),
    hold_s=8,
    livez_bound_s=0.1,
    return_bound_s=2,
    settings={},
)


@pytest.fixture(scope="module")
def extent(is_thorough: bool) -> Extent:
    return THOROUGH if is_thorough else BRIEF


@attrs.frozen
class Database:
    """A database of *server* for one test only, so that all connections to it are those of its servers."""

    server: PostgresServer
    name: str

    @property
    def url(self) -> str:
        """Return the database's URL with TLS, a password and a verified certificate, as for Neon."""
        return self.server.secured_url(self.name, sslmode="verify-full", sslrootcert=str(self.server.ca))


@pytest.fixture
def database(postgres: PostgresServer) -> Database:
    name = f"reliability_{uuid.uuid4().hex}"
    postgres.create_database(name)
    return Database(postgres, name)


@pytest.fixture
def child(extent: Extent, database: Database) -> dict[str, str]:
    """Return the environment of a server over PostgreSQL."""
    return child_environ({"DATABASE_URL": database.url, "BETTER_AUTH_SECRET": SECRET, **extent.settings})


@pytest.fixture
def patient_child(database: Database) -> dict[str, str]:
    """Return the environment of a server over PostgreSQL that refuses no request, however slow the machine is."""
    patience = dict.fromkeys(["TASKD_SQL_ACQUIRE_TIMEOUT", "TASKD_SQL_STATEMENT_TIMEOUT"], "60")
    return child_environ({"DATABASE_URL": database.url, "BETTER_AUTH_SECRET": SECRET, **PATIENT, **patience})


@pytest.fixture
def pooled_child(child: dict[str, str], database: Database, pooler: PgBouncer) -> dict[str, str]:
    """Return the environment of a server over PostgreSQL behind a PgBouncer in transaction mode."""
    return {**child, "DATABASE_URL": pooler.url(database.name), "TASKD_SQL_POOLER": "yes"}


def integrity(file: Path) -> list[tuple[str]]:
    """Return the result of SQLite's integrity check of *file*."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall()


def connections_left(database: Database, timeout_s: float) -> int:
    """Return how many connections to *database* are left once there are none, or after *timeout_s* seconds."""
    deadline = time.monotonic() + timeout_s
    while (count := len(database.server.connections(database.name))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return count


@contextlib.contextmanager
def stopped(database: Database) -> Iterator[None]:
    """Nothing listens on the server's port."""
    database.server.stop()
    try:
        yield
    finally:
        database.server.start()


@contextlib.contextmanager
def frozen(database: Database) -> Iterator[None]:
    """The server accepts connections, but never responds."""
    database.server.freeze()
    try:
        yield
    finally:
        database.server.thaw()


@contextlib.contextmanager
def refusing(database: Database) -> Iterator[None]:
    """The server has closed all connections to the database, and refuses new ones with an error."""
    allow = f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS"
    database.server.psql("postgres", "-c", f"{allow} false")
    database.server.terminate_backends()
    try:
        yield
    finally:
        database.server.psql("postgres", "-c", f"{allow} true")


@contextlib.contextmanager
def nameless(database: Database, names: NameServer) -> Iterator[None]:
    """The server has closed all connections, and its host name is unknown."""
    with names.without_names():
        database.server.terminate_backends()
        yield


@contextlib.contextmanager
def unanswered(database: Database, names: NameServer) -> Iterator[None]:
    """The server has closed all connections, and the name server does not respond."""
    with names.without_responses():
        database.server.terminate_backends()
        yield


DNS_FAULTS: dict[str, Callable[[Database, NameServer], contextlib.AbstractContextManager[None]]] = {
    "PostgreSQL's host not in DNS": nameless,
    "PostgreSQL's name server silent": unanswered,
}


@contextlib.asynccontextmanager
async def in_thread(fault: contextlib.AbstractContextManager[None]) -> AsyncIterator[None]:
    """Begin and end *fault* without blocking the writers."""
    await asyncio.to_thread(fault.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(fault.__exit__, None, None, None)


@contextlib.contextmanager
def probing(running: Target) -> Iterator[list[float]]:
    """Request `/livez` every 20 ms from a separate thread and connection; yield how long each response took."""
    latencies: list[float] = []
    done = threading.Event()

    def probe() -> None:
        with contextlib.closing(http.client.HTTPConnection(*address_of(running.server), timeout=30)) as connection:
            # At least once, however short the block is.
            while True:
                started = time.monotonic()
                connection.request("GET", "/livez")
                response = connection.getresponse()
                response.read()
                assert 200 == response.status
                latencies.append(time.monotonic() - started)
                if done.wait(0.02):
                    return

    with ThreadPoolExecutor(1) as pool:
        prober = pool.submit(probe)
        try:
            yield latencies
        finally:
            done.set()
        prober.result()


def figures_of(working: Load, fault: str, rounds: int, **more: float | Sequence[float] | None) -> Figures:
    """Return the figures that *working* has collected during *fault*."""
    return Figures(
        fault=fault,
        rounds=rounds,
        sent=len(working.journal),
        acknowledged=working.count(Outcome.ACKNOWLEDGED),
        refused=working.count(Outcome.REFUSED),
        unknown=working.count(Outcome.UNKNOWN),
        longest_s=working.longest_s(),
        **more,  # type: ignore[arg-type]
    )


class TestKilledServer:
    """`kill -9` of taskd under eight writers."""

    @pytest.mark.parametrize("kind", ["PostgreSQL", "SQLite"])
    async def test_acknowledged_writes_survive(
        self, request: pytest.FixtureRequest, extent: Extent, kind: str, sqlite_file: Path, measured: list[Figures]
    ) -> None:
        """Whenever taskd is killed, acknowledged tasks exist exactly once, and no others do unless they were sent."""
        environ = request.getfixturevalue("patient_child" if kind == "PostgreSQL" else "embedded_child")
        back_s = []
        async with target(environ) as running:
            async with load(running) as working:
                for number in range(extent.kills):
                    await working.more(random.Random(number).randint(50, 150))
                    await running.kill()
                    await running.start()
                    back_s.append(await working.each(Outcome.ACKNOWLEDGED))
            await running.stop()
        measured.append(figures_of(working, f"kill -9 of taskd, {kind}", extent.kills, back_s=max(back_s)))

        assert [] == working.faults()
        assert 0 == working.count(Outcome.REFUSED)
        assert working.longest_s() < RESPONSE_BOUND_S
        # With PostgreSQL there is no such file, and the check passes.
        assert [("ok",)] == integrity(sqlite_file)
        assert [] == unexpected(running.output)

    async def test_the_other_server_on_the_file_continues(
        self, extent: Extent, sqlite_file: Path, embedded_child: dict[str, str], measured: list[Figures]
    ) -> None:
        """If two servers share a file and each is killed in turn, neither loses anything, and the file stays intact."""
        back_s = []
        async with target(embedded_child) as one, target(embedded_child) as other:
            async with load(one, other) as working:
                for number in range(extent.shared_kills):
                    await working.more(random.Random(number).randint(50, 150))
                    killed = (one, other)[number % 2]
                    await killed.kill()
                    # The other server's writers do not wait.
                    await working.more(20)
                    await killed.start()
                    back_s.append(await working.each(Outcome.ACKNOWLEDGED))
            await one.kill()
            await other.kill()
        measured.append(
            figures_of(working, "kill -9 of one of two taskd, SQLite", extent.shared_kills, back_s=max(back_s))
        )

        assert [] == working.faults()
        assert working.longest_s() < RESPONSE_BOUND_S
        assert [("ok",)] == integrity(sqlite_file)


def restart(server: PostgresServer) -> None:
    server.stop("immediate")
    server.start()


# The fields of an extent that say how often.
FAULTS: dict[str, tuple[str, Callable[[PostgresServer], object]]] = {
    "stops": ("immediate restart of PostgreSQL", restart),
    "terminations": ("pg_terminate_backend on everything", PostgresServer.terminate_backends),
}


class TestDatabaseRestarts:
    """PostgreSQL goes down and comes back under eight writers."""

    @pytest.mark.parametrize(
        ("often", "way"),
        [
            pytest.param("stops", "", id="stops, direct"),
            pytest.param("terminations", ", behind PgBouncer", id="terminations, pooled"),
            pytest.param("stops", ", behind PgBouncer", id="stops, pooled", marks=pytest.mark.thorough),
            pytest.param("terminations", "", id="terminations, direct", marks=pytest.mark.thorough),
        ],
    )
    async def test_acknowledged_writes_survive(
        self,
        request: pytest.FixtureRequest,
        extent: Extent,
        database: Database,
        way: str,
        measured: list[Figures],
        often: str,
    ) -> None:
        """After each outage, writes succeed again, and no acknowledged task is lost."""
        environ = request.getfixturevalue("pooled_child" if way else "child")
        name, disturb = FAULTS[often]
        rounds: int = getattr(extent, often)
        back_s = []
        async with target(environ) as running:
            with probing(running) as livez_s:
                async with load(running) as working:
                    for number in range(rounds):
                        await working.more(random.Random(number).randint(1, 100))
                        await asyncio.to_thread(disturb, database.server)
                        back_s.append(await working.each(Outcome.ACKNOWLEDGED))
            await running.stop()
        figures = figures_of(working, name + way, rounds, livez_s=livez_s, back_s=max(back_s))
        measured.append(figures)

        assert_good(working, figures, extent)
        assert [] == unexpected(running.output)


class TestOutages:
    """PostgreSQL is down for longer."""

    @pytest.mark.parametrize("fault", [stopped, frozen, refusing])
    async def test_every_request_gets_a_response_and_the_server_recovers(
        self,
        extent: Extent,
        database: Database,
        child: dict[str, str],
        fault: Callable[[Database], contextlib.AbstractContextManager[None]],
        measured: list[Figures],
    ) -> None:
        """During the outage, writers get a 503 in time and `/livez` responds; afterwards, writes succeed within 2 s."""
        async with target(child) as running:
            measured.append(await outlasted(running, fault(database), f"PostgreSQL {fault.__name__}", extent))

    @pytest.mark.parametrize(
        "name",
        ["PostgreSQL's host not in DNS", pytest.param("PostgreSQL's name server silent", marks=pytest.mark.thorough)],
    )
    async def test_a_host_that_vanishes_from_dns_requires_no_restart(
        self,
        extent: Extent,
        database: Database,
        child: dict[str, str],
        tmp_path: Path,
        name: str,
        measured: list[Figures],
    ) -> None:
        """The name is looked up again for each connection, and failures are not cached."""
        url = f"{database.server.url(database.name).replace(LOOPBACK, NAME)}?sslmode=disable"
        environ = {**child, **IMPATIENT_RESOLVER, "DATABASE_URL": url, "TASKD_ALLOW_PLAINTEXT": "1"}
        with name_server() as names:
            async with target(environ, asking(names, tmp_path, SERVE)) as running:
                measured.append(await outlasted(running, DNS_FAULTS[name](database, names), name, extent))

    async def test_a_slow_name_server_does_not_fill_the_log(self, child: dict[str, str], tmp_path: Path) -> None:
        """Lookups whose callers have given up end silently, whatever their result."""
        url = f"postgresql://taskd@{NAME}/taskd?sslmode=disable"
        environ = {**child, "DATABASE_URL": url, "TASKD_ALLOW_PLAINTEXT": "1", "TASKD_SQL_CONNECT_TIMEOUT": "0.2"}
        with name_server() as names, names.without_names():
            names.delay_s = 0.5
            async with target(environ, asking(names, tmp_path, SERVE)) as running:
                responses = await asyncio.gather(*[ask(running.server, list_request("alice")) for _ in range(3)])
                await asyncio.to_thread(names.wait)
                responses.append(await ask(running.server, request_bytes("GET", "/livez", "")))
                await running.stop()

        assert [503, 503, 503, 200] == [response.status for response in responses]
        assert 1 == running.output.count("WARNING")
        assert [] == unexpected(running.output)

    async def test_it_starts_while_the_database_is_down(
        self, extent: Extent, database: Database, child: dict[str, str]
    ) -> None:
        """It serves `/livez` at once, and becomes ready with the database, without a restart."""
        async with contextlib.AsyncExitStack() as stack:
            async with in_thread(stopped(database)):
                running = await stack.enter_async_context(target(child))
                ready = asyncio.create_task(until_ready(running))
                down = [await ask(running.server, request_bytes("GET", path, "")) for path in ("/livez", "/readyz")]
            returned_s = time.monotonic()
            back_s = await ready - returned_s

        assert [200, 503] == [response.status for response in down]
        assert refusal_fault(down[1]) is None
        assert back_s < extent.return_bound_s


class TestLock:
    """All connections of the pool wait for a lock."""

    async def test_a_lock_causes_only_refusals(
        self,
        extent: Extent,
        database: Database,
        child: dict[str, str],
        user_id: str,
        measured: list[Figures],
    ) -> None:
        """While the table is locked, 50 requests are refused in time; one second after that, 50 succeed."""
        holder = await asyncpg.connect(database.server.url(database.name), ssl=False)
        async with target(child) as running:
            with probing(running) as livez_s:
                async with holder.transaction():
                    await holder.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
                    refused, refused_s = await ask_all(running, user_id)
                # Give the server the second that it has.
                await asyncio.sleep(1)
                served, served_s = await ask_all(running, user_id)
            await running.stop()
        await holder.close()
        measured.append(
            Figures(
                fault="lock on the table",
                rounds=1,
                sent=len(refused) + len(served),
                acknowledged=len(served),
                refused=len(refused),
                longest_s=max(refused_s, served_s),
                livez_s=livez_s,
            )
        )

        assert {None} == {refusal_fault(response) for response in refused}
        assert {200, 201} == {response.status for response in served}
        assert refused_s < RESPONSE_BOUND_S
        assert served_s < extent.return_bound_s
        assert percentile(livez_s, 99) < extent.livez_bound_s
        assert [] == unexpected(running.output)


class TestRudeClients:
    """Clients that disconnect in the middle of their requests."""

    async def test_no_connection_is_left(
        self,
        extent: Extent,
        database: Database,
        child: dict[str, str],
        measured: list[Figures],
    ) -> None:
        """If clients reset connections at any moment, no database connection is left, and no task exists twice."""
        users = [uuid.uuid4().hex for _ in range(CLIENTS_AT_ONCE)]
        async with target({**child, "TASKD_SQL_IDLE_TIMEOUT": "1"}) as running:
            with probing(running) as livez_s:
                share = extent.clients // len(users)
                await asyncio.gather(*[cut_clients(running, number, user, share) for number, user in enumerate(users)])
            lists = [await ask(running.server, list_request(user)) for user in users]
            left = await asyncio.to_thread(connections_left, database, RESPONSE_BOUND_S)
            await running.stop()
        measured.append(
            Figures(
                fault="clients cut in mid-request",
                rounds=extent.clients,
                sent=extent.clients,
                livez_s=livez_s,
                left=left,
            )
        )

        titles = [[task["title"] for task in response.json()] for response in lists]
        assert [len(of_user) for of_user in titles] == [len(set(of_user)) for of_user in titles]
        assert {title for of_user in titles for title in of_user} <= {f"cut {number}" for number in range(share)}
        assert percentile(livez_s, 99) < extent.livez_bound_s
        assert 0 == left
        assert [] == unexpected(running.output)


async def outlasted(
    running: Target, fault: contextlib.AbstractContextManager[None], name: str, extent: Extent
) -> Figures:
    """Check that *running* survives *fault* under load, and return the figures under *name*."""
    async with load(running) as working:
        before, after = extent.requests
        await working.more(before)
        async with in_thread(fault):
            with probing(running) as livez_s:
                await working.each(Outcome.REFUSED)
                # An outage lasts for some time: one time-out follows another.
                await asyncio.sleep(extent.hold_s)
        back_s = await working.each(Outcome.ACKNOWLEDGED)
        returned_s = time.monotonic() - back_s
        await working.more(after)
    await running.stop()
    figures = figures_of(working, name, 1, livez_s=livez_s, back_s=back_s)

    assert_good(working, figures, extent)
    late = [each for each in working.journal if each.sent_s > returned_s + extent.return_bound_s]
    assert [] == [each for each in late if each.outcome is not Outcome.ACKNOWLEDGED]
    assert [] == unexpected(running.output)
    return figures


def unexpected(output: str) -> list[str]:
    """Return the lines of a server's *output*, except those about its lifecycle and its storage."""
    storage = r"WARNING:  (PostgreSQL at|SQLite file) .+( is unavailable: .+| is available again .+)"
    expected = re.compile(rf"\S+ (INFO: .*|{storage})|")
    return [line for line in output.splitlines() if not expected.fullmatch(line)]


def assert_good(working: Load, figures: Figures, extent: Extent) -> None:
    """Check what must hold whatever has happened to the database."""
    assert [] == working.faults()
    assert 0 == working.count(Outcome.UNKNOWN)
    assert working.longest_s() < RESPONSE_BOUND_S
    assert figures.back_s is not None
    assert figures.back_s < extent.return_bound_s
    assert figures.livez_s is not None
    assert percentile(figures.livez_s, 99) < extent.livez_bound_s


async def until_ready(running: Target) -> float:
    """Request `/readyz` until it returns 200, and return when it did."""
    status, answered_s = 503, 0.0
    async with asyncio.timeout(NO_RESPONSE_S):
        while status == 503:
            status = (await ask(running.server, request_bytes("GET", "/readyz", ""))).status
            answered_s = time.monotonic()
            await asyncio.sleep(0.05)
    return answered_s


def list_request(user_id: str) -> bytes:
    return request_bytes("GET", f"/api/{user_id}/tasks", token_for(user_id))


def create_request(user_id: str, title: str) -> bytes:
    return request_bytes("POST", f"/api/{user_id}/tasks", token_for(user_id), {"title": title})


async def ask_all(running: Target, user_id: str) -> tuple[list[Response], float]:
    """Send 50 concurrent requests, half of them writes; return the responses, and when the last one arrived."""
    started = time.monotonic()
    requests = [list_request(user_id), create_request(user_id, "t")] * 25
    responses = await asyncio.gather(*[ask(running.server, request) for request in requests])
    return responses, time.monotonic() - started


async def cut_clients(running: Target, seed: int, user_id: str, count: int) -> None:
    """Send whole and partial requests one after another, and reset each connection at some moment."""
    chance = random.Random(seed)
    listing = list_request(user_id)
    for number in range(count):
        request = chance.choice([listing, create_request(user_id, f"cut {number}")])
        length = chance.choice([len(request), chance.randrange(1, len(request))])
        await cut(running, request[:length], chance.uniform(0, 0.02))


async def cut(running: Target, data: bytes, pause_s: float) -> None:
    """Send *data* on a new connection, wait, and reset the connection."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        # With this option, closing sends an RST instead of a FIN.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await loop.sock_connect(client, address_of(running.server))
        await loop.sock_sendall(client, data)
        await asyncio.sleep(pause_s)
