"""The limits on how often an issuer is asked for its keys."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd_jwt.jwks.rate_limit import FetchLimit, MissingKeys
from taskd_jwt.jwks.timing import Timing

MIN_INTERVAL_S, QUIET_S = Timing().min_interval_s, Timing().quiet_s


def started(limit: FetchLimit, wanted_s: list[float]) -> list[float]:
    """Return those of *times* at which a fetch starts."""
    times_s = []
    for now_s in wanted_s:
        if limit.wait_s(now_s) == 0:
            limit.start(now_s)
            times_s.append(now_s)
    return times_s


def test_the_first_fetch_need_not_wait() -> None:
    """It may start at once, whatever the time."""
    assert [0, 0] == [FetchLimit().wait_s(now_s) for now_s in (0, 10**6)]


@pytest.mark.parametrize(
    ("started_s", "waits_s"),
    [
        ([0], {0: 5, 2: 3, 5: 0, 6: 0}),
        ([0, 5], {5: 15, 6: 14, 20: 0, 21: 0}),
        ([0, 20], {20: 10, 24: 6, 30: 0}),
        ([0, 100], {100: 5, 104.5: 0.5, 105: 0}),
        ([0, 100, 105], {105: 15, 120: 0}),
    ],
    ids=["after one", "after two in a row", "after two", "after a pause", "after two, after a pause"],
)
def test_the_next_fetch_has_to_wait(started_s: list[float], waits_s: dict[float, float]) -> None:
    """After a pause, two fetches may follow each other at the shorter interval."""
    limit = FetchLimit()
    for now_s in started_s:
        limit.start(now_s)

    assert waits_s == {now_s: limit.wait_s(now_s) for now_s in waits_s}


@given(st.lists(st.integers(0, 80).map(lambda quarters: quarters / 4), max_size=100))
def test_no_minute_has_more_than_five_fetches(pauses_s: list[float]) -> None:
    """Fetches keep the shorter interval, and six of them take more than a minute."""
    wanted_s = [sum(pauses_s[: number + 1]) for number in range(len(pauses_s))]
    times_s = started(FetchLimit(), wanted_s)

    assert all(later - sooner >= MIN_INTERVAL_S for sooner, later in itertools.pairwise(times_s))
    assert all(later - sooner > 60 for sooner, later in zip(times_s, times_s[5:], strict=False))


def test_a_missing_key_is_not_looked_for_at_once() -> None:
    """A key that was not found is left alone for half a minute; other keys are not affected."""
    missing = MissingKeys()
    missing.add("a", 100)
    waits_s = [missing.wait_s("a", now_s) for now_s in (100, 110.5, 100 + QUIET_S, 1000)]

    assert [QUIET_S, QUIET_S - 10.5, 0, 0] == waits_s
    assert 0 == missing.wait_s("b", 100)


def test_the_number_of_missing_keys_is_limited() -> None:
    """The least recently used one is forgotten."""
    missing = MissingKeys(max_keys=3)
    for key_id in "abcd":
        missing.add(key_id, 100)

    assert [0, QUIET_S] == [missing.wait_s(key_id, 100) for key_id in "ad"]
