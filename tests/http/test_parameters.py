"""Parameters in queries are read strictly, and all errors are reported at once."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta
from starlette.requests import Request

from taskd.fields import MustBe
from taskd.queries import Order
from taskd.routes import FieldError, InvalidParameter, QueryParameters, ReadBy
from taskd.routes.parameters import NOT_ONCE, NOT_TEXT

FLAG = "must be true or false"
COUNT = "must be a whole number from 1 to 1000"
LETTERS = "must be in capitals"


def letters(text: str) -> tuple[str, ...] | None:
    if text != text.upper():
        raise ValueError(LETTERS)
    return None if text == "-" else tuple(text)


PARAMETERS = QueryParameters(
    {
        "flag": Annotated[bool, MustBe("true or false")],
        "number": Annotated[int, Meta(ge=1, le=1000), MustBe("a whole number from 1 to 1000")],
        "any_number": int,
        "text": str,
        "texts": list[str],
        "numbers": list[Annotated[int, Meta(ge=0)]],
        "order": Order,
        "moment": Annotated[dt.datetime, Meta(tz=True)],
        "letters": Annotated[str, ReadBy(letters)],
    }
)


def read(query: bytes) -> dict[str, Any]:
    """Read the parameters in *query*."""
    return PARAMETERS.read(Request({"type": "http", "headers": [], "query_string": query}))


def errors(query: bytes) -> dict[str, str]:
    """Return the errors in *query*, by parameter."""
    with pytest.raises(InvalidParameter) as refused:
        read(query)
    assert all(isinstance(error, FieldError) for error in refused.value.errors)
    return {error.field: error.message for error in refused.value.errors}


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (b"", {}),
        (b"&&=&=x&flag&text=", {}),
        (b"flag=true", {"flag": True}),
        (b"flag=false&number=1000", {"flag": False, "number": 1000}),
        (b"any_number=-9223372036854775808", {"any_number": -(2**63)}),
        (b"text=a+b%20c%2Bd", {"text": "a b c+d"}),
        (b"text=a=b;flag=true", {"text": "a=b;flag=true"}),
        (b"t%65xt=%C3%A9", {"text": "\u00e9"}),
        (b"text=\xc3\xa9", {"text": "\u00e9"}),
        (b"texts=b&text=x&texts=a&texts=b", {"text": "x", "texts": ["b", "a", "b"]}),
        (b"texts=&texts=a,b&texts=", {"texts": ["a,b"]}),
        (b"text=&text=x&text=", {"text": "x"}),
        (b"numbers=0&numbers=5", {"numbers": [0, 5]}),
        (b"order=desc", {"order": Order.DESC}),
        (b"moment=2026-11-27T13:00:00%2B01:00", {"moment": dt.datetime(2026, 11, 27, 12, tzinfo=dt.timezone.utc)}),
        (b"letters=AB", {"letters": ("A", "B")}),
        (b"letters=-", {}),
        (b"unknown=1&unknown=2&%FF=%FF&%zz=1&a%00=b&Flag=1&flag%5B%5D=1", {}),
    ],
    ids=repr,
)
def test_valid_parameters_are_read(query: bytes, values: dict[str, Any]) -> None:
    """A parameter without a value counts as not given, and unknown parameters are ignored, even malformed ones."""
    assert list(values.items()) == list(read(query).items())


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (b"flag=yes", {"flag": FLAG}),
        (b"flag=True", {"flag": FLAG}),
        (b"flag=1", {"flag": FLAG}),
        *[
            (b"number=" + number, {"number": COUNT})
            for number in (
                b"0",
                b"1001",
                b"01",
                b"+1",
                b"%2B1",
                b"1.0",
                b"1e2",
                b"1_0",
                b"\xd9\xa1",
                b"true",
                b"1" * 5000,
            )
        ],
        (b"text=%FF", {"text": NOT_TEXT}),
        (b"text=\xff", {"text": NOT_TEXT}),
        (b"text=%ED%A0%80", {"text": NOT_TEXT}),
        (b"text=a%00b", {"text": NOT_TEXT}),
        (b"text=100%", {"text": NOT_TEXT}),
        (b"text=%4", {"text": NOT_TEXT}),
        (b"text=%zz", {"text": NOT_TEXT}),
        (b"texts=a&texts=%FF", {"texts": NOT_TEXT}),
        (b"text=a&text=a", {"text": NOT_ONCE}),
        (b"flag=true&flag=true", {"flag": NOT_ONCE}),
        (b"letters=a", {"letters": LETTERS}),
        (b"moment=1&text=%FF&number=0&flag=", {"number": COUNT, "text": NOT_TEXT}),
    ],
    ids=repr,
)
def test_invalid_parameters_are_named(query: bytes, found: dict[str, str]) -> None:
    """All parameters that break a rule are reported, in the order in which they were declared."""
    assert list(found.items()) == [item for item in errors(query).items() if item[0] != "moment"]


def test_an_error_in_a_list_names_the_item() -> None:
    """If a type has no words of its own, msgspec's message is used."""
    assert "is not valid: Expected `int` >= 0 - at `$[1]`" == errors(b"numbers=1&numbers=-1")["numbers"]
    assert "must be one of asc, desc" == errors(b"order=up")["order"]


@given(st.binary(max_size=40) | st.text("flagtextnumbr=&%+;,0123456789abcdefABCDEF", max_size=40).map(str.encode))
def test_random_queries_do_no_harm(query: bytes) -> None:
    """Random bytes are either read, or refused with errors about known parameters."""
    try:
        names = {*read(query)}
    except InvalidParameter as refused:
        names = {error.field for error in refused.errors}
    assert names <= PARAMETERS.types.keys()


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1)
)
def test_encoded_text_survives_a_round_trip(texts: list[str]) -> None:
    """Text that is encoded like a form is decoded unchanged."""
    assert {"texts": texts} == read(urlencode([("texts", text) for text in texts]).encode())
