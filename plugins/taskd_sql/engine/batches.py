"""
Let calls take turns, and let those that wait share a turn.

As long as nothing has to wait, each call runs on its own.  While all connections are busy, calls wait; when one comes
free, the call whose turn it is takes all others along that can share its round trip, or its transaction.  So the longer
the queue is, the less each call costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import attrs

from taskd.limiter import FairLimiter
from taskd.storage import StoreUnavailable
from taskd.telemetry import Distribution, Measurement
from taskd_sql.engine.database import Kind, Rows

__all__ = ["Batches", "RunAlone", "Shareable"]

# While this many calls are running, others wait for them for a moment, instead of taking a further connection.
RUNNING_AT_ONCE = 2
MOMENT_S = 0.002
# How many calls of a batch get their results in one turn of the event loop.  If all went on at once, no new call could
# begin meanwhile, and all would wait for the next round trip together.
DELIVERED_AT_ONCE = 16
# The weight of the latest turn in the average length of turns.
WEIGHT_OF_LATEST = 0.1
# The numbers of calls in a turn that are told apart.
SIZES = (1, 2, 4, 8, 16, 32, 64)
# More than a round trip to a server on the same continent.
MAX_USUAL_TURN_S = 0.05


class RunAlone(Exception):
    """The batch that a call was in failed without effect, perhaps because of another call: run this one alone."""


class Shareable(Protocol):
    """A call that may share a turn with others of its kind."""

    @property
    def owner(self) -> str:
        """Whose call it is."""
        ...

    @property
    def task_id(self) -> UUID | None:
        """Which task it concerns, if it concerns only one."""
        ...

    @property
    def kind(self) -> Kind | None:
        """Its kind; None if it must run alone."""
        ...


C = TypeVar("C", bound=Shareable)


@attrs.define(eq=False)
class _Waiting(Generic[C]):
    """
    A call in the queue, or in a batch.

    Attributes:
        call: The call.
        result: The rows of the call, if it has run in a batch, or None, if it has a turn of its own.
        batch: The batch that the call is in.
    """

    call: C
    batches: Batches[C]
    result: asyncio.Future[Rows | None]
    batch: _Batch[C] | None = None

    def done(self) -> bool:
        """Return whether it no longer waits for a turn; the limiter calls this."""
        return self.batch is not None or self.result.done()

    def set_result(self, refusal: Exception | None) -> None:
        """End the wait for a turn; the limiter calls this."""
        if refusal is None:
            self.batches.begin(self)
        else:
            self.result.set_exception(refusal)


@attrs.define(eq=False)
class _Batch(Generic[C]):
    """Calls that share a turn, and the task that runs them."""

    members: Sequence[_Waiting[C]]
    task: asyncio.Task[None] = attrs.field(init=False)

    def leave(self) -> None:
        """Note that a caller has been cancelled: if nobody waits for the batch any more, cancel it, too."""
        if all(member.result.done() for member in self.members):
            self.task.cancel()


@attrs.define(eq=False)
class Batches(Generic[C]):
    """
    The calls that wait for a turn.

    Args:
        limiter: Gives turns to calls.
        run: Runs several calls in the turn of an owner, releases the slot, and returns the rows of each call, or its
            error.
    """

    limiter: FairLimiter
    _run: Callable[[str, Sequence[C]], Coroutine[Any, Any, Sequence[Rows | Exception]]]
    _timer: asyncio.TimerHandle | None = attrs.field(init=False, default=None)
    _turn_s: float = attrs.field(init=False, default=0.0)
    # How many calls have had a turn of their own, and how many have shared each of the other turns.
    _alone: int = attrs.field(init=False, default=0)
    _sizes: Distribution = attrs.field(init=False, factory=lambda: Distribution(SIZES))

    def note_turn(self, seconds: float) -> None:
        """Note how long a turn has taken."""
        self._turn_s += (seconds - self._turn_s) * WEIGHT_OF_LATEST

    def waited_s(self) -> float:
        """
        Return for how many seconds the longest-waiting call has been waiting, beyond the usual length of a turn.

        So long a wait is no sign of overload, because the next turn may take all calls along.  Turns that are longer
        than a round trip are a sign.
        """
        return max(self.limiter.waited_s() - min(self._turn_s, MAX_USUAL_TURN_S), 0.0)

    def try_begin(self, owner: str) -> bool:
        """
        Begin a turn of *owner* at once, if few calls are running and none is waiting.

        Nobody waits because of one other user, as long as a connection is free.
        """
        limiter = self.limiter
        begins = limiter.try_acquire(owner) if limiter.in_use < RUNNING_AT_ONCE else limiter.try_overtake(owner)
        self._alone += begins
        return begins

    async def wait(self, call: C, until: float) -> Rows | None:
        """
        Wait for the turn of *call*.

        Args:
            call: A call for which `try_begin` returned False.
            until: When to give up waiting, by the loop's clock.

        Returns:
            The rows of the call, if it shared a turn with others; None if it has a turn of its own.

        Raises:
            RunAlone: The call shared a turn that failed.
            TimeoutError: The call had no turn before *until*.
            Overloaded: Too many calls are waiting, or this one has waited too long in a standing queue.
            StoreError: The call shared a turn, and nobody knows what became of it.
        """
        waiting = _Waiting(call, self, self.limiter.loop.create_future())
        waiter = self.limiter.enqueue(call.owner, waiting, until)
        if self._timer is None and self.limiter.in_use < self.limiter.capacity:
            self._look_in(MOMENT_S)
        try:
            return await waiting.result
        except asyncio.CancelledError:
            if waiting.batch is None:
                self.limiter.withdraw(waiter)
            else:
                waiting.batch.leave()
            raise

    def begin(self, first: _Waiting[C]) -> None:
        """Begin the turn of *first*, and of all calls that can share it."""
        others = self._others(first.call)
        if not others:
            self._alone += 1
            first.result.set_result(None)
            return
        members = sorted((first, *others), key=_place)
        self._sizes.add(len(members))
        batch = _Batch(members)
        for member in members:
            member.batch = batch
        batch.task = self.limiter.loop.create_task(self._finish(batch, first.call.owner))

    def _others(self, call: C) -> Sequence[_Waiting[C]]:
        """Take those calls from the queue that can share the turn of *call*."""
        kind = call.kind
        if kind is None or not self.limiter.waiting:
            return ()
        owners = {call.owner} if kind.is_one_per_owner else set()

        def is_fit(waiting: Any) -> bool:
            other: C = waiting.call
            if waiting.done() or other.kind is not kind or other.owner in owners:
                return False
            if kind.is_one_per_owner:
                owners.add(other.owner)
            return True

        others: Sequence[Any] = self.limiter.take(is_fit, kind.max_calls - 1)
        return others

    async def _finish(self, batch: _Batch[C], owner: str) -> None:
        """Run *batch* in the turn of *owner*, and give each call its result."""
        members = batch.members
        results: Sequence[tuple[_Waiting[C], Rows | Exception]]
        try:
            ended = await self._run(owner, [member.call for member in members])
            results = list(zip(members, ended, strict=True))
        except asyncio.CancelledError:
            # Nobody is waiting any more, unless the event loop is ending.
            stopping = StoreUnavailable("the server is stopping")
            results = [(member, stopping) for member in members]
        except Exception as error:  # noqa: BLE001  no caller may wait forever
            results = [(member, error) for member in members]
        self._deliver(results)

    def _deliver(self, results: Sequence[tuple[_Waiting[C], Rows | Exception]]) -> None:
        """Give calls their results, some in each turn of the event loop."""
        for member, result in results[:DELIVERED_AT_ONCE]:
            if member.result.done():
                continue
            if isinstance(result, Exception):
                member.result.set_exception(result)
            else:
                member.result.set_result(result)
        if rest := results[DELIVERED_AT_ONCE:]:
            self.limiter.loop.call_soon(self._deliver, rest)

    def measurements(self, pool: str) -> Iterator[Measurement]:
        """Yield how many calls shared a turn, on the connections called *pool*."""
        sizes = Distribution(SIZES)
        sizes += self._sizes
        sizes.add(1, self._alone)
        size = "How many calls shared a round trip or a transaction."
        yield Measurement("store_batch_size", size, sizes, labels={"pool": pool})

    def _look_in(self, seconds: float) -> None:
        self._timer = self.limiter.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Let those that have waited for a moment have further connections, if there are any."""
        self._timer = None
        if not self.limiter.waiting:
            return
        waited_s = self.limiter.waited_s()
        if waited_s < MOMENT_S:
            self._look_in(MOMENT_S - waited_s)
        else:
            # Whoever still waits after this waits for another call to end.
            self.limiter.serve()


def _place(waiting: _Waiting[Any]) -> tuple[str, bytes]:
    """Return by what to sort the calls of a batch: all processes must lock tasks and owners in the same order."""
    task_id = waiting.call.task_id
    return waiting.call.owner, b"" if task_id is None else task_id.bytes
