"""The model's classes refuse the same values in code as the API does."""

from __future__ import annotations

import datetime as dt
import enum
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskd.routes import FieldError, InvalidBody
from taskd.routes.body import decode, structure
from taskd.tasks import UNSET, Completion, NewTask, Priority, Status, Task, TaskChanges

NOW = dt.datetime(2026, 11, 27, 12, tzinfo=dt.timezone.utc)
TITLE = "must be a text of 1 to 200 characters, not only white space, without NUL"
DESCRIPTION = "must be a text of up to 10,000 characters, without NUL, or null"
TAGS = "must be a list of up to 20 texts of 1 to 50 characters, not only white space, without NUL"
DUE_AT = "must be an RFC 3339 date-time with an offset, or null"


@pytest.mark.parametrize("cls", [NewTask, TaskChanges])
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("title", "", TITLE),
        ("title", " \t\u3000", TITLE),
        ("title", "x" * 201, TITLE),
        ("title", "a\0b", TITLE),
        ("title", "\ud800", TITLE),
        ("title", 5, TITLE),
        ("title", None, TITLE),
        ("title", Status.PENDING, TITLE),
        ("description", "x" * 10_001, DESCRIPTION),
        ("description", "\0", DESCRIPTION),
        ("description", "\udc00\ud800", DESCRIPTION),
        ("description", b"x", DESCRIPTION),
        ("status", "pending", "must be one of pending, in_progress, completed"),
        ("status", None, "must be one of pending, in_progress, completed"),
        ("priority", Status.PENDING, "must be one of low, medium, high, urgent"),
        ("due_at", NOW.replace(tzinfo=None), DUE_AT),
        ("due_at", "2026-11-27T12:00:00Z", DUE_AT),
        ("due_at", dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=1))), DUE_AT),
        ("due_at", object(), DUE_AT),
        ("tags", ["x"] * 21, TAGS),
        ("tags", ["a", "x" * 51], TAGS),
        ("tags", [" "], TAGS),
        ("tags", [""], TAGS),
        ("tags", ["a\0b"], TAGS),
        ("tags", ["\ud800"], TAGS),
        ("tags", [5], TAGS),
        ("tags", [1, True, "a"], TAGS),
        ("tags", [None], TAGS),
        ("tags", [{}], TAGS),
        ("tags", ["a", ["b"]], TAGS),
        ("tags", "abc", TAGS),
        ("tags", {"a"}, TAGS),
        ("tags", {"a": "b"}, TAGS),
        ("tags", None, TAGS),
        ("is_completed", 1, "must be true or false"),
        ("is_completed", None, "must be true or false"),
        ("completed", 1, "must be true or false"),
        ("completed", None, "must be true or false"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused(cls: type[Any], field: str, value: object, message: str) -> None:
    """The error names the field, and says what it must be in the same words as the API."""
    with pytest.raises(ValueError, match=r"must") as refused:
        cls(**{"title": "t", field: value})

    assert f"{field} {message}" == str(refused.value)


@pytest.mark.parametrize("cls", [NewTask, TaskChanges])
@pytest.mark.parametrize("flag", ["is_completed", "completed"])
@pytest.mark.parametrize(
    ("status", "value"), [(Status.PENDING, True), (Status.IN_PROGRESS, True), (Status.COMPLETED, False)]
)
def test_a_contradiction_is_refused(cls: type[Any], flag: str, status: Status, *, value: bool) -> None:
    """The status must agree with both flags."""
    with pytest.raises(ValueError, match=rf'^{flag} must be true exactly when status is "completed"$'):
        cls(title="t", status=status, **{flag: value})


@pytest.mark.parametrize("cls", [NewTask, TaskChanges, Completion])
@pytest.mark.parametrize("value", [True, False])
def test_flags_that_contradict_each_other_are_refused(cls: type[Any], *, value: bool) -> None:
    """The two flags must agree even without a status."""
    required = {} if cls is Completion else {"title": "t"}

    with pytest.raises(ValueError, match=r"^completed must be the same as is_completed$"):
        cls(**required, is_completed=value, completed=not value)
    assert cls(**required, completed=value).target_status() == cls(**required, is_completed=value).target_status()


@pytest.mark.parametrize("flag", ["is_completed", "completed"])
def test_completion_is_checked(flag: str) -> None:
    with pytest.raises(ValueError, match=rf"^{flag} must be true or false$"):
        Completion(**{flag: "yes"})  # type: ignore[arg-type]


def test_a_task_can_be_read_from_its_json() -> None:
    """A store may keep what msgspec writes."""
    new = NewTask(title="T\u00e9", description="", due_at=NOW, tags=("a", "b"), status=Status.COMPLETED)
    task = Task.create("alice", new, NOW, version=3)

    assert task == msgspec.json.decode(msgspec.json.encode(task), type=Task)


def test_repeated_tags_are_dropped() -> None:
    """The first of equal tags is kept in its place; tags that only look equal are different."""
    tags = ["b", "a", "b", "A", " a", "\u00e9", "e\u0301", "a"]

    assert (
        ("b", "a", "A", " a", "\u00e9", "e\u0301") == NewTask(title="t", tags=tags).tags == TaskChanges(tags=tags).tags
    )


@pytest.mark.parametrize("make", [lambda due_at: NewTask(title="t", due_at=due_at), lambda at: TaskChanges(due_at=at)])
def test_due_dates_are_in_utc(make: Any) -> None:
    """The same moment with another offset leads to an equal task."""
    due_at = make(NOW.astimezone(dt.timezone(dt.timedelta(hours=5, minutes=30)))).due_at

    assert (NOW, dt.timezone.utc) == (due_at, due_at.tzinfo)


def test_values_of_subclasses_are_accepted() -> None:
    """Libraries have their own subclasses of str and datetime, which are just as good."""

    class Text(str):
        __slots__ = ()

    class Date(dt.datetime):
        pass

    new = NewTask(title=Text("t"), due_at=Date(2026, 11, 27, 12, tzinfo=dt.timezone.utc), tags=(Text("a"), "a"))

    assert ("t", NOW, ("a",)) == (new.title, new.due_at, new.tags)
    with pytest.raises(ValueError, match=TITLE):
        NewTask(title=Text())


def test_a_changed_task_keeps_the_rules() -> None:
    """A changed task cannot break a rule, because changes are checked, too."""
    task = Task.create("ann", NewTask(title="t", is_completed=True), NOW, version=1)

    with pytest.raises(ValueError, match=r"^title must be"):
        task.changed(TaskChanges(title=" "), NOW, version=2)
    assert (Status.COMPLETED, True, NOW) == (task.status, task.is_completed, task.completed_at)
    assert (UNSET, "t") == (TaskChanges().title, task.changed(TaskChanges(), NOW, version=2).title)


WRONG = st.sampled_from([None, True, False, 0, 1, 1.5, "", "true", [], ["t"], {}, {"title": "t"}])
TEXTS = st.text(max_size=20) | st.sampled_from([" ", "\t\n\u2003", "\u200b", "t\n", "\0", "t\0", "\ud800", "t\udfff"])
LONG = st.builds(str.__mul__, st.sampled_from(["t", " ", "\U0001f389"]), st.sampled_from([200, 201, 10_000, 10_001]))
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
FIRST, LAST = dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001
MOMENTS = st.datetimes(timezones=st.none() | OFFSETS) | st.builds(
    lambda moment, offset: moment.replace(tzinfo=offset), st.sampled_from([FIRST, LAST]), OFFSETS
)
TAGS_OF_ALL_KINDS = st.lists(st.sampled_from(["a", "b", "a "]) | TEXTS | WRONG, max_size=3) | st.builds(
    list.__mul__, st.sampled_from([["a"], ["a", "b"]]), st.sampled_from([10, 11, 20, 21])
)
VALUES = st.fixed_dictionaries(
    {"title": TEXTS | LONG | WRONG},
    optional={
        "description": TEXTS | LONG | WRONG,
        "status": st.sampled_from(Status) | WRONG,
        "priority": st.sampled_from(Priority) | WRONG,
        "due_at": MOMENTS | WRONG,
        "tags": TAGS_OF_ALL_KINDS | WRONG,
        "is_completed": st.booleans() | WRONG,
        "completed": st.booleans() | WRONG,
    },
)


def in_json(value: object) -> str:
    """Encode a value that JSON does not have, as a client would."""
    if isinstance(value, enum.Enum):
        return str(value.value)
    assert isinstance(value, dt.datetime)
    return value.isoformat()


def outcome(make: Callable[[], object]) -> object:
    """Return what *make* returns, or the first message of its error; `body` if the JSON is malformed."""
    try:
        return make()
    except InvalidBody as error:
        first = error.errors[0]
        return "body" if first.field == "body" else f"{first.field} {first.message}"
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("cls", [NewTask, TaskChanges])
@given(values=VALUES)
@example(values={"title": "t", "status": Status.PENDING, "is_completed": True})
@example(values={"title": "t", "is_completed": False, "completed": True})
@example(values={"title": "t", "status": Status.COMPLETED, "is_completed": True, "completed": False})
@example(values={"title": "t", "tags": ["a"] * 21})
@example(values={"title": "\ud800"})
def test_code_and_the_api_accept_the_same_values(cls: type[Any], values: dict[str, Any]) -> None:
    """A constructor and a body with the same values lead to equal instances, or both are refused."""
    expected = outcome(lambda: structure(decode(json.dumps(values, default=in_json).encode()), cls))
    found = outcome(lambda: cls(**values))

    # JSON cannot contain a lone surrogate in any field; in code, it is an error of its field.
    assert expected == found or (expected == "body" and isinstance(found, str))


def test_a_contradiction_is_reported_beside_other_errors() -> None:
    """A validator that compares two fields runs even if other fields are wrong, but not if it needs one of those."""
    with pytest.raises(InvalidBody) as refused:
        structure({"description": 5, "status": "pending", "is_completed": True}, NewTask)
    with pytest.raises(InvalidBody) as without_status:
        structure({"title": "t", "status": "done", "is_completed": True}, NewTask)

    assert ["title", "description", "is_completed"] == [error.field for error in refused.value.errors]
    expected = FieldError("status", "must be one of pending, in_progress, completed")
    assert (expected,) == without_status.value.errors
