"""
Gates: each lets in as many requests of one kind as can be served without delay, and makes the others wait.

A server that admits everything spends its time on requests whose clients have given up.  How many requests it should
admit depends on the machine, on what else runs there, and on the store, so this is not a setting: the number falls
while the event loop is slow or calls have to wait for the store, and rises otherwise.  Waiting costs little, and so
does a refusal.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from functools import partial

import attrs

from taskd.limiter import FairLimiter, Outcome, Overloaded, Waiter
from taskd.storage import TaskStore
from taskd.telemetry import Measurement

__all__ = ["GateLimits", "Gates", "Place", "Refusals"]

# Health checks wait only for others from the same address, and are not refused.
HEALTH_TIMEOUT_S = 60.0
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
# How long a call may wait for the store: long enough that some call is always ready when the store is.
MAX_STORE_WAIT_S = 0.01
LOOK_INTERVAL_S = 0.005
# The weight of the latest look in the average.  Calls of the store that share a round trip end together, and their
# responses may fill some turns of the event loop, although it is idle before and after.
WEIGHT_OF_LATEST = 0.3
# A request is served in about this many turns of the event loop.
TURNS_OF_REQUEST = 6
# The share of the capacity that one client leaves to others.
SHARE_OF_OTHERS = 0.25
# A refusal costs about a quarter as much as a response: at this rate, refusals cost an eighth as much as responses.
REFUSALS_PER_RESPONSE = 0.5
# While nothing is served, one refusal is allowed at each look.  At most this many are saved up, or sent at once.
MAX_REFUSALS_AT_ONCE = 32
MAX_REFUSAL_DELAY_S = 5.0

logger = logging.getLogger(__name__)


@attrs.frozen
class GateLimits:
    """
    The limits within which a gate adapts its capacity, that is, how many requests it lets in.

    Attributes:
        start: The capacity when requests begin to wait.
        minimum: The lowest capacity.  However slow the event loop is, some requests are admitted: another process may
            be using the processor.
        maximum: The highest capacity.
        max_waiting: How many requests may wait.
        max_turns_s: How long the event loop may take, on average, for the turns in which a request is served.  They
            last as long as all work that the requests inside have for the processor, because each has its share of each
            turn.
        increase: The factor by which the capacity rises at each look.  This one and the next are chosen so that the
            capacity follows a change within a fraction of a second.
        max_decrease: The lowest factor by which the capacity falls at each look.
    """

    start: int = 32
    minimum: int = 12
    maximum: int = 10_000
    max_waiting: int = 10_000
    max_turns_s: float = 0.0025
    increase: float = 1.1
    max_decrease: float = 0.5


def _share(capacity: int) -> int:
    """Return how much of *capacity* one client may use."""
    return capacity - int(capacity * SHARE_OF_OTHERS)


@attrs.define(eq=False)
class Refusals:
    """
    Paces refusals.

    Clients that retry at once would otherwise keep the server busy refusing them.
    """

    _due: deque[tuple[float, asyncio.Future[None]]] = attrs.field(init=False, factory=deque)
    _credit: float = attrs.field(init=False, default=0.0)
    _next_look: asyncio.TimerHandle | None = attrs.field(init=False, default=None)
    # These vary, so that clients refused at the same time do not come back at the same time.
    _retry_after_s: Iterator[int] = attrs.field(init=False, factory=lambda: itertools.cycle((1, 2, 3)))

    async def next(self) -> str:
        """Wait until the next refusal is due, and return its `Retry-After`."""
        await self._wait()
        return str(next(self._retry_after_s))

    async def _wait(self) -> None:
        if self._credit >= 1 and not self._due:
            self._credit -= 1
            return
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._due.append((loop.time() + MAX_REFUSAL_DELAY_S, turn))
        if self._next_look is None:
            self._next_look = loop.call_later(LOOK_INTERVAL_S, self._look, loop)
        await turn

    def earn(self, count: float = REFUSALS_PER_RESPONSE) -> None:
        """Allow more refusals because a request has been served."""
        self._credit = min(self._credit + count, MAX_REFUSALS_AT_ONCE)
        while self._due and self._credit >= 1:
            self._credit -= 1
            self._end_first()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send some refusals even if nothing is served."""
        self.earn(1)
        now = loop.time()
        for _ in range(MAX_REFUSALS_AT_ONCE):
            if self._due and self._due[0][0] <= now:
                self._end_first()
        self._next_look = loop.call_later(LOOK_INTERVAL_S, self._look, loop) if self._due else None

    def _end_first(self) -> None:
        _, turn = self._due.popleft()
        if not turn.done():  # it may have been cancelled
            turn.set_result(None)


