"""Limit how much runs at once, fairly between keys, and refuse what has waited too long."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Protocol

import attrs

__all__ = ["FairLimiter", "Outcome", "Overloaded", "Waiter"]

# How many waiters are refused in one turn of the event loop.  Each of them costs an error response, and a thousand at
# once would hold up everything else.
MAX_REFUSALS_PER_TURN = 32
# Timers of uvloop have whole milliseconds and may fire that much too early.
TIMER_RESOLUTION_S = 0.001
# Deadlines of waiters that are gone are kept until they are this many more than twice the others.
MAX_STALE_DEADLINES = 64


class Overloaded(Exception):
    """More is asked for than can be served: too many wait, or they have been waiting too long."""


@attrs.define
class _StandingDelay:
    """
    Since when everyone who got a turn had waited too long, by the loop's clock; None if the last one had not.

    A queue that forms in a burst drains again, and the delay ends.  One that stands only makes everybody late.
    """

    since: float | None = None

    def lasts(self, is_late: bool, now: float, interval_s: float) -> bool:
        """Take note of whether the next one *is_late*; return whether all have been for *interval_s* seconds."""
        if not is_late:
            self.since = None
            return False
        if self.since is None:
            self.since = now
        return now - self.since >= interval_s


class Outcome(Protocol):
    """Where a waiter learns how its wait has ended: an `asyncio.Future`, or something that needs no task."""

    def done(self) -> bool:
        """Return whether it has ended, or was cancelled."""
        ...

    def set_result(self, result: Exception | None, /) -> None:
        """Take the end of the wait: None for a slot, or the error with which the waiter is refused."""
        ...


@attrs.define(eq=False)
class Waiter:
    """
    A call that waits for a slot.

    Attributes:
        since: When it began to wait, by the loop's clock.
        outcome: Gets None when it has a slot, or the error with which it is refused.
        has_slot: Whether it has got a slot.
    """

    key: Hashable = attrs.field(repr=False)
    since: float
    outcome: Outcome
    has_slot: bool = False


@attrs.define(eq=False)
class _Queue:
    """The waiters of one key, in the order in which they came."""

    waiters: OrderedDict[Waiter, None] = attrs.field(factory=OrderedDict)
    delay: _StandingDelay = attrs.field(factory=_StandingDelay)


@attrs.define(eq=False)
class FairLimiter:
    """
    Lend a number of slots, each to one call at a time, fairly between keys (owners of tasks, as a rule).

    While a slot is free, a call takes it at once, which costs less than a microsecond.  Otherwise calls wait in one
    queue for each key, and the keys take turns, so that a thousand calls of one key delay those of another by one call
    and not by a thousand.

    Under overload it works like CoDel (RFC 8289) in front of a server: if for *interval_s* everyone whose turn it was
    had waited longer than *target_s*, of one key or of all, then whoever else has waited that long is refused.  A burst
    is served, however long it waited, if it drains within the interval; a standing queue is cut down to the target.

    A limiter belongs to the event loop in which calls wait, and is not thread-safe.  It needs no cleaning up.

    Args:
        capacity: How many slots there are.
        per_key: How many of them one key may hold at a time, so that others find some free; None sets no limit.
        target_s: How many seconds a call may wait while calls are refused for waiting too long.
        interval_s: For how many seconds calls must have waited longer than that before the first is refused.
        max_waiting: How many calls may wait, of all keys together.  It bounds memory only.
    """

    _capacity: int
    _per_key: int | None = None
    target_s: float = attrs.field(default=1.0, kw_only=True)
    interval_s: float = attrs.field(default=0.5, kw_only=True)
    max_waiting: int = attrs.field(default=10_000, kw_only=True)
    _in_use: int = attrs.field(init=False, default=0)
    # How many slots each key holds, if any.
    _held: dict[Hashable, int] = attrs.field(init=False, factory=dict, repr=False)
    # All waiters, in the order in which they came; and the same in a queue for each key.
    _waiters: OrderedDict[Waiter, None] = attrs.field(init=False, factory=OrderedDict, repr=False)
    _queues: dict[Hashable, _Queue] = attrs.field(init=False, factory=dict, repr=False)
    # The keys with waiters that may have another slot, the next one first.  While a slot is free, there are none, or
    # the next turn of the event loop goes on with them.
    _turns: OrderedDict[Hashable, None] = attrs.field(init=False, factory=OrderedDict, repr=False)
    _delay: _StandingDelay = attrs.field(init=False, factory=_StandingDelay, repr=False)
    # A heap; the numbers keep it from comparing waiters.  Those that are gone are removed later.
    _deadlines: list[tuple[float, int, Waiter]] = attrs.field(init=False, factory=list, repr=False)
    _numbers: Iterator[int] = attrs.field(init=False, factory=itertools.count, repr=False)
    # One timer, for the earliest deadline, and when it fires.
    _timer: asyncio.Handle | None = attrs.field(init=False, default=None, repr=False)
    _timer_at: float = attrs.field(init=False, default=0.0, repr=False)
    _refused_this_turn: int = attrs.field(init=False, default=0, repr=False)

    @property
    def capacity(self) -> int:
        """
        How many slots there are.

        It may be changed at any time, within the event loop.  Those who hold slots beyond a lower one keep them.
        """
        return self._capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        self._capacity = capacity
        self._serve()

    @property
    def per_key(self) -> int | None:
        """How many slots one key may hold at a time; None if there is no limit.  It may be changed like `capacity`."""
        return self._per_key

    @per_key.setter
    def per_key(self, per_key: int | None) -> None:
        self._per_key = per_key
        if len(self._turns) < len(self._queues):
            self._turns.update(dict.fromkeys(self._queues))
            self._serve()

    @property
    def in_use(self) -> int:
        """How many slots are held."""
        return self._in_use

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._waiters)

    def waited_s(self) -> float:
        """Return for how many seconds the call that has waited longest has been waiting; 0.0 if none waits."""
        return _now() - next(iter(self._waiters)).since if self._waiters else 0.0

    def try_acquire(self, key: Hashable) -> bool:
        """Take a slot for *key* and return True, if that can be done without waiting and ahead of nobody who waits."""
        if self._in_use >= self._capacity or self._turns:
            return False
        held = self._held.get(key, 0)
        if self._per_key is not None and held >= self._per_key:
            return False
        self._held[key] = held + 1
        self._in_use += 1
        return True

    async def acquire(self, key: Hashable, until: float | None = None) -> None:
        """
        Take a slot for *key*, and wait for one if need be.  Whoever has one must `release` it.

        Args:
            key: Whose turn it has to be.
            until: When to give up waiting, by the loop's clock; None sets no limit.

        Raises:
            TimeoutError: There was no slot before *until*.
            Overloaded: Too many wait, or this call has waited too long in a standing queue.
        """
        if self.try_acquire(key):
            return
        outcome: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
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
        Begin to wait for a slot for *key*, without a task.

        Call `try_acquire` first.  Whoever stops waiting before that must `withdraw`.

        Args:
            key: Whose turn it has to be.
            outcome: Is called in the turn of the event loop in which the wait ends.
            until: When to give up waiting, by the loop's clock; None sets no limit.

        Raises:
            Overloaded: Too many wait.
        """
        if len(self._waiters) >= self.max_waiting:
            raise Overloaded(f"{self.max_waiting} calls wait already")
        waiter = Waiter(key, _now(), outcome)
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
        """Stop waiting; a slot that *waiter* has got meanwhile goes to the next one."""
        if waiter.has_slot:
            self.release(waiter.key)
        else:
            self._remove(waiter)

    def release(self, key: Hashable) -> None:
        """
        Give back a slot that *key* holds; the next waiter gets it.

        Raises:
            KeyError: *key* holds none.
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
            self._serve()

    def _may_have_another(self, key: Hashable) -> bool:
        return self._per_key is None or self._held.get(key, 0) < self._per_key

    def _remove(self, waiter: Waiter) -> None:
        """Take *waiter* out of the queues, if it is there."""
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

    def _serve(self) -> None:
        """Give free slots to those whose turn it is, and refuse those that have waited too long."""
        while self._turns and self._in_use < self._capacity and self._refused_this_turn < MAX_REFUSALS_PER_TURN:
            key = next(iter(self._turns))
            if not self._may_have_another(key):
                # It is back when it releases a slot.
                del self._turns[key]
                continue
            queue = self._queues[key]
            waiter = next(iter(queue.waiters))
            if waiter.outcome.done():
                # It was cancelled, and does not know yet.
                self._remove(waiter)
            elif self._has_waited_too_long(waiter, queue):
                self._refuse(waiter, Overloaded("calls wait longer than they should"))
            else:
                self._grant(waiter)

    def _has_waited_too_long(self, waiter: Waiter, queue: _Queue) -> bool:
        now = _now()
        is_late = now - waiter.since > self.target_s
        # Both take note.  A key that waits for itself is late while others are not; and where each key has one waiter,
        # no queue of theirs stands, but all of them together do.
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
            asyncio.get_running_loop().call_soon(self._go_on)
        self._refused_this_turn += 1
        # A key that has nobody but those who are too late keeps its turn only for so many of them.
        if self._refused_this_turn == MAX_REFUSALS_PER_TURN and waiter.key in self._turns:
            self._turns.move_to_end(waiter.key)

    def _go_on(self) -> None:
        """Go on, in the next turn of the event loop, where too many were refused in one."""
        self._refused_this_turn = 0
        self._expire()
        self._serve()

    def _add_deadline(self, until: float, waiter: Waiter) -> None:
        if len(self._deadlines) > 2 * len(self._waiters) + MAX_STALE_DEADLINES:
            self._deadlines = [deadline for deadline in self._deadlines if not deadline[2].outcome.done()]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (until, next(self._numbers), waiter))
        self._set_timer()

    def _set_timer(self) -> None:
        """See that the timer fires at the earliest deadline, or before it."""
        until = self._deadlines[0][0]
        if self._timer is not None:
            if self._timer_at <= until:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(until, self._on_timer)
        self._timer_at = until

    def _on_timer(self) -> None:
        self._timer = None
        self._expire()

    def _expire(self) -> None:
        """Refuse those whose deadline has passed."""
        latest = _now() + TIMER_RESOLUTION_S
        while self._deadlines and self._refused_this_turn < MAX_REFUSALS_PER_TURN:
            until, _, waiter = self._deadlines[0]
            is_over = waiter.outcome.done()
            if until > latest and not is_over:
                self._set_timer()
                return
            heapq.heappop(self._deadlines)
            if not is_over:
                self._refuse(waiter, TimeoutError())


def _now() -> float:
    return asyncio.get_running_loop().time()
