"""How often an issuer is asked at most, whenever there is a reason to."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd_jwt.fetch_limit import MIN_INTERVAL_S, FetchLimit


def begun(limit: FetchLimit, wanted_s: list[float]) -> list[float]:
    """Return at which of these times a fetch begins."""
    times_s = []
    for now_s in wanted_s:
        if limit.wait_s(now_s) == 0:
            limit.begin(now_s)
            times_s.append(now_s)
    return times_s


def test_the_first_need_not_wait() -> None:
    """Neither at the beginning of the clock nor later."""
    assert [0, 0] == [FetchLimit().wait_s(now_s) for now_s in (0, 10**6)]


@pytest.mark.parametrize(
    ("begun_s", "waits_s"),
    [
        ([0], {0: 5, 2: 3, 5: 0, 6: 0}),
        ([0, 5], {5: 31, 6: 30, 36: 0, 37: 0}),
        ([0, 40], {40: 22, 44: 18, 62: 0}),
        ([0, 100], {100: 5, 104.5: 0.5, 105: 0}),
        ([0, 100, 105], {105: 31, 136: 0}),
    ],
    ids=["after one", "after two in a row", "after two", "after a pause", "after two, after a pause"],
)
def test_how_long_the_next_has_to_wait(begun_s: list[float], waits_s: dict[float, float]) -> None:
    """After a while without any, two may follow each other soon; then it takes longer."""
    limit = FetchLimit()
    for now_s in begun_s:
        limit.begin(now_s)

    assert waits_s == {now_s: limit.wait_s(now_s) for now_s in waits_s}


@given(st.lists(st.integers(0, 80).map(lambda quarters: quarters / 4), max_size=100))
def test_no_minute_has_more_than_three(pauses_s: list[float]) -> None:
    """Whenever they are wanted, they keep the lesser interval, and three of them are more than a minute apart."""
    wanted_s = [sum(pauses_s[: number + 1]) for number in range(len(pauses_s))]
    times_s = begun(FetchLimit(), wanted_s)

    assert all(later - sooner >= MIN_INTERVAL_S for sooner, later in itertools.pairwise(times_s))
    assert all(later - sooner > 60 for sooner, later in zip(times_s, times_s[3:], strict=False))
