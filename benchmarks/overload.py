"""
Measure how taskd behaves when it has more clients than it can serve, and when one user floods it.

A server process with one worker, over SQLite and over PostgreSQL, gets 2, 10 and 50 times as many clients as saturate
it; after a 503, they retry at once or obey Retry-After.  Then one user floods the server while others send few
requests.

Figures are ratios where possible: machines differ, but figures that are compared here were measured within seconds of
each other: before and after a flood, the server is measured without it.  Each is the median of several rounds.  Time in
which other processes took the processors from the server does not count towards throughput, but latencies cannot be
corrected for it: `taken from it` says how far they can be trusted.

If any figure is out of bounds, the exit status is 1, and all such figures are named.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

import attrs
import httpx

from benchmarks import load
from benchmarks.load import Plan, Result, Retry, percentile
from taskd.testing import RunningServer, running_server
from tests.conftest import SECRET, token_for
from tests.support.databases import Place, PostgresPlace, SQLitePlace
from tests.support.postgres import SCHEMA, postgres_server
from tests.support.processes import child_environ
from tests.support.writers import address_of, request_bytes

STORES = ("sqlite", "postgresql")
# How many users an overload is spread among.
USERS = 200
# Ten connections each: if every response takes less than the interval, none delays the next request.
NEIGHBOURS = 10 * ("neighbour-0", "neighbour-1", "neighbour-2")
FLOODER, FLOOD_CONNECTIONS = "flooder", 300
LISTER, LIST_CONNECTIONS, LISTED_TASKS = "lister", 8, 20_000
# How often /livez is requested, and how often each of a neighbour's connections requests a task.
LIVEZ_INTERVAL_S = 0.03
NEIGHBOUR_INTERVAL_S = 0.3
# A server is not saturated if doubling its clients raises its throughput by more than this factor.
SATURATION_GROWTH = 1.05
FIRST_CLIENTS, MAX_SATURATING_CLIENTS = 8, 256
# With fewer rejections per good response, their cost is lost in the noise of what good responses cost.
ENOUGH_REJECTIONS = 1 / 3
# A server is back to normal when nearly all requests in the next half second take no longer than usual.
NEARLY_ALL, NORMAL_SPAN_S, USUAL = 0.9, 0.5, 3.0
RECOVERY_S = 2.0
# A round is disturbed if other processes had the processors for this much of the time in which the server wanted them.
DISTURBED = 0.2
# The server's recovery is measured with at least this many times the clients that saturate it.
MANY = 50


@attrs.frozen
class Figure:
    """What is measured: a column of a table, and the bounds within which its values must be."""

    name: str
    form: str
    at_least: float = -float("inf")
    at_most: float = float("inf")
    merge: Callable[[Sequence[float]], float] = statistics.median

    def violation(self, value: float) -> str | None:
        """Return how *value* is out of bounds, if it is."""
        if self.at_least <= value <= self.at_most:
            return None
        limit = f"below {self.text(self.at_least)}" if value < self.at_least else f"above {self.text(self.at_most)}"
        return f"{self.name} is {self.text(value)}, {limit}"

    def text(self, value: float | None) -> str:
        """Format *value*, if there is one."""
        return "" if value is None else format(value, self.form)


GOOD = Figure("good/s", ",.0f")
REJECTED = Figure("503/s", ",.0f")
SHARE = Figure("of the best", ".0%", at_least=0.8)
CPU = Figure("CPU of the server", ".0%")
STARVED = Figure("taken from it", ".0%")
REJECTION_COST = Figure("CPU of a 503, to a good response", ".2f", at_most=1 / 3)
P50 = Figure("p50 (s)", ".3f")
P99 = Figure("p99 (s)", ".3f", at_most=2.0)
LIVEZ = Figure("/livez p99 (s)", ".3f", at_most=0.1)
RECOVERY = Figure("normal again after (s)", ".1f", at_most=RECOVERY_S)
FAULTS = Figure("faults", ",.0f", at_most=0, merge=max)
OVERLOAD = (GOOD, REJECTED, SHARE, CPU, STARVED, REJECTION_COST, P50, P99, LIVEZ, RECOVERY, FAULTS)

QUIET_P99 = Figure("others' quiet p99 (s)", ".4f")
OTHERS_P99 = Figure("others' p99 (s)", ".4f")
OTHERS_RATIO = Figure("to the quiet one", ".1f", at_most=5.0)
OTHERS_REFUSED = Figure("others' not served", ",.0f", at_most=0, merge=max)
FAIRNESS = (GOOD, REJECTED, QUIET_P99, OTHERS_P99, OTHERS_RATIO, OTHERS_REFUSED, LIVEZ, STARVED, FAULTS)

Figures = Mapping[Figure, float]


@attrs.frozen
class Row:
    """What was measured under one kind of load."""

    title: str
    figures: Figures

    @classmethod
    def merged(cls, title: str, rounds: Sequence[Figures]) -> Row:
        """Return a row made from several rounds, some of which may lack some figures."""
        measured = {figure for figures in rounds for figure in figures}
        return cls(title, {each: each.merge([f[each] for f in rounds if each in f]) for each in measured})

    def violations(self) -> list[str]:
        """Return what is out of bounds."""
        found = [figure.violation(value) for figure, value in self.figures.items()]
        taken = self.figures[STARVED]
        doubt = f" (others had the processors for {taken:.0%} of the time)" if taken >= DISTURBED else ""
        return [f"{self.title}: {violation}{doubt}" for violation in found if violation is not None]


@attrs.frozen(kw_only=True)
class Extent:
    """
    How much is measured, and for how long.

    Attributes:
        factors: The numbers of clients, as multiples of the number that saturates the server.
        rounds: How many rounds make up one figure.
        max_rounds: How many rounds to try, at most, until that many were not disturbed.
    """

    factors: Sequence[int]
    rounds: int
    max_rounds: int
    search_s: float
    reference_s: float
    flood_s: float


THOROUGH = Extent(factors=(2, 10, 50), rounds=5, max_rounds=6, search_s=1.0, reference_s=1.5, flood_s=2.0)
QUICK = Extent(factors=(50,), rounds=1, max_rounds=2, search_s=1.0, reference_s=1.5, flood_s=2.0)


@attrs.frozen
class Subject:
    """A server to measure, and the requests that it can be sent."""

    place: Place
    server: RunningServer

    @property
    def store(self) -> str:
        """Return the name of its store."""
        return self.place.url.partition(":")[0]

    def plan(self, requests: Sequence[bytes], connections: int, duration_s: float, retry: Retry) -> Plan:
        """Plan a load whose clients wait for nothing but responses."""
        return Plan(
            port=address_of(self.server)[1],
            requests=requests,
            connections=connections,
            duration_s=duration_s,
            retry=retry,
            pid=self.server.process.pid,
        )

    def livez(self) -> Plan:
        """Plan requests for `/livez` on a separate connection."""
        request = b"GET /livez HTTP/1.1\r\nHost: taskd\r\n\r\n"
        return self._trickle([request], LIVEZ_INTERVAL_S)

    @cached_property
    def neighbours(self) -> Plan:
        """Plan the requests of other users, each for one task at a low rate."""
        return self._trickle(self.gets(NEIGHBOURS), NEIGHBOUR_INTERVAL_S)

    def _trickle(self, requests: Sequence[bytes], interval_s: float) -> Plan:
        port = address_of(self.server)[1]
        return Plan(port=port, requests=requests, connections=len(requests), settle_s=0, interval_s=interval_s)

    def gets(self, users: Sequence[str]) -> list[bytes]:
        """Create a task for each of *users* and return the requests for these tasks."""
        requests = []
        with httpx.Client(base_url=self.server.url) as client:
            for user in users:
                token = token_for(user)
                headers = {"Authorization": f"Bearer {token}"}
                task = client.post(f"/api/{user}/tasks", json={"title": "Water the plants"}, headers=headers)
                requests.append(request_bytes("GET", f"/api/{user}/tasks/{task.json()['id']}", token))
        return requests

    def posts(self, users: Sequence[str]) -> list[bytes]:
        """Return requests that create a task, one for each of *users*."""
        body = {"title": "Water the plants", "description": "All of them, and the one at the office."}
        return [request_bytes("POST", f"/api/{user}/tasks", token_for(user), body) for user in users]

    def list_of_many(self) -> bytes:
        """Create `LISTED_TASKS` tasks of one user, bypassing taskd, and return the request that lists them."""
        self.gets([LISTER])
        new_id = "lower(hex(randomblob(16)))" if self.store == "sqlite" else "gen_random_uuid()"
        self.place.run(
            f"WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < {LISTED_TASKS})"  # noqa: S608
            " INSERT INTO tasks (user_id, id, title, status, priority, created_at, updated_at, version)"
            f" SELECT user_id, {new_id}, title, status, priority, created_at, updated_at, version"
            f" FROM tasks, numbers WHERE user_id = '{LISTER}'"
        )
        return request_bytes("GET", f"/api/{LISTER}/tasks", token_for(LISTER))


def saturating(subject: Subject, requests: Sequence[bytes], extent: Extent) -> int:
    """Return how many clients saturate the server: twice as many do not raise its throughput."""

    def throughput(clients: int) -> float:
        result = load.run(subject.plan(requests, clients, extent.search_s, Retry.AT_ONCE))
        return statistics.median(result.rates(windows=3))

    clients = FIRST_CLIENTS
    best = throughput(clients)
    while clients < MAX_SATURATING_CLIENTS and (doubled := throughput(2 * clients)) > SATURATION_GROWTH * best:
        clients, best = 2 * clients, doubled
    return clients


@attrs.frozen
class Quiet:
    """What clients see when they have the server almost to themselves."""

    p99_s: float

    @classmethod
    def of(cls, subject: Subject, extent: Extent) -> Quiet:
        """Measure what clients see."""
        result = load.run(attrs.evolve(subject.neighbours, settle_s=0.3, duration_s=2 * extent.reference_s))
        return cls(percentile(result.latencies_s(), 99))

    def mean(self, other: Quiet) -> Quiet:
        """Return the mean of two measurements."""
        return Quiet((self.p99_s + other.p99_s) / 2)


@attrs.frozen
class Witnessed:
    """A flood, and what others saw of it: a client of `/livez`, and other users, who sent few requests."""

    flood: Result
    livez: Result
    others: Result

    @classmethod
    def of(cls, subject: Subject, plan: Plan, tail_s: float = 0.0) -> Witnessed:
        """Run *plan*; the others continue for *tail_s* after the flood."""
        with load.running(subject.livez()) as livez, load.running(subject.neighbours) as others:
            flood = load.run(plan)
            time.sleep(max(0.0, flood.ended_s + tail_s - time.monotonic()))
            return cls(flood, livez.stop(), others.stop())

    def livez_p99_s(self) -> float:
        """Return the 99th percentile of the latencies of `/livez` during the flood."""
        return percentile(self.livez.latencies_s(self.flood.begun_s, self.flood.ended_s), 99)

    def others_p99_s(self) -> float:
        """Return the 99th percentile of the latencies of good responses to the others during the flood."""
        return percentile(self.others.latencies_s(self.flood.begun_s, self.flood.ended_s), 99)

    def others_refused(self) -> int:
        """Return how many of the others' requests were not served during the flood."""
        refused = self.others.bad_between(self.flood.begun_s, self.flood.ended_s)
        return refused + self.others.unanswered + self.others.cut_off

    def faults(self) -> int:
        """Count what must never happen, and print what it was."""
        livez_bad = {"bad": self.livez.bad_between(0, float("inf"))}
        found = {"the flood": self.flood.faults(), "/livez": {**self.livez.faults(), **livez_bad}}
        for where, faults in found.items():
            for name, count in faults.items():
                if count:
                    print(f"{where}: {name}: {count}", file=sys.stderr)
        return sum(sum(faults.values()) for faults in found.values())

    def recovery_s(self, quiet: Quiet) -> float:
        """Return how long after the flood the others were served as usual again."""
        enough = NEARLY_ALL * len(NEIGHBOURS) * NORMAL_SPAN_S / NEIGHBOUR_INTERVAL_S
        for tenths in range(int((RECOVERY_S + NORMAL_SPAN_S) * 10)):
            begin_s = self.flood.ended_s + tenths / 10
            latencies = self.others.latencies_s(begin_s, begin_s + NORMAL_SPAN_S)
            if sum(latency_s <= USUAL * quiet.p99_s for latency_s in latencies) >= enough:
                return tenths / 10
        return float("inf")


