"""Entity tags in `If-Match` and `If-None-Match`, compared with a parser that reads one character at a time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request

from taskd.routes import IfMatch, is_unmodified, must_not_exist, version_tag, weak_version_tag

# The characters of lists of tags, and some that make a list invalid.
PIECES = [
    "*",
    ",",
    " ",
    "\t",
    '"',
    "W/",
    "w/",
    '"5"',
    'W/"5"',
    '"05"',
    '"6"',
    '""',
    '"5,6"',
    '"\xff"',
    '"\x7f"',
    "5",
    "\\",
]
LINES = st.lists(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), max_size=3)
TAGS = st.from_regex(r'\A(W/)?"([!#-~\x80-\xff]{0,3}|[56])"\Z')
SPACES = st.text(" \t", max_size=2)
ELEMENTS = st.tuples(SPACES, TAGS | st.just(""), SPACES).map("".join)
LISTS = st.lists(st.lists(ELEMENTS, min_size=1, max_size=4).map(",".join), max_size=3)
VERSIONS = st.integers(0, 2**63 - 1) | st.sampled_from([5, 6])


def request(name: str, lines: Sequence[str]) -> Request:
    """Return a request with the *lines* of the header *name*."""
    return Request({"type": "http", "headers": [(name.encode(), line.encode("latin-1")) for line in lines]})


def read(lines: Sequence[str]) -> list[tuple[bool, str]] | None:
    """Return each tag in *lines*, and whether it is weak; None if they are not a list (RFC 9110, 5.6.1 and 8.8.3)."""
    text, tags, is_expected = ", ".join(lines), list[tuple[bool, str]](), True
    while text:
        if text[0] in " \t,":
            is_expected = is_expected or text[0] == ","
            text = text[1:]
            continue
        is_weak = text.startswith("W/")
        start, quote, rest = text.removeprefix("W/").partition('"')
        opaque, end, text = rest.partition('"')
        if start or not quote or not end or not is_expected or any(mark <= " " or mark == "\x7f" for mark in opaque):
            return None
        tags.append((is_weak, opaque))
        is_expected = False
    return tags


def is_any(lines: Sequence[str]) -> bool:
    return ["*"] == [line.strip() for line in lines]


@given(LINES | LISTS, VERSIONS)
@example(['"5"'], 5)
@example(['W/"5"'], 5)
@example(['"9223372036854775808"'], 2**63 - 1)
def test_if_match_compares_strongly(lines: list[str], version: int) -> None:
    """A strong tag matches the version that it spells, `*` matches every version, and an invalid list matches none."""
    condition = IfMatch.of(request("if-match", lines))

    expected = is_any(lines) or (False, str(version)) in (read(lines) or [])
    assert (expected if lines else None) == (condition and condition.matches(version))


@given(LINES | LISTS)
def test_a_single_version_is_known_in_advance(lines: list[str]) -> None:
    """If only one version will do, a store can compare it in the statement that writes."""
    condition = IfMatch.of(request("if-match", lines or [""]))
    tags = [opaque for is_weak, opaque in read(lines) or () if not is_weak]
    versions = {int(tag) for tag in tags if tag.isdecimal() and str(int(tag)) == tag}

    assert condition is not None
    assert (None if is_any(lines) else versions) == condition.versions
    assert (versions.pop() if len(versions) == 1 else None) == condition.version


@pytest.mark.parametrize(
    ("lines", "version"),
    [
        (['"5"'], 5),
        ([' "5"\t'], 5),
        (['"5"', '"5"'], 5),
        (['"5", W/"6", "other"'], 5),
        (['"0"'], 0),
        (['"9223372036854775807"'], 2**63 - 1),
        (['"5", "6"'], None),
        (['"5"', '"6"'], None),
        (["*"], None),
        (['*, "5"'], None),
        (['"5" "6"'], None),
        (['W/"5"'], None),
        (['"05"'], None),
        (['"+5"'], None),
        (['"-5"'], None),
        (['"5_0"'], None),
        (['" 5"'], None),
        (['"\xb2"'], None),
        (['"9223372036854775808"'], None),
        (['"' + "9" * 5000 + '"'], None),
        (["5"], None),
        (["'5'"], None),
        ([""], None),
    ],
)
def test_only_a_canonical_number_is_a_version(lines: list[str], version: int | None) -> None:
    """Signs, leading zeros, digits of other scripts, and numbers that no store can hold are not versions."""
    condition = IfMatch.of(request("if-match", lines))

    assert condition is not None
    assert version == condition.version


def test_without_the_header_there_is_no_condition() -> None:
    """`If-None-Match` is not a condition for writes."""
    assert IfMatch.of(request("if-none-match", ['"5"'])) is None
    assert not is_unmodified(request("if-match", ['"5"']), '"5"')


@given(LINES | LISTS, st.sampled_from([version_tag(5), weak_version_tag(5), '"\xff"', '"5,6"']))
@example(['"other", "5"'], 'W/"5"')
@example(['W/"5"'], '"5"')
@example(["*"], '"5"')
def test_if_none_match_compares_weakly(lines: list[str], tag: str) -> None:
    """It does not matter whether either tag is weak; `*` matches every tag, and an invalid list matches none."""
    opaque = tag.removeprefix("W/").strip('"')
    expected = is_any(lines) or opaque in {named for _, named in read(lines) or ()}

    assert expected == is_unmodified(request("if-none-match", lines), tag)


@given(LINES)
@example(["*"])
@example([" *\t"])
def test_only_an_asterisk_requires_something_new(lines: list[str]) -> None:
    """A tag instead of it, or beside it, does not."""
    assert is_any(lines) == must_not_exist(request("if-none-match", lines))


@pytest.mark.parametrize("piece", [" ", ",", "\t,", '"', '""', '"a"', "W/", 'W/"', "\xff", "*"])
def test_long_headers_are_parsed_in_linear_time(piece: str) -> None:
    """A header of a megabyte is read in one pass; if the pattern backtracked, this test would not end."""
    lines = [piece * 300_000 + end for end in ("", "x", '"')]
    for line in lines:
        IfMatch.of(request("if-match", [line]))
        is_unmodified(request("if-none-match", [line]), '"5"')


def test_the_tag_of_a_version_is_its_number() -> None:
    """The tag of a task is strong, and that of a list is weak."""
    assert ('"5"', 'W/"5"') == (version_tag(5), weak_version_tag(5))
