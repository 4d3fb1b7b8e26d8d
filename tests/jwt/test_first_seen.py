"""When tokens were first seen, counted in fetches."""

from __future__ import annotations

import attrs

from taskd_jwt.jwks.first_seen import FirstSeen
from taskd_jwt.jws import Token, read
from tests.support.attacks import ACCEPTED, GOOD


def another(number: int) -> Token:
    """Return a token that differs from all others only in its signature."""
    return attrs.evolve(read(GOOD), signature=b"%d" % number)


def test_a_token_is_first_seen_once() -> None:
    """A token that comes again keeps its number of fetches, and any other token has its own."""
    first_seen = FirstSeen()

    assert [3, 3] == [first_seen.fetches_before(read(GOOD), fetches) for fetches in (3, 5)]
    assert [5, 6] == [
        first_seen.fetches_before(token, fetches) for fetches, token in enumerate(map(another, (1, 2)), 5)
    ]
    assert 7 == first_seen.fetches_before(read(ACCEPTED["ES256"]), 7)


def test_the_number_of_tokens_is_limited() -> None:
    """The least recently used token is forgotten, and counts as new."""
    first_seen = FirstSeen(max_tokens=3)
    for number in range(4):
        first_seen.fetches_before(another(number), number)

    assert [9, 2, 3] == [first_seen.fetches_before(another(number), 9) for number in (0, 2, 3)]
    assert 3 == len(first_seen._fetches)
