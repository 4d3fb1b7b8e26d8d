"""Limit how many calls run at once, fairly between keys, and refuse those that have waited too long."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Protocol

import attrs

__all__ = ["FairLimiter", "Outcome", "Overloaded", "Waiter"]

# uvloop's timers have a resolution of one millisecond, and may fire that much too early.
TIMER_RESOLUTION_S = 0.001
# Deadlines of waiters that are gone are removed once the number of all deadlines exceeds twice the number of waiters by
# more than this.
MAX_STALE_DEADLINES = 64
# How many waiters of one key `take` looks at.
MAX_LOOKED_AT = 64


class Overloaded(Exception):
    """There are more calls than can be served: too many are waiting, or they have been waiting too long."""


@attrs.define
class _StandingDelay:
    """
    Tracks for how long all waiters have been late: each had waited too long when its turn came.

    A queue that forms in a burst drains again, and the delay ends.  A standing queue only makes everyone late.

    Attributes:
        since: When the delay began, by the loop's clock; None if the last waiter was not late.
    """

    since: float | None = None

    def lasts(self, is_late: bool, now: float, interval_s: float) -> bool:
        """Note whether the next waiter *is_late*; return whether all have been late for *interval_s* seconds."""
        if not is_late:
            self.since = None
            return False
        if self.since is None:
            self.since = now
        return now - self.since >= interval_s


class Outcome(Protocol):
    """An object that learns how a wait has ended: an `asyncio.Future`, or something that needs no task."""

    def done(self) -> bool:
        """Return whether the wait has ended or was cancelled."""
        ...

    def set_result(self, result: Exception | None, /) -> None:
        """End the wait: *result* is None if the waiter has a slot, or else the error with which it is refused."""
        ...


@attrs.define(eq=False)
class Waiter:
    """
    A call that is waiting for a slot.

    Attributes:
        key: Whose call it is.
        since: When it began to wait, by the loop's clock.
        outcome: Receives None when the call has a slot, or the error with which the call is refused.
        has_slot: Whether the call has been given a slot.
    """

    key: Hashable = attrs.field(repr=False)
    since: float
    outcome: Outcome
    has_slot: bool = False


@attrs.define(eq=False)
class _Queue:
    """The waiters of one key, in order of arrival."""

    waiters: OrderedDict[Waiter, None] = attrs.field(factory=OrderedDict)
    delay: _StandingDelay = attrs.field(factory=_StandingDelay)


@attrs.define(eq=False)
class FairLimiter:
    """
    Shares a number of slots fairly among keys (usually owners of tasks); one call at a time holds each slot.

    While a slot is free, a call takes it at once, which costs less than a microsecond.  Otherwise calls wait, in one
    queue per key, and the keys take turns, so a thousand calls of one key delay those of another by one call, not by a
    thousand.

    Under overload it works like CoDel (RFC 8289) in front of a server: if, for *interval_s*, every call whose turn came
    (of one key, or of all keys) had waited longer than *target_s*, further calls that have waited that long are
    refused.  A burst is served, however long its calls have waited, if it drains within the interval; a standing queue
    is cut down to the target.

    A limiter belongs to the event loop in which its calls wait, and is not thread-safe.  It needs no cleanup.

    Args:
        capacity: How many slots there are.
        per_key: How many slots one key may hold at a time, so that some are left for other keys; None sets no limit.
        target_s: How many seconds a call may wait while calls are refused for waiting too long.
        interval_s: For how many seconds all waits must exceed *target_s* before the first call is refused.
        max_waiting: How many calls of all keys together may wait.  It only bounds memory.
        refusals_per_turn: How many waiters are refused in one turn of the event loop.  Each refusal costs an error
            response, and a thousand at once would hold up everything else.
    """

    _capacity: int
    _per_key: int | None = None
    target_s: float = attrs.field(default=1.0, kw_only=True)
    interval_s: float = attrs.field(default=0.5, kw_only=True)
    max_waiting: int = attrs.field(default=10_000, kw_only=True)
    refusals_per_turn: int = attrs.field(default=32, kw_only=True)
    _in_use: int = attrs.field(init=False, default=0)
    # How many slots each key holds, if any.
    _held: dict[Hashable, int] = attrs.field(init=False, factory=dict, repr=False)
    # All waiters in order of arrival, and the same waiters in a queue for each key.
    _waiters: OrderedDict[Waiter, None] = attrs.field(init=False, factory=OrderedDict, repr=False)
    _queues: dict[Hashable, _Queue] = attrs.field(init=False, factory=dict, repr=False)
    # The keys that have waiters and may have another slot, the next one first.  While a slot is free, there are no such
    # keys, unless `_go_on` is about to serve them in the next turn of the event loop.
    _turns: OrderedDict[Hashable, None] = attrs.field(init=False, factory=OrderedDict, repr=False)
    _delay: _StandingDelay = attrs.field(init=False, factory=_StandingDelay, repr=False)
    # A heap; the numbers keep it from comparing waiters.  Deadlines of waiters that are gone are removed later.
    _deadlines: list[tuple[float, int, Waiter]] = attrs.field(init=False, factory=list, repr=False)
    _numbers: Iterator[int] = attrs.field(init=False, factory=itertools.count, repr=False)
    # One timer, for the earliest deadline, and the time when it fires.
    _timer: asyncio.Handle | None = attrs.field(init=False, default=None, repr=False)
    _timer_at: float = attrs.field(init=False, default=0.0, repr=False)
    _refused_this_turn: int = attrs.field(init=False, default=0, repr=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(init=False, default=None, repr=False)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop to which the limiter belongs: the one in which it is first asked for."""
        # Before Python 3.12, asking asyncio each time takes a system call.
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    @property
    def capacity(self) -> int:
        """
        How many slots there are.

        It may be changed at any time, from within the event loop.  If it is lowered, slots already held are kept.
        """
        return self._capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        self._capacity = capacity
        self.serve()

    @property
    def per_key(self) -> int | None:
        """How many slots one key may hold at a time; None if there is no limit.  It may be changed like `capacity`."""
        return self._per_key

    @per_key.setter
    def per_key(self, per_key: int | None) -> None:
        self._per_key = per_key
        if len(self._turns) < len(self._queues):
            self._turns.update(dict.fromkeys(self._queues))
            self.serve()

    @property
    def in_use(self) -> int:
        """How many slots are held."""
        return self._in_use

    @property
    def waiting(self) -> int:
        """How many calls are waiting."""
        return len(self._waiters)

    def waited_s(self) -> float:
        """Return how many seconds the longest-waiting call has been waiting; 0.0 if no call is waiting."""
        return self.loop.time() - next(iter(self._waiters)).since if self._waiters else 0.0

    def try_acquire(self, key: Hashable) -> bool:
        """Take a slot for *key* and return True, unless it must wait or would overtake a waiter that could have one."""
        if self._in_use >= self._capacity or self._turns:
            return False
        held = self._held.get(key, 0)
        if self._per_key is not None and held >= self._per_key:
            return False
        self._held[key] = held + 1
        self._in_use += 1
        return True

    def try_overtake(self, key: Hashable) -> bool:
        """Take a slot for *key* and return True if one is free, and all others are held by calls of one other key."""
        if self._in_use >= self._capacity or len(self._held) != 1 or key in self._held or key in self._queues:
            return False
        self._held[key] = 1
        self._in_use += 1
        return True

    async def acquire(self, key: Hashable, until: float | None = None) -> None:
        """
        Take a slot for *key*, waiting for one if necessary.  The caller must `release` it.

        Args:
            key: The key that takes the slot when its turn comes.
            until: When to give up waiting, by the loop's clock; None sets no limit.

        Raises:
            TimeoutError: The call did not get a slot before *until*.
            Overloaded: Too many calls are waiting, or this one has waited too long in a standing queue.
        """
        if self.try_acquire(key):
            return
        outcome: asyncio.Future[Exception | None] = self.loop.create_future()
        waiter = self.enqueue(key, outcome, until)
        try:
            refusal = await outcome
        except asyncio.CancelledError:
            self.withdraw(waiter)
            raise
        if refusal is not None:
            raise refusal

    def enqueue(self, key: Hashable, outcome: Outcome, until: float | None = None) -> Waiter:
        """
        Start waiting for a slot for *key*, without a task.

        Call `try_acquire` first.  A caller that gives up before the wait has ended must call `withdraw`.

        Args:
            key: The key that takes the slot when its turn comes.
            outcome: Receives the result, in the turn of the event loop in which the wait ends.
            until: When to give up waiting, by the loop's clock; None sets no limit.

        Raises:
            Overloaded: Too many calls are waiting.
        """
        if len(self._waiters) >= self.max_waiting:
            raise Overloaded(f"{self.max_waiting} calls are already waiting")
        waiter = Waiter(key, self.loop.time(), outcome)
        self._waiters[waiter] = None
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue()
        queue.waiters[waiter] = None
        if self._may_have_another(key):
            self._turns.setdefault(key)
        if until is not None:
            self._add_deadline(until, waiter)
        return waiter

    def withdraw(self, waiter: Waiter) -> None:
        """Stop waiting; a slot that *waiter* has been given in the meantime goes to the next waiter."""
        if waiter.has_slot:
            self.release(waiter.key)
        else:
            self._remove(waiter)

    def take(self, is_fit: Callable[[Any], bool], most: int) -> list[Any]:
        """
        Remove waiters from the queue, for a caller that serves them without slots of their own.

        The keys take turns; those that have as many slots as they may are left out.

        Args:
            is_fit: Tells whether to remove the waiter that has a certain outcome.
            most: How many waiters to remove at most.

        Returns:
            The outcomes of the waiters.
        """
        taken: list[Any] = []
        keys = list(self._turns)
        while keys:
            left = []
            for key in keys:
                if len(taken) >= most:
                    return taken
                outcome = self._take_one(key, is_fit)
                if outcome is not None:
                    taken.append(outcome)
                    left.append(key)
            keys = left
        return taken

    def _take_one(self, key: Hashable, is_fit: Callable[[Any], bool]) -> Any:
        queue = self._queues.get(key)
        if queue is None:
            return None
        # However long the queue is, this must not take long.
        for waiter in itertools.islice(queue.waiters, MAX_LOOKED_AT):
            if is_fit(waiter.outcome):
                self._remove(waiter)
                return waiter.outcome
        return None

    def release(self, key: Hashable) -> None:
        """
        Give back a slot that *key* holds; the next waiter gets it.

        Raises:
            KeyError: *key* holds no slot.
        """
        held = self._held[key]
        if held > 1:
            self._held[key] = held - 1
        else:
            del self._held[key]
        self._in_use -= 1
        if self._waiters:
            if key in self._queues:
                self._turns.setdefault(key)
            self.serve()

    def _may_have_another(self, key: Hashable) -> bool:
        return self._per_key is None or self._held.get(key, 0) < self._per_key

    def _remove(self, waiter: Waiter) -> None:
        """Remove *waiter* from the queues, if it is still in them."""
        if waiter not in self._waiters:
            return
        del self._waiters[waiter]
        queue = self._queues[waiter.key]
        del queue.waiters[waiter]
        if not queue.waiters:
            del self._queues[waiter.key]
            self._turns.pop(waiter.key, None)
        if not self._waiters:
            self._delay.since = None

    def serve(self) -> None:
        """
        Give free slots to the waiters whose turn it is, and refuse those that have waited too long.

        This happens by itself whenever a slot is released, but not when a call is enqueued while a slot is free.
        """
        while self._turns and self._in_use < self._capacity and self._refused_this_turn < self.refusals_per_turn:
            key = next(iter(self._turns))
            if not self._may_have_another(key):
                # The key rejoins the turns when it releases a slot.
                del self._turns[key]
                continue
            queue = self._queues[key]
            waiter = next(iter(queue.waiters))
            if waiter.outcome.done():
                # The waiter was cancelled, but has not withdrawn yet.
                self._remove(waiter)
            elif self._has_waited_too_long(waiter, queue):
                self._refuse(waiter, Overloaded("calls have been waiting longer than they should"))
            else:
                self._grant(waiter)

    def _has_waited_too_long(self, waiter: Waiter, queue: _Queue) -> bool:
        now = self.loop.time()
        is_late = now - waiter.since > self.target_s
        # Both must be updated.  A key that is waiting for its own calls is late while others are not; and if each key
        # has only one waiter, no single key has a standing queue, but all keys together do.
        is_key_late = queue.delay.lasts(is_late, now, self.interval_s)
        return self._delay.lasts(is_late, now, self.interval_s) or is_key_late

    def _grant(self, waiter: Waiter) -> None:
        key = waiter.key
        self._remove(waiter)
        self._held[key] = self._held.get(key, 0) + 1
        self._in_use += 1
        if key in self._turns:
            self._turns.move_to_end(key)
        waiter.has_slot = True
        waiter.outcome.set_result(None)

    def _refuse(self, waiter: Waiter, refusal: Exception) -> None:
        self._remove(waiter)
        waiter.outcome.set_result(refusal)
        if not self._refused_this_turn:
            self.loop.call_soon(self._go_on)
        self._refused_this_turn += 1
        # Even a key whose waiters are all too late loses its turn after this many refusals.
        if self._refused_this_turn == self.refusals_per_turn and waiter.key in self._turns:
            self._turns.move_to_end(waiter.key)

    def _go_on(self) -> None:
        """Resume, in the next turn of the event loop, what the limit on refusals cut short."""
        self._refused_this_turn = 0
        self._expire()
        self.serve()

    def _add_deadline(self, until: float, waiter: Waiter) -> None:
        if len(self._deadlines) > 2 * len(self._waiters) + MAX_STALE_DEADLINES:
            self._deadlines = [deadline for deadline in self._deadlines if not deadline[2].outcome.done()]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (until, next(self._numbers), waiter))
        self._set_timer()

    def _set_timer(self) -> None:
        """Make sure that the timer fires no later than the earliest deadline."""
        until = self._deadlines[0][0]
        if self._timer is not None:
            if self._timer_at <= until:
                return
            self._timer.cancel()
        self._timer = self.loop.call_at(until, self._on_timer)
        self._timer_at = until

    def _on_timer(self) -> None:
        self._timer = None
        self._expire()

    def _expire(self) -> None:
        """Refuse the waiters whose deadline has passed."""
        latest = self.loop.time() + TIMER_RESOLUTION_S
        while self._deadlines and self._refused_this_turn < self.refusals_per_turn:
            until, _, waiter = self._deadlines[0]
            is_over = waiter.outcome.done()
            if until > latest and not is_over:
                self._set_timer()
                return
            heapq.heappop(self._deadlines)
            if not is_over:
                self._refuse(waiter, TimeoutError())
