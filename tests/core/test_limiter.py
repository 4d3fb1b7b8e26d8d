"""The limiter decides who gets a slot and who is refused, and never loses a slot."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import taskd.limiter
from taskd.limiter import FairLimiter, Overloaded

T = TypeVar("T")


class ClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock advances only when a test says so.  It never waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def time(self) -> float:
        return self.now_s

    def turn(self, count: int = 1) -> None:
        """Run one iteration of the loop, or *count* of them."""
        for _ in range(count):
            self.call_soon(self.stop)
            self.run_forever()

    def settle(self) -> None:
        """Run the loop until nothing is left to do."""
        self.turn(50)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.settle()

    def do(self, function: Callable[..., T], *args: Any) -> T:
        """Call *function* inside the loop and return its result."""

        async def call() -> T:
            return function(*args)

        return self.run_until_complete(call())


@attrs.define(eq=False)
class Calls:
    """
    Calls of a limiter, in one loop.

    Attributes:
        served: The names of the calls that got a slot, in that order.
        refused: The names of the calls that were refused, in that order, and why.
    """

    loop: ClockLoop
    limiter: FairLimiter
    served: list[str] = attrs.field(init=False, factory=list)
    refused: list[tuple[str, type[Exception]]] = attrs.field(init=False, factory=list)

    def start(self, key: str, name: str, within_s: float | None = None) -> asyncio.Task[None]:
        until = None if within_s is None else self.loop.now_s + within_s
        task = self.loop.create_task(self._acquire(key, name, until))
        self.loop.turn()
        return task

    def release(self, key: str) -> None:
        self.loop.do(self.limiter.release, key)
        self.loop.settle()

    def release_and_try(self, key: str, other: str) -> bool:
        """Release a slot and try to take one at once, in the same iteration of the loop."""
        self.limiter.release(key)
        return self.limiter.try_acquire(other)

    async def _acquire(self, key: str, name: str, until: float | None) -> None:
        try:
            await self.limiter.acquire(key, until)
        except (Overloaded, TimeoutError) as error:
            self.refused.append((name, type(error)))
        else:
            self.served.append(name)


@pytest.fixture
def loop() -> Iterator[ClockLoop]:
    made = ClockLoop()
    yield made
    for task in asyncio.all_tasks(made):
        task.cancel()
    made.settle()
    made.close()


@pytest.fixture
def calls(loop: ClockLoop) -> Calls:
    """Return calls of a limiter whose only slot is taken."""
    made = Calls(loop, FairLimiter(1))
    made.start("first", "first")
    made.served.clear()
    return made


class TestSlots:
    def test_no_more_slots_are_lent_than_there_are(self) -> None:
        """A slot is taken at once while one is free, and refused otherwise."""
        limiter = FairLimiter(2)

        assert [True, True, False] == [limiter.try_acquire(key) for key in "abc"]

    def test_one_key_leaves_slots_to_others(self) -> None:
        """One key may hold as many slots as its limit, and other keys the rest."""
        limiter = FairLimiter(3, 2)

        assert [True, True, False, True] == [limiter.try_acquire(key) for key in "aaab"]

    def test_a_released_slot_is_free(self) -> None:
        """When one key releases a slot, another key can take it."""
        limiter = FairLimiter(1)
        assert limiter.try_acquire("a")
        limiter.release("a")

        assert limiter.try_acquire("b")
        assert 1 == limiter.in_use

    def test_a_key_cannot_release_the_slots_of_others(self) -> None:
        """A key that holds no slot cannot release one, and nothing changes."""
        limiter = FairLimiter(1)
        assert limiter.try_acquire("a")
        with pytest.raises(KeyError):
            limiter.release("b")

        assert 1 == limiter.in_use

    def test_raising_the_capacity_serves_waiters(self, loop: ClockLoop, calls: Calls) -> None:
        """As many waiters are served as there are new slots."""
        for name in "abc":
            calls.start(name, name)
        loop.do(setattr, calls.limiter, "capacity", 3)
        loop.settle()

        assert ["a", "b"] == calls.served
        assert (3, 3, 1) == (calls.limiter.capacity, calls.limiter.in_use, calls.limiter.waiting)

    def test_lowering_the_capacity_takes_no_slots_away(self, loop: ClockLoop) -> None:
        """Slots beyond the new capacity are kept, but not given to anybody else afterwards."""
        calls = Calls(loop, FairLimiter(2))
        for name in "abc":
            calls.start(name, name)
        calls.limiter.capacity = 1
        calls.release("a")
        assert ["a", "b"] == calls.served
        calls.release("b")

        assert ["a", "b", "c"] == calls.served

    def test_raising_the_limit_per_key_serves_waiters(self, loop: ClockLoop) -> None:
        """Calls that were waiting because of the limit are served."""
        calls = Calls(loop, FairLimiter(3, 1))
        for name in ("a1", "a2", "a3", "a4"):
            calls.start("a", name)
        assert ["a1"] == calls.served
        loop.do(setattr, calls.limiter, "per_key", None)
        loop.settle()

        assert None is calls.limiter.per_key
        assert ["a1", "a2", "a3"] == calls.served


class TestTurns:
    def test_keys_take_turns(self, calls: Calls) -> None:
        """A key with many waiters delays another key by only one, and each key's waiters are served in order."""
        for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
            calls.start(name[0], name)
        calls.release("first")
        for key in "abcab":
            calls.release(key)

        assert ["a1", "b1", "c1", "a2", "b2", "a3"] == calls.served

    def test_a_key_at_its_limit_is_passed_over(self, loop: ClockLoop) -> None:
        """Its waiters wait for its own slots, while other keys are served."""
        calls = Calls(loop, FairLimiter(2, 1))
        for key, name in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2"), ("c", "c1")]:
            calls.start(key, name)
        calls.release("b")
        assert ["a1", "b1", "c1"] == calls.served
        calls.release("c")
        assert "b2" == calls.served[-1]
        calls.release("a")

        assert ["a1", "b1", "c1", "b2", "a2"] == calls.served

    def test_a_new_call_does_not_overtake(self, loop: ClockLoop, calls: Calls) -> None:
        """A free slot belongs to the first waiter, even before that waiter resumes."""
        calls.start("a", "a")
        assert not loop.do(calls.release_and_try, "first", "b")
        loop.settle()
        assert ["a"] == calls.served


