"""Bodies are read into plugins' classes as strictly as into the core's own."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import attrs
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator

from taskd.fields import MustBe, validated
from taskd.routes import FieldError, InvalidBody
from taskd.routes.body import structure


@attrs.frozen
class Place:
    """A class that is nested in another one."""

    name: str
    floor: int = 0


def is_even(_: object, __: object, value: int) -> None:
    """Refuse an odd number, as an attrs validator does."""
    if value % 2:
        raise ValueError("it is odd")


@attrs.frozen(kw_only=True)
class Note:
    """A class as a third-party plugin might define it."""

    text: str
    done: bool = False
    stars: int = 0
    weight: float = 0.0
    size: Annotated[int, msgspec.Meta(ge=1, description="How large it is.")] = 1
    shade: Annotated[str, msgspec.Meta(max_length=2), MustBe("two letters")] = "x"
    tags: list[str] = attrs.field(factory=list)
    kind: Literal["a", "b"] | None = None
    ref: UUID | None = None
    place: Place | None = None
    pair: int = attrs.field(default=0, validator=is_even)
    status: str = ""
    is_completed: bool = False


GOOD = {
    "text": "t",
    "done": True,
    "stars": 3,
    "weight": 1,
    "size": 2,
    "shade": "xy",
    "tags": ["a"],
    "kind": "b",
    "ref": "019ab7d4-5c00-7b2a-9d3e-4f5061728394",
    "place": {"name": "here", "floor": 2, "unknown": 1},
    # Only tasks require these two to be equal.
    "status": "completed",
    "is_completed": False,
}


def test_valid_values_are_kept() -> None:
    """Each type is read as it is in JSON; fields that are left out get their defaults."""
    note = structure(GOOD, Note)

    assert ("t", True, 3, 1.0, 2) == (note.text, note.done, note.stars, note.weight, note.size)
    assert (["a"], "b", UUID(str(GOOD["ref"])), Place("here", 2)) == (note.tags, note.kind, note.ref, note.place)
    assert Note(text="") == structure({"text": ""}, Note)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("text", 5, "must be a text"),
        ("text", ["t"], "must be a text"),
        ("text", None, "must be a text"),
        ("done", "yes", "must be true or false"),
        ("done", 1, "must be true or false"),
        ("stars", "5", "must be a whole number"),
        ("stars", 1.9, "must be a whole number"),
        ("stars", True, "must be a whole number"),
        ("stars", None, "must be a whole number"),
        ("weight", "nan", "must be a number"),
        ("weight", True, "must be a number"),
        ("size", 0, "is not valid: Expected `int` >= 1"),
        ("shade", "xyz", "must be two letters"),
        ("tags", [1], "is not valid: Expected `str`, got `int` - at `$[0]`"),
        ("kind", "c", "is not valid: Invalid enum value 'c'"),
        ("ref", "x", "is not valid: Invalid UUID"),
        ("place", {"name": 1}, "is not valid: Expected `str`, got `int` - at `$.name`"),
        ("place", 3, "is not valid: Expected `object | null`, got `int`"),
    ],
)
def test_nothing_is_coerced(field: str, value: object, message: str) -> None:
    """A value of another type is an error of its field, and the message says what is expected."""
    with pytest.raises(InvalidBody) as refused:
        structure({**GOOD, field: value}, Note)

    assert (FieldError(field, message),) == refused.value.errors


def test_a_class_may_have_its_own_rules() -> None:
    """If an attrs validator refuses a value, that is an error of its field."""
    with pytest.raises(InvalidBody) as refused:
        structure({**GOOD, "pair": 3}, Note)

    assert (FieldError("pair", "is not valid: it is odd"),) == refused.value.errors


@attrs.frozen(kw_only=True)
class Range:
    """A class with attrs validators that compare fields, and a converter."""

    first: int = attrs.field(validator=attrs.validators.ge(0))
    last: int = attrs.field(converter=abs)
    names: list[str] = attrs.field(factory=list, validator=attrs.validators.max_len(1))

    @last.validator
    def _check_last(self, _: object, last: int) -> None:
        if last < self.first:
            raise ValueError("last must not be less than first")
        if self.first == 7:
            raise TypeError


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"first": 1, "last": -5}, []),
        ({"first": 5, "last": 1}, [("last", "must not be less than first")]),
        ({"first": -5, "last": 1}, [("first", "must be >= 0: -5")]),
        ({"first": 7, "last": 8}, [("last", "is not valid: ")]),
        (
            {"first": 5, "last": 1, "names": 3},
            [("last", "must not be less than first"), ("names", "is not valid: Exp")],
        ),
        ({"first": "x", "last": 1}, [("first", "must be a whole number")]),
        ({"last": 1}, [("first", "is required")]),
        ({"first": 0, "last": 0, "names": ["a", "b"]}, [("names", "is not valid: Length of 'names' must be <= 1: 2")]),
    ],
)
def test_every_validator_runs(body: dict[str, object], errors: list[tuple[str, str]]) -> None:
    """Errors from validators are reported together with wrong types, unless a validator needs such a field."""
    try:
        structure(body, Range)
    except InvalidBody as refused:
        found = [(error.field, error.message) for error in refused.errors]
    else:
        found = []

    assert [field for field, _ in errors] == [field for field, _ in found]
    assert all(message.startswith(start) for (_, message), (_, start) in zip(found, errors, strict=True))


def refuse(number: int) -> int:
    if number:
        raise LookupError("it fails")
    return number


@attrs.frozen
class Odd:
    number: int = attrs.field(default=0, converter=refuse)

    def __attrs_post_init__(self) -> None:
        raise LookupError("nothing is good enough")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"number": 1}, FieldError("number", "is not valid: it fails")),
        ({}, FieldError("body", "is not valid: nothing is good enough")),
    ],
)
def test_any_other_exception_from_a_constructor_is_an_error(body: object, error: FieldError) -> None:
    """One from a converter is an error of its field."""
    with pytest.raises(InvalidBody) as refused:
        structure(body, Odd)

    assert (error,) == refused.value.errors


@attrs.frozen(field_transformer=validated)
class Checked:
    """A plugin's class that is also validated in code."""

    places: list[Place]
    weight: float = -1
    ref: UUID | None = None


