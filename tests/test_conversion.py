"""What `taskd.structure` makes of bodies for the classes of others: as strict as for the task's own."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import attrs
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator

from taskd import Fault, InvalidBody, Wanted, structure


@attrs.frozen
class Place:
    """Something in something else."""

    name: str
    floor: int = 0


def is_even(_: object, __: object, value: int) -> None:
    """Refuse an odd number, as an attrs validator does."""
    if value % 2:
        raise ValueError("it is odd")


@attrs.frozen(kw_only=True)
class Note:
    """What another's plugin may read."""

    text: str
    done: bool = False
    stars: int = 0
    weight: float = 0.0
    size: Annotated[int, msgspec.Meta(ge=1, description="How large it is.")] = 1
    shade: Annotated[str, msgspec.Meta(max_length=2), Wanted("two letters")] = "x"
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
    # Only of tasks these two must say the same.
    "status": "completed",
    "is_completed": False,
}


def test_values_are_read_as_they_are() -> None:
    """Each type is taken as JSON has it; what is left out has its default."""
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
    """What is of another type is a fault of its field, which says what is wanted."""
    with pytest.raises(InvalidBody) as refused:
        structure({**GOOD, field: value}, Note)

    assert (Fault(field, message),) == refused.value.faults


def test_a_class_may_have_rules_of_its_own() -> None:
    """What a validator refuses is a fault of the body."""
    with pytest.raises(InvalidBody) as refused:
        structure({**GOOD, "pair": 3}, Note)

    assert (Fault("body", "is not valid: it is odd"),) == refused.value.faults


VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.just(["a"]) | st.just(0.5)
# The form of a UUID is not looked at by this validator, and a rule of the class's own is not in the schema.
FIELDS = [field.name for field in attrs.fields(Note) if field.name not in ("pair", "ref")]


BODIES = st.fixed_dictionaries({}, optional={field: st.just(GOOD[field]) | VALUES for field in FIELDS})


@example(body={field: GOOD[field] for field in FIELDS})
@given(body=BODIES)
def test_a_body_is_taken_exactly_if_it_is_valid_by_the_schema(body: dict[str, object]) -> None:
    """The schema in the API document and what reads the body are one."""
    [schema], components = msgspec.json.schema_components([Note], ref_template="#/components/schemas/{name}")
    validator = OAS31Validator({**schema, "components": {"schemas": components}})
    try:
        structure(body, Note)
    except InvalidBody:
        is_taken = False
    else:
        is_taken = True

    assert is_taken == validator.is_valid(body)