class TestCancellation:
    def test_a_cancelled_call_leaves_the_queue(self, loop: ClockLoop, calls: Calls) -> None:
        """The calls behind it move up."""
        first = calls.start("a", "a1")
        calls.start("a", "a2")
        first.cancel()
        loop.settle()
        assert 1 == calls.limiter.waiting
        calls.release("first")

        assert ["a2"] == calls.served
        assert first.cancelled()

    @pytest.mark.parametrize("is_cancelled_first", [True, False])
    def test_a_cancelled_call_passes_its_slot_on(self, loop: ClockLoop, calls: Calls, is_cancelled_first: bool) -> None:
        """Whichever of the two comes first in an iteration of the loop, the next waiter gets the slot."""
        gone = calls.start("a", "a")
        calls.start("b", "b")
        steps: list[Callable[[], object]] = [gone.cancel, lambda: calls.limiter.release("first")]

        def do_both() -> None:
            for step in steps if is_cancelled_first else reversed(steps):
                step()

        loop.do(do_both)
        loop.settle()

        assert gone.cancelled()
        assert ["b"] == calls.served
        assert (1, 0) == (calls.limiter.in_use, calls.limiter.waiting)

    def test_a_call_that_is_refused_and_cancelled_has_no_slot(self, loop: ClockLoop, calls: Calls) -> None:
        """A call that is cancelled in the same iteration in which it times out releases nothing."""
        gone = calls.start("a", "a", within_s=1)
        loop.now_s += 1
        # The timer fires in this iteration; the task resumes in the next one.
        loop.turn()
        gone.cancel()
        loop.settle()

        assert gone.cancelled()
        assert (1, 0) == (calls.limiter.in_use, calls.limiter.waiting)


