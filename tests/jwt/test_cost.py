"""The limits on JSON that is parsed before a signature is verified."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd_jwt.cost import MAX_HEADER_MEMBERS, header_excess, is_cheap


@pytest.mark.parametrize(("length", "expected"), [(2048, True), (2049, False)])
def test_a_cheap_payload_is_short(length: int, expected: bool) -> None:
    """Better Auth's tokens are much shorter."""
    assert expected == is_cheap(b"a" * length)


@pytest.mark.parametrize(("count", "expected"), [(32, True), (33, False)])
@pytest.mark.parametrize("character", [b"{", b"[", b",", b"\\"])
def test_a_cheap_payload_has_little_structure(character: bytes, count: int, expected: bool) -> None:
    """Braces, brackets, commas and backslashes are counted wherever they are."""
    assert expected == is_cheap(b'"' + character * count + b'"')


@pytest.mark.parametrize(("count", "expected"), [(300, None), (301, "escapes")])
def test_the_escapes_of_a_header_are_limited(count: int, expected: str | None) -> None:
    """They are counted in strings as well."""
    assert expected == header_excess(b'"' + b"\\n" * count + b'"')


@pytest.mark.parametrize(("count", "expected"), [(12, None), (13, "members")])
@pytest.mark.parametrize("character", [b"{", b"[", b","])
def test_the_structure_of_a_header_is_limited(character: bytes, count: int, expected: str | None) -> None:
    """Braces, brackets and commas are counted outside strings only."""
    assert expected == header_excess(character * count + b'"' + character * 100 + b'"')


@pytest.mark.parametrize(("strings", "expected"), [(174, None), (175, "members")])
def test_the_strings_of_a_header_are_limited(strings: int, expected: str | None) -> None:
    """Searching for structure outside thousands of strings would cost too much."""
    assert expected == header_excess(b'","' * strings)


@pytest.mark.parametrize("text", [rb'"\",' + b"," * 13, rb'"\\\",' + b"," * 13, b'","' + b'"' + b"," * 13])
def test_an_unterminated_string_is_left_to_the_parser(text: bytes) -> None:
    """Everything after its quote counts as part of the string."""
    assert header_excess(text) is None


@given(
    st.dictionaries(
        st.text('a"\\,{[', max_size=4), st.integers(0, 9) | st.text('a"\\,{[', max_size=8), min_size=1, max_size=20
    )
)
def test_only_the_members_of_a_valid_header_count(header: dict[str, Any]) -> None:
    """An object needs one brace, and a comma between any two members, whatever its strings contain."""
    expected = None if len(header) <= MAX_HEADER_MEMBERS else "members"

    assert expected == header_excess(json.dumps(header).encode())
