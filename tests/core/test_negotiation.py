"""Headers that say what a client accepts are parsed with their weights, however they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from taskd.routes import accept_weights, accepts_gzip

NAMES = ["gzip", "GZip", "br", "deflate", "identity", "*", "zstd", "notgzip"]
WEIGHTS = {"": 1.0, ";q=1": 1.0, ";q=1.000": 1.0, " ; Q=0.5 ": 0.5, ";q=0.001": 0.001, "; q=0": 0.0, ";q=0.000": 0.0}
SPACES = st.sampled_from(["", " ", "\t "])
LISTED = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(list(WEIGHTS)), max_size=len(NAMES))


def request(*lines: str, header: str = "accept-encoding") -> Request:
    """Return a request with the *lines* of a *header*."""
    return Request({"type": "http", "headers": [(header.encode(), line.encode("latin-1")) for line in lines]})


@given(LISTED, SPACES, st.integers(0, 8))
def test_each_value_has_its_weight(listed: dict[str, str], space: str, cut: int) -> None:
    """Case, white space and the number of lines make no difference; the default weight is 1."""
    elements = [f"{space}{name}{space}{parameter}{space}" for name, parameter in listed.items()]
    lines = [",".join(part) for part in (elements[:cut], elements[cut:]) if part]
    expected = {name.lower(): WEIGHTS[parameter] for name, parameter in listed.items()}

    assert expected == {name: weight for name, weight in found(lines).items() if name}


def found(lines: list[str]) -> dict[str, float]:
    return accept_weights(request(*lines, header="accept"), "accept")


@given(st.lists(st.text(st.characters(codec="latin-1"), max_size=20), max_size=3))
def test_any_header_can_be_parsed(lines: list[str]) -> None:
    """A malformed header is not an error, and weights are always in range."""
    assert all(0 <= weight <= 1 for weight in found(lines).values())
    accepts_gzip(request(*lines))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], False),
        ([""], False),
        (["gzip"], True),
        (["br", "gzip"], True),
        (["x-gzip"], True),
        (["deflate, GZIP;q=0.001"], True),
        (["*"], True),
        (["*;q=0.1"], True),
        (["br, *;q=0"], False),
        (["gzip, *;q=0"], True),
        (["gzip;q=0"], False),
        (["gzip;q=0, *"], False),
        (["gzip;q=0.000, br"], False),
        (["identity"], False),
        (["identity, gzip"], True),
        (["identity, gzip;q=0.9"], False),
        (["identity;q=0.9, gzip"], True),
        (["identity;q=0, gzip;q=0.1"], True),
        (["identity;q=0"], False),
        (["notgzip"], False),
        (["gzip2"], False),
    ],
)
def test_whether_a_client_accepts_gzip(lines: list[str], expected: bool) -> None:
    """It must accept gzip, and must not prefer an uncompressed response (RFC 9110, section 12.5.3)."""
    assert expected == accepts_gzip(request(*lines))


def test_a_long_header_does_not_block_the_event_loop() -> None:
    """Only the first hundred values count."""
    assert {""} == set(found(["," * 1_000_000 + "a"]))
    assert accepts_gzip(request("br," * 99 + "gzip"))
    assert not accepts_gzip(request("br," * 100 + "gzip"))