@pytest.mark.parametrize("values", [([Place(5)],), ([], "heavy"), ([], 1.0, "x"), ([], float("nan")), (5,), ([], None)])  # type: ignore[arg-type]
def test_a_class_can_be_validated_in_code(values: tuple[Any, ...]) -> None:
    """Fields of any type accept the same values in code as in JSON; defaults are not validated."""
    assert Checked([]) != Checked([Place("here")], 0.5, UUID(int=1))
    with pytest.raises(ValueError, match=r"^(places|weight|ref) "):
        Checked(*values)


def _shout(text: str) -> str:
    return text.upper() * len(text)


def _never_odd(_: object, field: Any, value: int) -> None:
    if value % 2:
        raise ValueError(f"{field.name} must be even")


@attrs.define(field_transformer=validated)
class Plain:
    """A class with a converter that can break a rule, and a validator."""

    code: Annotated[str, msgspec.Meta(max_length=4)] = attrs.field(default="ab", converter=_shout)
    count: int = attrs.field(default=0, validator=_never_odd)


@attrs.define(field_transformer=validated)
class Counted(Plain):
    """A class whose constructor does more than set fields."""

    total: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self.total = self.count + 1


@pytest.mark.parametrize("cls", [Plain, Counted])
@pytest.mark.parametrize("values", [{}, {"code": "x"}, {"code": "abc"}, {"count": 2}, {"count": 1}, {"count": "2"}])
def test_a_body_and_a_constructor_make_the_same(cls: type[Any], values: dict[str, Any]) -> None:
    """Converters, defaults, other validators and hooks of a class work for bodies, too."""
    try:
        expected = cls(**values)
    except ValueError:
        with pytest.raises(InvalidBody):
            structure(values, cls)
    else:
        assert expected == structure(values, cls)


VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.just(["a"]) | st.just(0.5)
# This validator ignores the format of UUIDs, and the schema does not contain the class's own rules.
FIELDS = [field.name for field in attrs.fields(Note) if field.name not in ("pair", "ref")]


BODIES = st.fixed_dictionaries({}, optional={field: st.just(GOOD[field]) | VALUES for field in FIELDS})


@example(body={field: GOOD[field] for field in FIELDS})
@given(body=BODIES)
def test_bodies_are_accepted_if_and_only_if_the_schema_allows_them(body: dict[str, object]) -> None:
    """The schema in the API document and the code that reads bodies agree."""
    [schema], components = msgspec.json.schema_components([Note], ref_template="#/components/schemas/{name}")
    validator = OAS31Validator({**schema, "components": {"schemas": components}})
    try:
        structure(body, Note)
    except InvalidBody:
        is_taken = False
    else:
        is_taken = True

    assert is_taken == validator.is_valid(body)
