"""How the server recognizes the user of a request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.server.credentials import CredentialsReader
from taskd.server.head import BadRequest, Head

NAMES = st.sampled_from(["Authorization", "authorization", "X-Key", "x-kEY", "X-Key2", "Accept", "XX-Key"])
VALUES = st.sampled_from(["", "a", "b", " a", "a\t", "Bearer a", "X-Key: a", "a\xff", "a\nX-Key: b", "a\r"])
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=4)


@pytest.mark.parametrize("names", [["Authorization"], ["X-Key", "Authorization"], []], ids=str)
def test_credentials_are_the_same_before_and_after_parsing(names: list[str]) -> None:
    """This holds for every valid request, whatever the case of its names and the space around its values."""
    reader = CredentialsReader(names)

    @given(fields=FIELDS)
    def check(fields: list[tuple[str, str]]) -> None:
        lines = ["GET / HTTP/1.1", "Host: taskd", *(f"{name}:{value}" for name, value in fields), "", ""]
        data = "\r\n".join(lines).encode("latin-1")
        found = reader.in_head(data)
        try:
            head = Head.parse(data, max_headers=10)
        except BadRequest:
            return
        assert found == reader.in_headers(head.headers)
        assert (found is not None) == any(name.lower() in map(str.lower, names) for name, _ in fields)

    check()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("X-Key: a", "X-Key: b"),
        ("X-Key: a", "Authorization: a"),
        ("X-Key: a", "X-Key: a\r\nX-Key: a"),
        ("X-Key: a", "X-Key: a\r\nAuthorization: b"),
    ],
)
def test_different_credentials_are_told_apart(one: str, other: str) -> None:
    """Any of the headers may decide who the user is."""
    reader = CredentialsReader(["X-Key", "Authorization"])
    found = [reader.in_head(f"GET / HTTP/1.1\r\n{lines}\r\n\r\n".encode()) for lines in (one, other)]

    assert None not in found
    assert found[0] != found[1]