@attrs.define(eq=False)
class Gate:
    """
    Lets in as many requests of one kind as can be served without delay.

    Attributes:
        timeout_s: How long a request may wait, in seconds.
        store: The store whose calls the requests wait for; None if most requests need no store.
        is_for_reads: Whether the requests read, rather than write.
        limits: The limits of its capacity.
        refusals: Paces the refusals of this gate, and of others.
    """

    timeout_s: float
    store: TaskStore | None = None
    is_for_reads: bool = False
    limits: GateLimits = attrs.field(factory=GateLimits)
    refusals: Refusals = attrs.field(factory=Refusals, repr=False)
    limiter: FairLimiter = attrs.field(init=False, repr=False)
    _next_look: asyncio.Handle | None = attrs.field(init=False, default=None)
    # The load, as a multiple of what is allowed, averaged over the latest looks.
    _excess: float = attrs.field(init=False, default=0.0)

    @limiter.default
    def _idle(self) -> FairLimiter:
        start = self.limits.start
        return FairLimiter(start, _share(start), target_s=self.timeout_s, max_waiting=self.limits.max_waiting)

    def enter(self, client: Hashable, outcome: Outcome) -> Waiter | None:
        """
        Take a place and return None, or start waiting for one among the other requests of *client*.

        Raises:
            Overloaded: Too many requests are waiting.
        """
        if self.limiter.try_acquire(client):
            return None
        loop = self.limiter.loop
        if self._next_look is None:
            self._look_later(loop)
        return self.limiter.enqueue(client, outcome, loop.time() + self.timeout_s)

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next_look = loop.call_later(LOOK_INTERVAL_S, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Measure some turns of the event loop, and then adapt the capacity."""
        # How late a timer is would only tell of what is left of one turn, which is chance.
        self._measure(loop, time.monotonic(), TURNS_OF_REQUEST)

    def _measure(self, loop: asyncio.AbstractEventLoop, begun_s: float, turns: int) -> None:
        if turns:
            self._next_look = loop.call_soon(self._measure, loop, begun_s, turns - 1)
        else:
            self._adapt(loop, time.monotonic() - begun_s)

    def _adapt(self, loop: asyncio.AbstractEventLoop, turns_s: float) -> None:
        """Adapt the capacity to the length of turns and the waits for the store while requests are waiting."""
        limiter, limits = self.limiter, self.limits
        if not limiter.waiting:
            # The old capacity says nothing about the next burst: it may have risen only because many of the requests
            # inside were idle, waiting for their clients.
            self._set_capacity(max(limits.start, limiter.in_use))
            self._next_look, self._excess = None, 0.0
            return
        excess = max(turns_s / limits.max_turns_s, self._store_wait_s() / MAX_STORE_WAIT_S)
        # However slow it was, one look alone lowers the capacity only once.
        excess = min(excess, 1 / (limits.max_decrease * WEIGHT_OF_LATEST))
        self._excess += (excess - self._excess) * WEIGHT_OF_LATEST
        if self._excess > 1:
            factor = max(limits.max_decrease, 1 / self._excess)
            self._set_capacity(max(limits.minimum, int(limiter.capacity * factor)))
            # The average lags behind; without this, the capacity would fall too far.
            self._excess *= factor
        elif limiter.in_use >= limiter.capacity * (1 - SHARE_OF_OTHERS):
            self._set_capacity(min(limits.maximum, math.ceil(limiter.capacity * limits.increase)))
        self._look_later(loop)

    def _store_wait_s(self) -> float:
        try:
            return 0.0 if self.store is None else self.store.waited_s(is_read=self.is_for_reads)
        except Exception:
            logger.exception("The storage plugin failed to say how long calls wait, and will not be asked again")
            self.store = None
            return 0.0

    def _set_capacity(self, capacity: int) -> None:
        self.limiter.per_key = _share(capacity)
        self.limiter.capacity = capacity


class Place:
    """
    A request's place at a gate, or in the queue in front of it.

    Attributes:
        is_inside: Whether the request has its place.
        has_waited: Whether the request had to wait for its place.
        waited_s: How many seconds it has waited, once the wait is over.
    """

    __slots__ = ("_begin", "_client", "_gate", "_refusal", "_waiter", "has_waited", "is_inside", "waited_s")

    def __init__(self, gate: Gate, client: Hashable) -> None:
        """Take a place for a request of *client*, or start waiting for one."""
        self._gate = gate
        self._client = client
        self._begin: Callable[[], None] | None = None
        self._waiter: Waiter | None = None
        self._refusal: Exception | None = None
        self.waited_s = 0.0
        try:
            self._waiter = gate.enter(client, self)
        except Overloaded as refusal:
            self._refusal = refusal
        self.has_waited = self._waiter is not None
        self.is_inside = not self.has_waited and self._refusal is None

    @property
    def refusals(self) -> Refusals:
        """What paces the refusals of the gate."""
        return self._gate.refusals

    def call_on_turn(self, begin: Callable[[], None]) -> None:
        """Call *begin* when the wait is over, that is, when the request has its place or will be refused."""
        if self._waiter is None:
            begin()
        else:
            self._begin = begin

    async def wait(self) -> None:
        """
        Wait for the request's turn.

        Raises:
            Overloaded: Too many requests are waiting, or they have been waiting too long.
            TimeoutError: The request's turn did not come in time.
        """
        if self._waiter is not None:
            turn = asyncio.get_running_loop().create_future()
            self._begin = partial(_wake, turn)
            try:
                await turn
            except asyncio.CancelledError:
                self.leave()
                raise
        if self._refusal is not None:
            raise self._refusal

    def done(self) -> bool:
        """Return whether the wait is over; the limiter calls this."""
        return self._waiter is None

    def set_result(self, refusal: Exception | None) -> None:
        """End the wait; the limiter calls this."""
        if self._waiter is not None:
            self.waited_s = self._gate.limiter.loop.time() - self._waiter.since
        self._waiter = None
        self._refusal = refusal
        self.is_inside = refusal is None
        if self._begin is not None:
            self._begin()

    def leave(self) -> bool:
        """Give the place back, or stop waiting for it; return whether the request was inside."""
        if self.is_inside:
            self.is_inside = False
            # Not at once: however quick requests are, no more than the capacity may begin in one turn of the loop.
            limiter = self._gate.limiter
            limiter.loop.call_soon(limiter.release, self._client)
            return True
        if self._waiter is not None:
            self._gate.limiter.withdraw(self._waiter)
            # The limiter keeps the waiter for a while, and with it this place, which must not keep the request's data.
            self._waiter = self._begin = None
        return False

    def again(self) -> Place:
        """Return another place for the same request, which has left this one."""
        return Place(self._gate, self._client)


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():  # it may have been cancelled
        turn.set_result(None)


@attrs.define(eq=False)
class Gates:
    """
    The gates of one event loop.

    Reads and writes have separate gates, because a store may be overloaded with writes while it is idle for reads.
    Requests without known credentials have a gate of their own, so that they cannot keep users out.
    """

    loop: asyncio.AbstractEventLoop
    refusals: Refusals
    health: Gate
    strangers: Gate
    reads: Gate
    writes: Gate

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop, store: TaskStore, timeout_s: float, limits: GateLimits) -> Gates:
        """Make the gates for *loop*."""
        refusals = Refusals()
        return cls(
            loop,
            refusals,
            health=Gate(HEALTH_TIMEOUT_S, limits=limits, refusals=refusals),
            strangers=Gate(timeout_s, limits=limits, refusals=refusals),
            reads=Gate(timeout_s, store, is_for_reads=True, limits=limits, refusals=refusals),
            writes=Gate(timeout_s, store, limits=limits, refusals=refusals),
        )

    def measurements(self) -> Iterator[Measurement]:
        """Yield how many requests are inside each gate, wait in front of it, and may be inside."""
        kinds = {"health": self.health, "strangers": self.strangers, "reads": self.reads, "writes": self.writes}
        running, waiting = "Requests that the server is working on.", "Requests that wait for their turn."
        for kind, gate in kinds.items():
            limiter, labels = gate.limiter, {"gate": kind}
            yield Measurement("http_requests_running", running, limiter.in_use, labels=labels)
            yield Measurement("http_requests_waiting", waiting, limiter.waiting, labels=labels)
            yield Measurement("http_requests_limit", "Requests that may run at once.", limiter.capacity, labels=labels)

    def of_user(self, method: str) -> Gate:
        """Return the gate for a known user's requests with *method*."""
        return self.reads if method in SAFE_METHODS else self.writes