def least_disturbed(measured: Callable[[], Figures], extent: Extent) -> list[Figures]:
    """Measure until enough rounds were not disturbed, or too many were; return the best rounds."""
    rounds: list[Figures] = []
    while len(rounds) < extent.max_rounds and sum(f[STARVED] < DISTURBED for f in rounds) < extent.rounds:
        rounds.append(measured())
    best = sorted(rounds, key=lambda figures: figures[STARVED])[: extent.rounds]
    # Faults count, however disturbed their round was.
    return [{**figures, FAULTS: max(f[FAULTS] for f in rounds)} for figures in best]


def overload(subject: Subject, reference_plan: Plan, plan: Plan, quiet: Quiet | None) -> Figures:
    """
    Run *reference_plan* before and after *plan*, and compare the throughputs.

    If *quiet* is given, also measure how long the server takes to recover.
    """
    # There are witnesses here, too, so that the conditions are the same.
    before = Witnessed.of(subject, reference_plan).flood
    seen = Witnessed.of(subject, plan, 0.0 if quiet is None else RECOVERY_S + 2 * NORMAL_SPAN_S)
    after = Witnessed.of(subject, reference_plan).flood
    flood, latencies = seen.flood, seen.flood.latencies_s()
    best_per_s = (before.good + after.good) / (before.available_s + after.available_s)
    figures = {
        GOOD: flood.good_per_s,
        REJECTED: flood.rejected_per_s,
        SHARE: flood.good / flood.available_s / best_per_s,
        CPU: flood.cpu_s / flood.duration_s,
        STARVED: max(before.starved, flood.starved, after.starved),
        P50: percentile(latencies, 50),
        P99: percentile(latencies, 99),
        LIVEZ: seen.livez_p99_s(),
        FAULTS: seen.faults(),
    }
    if flood.rejected > ENOUGH_REJECTIONS * flood.good:
        good_s = (before.cpu_s + after.cpu_s) / (before.good + after.good)
        figures[REJECTION_COST] = max(0.0, flood.cpu_s - flood.good * good_s) / flood.rejected / good_s
    if quiet is not None:
        figures[RECOVERY] = seen.recovery_s(quiet)
    return figures


