"""A cursor is accepted only unchanged, and only with the query that it was created for."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import string
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskd.queries import Order, Position, Sort, TaskQuery
from taskd.tasks import Priority, Status
from taskd_tasks.cursors import DAMAGED, OTHER_QUERY, REPEATED, Cursor
from taskd_tasks.parameters import PARAMETERS

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
MOMENTS = st.datetimes(timezones=st.just(dt.timezone.utc))
KEYS: dict[Sort, st.SearchStrategy[Any]] = {
    Sort.CREATED_AT: st.none(),
    Sort.UPDATED_AT: MOMENTS,
    Sort.DUE_AT: st.none() | MOMENTS,
    Sort.PRIORITY: st.integers(0, 3),
    Sort.TITLE: TEXT.map(str.casefold),
}
QUERIES = st.builds(
    TaskQuery,
    statuses=st.frozensets(st.sampled_from(Status)),
    priorities=st.frozensets(st.sampled_from(Priority)),
    tags=st.lists(TEXT, max_size=3).map(tuple),
    due_after=st.none() | MOMENTS,
    search=st.none() | TEXT,
    sort=st.sampled_from(Sort),
    order=st.sampled_from(Order),
    limit=st.none() | st.integers(1, 1000),
    count=st.booleans(),
)
GIVEN = st.sets(st.sampled_from(list(PARAMETERS.types)))
POSITIONS = QUERIES.flatmap(
    lambda query: st.tuples(st.just(query), st.builds(Position, KEYS[query.sort], st.uuids(allow_nil=True)))
)
BY_TITLE = TaskQuery(sort=Sort.TITLE, search="x", tags=("a", "b"))
MADE = str(Cursor.after(Position("stra\u00dfe".casefold(), UUID(int=5)), BY_TITLE, {"sort", "search", "tag"}))
ALPHABET = string.ascii_letters + string.digits + "-_=+/ .~\u00e9\n"


def refusal(text: str) -> str:
    """Return the message with which *text* is refused."""
    with pytest.raises(ValueError, match=r"^must be ") as refused:
        Cursor.parse(text)
    return str(refused.value)


def forged(query: TaskQuery, key: bytes) -> Cursor:
    """Return a forged cursor for *query*, which is possible because there is no secret."""
    genuine = Cursor.after(Position(None, UUID(int=1)), query, set())
    return Cursor.parse(str(attrs.evolve(genuine, key=key)))


@given(asked=POSITIONS, given_names=GIVEN, more=GIVEN, limit=st.integers(1, 9))
def test_a_cursor_leads_to_its_position(
    asked: tuple[TaskQuery, Position], given_names: set[str], more: set[str], limit: int
) -> None:
    """It can be sent in a URL unchanged, with another limit, and with parameters that make no difference."""
    query, position = asked
    text = str(Cursor.after(position, query, given_names))

    assert set(text) <= set(string.ascii_letters + string.digits + "-_")
    changed = attrs.evolve(query, limit=limit, count=not query.count)
    assert position == Cursor.parse(text).position(changed, given_names | more)


@given(first=QUERIES, second=QUERIES)
@example(first=TaskQuery(tags=("a", "b")), second=TaskQuery(tags=("b", "a")))
@example(first=TaskQuery(tags=("a", "b")), second=TaskQuery(tags=("a,b",)))
def test_a_cursor_for_another_query_is_refused(first: TaskQuery, second: TaskQuery) -> None:
    """Filters, sort and order must be the same; the order of tags makes no difference."""
    cursor = Cursor.parse(str(Cursor.after(Position(None, UUID(int=1)), first, set())))

    def compared(query: TaskQuery) -> TaskQuery:
        return attrs.evolve(query, tags=tuple(sorted(query.tags)), limit=None, count=False)

    if compared(first) == compared(second):
        second = attrs.evolve(second, search=f"{second.search}?")
    with pytest.raises(ValueError, match=OTHER_QUERY):
        cursor.position(second, set())


@pytest.mark.parametrize("name", REPEATED)
def test_a_parameter_that_was_given_must_be_given_again(name: str) -> None:
    """Leaving one out counts as a change, even if the query is the same."""
    cursor = Cursor.after(Position(None, UUID(int=1)), TaskQuery(), {name})

    with pytest.raises(ValueError, match=OTHER_QUERY):
        cursor.position(TaskQuery(), set(REPEATED) - {name})


def test_only_limit_and_count_may_change() -> None:
    """All other parameters must be repeated with the cursor."""
    assert PARAMETERS.types.keys() == {*REPEATED, "limit", "count", "cursor"}


def test_every_change_to_a_cursor_is_detected() -> None:
    """Whichever character is replaced, inserted or removed, the cursor is refused."""
    changed = {
        MADE[:place] + insertion + MADE[place + removed :]
        for place in range(len(MADE) + 1)
        for removed in (0, 1)
        for insertion in ("", *ALPHABET)
    } - {MADE}

    assert {DAMAGED} == {refusal(text) for text in changed}
    assert MADE == str(Cursor.parse(MADE))


@given(
    st.text()
    | st.text(string.ascii_letters + string.digits + "-_")
    | st.binary().map(base64.b64encode).map(bytes.decode)
)
def test_random_text_is_refused(text: str) -> None:
    """Whatever the text, nothing but `ValueError` is raised."""
    assert DAMAGED == refusal(text)


def test_a_cursor_is_the_same_in_every_process() -> None:
    """Other processes, and the next version, can read it."""
    assert "AZDSRVidni_RiwAAAAAAAAAAAAAAAAAAAAUic3RyYXNzZSJa36O14rgn5A" == MADE


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        (Sort.CREATED_AT, b"1"),
        (Sort.UPDATED_AT, b"null"),
        (Sort.UPDATED_AT, b'"2026-11-27T12:00:00"'),
        (Sort.DUE_AT, b'"0001-01-01T00:00:00+14:00"'),
        (Sort.DUE_AT, b'"9999-12-31T23:59:59-14:00"'),
        (Sort.DUE_AT, b"0"),
        (Sort.PRIORITY, b"-1"),
        (Sort.PRIORITY, b"4"),
        (Sort.PRIORITY, b"true"),
        (Sort.PRIORITY, b"null"),
        (Sort.TITLE, b'"a\\u0000b"'),
        (Sort.TITLE, b'"\\ud800"'),
        (Sort.TITLE, b'"\xff"'),
        (Sort.TITLE, b"[" * 100_000),
        (Sort.TITLE, b""),
        (Sort.TITLE, json.dumps([1]).encode()),
    ],
)
def test_a_forged_key_does_not_reach_the_store(sort: Sort, key: bytes) -> None:
    """A cursor with a correct checksum is refused if no task can be sorted by its key."""
    query = TaskQuery(sort=sort)

    with pytest.raises(ValueError, match=DAMAGED):
        forged(query, key).position(query, set())


@given(sort=st.sampled_from(Sort), key=st.binary())
def test_random_keys_do_no_harm(sort: Sort, key: bytes) -> None:
    """Random bytes are either refused or a valid key."""
    query = TaskQuery(sort=sort)
    # Other errors would not be suppressed.
    with contextlib.suppress(ValueError):
        found = forged(query, key).position(query, set()).key
        assert isinstance(found, {Sort.TITLE: str, Sort.PRIORITY: int}.get(sort, dt.datetime | None))