class TestOvertaking:
    def test_one_key_that_holds_slots_alone_is_overtaken(self) -> None:
        """Its waiters do not keep a call of another key from taking a free slot, but only one."""
        limiter = FairLimiter(4)
        assert [True, True] == [limiter.try_acquire("a") for _ in range(2)]
        assert [False, True, False, False] == [limiter.try_overtake(key) for key in "abbc"]

    def test_there_must_be_a_free_slot(self) -> None:
        """Nobody has more slots than there are."""
        limiter = FairLimiter(1)
        assert limiter.try_acquire("a")
        assert not limiter.try_overtake("b")

    def test_calls_of_the_same_key_are_not_overtaken(self, calls: Calls) -> None:
        """They get their slots in the order in which they came."""
        calls.start("b", "b")
        calls.limiter._capacity += 1
        assert not calls.limiter.try_overtake("b")


class TestDeadlines:
    def test_no_call_waits_beyond_its_deadline(self, loop: ClockLoop, calls: Calls) -> None:
        """A call that has no slot by then is refused, even if no slot is ever released."""
        for name, within_s in [("late", 3.0), ("soon", 1.0), ("later", 3.5), ("ever", None)]:
            calls.start("a", name, within_s)
        loop.advance(0.9)
        assert [] == calls.refused
        loop.advance(0.1)
        assert [("soon", TimeoutError)] == calls.refused
        loop.advance(2.1)
        assert [("soon", TimeoutError), ("late", TimeoutError)] == calls.refused
        loop.advance(100)

        assert ["soon", "late", "later"] == [name for name, _ in calls.refused]
        assert 1 == calls.limiter.waiting

    def test_there_is_only_one_timer(self, loop: ClockLoop, calls: Calls) -> None:
        """However many calls are waiting, they share one timer."""
        for number in range(20):
            calls.start("a", f"{number}", 3 + number)

        assert 1 == len([timer for timer in loop._scheduled if not timer.cancelled()])  # type: ignore[attr-defined]

    def test_many_simultaneous_deadlines_do_not_block_the_loop(self, loop: ClockLoop, calls: Calls) -> None:
        """If a thousand calls time out together, only a few are refused in each iteration of the loop."""
        for number in range(1000):
            calls.start(f"{number % 7}", f"{number}", 3)
        loop.now_s += 3
        sizes = [0]
        while sizes[-1] < 1000:
            loop.turn()
            sizes.append(len(calls.refused))

        assert calls.limiter.refusals_per_turn == max(after - before for before, after in itertools.pairwise(sizes))

    def test_deadlines_of_served_calls_are_forgotten(self, calls: Calls) -> None:
        """A busy limiter does not keep all past calls until their deadlines."""
        calls.start("slow", "slow", 1)
        calls.release("first")
        for number in range(1000):
            calls.start("a", f"{number}", 3)
            calls.release("a" if number else "slow")

        assert 2 * taskd.limiter.MAX_STALE_DEADLINES > len(calls.limiter._deadlines)