def overload_rows(subject: Subject, name: str, requests: Sequence[bytes], extent: Extent) -> Iterator[Row]:
    """Measure all kinds of overload with one kind of request."""
    clients, quiet = saturating(subject, requests, extent), Quiet.of(subject, extent)
    for factor in extent.factors:
        count = min(factor * clients, load.MAX_CONNECTIONS)
        for retry in Retry:
            reference = subject.plan(requests, clients, extent.reference_s, Retry.AT_ONCE)
            plan = subject.plan(requests, count, extent.flood_s, retry)
            # The flood ends in the same way whatever clients do after a 503, and waiting for the recovery takes time.
            shows_recovery = factor >= MANY and retry is Retry.AT_ONCE
            measured = partial(overload, subject, reference, plan, quiet if shows_recovery else None)
            title = f"{subject.store}, {name}, {factor} x {clients} clients, {retry.value}"
            yield Row.merged(title, least_disturbed(measured, extent))


def unfairness(subject: Subject, requests: Sequence[bytes], connections: int, extent: Extent) -> Figures:
    """Let one user flood the server, and measure what others get."""
    before = Quiet.of(subject, extent)
    seen = Witnessed.of(subject, subject.plan(requests, connections, 1.5 * extent.flood_s, Retry.AT_ONCE))
    quiet = before.mean(Quiet.of(subject, extent))
    return {
        GOOD: seen.flood.good_per_s,
        REJECTED: seen.flood.rejected_per_s,
        QUIET_P99: quiet.p99_s,
        OTHERS_P99: seen.others_p99_s(),
        OTHERS_RATIO: seen.others_p99_s() / quiet.p99_s,
        OTHERS_REFUSED: seen.others_refused(),
        LIVEZ: seen.livez_p99_s(),
        STARVED: seen.flood.starved,
        FAULTS: seen.faults(),
    }


