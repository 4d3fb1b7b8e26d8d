"""Measure the servers: each alone, in turns, in rounds and in random order."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from benchmarks.compare import wrk
from benchmarks.compare.answers import Answer, answers, differences
from benchmarks.compare.databases import Database, Databases
from benchmarks.compare.delay import delayed
from benchmarks.compare.operations import DELETE, OPERATIONS, Operation, Tokens, deletable
from benchmarks.compare.results import Sample, Turn
from benchmarks.compare.servers import Running, Server, started
from benchmarks.compare.usage import cpu_s, memory_bytes
from tests.support.pgbouncer import pgbouncer

__all__ = ["Extent", "Measuring"]

# V8 compiles what runs often, and connections to the database are opened on demand: a turn begins with all operations,
# and each measurement with its own.
FIRST_WARM_UP_S, WARM_UP_S = 2, 1
WARM_UP_CONNECTIONS = 16
COLD_STARTS = 3
POOL_SIZE = 10


@attrs.frozen
class Extent:
    """How much is measured."""

    servers: Sequence[Server]
    operations: Sequence[Operation]
    connections: Sequence[int]
    delays_ms: Sequence[float]
    rounds: int
    duration_s: int

    def turns(self) -> Iterator[tuple[Server, float]]:
        """Return the servers, with the delay to their database, in the order of their turns."""
        for _ in range(self.rounds):
            turns = [(server, delay_ms) for server in self.servers for delay_ms in self.delays_ms]
            random.shuffle(turns)
            yield from (turn for turn in turns if not (turn[0].kind == "sqlite" and turn[1]))

    def loads(self) -> list[tuple[Operation, int]]:
        """Return the operations, with numbers of connections, in the order in which they are measured."""
        loads = list(itertools.product(self.operations, self.connections))
        random.shuffle(loads)
        return loads


@attrs.frozen
class Subject:
    """A server at its turn."""

    server: Server
    delay_ms: float
    database: Database
    running: Running


@attrs.define
class Measuring:
    """
    Measures servers, one at a time.

    Attributes:
        tokens: The tokens that are signed with the secret, and those that are signed with a published key.
        origin: The origin that publishes the keys.
        folder: Where to put the requests and the servers' logs.
    """

    databases: Databases
    tokens: Mapping[bool, Tokens]
    origin: str
    folder: Path
    samples: list[Sample] = attrs.field(factory=list)
    turns: list[Turn] = attrs.field(factory=list)
    _numbers: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    def check(self, servers: Sequence[Server]) -> None:
        """End the process if not all servers respond in the same way."""
        expected: Mapping[str, Answer] = {}
        found = []
        for server in servers:
            with self._database(server, 0) as (_, url), self._started(server, url) as running:
                seen = answers(running.port, self.tokens[server.by_key])
                expected = expected or seen
                found += differences(server.name, expected, seen)
        if found:
            sys.exit("\n".join(["Not all servers do the same.", *found]))
        # Python has compiled everything by now; starts do not wait until that is on disk.
        os.sync()

    def take(self, extent: Extent) -> Iterator[None]:
        """Measure everything, and yield after each turn."""
        turns = list(extent.turns())
        for number, (server, delay_ms) in enumerate(turns, 1):
            print(f"Turn {number} of {len(turns)}: {server.name}, {delay_ms:g} ms", file=sys.stderr, flush=True)
            self._take_turn(server, delay_ms, extent)
            yield

    def _take_turn(self, server: Server, delay_ms: float, extent: Extent) -> None:
        with self._database(server, delay_ms) as (database, url):
            cold_starts_s = [self._cold_start_s(server, url) for _ in range(COLD_STARTS)]
            with self._started(server, url) as running:
                subject = Subject(server, delay_ms, database, running)
                self._warm_up(subject, extent.operations)
                for operation, connections in extent.loads():
                    self.samples.append(self._sample(subject, operation, connections, extent.duration_s))
                self.turns.append(Turn(server.name, delay_ms, cold_starts_s, memory_bytes(running.pid)))

    def _cold_start_s(self, server: Server, url: str) -> float:
        with self._started(server, url) as running:
            return running.cold_start_s

    def _warm_up(self, subject: Subject, operations: Sequence[Operation]) -> None:
        for operation in operations:
            requests = self._requests(subject, operation, WARM_UP_CONNECTIONS, FIRST_WARM_UP_S)
            wrk.run(subject.running.port, requests, WARM_UP_CONNECTIONS, FIRST_WARM_UP_S)

    def _sample(self, subject: Subject, operation: Operation, connections: int, duration_s: int) -> Sample:
        port = subject.running.port
        warm_up = self._requests(subject, operation, connections, WARM_UP_S)
        requests = self._requests(subject, operation, connections, duration_s)
        wrk.run(port, warm_up, connections, WARM_UP_S)
        begun_s = self._cpu_s(subject.running)
        outcome = wrk.run(port, requests, connections, duration_s)
        ended_s = self._cpu_s(subject.running)
        return Sample(
            server=subject.server.name,
            delay_ms=subject.delay_ms,
            operation=operation.name,
            connections=connections,
            requests=outcome.requests,
            duration_s=outcome.duration_us / 1e6,
            server_cpu_s=ended_s[0] - begun_s[0],
            postgres_cpu_s=ended_s[1] - begun_s[1],
            p50_ms=outcome.p50_us / 1e3,
            p99_ms=outcome.p99_us / 1e3,
        )

    def _requests(self, subject: Subject, operation: Operation, connections: int, duration_s: int) -> Path:
        """Return a file with the requests; what they delete is added to the database first."""
        deleted = None
        file = self.folder / f"{operation.name}-{'eddsa' if subject.server.by_key else 'hs256'}"
        if operation is DELETE:
            number = next(self._numbers)
            deleted = deletable(number, connections, duration_s)
            subject.database.add(deleted)
            # A measurement needs two files: its own, and one for its warm-up.
            file = file.with_name(f"{file.name}-{number % 2}")
        elif file.exists():
            return file
        wrk.write(file, operation.requests(self.tokens[subject.server.by_key], deleted))
        return file

    def _cpu_s(self, running: Running) -> tuple[float, float]:
        """Return the CPU time of the server and that of PostgreSQL."""
        return cpu_s(running.pid), cpu_s(self.databases.server.pid)

    @contextlib.contextmanager
    def _database(self, server: Server, delay_ms: float) -> Iterator[tuple[Database, str]]:
        """Yield a fresh database, and the URL under which the server sees it."""
        with contextlib.ExitStack() as stack:
            database = stack.enter_context(self.databases.fresh(server.kind))
            url = database.url
            if server.is_pooled:
                pooler = stack.enter_context(pgbouncer(self.databases.server, default_pool_size=POOL_SIZE))
                url = pooler.url(url.rpartition("/")[2])
            yield database, stack.enter_context(delayed(url, delay_ms))

    @contextlib.contextmanager
    def _started(self, server: Server, url: str) -> Iterator[Running]:
        request = next(OPERATIONS["get"].requests(self.tokens[server.by_key], None))
        with started(server, url, self.origin, request, self.folder) as running:
            yield running