class TestOverload:
    def test_a_burst_is_served_however_long_it_has_waited(self, loop: ClockLoop, calls: Calls) -> None:
        """After an outage of two seconds, all waiters are served, as long as this is quickly done."""
        names = [f"{number}" for number in range(10)]
        for name in names:
            calls.start("a", name, 3)
        loop.advance(2)
        calls.release("first")
        for _ in range(9):
            loop.advance(0.04)
            calls.release("a")

        assert names == calls.served
        assert [] == calls.refused

    @pytest.mark.parametrize("keys", [1, 100], ids=["of one key", "of many"])
    def test_a_standing_queue_is_cut_down_to_the_target(self, loop: ClockLoop, calls: Calls, keys: int) -> None:
        """With twice as many calls as can be served, only those that have waited too long are refused."""
        began: dict[str, float] = {}
        ended: dict[str, float] = {}
        holder = "first"
        for number in range(400):
            name = f"{number}"
            began[name] = loop.now_s
            calls.start(f"{number % keys}", name, 3)
            loop.advance(0.05)
            if number % 2:
                served = len(calls.served)
                calls.release(holder)
                assert served + 1 == len(calls.served)
                holder = f"{int(calls.served[-1]) % keys}"
            ended.update(
                {
                    done: loop.now_s
                    for done in [*calls.served, *(name for name, _ in calls.refused)]
                    if done not in ended
                }
            )

        waited = {name: ended[name] - began[name] for name in ended}
        assert {Overloaded} == {error for _, error in calls.refused}
        assert 1.0 < min(waited[name] for name, _ in calls.refused)
        # In the second half, the queue is as long as it may be.
        assert 1.8 > max(waited[name] for name in calls.served if int(name) > 200)

    def test_an_overload_ends_when_the_queue_is_empty(self, loop: ClockLoop, calls: Calls) -> None:
        """After that, the next burst is served, too."""
        for name in ("1", "2", "3"):
            calls.start("a", name)
        loop.advance(2)
        calls.release("first")
        loop.advance(0.6)
        calls.release("a")
        assert (["1"], ["2", "3"]) == (calls.served, [name for name, _ in calls.refused])
        calls.start("a", "other")
        calls.start("a", "4")
        loop.advance(2)
        calls.release("a")

        assert ["1", "other", "4"] == calls.served

    def test_a_key_that_waits_for_itself_is_cut_down_while_others_are_served(self, loop: ClockLoop) -> None:
        """Calls of other keys that are served at once do not keep a standing queue alive."""
        calls = Calls(loop, FairLimiter(2, 1))
        names = [f"{number}" for number in range(20)]
        for name in names:
            calls.start("flood", name)
        loop.advance(1.1)
        for _ in range(6):
            calls.start("other", "other")
            calls.start("other", "other")
            calls.release("other")
            calls.release("other")
            calls.release("flood")
            loop.advance(0.11)

        assert 12 == calls.served.count("other")
        assert names[:6] == [name for name in calls.served if name != "other"]
        assert [(name, Overloaded) for name in names[6:]] == calls.refused

    def test_refusals_do_not_block_the_loop(self, loop: ClockLoop, calls: Calls) -> None:
        """If a thousand calls have waited too long, only a few are refused per iteration, and other keys are served."""
        calls.limiter.interval_s = 0
        for number in range(1000):
            calls.start("flood", f"{number}")
        loop.advance(1)
        calls.start("other", "other")
        loop.now_s += 0.5
        assert not loop.do(calls.release_and_try, "first", "new")
        loop.turn(2)
        assert calls.limiter.refusals_per_turn == len(calls.refused)
        loop.settle()

        assert ["other"] == calls.served

    def test_the_number_of_waiters_is_bounded(self, loop: ClockLoop) -> None:
        """Further calls are refused at once."""
        calls = Calls(loop, FairLimiter(1, max_waiting=2))
        for name in "abcde":
            calls.start(name, name)

        assert [("d", Overloaded), ("e", Overloaded)] == calls.refused
        assert 2 == calls.limiter.waiting


class TestWaited:
    def test_the_longest_wait_is_reported(self, loop: ClockLoop, calls: Calls) -> None:
        """It is that of the longest-waiting call, of any key, or zero if none is waiting."""
        assert 0.0 == calls.limiter.waited_s()
        calls.start("a", "a1")
        loop.advance(1)
        calls.start("b", "b1")
        loop.advance(1)
        assert 2.0 == loop.do(calls.limiter.waited_s)
        calls.release("first")
        assert 1.0 == loop.do(calls.limiter.waited_s)
        calls.release("a")

        assert 0.0 == calls.limiter.waited_s()


@attrs.define(eq=False)
class Call:
    key: str
    until: float | None
    task: asyncio.Task[None]
    # When it got a slot, counted over all calls; None if it has none, or has released it.
    grant: int | None = None


