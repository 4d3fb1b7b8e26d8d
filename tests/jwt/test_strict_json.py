"""Strict base64url and JSON, with random input."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd_jwt.strict_json import MalformedError, decode_base64url, decode_object
from tests.support.attacks import DIGITS
from tests.support.issuer import encoded


@given(content=st.binary(max_size=100))
def test_base64url_has_only_one_spelling(content: bytes) -> None:
    """Only the spelling of an encoder is decoded; padding and other unused bits are refused."""
    text = encoded(content)
    others = [text + "=", f"{text} ", f" {text}", f"{text}\n", text + "=" * (-len(text) % 4 or 4)]
    if text and len(text) % 4:
        others += [
            text[:-1] + digit for digit in DIGITS if digit != text[-1] and _decoded(text[:-1] + digit) == content
        ]

    assert content == decode_base64url(text)
    for other in others:
        with pytest.raises(MalformedError):
            decode_base64url(other)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@given(text=st.text(max_size=20) | st.text(DIGITS + "+/=. ", max_size=20))
def test_decoded_base64url_is_encoded_to_the_same_text(text: str) -> None:
    """Any other text is refused with a `MalformedError`."""
    try:
        content = decode_base64url(text)
    except MalformedError:
        return

    assert text == encoded(content)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    damage=st.tuples(st.integers(0, 50), st.sampled_from([b"", b'"', b"{", b"]", b",", b"\xff", b" ", b"NaN", b"\0"])),
)
def test_an_object_is_decoded_as_python_decodes_it(value: Any, damage: tuple[int, bytes]) -> None:
    """Python's own decoder accepts more, but never returns something else."""
    position, inserted = damage
    content = json.dumps({"a": value}).encode()
    content = content[:position] + inserted + content[position:]
    try:
        decoded = decode_object(content)
    except MalformedError:
        return

    assert json.loads(content) == decoded
