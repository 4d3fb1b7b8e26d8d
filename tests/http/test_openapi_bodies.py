"""The schemas in the API document and the server accept the same bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskd.routes import InvalidBody
from taskd.routes.body import structure
from tests.support.documents import CLASSES, Json, operations, reference, validator

# The parts of a date-time: valid ones, and near misses.
PARTS: tuple[tuple[str, ...], ...] = (
    ("2026", "0000", "0001", "1900", "2000", "2024", "9999", "10000", "226", "-2026", "\uff12026"),
    ("-", "", "/"),
    ("12", "01", "02", "04", "00", "13", "1"),
    ("-", ""),
    ("31", "01", "28", "29", "30", "00", "32"),
    ("T", "t", " ", "", "_"),
    ("23", "00", "24", "7"),
    (":", ""),
    ("59", "00", "60"),
    (":", ""),
    ("59", "00", "60", "61", ""),
    ("", ".5", ".999999", ".9999994", ".9999995", ".123456789012", ".", ",5"),
    (
        "Z",
        "z",
        "",
        "+00:00",
        "-00:00",
        "+23:59",
        "-23:59",
        "+00:01",
        "-00:01",
        "+24:00",
        "+05:60",
        "+0530",
        "+05",
        "\n",
    ),
)


@st.composite
def date_times(draw: st.DrawFn) -> str:
    """Return a date-time, or a near miss."""
    changed = draw(st.sets(st.integers(0, len(PARTS) - 1), max_size=4))
    return "".join(draw(st.sampled_from(part)) if at in changed else part[0] for at, part in enumerate(PARTS))


def is_on_the_first_or_the_last_day(body: object) -> bool:
    """Tell whether *body* has a time that the schema refuses because of its offset, although it exists in UTC."""
    due_at = body.get("due_at") if isinstance(body, dict) else None
    return isinstance(due_at, str) and due_at.startswith(("0001-01-01", "9999-12-31"))


WRONG = st.sampled_from([None, True, False, 0, 1, -5, 1.5, "", "true", "1", [], ["t"], {}, {"title": "t"}])
TEXTS = st.text() | st.sampled_from(
    ["t", " ", "\t\n\u00a0\u2003", "\u200b", " t ", "t\n", "\x00", "t\x00", "\x1f", "\u00e9", "e\u0301"]
)
LONG = st.builds(
    str.__mul__, st.sampled_from(["t", " ", "\U0001f389"]), st.sampled_from([199, 200, 201, 9_999, 10_000, 10_001])
)
TAGS = st.lists(TEXTS | WRONG, max_size=3) | st.builds(
    lambda text, length, number: [text * length] * number,
    st.sampled_from(["t", " ", "\U0001f389"]),
    st.sampled_from([0, 1, 50, 51]),
    st.sampled_from([0, 1, 20, 21]),
)
CHOICES = {
    "title": TEXTS | LONG | WRONG,
    "description": TEXTS | LONG | WRONG,
    "status": st.sampled_from(["pending", "in_progress", "completed", "Pending", "done", "completed "]) | WRONG,
    "priority": st.sampled_from(["low", "medium", "high", "urgent", "LOW", "none"]) | WRONG,
    "due_at": date_times() | date_times() | WRONG,
    "tags": TAGS | WRONG,
    "is_completed": st.booleans() | WRONG,
    "completed": st.booleans() | WRONG,
    "id": WRONG,
    "created_at": WRONG,
    "colour": WRONG,
}
GOOD = {
    "title": st.just("t"),
    "status": st.sampled_from(["pending", "in_progress", "completed"]),
    "is_completed": st.booleans(),
    "completed": st.booleans(),
    "colour": st.just("blue"),
}


@st.composite
def bodies(draw: st.DrawFn) -> object:
    """Return a body in which a few fields have any value, and the others are valid or missing."""
    if draw(st.integers(0, 19)) == 0:
        return draw(WRONG)
    odd = draw(st.sets(st.sampled_from(list(CHOICES)), max_size=2))
    kept = draw(st.sets(st.sampled_from(list(GOOD)))) | ({"title"} if draw(st.booleans()) else set())
    return {field: draw(CHOICES[field] if field in odd else GOOD[field]) for field in sorted(odd | kept)}


def schema_of_body(name: str) -> Json:
    """Return the schema of a body that is read into the class *name*."""
    [schema] = {
        json.dumps(content["schema"])
        for operation in operations().values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if content["schema"]["$ref"] == reference(name)["$ref"]
    }
    parsed: Json = json.loads(schema)
    return parsed


VALIDATORS = {name: validator(schema_of_body(name)) for name in CLASSES}


def is_accepted(body: object, cls: type[Any]) -> bool:
    """Tell whether the server accepts *body* for a *cls*."""
    try:
        structure(body, cls)
    except InvalidBody:
        return False
    return True


@pytest.mark.parametrize("name", CLASSES)
@given(body=bodies())
@example(body={"title": "t", "due_at": "9999-12-31T23:59:59.9999995Z"})
@example(body={"title": "t", "due_at": "9999-12-31T23:59:59.9999994Z"})
@example(body={"title": "t", "due_at": "2026-02-29T00:00:00Z"})
@example(body={"title": "t", "due_at": "2016-12-31T23:59:60Z"})
@example(body={"title": "t", "due_at": "2026-11-27T17:00:00Z\n"})
@example(body={"title": "t", "due_at": "9999-12-31T00:00:00-00:01"})
@example(body={"title": "t", "due_at": "0001-01-01T00:00:00+00:01"})
@example(body={"title": "t", "due_at": "0000-12-31T23:59:59Z"})
@example(body={"title": "t", "status": None, "is_completed": True})
@example(body={"title": "t", "status": "completed", "is_completed": None})
@example(body={"title": "t", "is_completed": True, "completed": False})
@example(body={"title": "t", "is_completed": True, "status": "pending"})
@example(body={"colour": "blue"})
@example(body={})
@example(body={"title": "t", "tags": ["t"] * 21})
def test_the_schema_and_the_server_accept_the_same_bodies(name: str, body: object) -> None:
    """They agree on every body, except for offsets on the first and the last possible day."""
    is_valid = VALIDATORS[name].is_valid(body)

    if is_valid or not is_on_the_first_or_the_last_day(body):
        assert is_valid == is_accepted(body, CLASSES[name])