class LimiterMachine(RuleBasedStateMachine):
    """Whatever happens to a limiter, it accounts for all slots, and no call waits needlessly."""

    @initialize(capacity=st.integers(0, 3), per_key=st.none() | st.integers(1, 2), max_waiting=st.integers(1, 6))
    def make(self, capacity: int, per_key: int | None, max_waiting: int) -> None:
        self.loop = ClockLoop()
        self.limiter = FairLimiter(capacity, per_key, max_waiting=max_waiting, refusals_per_turn=2)
        self.calls: list[Call] = []
        self.grants = 0

    def waiting(self) -> list[Call]:
        return [call for call in self.calls if not call.task.done()]

    def holding(self) -> list[Call]:
        return [call for call in self.calls if call.grant is not None]

    async def acquire(self, key: str, until: float | None) -> None:
        call = next(call for call in self.calls if call.task is asyncio.current_task())
        await self.limiter.acquire(key, until)
        self.grants += 1
        call.grant = self.grants

    def release_now(self, call: Call) -> None:
        call.grant = None
        self.limiter.release(call.key)

    @rule(key=st.sampled_from("abc"), within_s=st.none() | st.sampled_from([0.0, 0.5, 3.0]))
    def start(self, key: str, within_s: float | None) -> None:
        until = None if within_s is None else self.loop.now_s + within_s
        task = self.loop.create_task(self.acquire(key, until))
        self.calls.append(Call(key, until, task))
        self.loop.settle()

    @precondition(lambda self: self.holding())
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.loop.do(self.release_now, data.draw(st.sampled_from(self.holding())))
        self.loop.settle()

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.loop.do(data.draw(st.sampled_from(self.waiting())).task.cancel)
        self.loop.settle()

    @precondition(lambda self: self.waiting() and self.holding())
    @rule(data=st.data(), is_cancelled_first=st.booleans(), turns=st.integers(0, 2))
    def release_and_cancel(self, data: st.DataObject, is_cancelled_first: bool, turns: int) -> None:
        """Both happen within a few iterations of the loop."""
        gone = data.draw(st.sampled_from(self.waiting()))
        holder = data.draw(st.sampled_from(self.holding()))
        steps: list[Callable[[], object]] = [gone.task.cancel, lambda: self.release_now(holder)]
        for step in steps if is_cancelled_first else reversed(steps):
            self.loop.call_soon(step)
            self.loop.turn(turns)
        self.loop.settle()

    @rule(capacity=st.integers(0, 4))
    def resize(self, capacity: int) -> None:
        self.loop.do(setattr, self.limiter, "capacity", capacity)
        self.loop.settle()

    @rule(per_key=st.none() | st.integers(1, 3))
    def limit(self, per_key: int | None) -> None:
        self.loop.do(setattr, self.limiter, "per_key", per_key)
        self.loop.settle()

    @rule(seconds=st.sampled_from([0.1, 0.6, 1.5]))
    def wait(self, seconds: float) -> None:
        self.loop.advance(seconds)

    @invariant()
    def slots_are_those_that_are_held(self) -> None:
        held = [call.key for call in self.holding()]
        assert len(held) == self.limiter.in_use
        assert {key: held.count(key) for key in held} == self.limiter._held

    @invariant()
    def those_who_wait_are_counted(self) -> None:
        assert len(self.waiting()) == self.limiter.waiting
        assert bool(self.waiting()) or 0.0 == self.loop.do(self.limiter.waited_s)

    @invariant()
    def nobody_waits_without_need(self) -> None:
        if self.limiter.in_use < self.limiter.capacity:
            per_key = self.limiter.per_key
            held = [call.key for call in self.holding()]
            assert [] == [call.key for call in self.waiting() if per_key is None or held.count(call.key) < per_key]

    @invariant()
    def nobody_waits_too_long(self) -> None:
        assert [] == [call for call in self.waiting() if call.until is not None and call.until <= self.loop.now_s]

    @invariant()
    def nobody_overtakes_a_call_of_the_same_key(self) -> None:
        for key in "abc":
            mine = [call for call in self.calls if call.key == key]
            grants = [call.grant for call in mine if call.grant is not None]
            assert sorted(grants) == grants
            first_waiting = next((number for number, call in enumerate(mine) if not call.task.done()), len(mine))
            assert [] == [call for call in mine[first_waiting:] if call.grant is not None]

    def teardown(self) -> None:
        """When all calls have ended, everything is as it was at first."""
        for call in self.waiting():
            self.loop.do(call.task.cancel)
        self.loop.settle()
        for call in self.holding():
            self.loop.do(self.release_now, call)
        self.loop.settle()
        self.limiter.capacity = self.limiter.per_key = 2
        outcomes = [call.task.cancelled() or type(call.task.exception()) for call in self.calls]
        taken = [self.limiter.try_acquire("d") for _ in range(3)]
        self.loop.close()

        assert set(outcomes) <= {True, type(None), Overloaded, TimeoutError}
        assert [True, True, False] == taken
        assert [] == [*self.limiter._waiters, *self.limiter._queues, *self.limiter._turns]


TestLimiterMachine = LimiterMachine.TestCase
TestLimiterMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