def fairness_rows(subject: Subject, extent: Extent) -> Iterator[Row]:
    """Measure how several kinds of floods by one user affect others."""
    floods = {
        f"GET by one user, {FLOOD_CONNECTIONS} connections": (subject.gets([FLOODER]), FLOOD_CONNECTIONS),
        f"POST by one user, {FLOOD_CONNECTIONS} connections": (subject.posts([FLOODER]), FLOOD_CONNECTIONS),
        f"{LISTED_TASKS:,d} tasks listed, {LIST_CONNECTIONS} connections": ([subject.list_of_many()], LIST_CONNECTIONS),
    }
    for name, (requests, connections) in floods.items():
        measured = partial(unfairness, subject, requests, connections, extent)
        yield Row.merged(f"{subject.store}, {name}", least_disturbed(measured, extent))


@contextlib.contextmanager
def serving(store: str, folder: Path) -> Iterator[Subject]:
    """Run a server over an empty database, which is in *folder* if it is a file."""
    with contextlib.ExitStack() as stack:
        place: Place
        if store == "sqlite":
            place = SQLitePlace(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder))) / "tasks.db")
        else:
            place = PostgresPlace.make(stack.enter_context(postgres_server()))
            place.run(SCHEMA.read_text())
        environ = child_environ({"DATABASE_URL": place.url, "BETTER_AUTH_SECRET": SECRET})
        yield Subject(place, stack.enter_context(running_server(environ)))


def show(columns: Sequence[Figure], rows: Iterator[Row]) -> list[str]:
    """Print a table, each row as soon as it is complete, and return what is out of bounds."""
    print(f"| load | {' | '.join(figure.name for figure in columns)} |")
    print(f"| --- |{' ---: |' * len(columns)}")
    violations = []
    for row in rows:
        cells = [figure.text(row.figures.get(figure)) for figure in columns]
        print(f"| {row.title} | {' | '.join(cells)} |", flush=True)
        violations += row.violations()
    print()
    return violations


def measure(store: str, folder: Path, extent: Extent) -> list[str]:
    """Measure a server over one store, and return what is out of bounds."""
    users = [f"user-{number}" for number in range(USERS)]
    with serving(store, folder) as subject:
        violations = show(OVERLOAD, overload_rows(subject, "GET", subject.gets(users), extent))
        violations += show(OVERLOAD, overload_rows(subject, "POST", subject.posts(users), extent))
        return violations + show(FAIRNESS, fairness_rows(subject, extent))


def _memory() -> Path:
    """Return a folder in memory if there is one, because the speed of disks varies from one second to the next."""
    memory = Path("/dev/shm")  # noqa: S108
    return memory if memory.is_dir() else Path(tempfile.gettempdir())


def main() -> None:
    """Print what was measured, and exit with status 1 if something is out of bounds."""
    parser = argparse.ArgumentParser(description="Measure how taskd behaves under too much load.")
    parser.add_argument("--store", choices=[*STORES, "both"], default="both", help="where the tasks are kept")
    parser.add_argument("--quick", action="store_true", help="measure less, in about a minute for each store")
    parser.add_argument("--folder", type=Path, default=_memory(), help="where to put the SQLite file")
    arguments = parser.parse_args()
    load.raise_file_limit()
    stores = STORES if arguments.store == "both" else [arguments.store]
    extent = QUICK if arguments.quick else THOROUGH
    violations = [violation for store in stores for violation in measure(store, arguments.folder, extent)]
    if violations:
        sys.exit("\n".join(["Out of bounds:", *violations]))


if __name__ == "__main__":
    main()
