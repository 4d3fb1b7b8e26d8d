"""Two paths have a URL in common if Starlette's own regular expressions say so."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.convertors import CONVERTOR_TYPES, Convertor
from starlette.routing import compile_path

from taskd.routes.overlaps import common_path

# The parts of paths and URLs, made of few characters so that many of them match.
LITERALS = st.text("a1f.-/", max_size=3)
CONVERTORS = ["", ":str", ":path", ":int", ":float"]
UUID = "019ab7d4-5c00-7b2a-9d3e-4f5061728394"


@st.composite
def paths(draw: st.DrawFn) -> str:
    """Return a path of literal text and parameters."""
    parts = ["/"]
    for at in range(draw(st.integers(0, 3))):
        parts += [draw(LITERALS), f"{{p{at}{draw(st.sampled_from(CONVERTORS))}}}"]
    return "".join([*parts, draw(LITERALS)])


@st.composite
def paths_with_a_url(draw: st.DrawFn) -> tuple[str, str]:
    """Return a path, and a URL that it matches."""
    path = draw(paths())
    pattern, _, _ = compile_path(path)
    return path, draw(st.from_regex(pattern, fullmatch=True, alphabet=st.sampled_from("a1f.-/\n")))


def generalized(data: st.DataObject, url: str) -> str:
    """Return a path that matches *url*, with parameters in place of some of it."""
    pieces = re.findall(r"/|[^/]+", url)
    return "".join(
        f"{{q{at}}}" if piece != "/" and data.draw(st.booleans()) else piece for at, piece in enumerate(pieces)
    )


def matches(path: str, url: str) -> bool:
    """Tell whether Starlette matches *url* to *path*."""
    pattern, _, _ = compile_path(path)
    return re.fullmatch(pattern.pattern.removesuffix("$"), url) is not None


@given(path=paths(), other=paths())
@example(path="/{x:float}", other="/1.")
@example(path="/{x:float}", other="/1.5")
@example(path="/{x:path}", other="/")
@example(path="/{x}", other="/")
@example(path="/{x:path}", other="/{y}\n")
def test_a_common_url_matches_both_paths(path: str, other: str) -> None:
    """The order of the two paths does not matter."""
    found = common_path(path, other)

    assert found is None or (matches(path, found) and matches(other, found))
    assert (found is None) == (common_path(other, path) is None)


@given(data=st.data(), known=paths_with_a_url())
def test_a_common_url_is_found(data: st.DataObject, known: tuple[str, str]) -> None:
    """If some URL matches both paths, one is found."""
    path, url = known
    other = generalized(data, url)

    assert matches(other, url)
    assert common_path(path, other) is not None
    assert common_path(path, path) is not None


@given(path=paths(), other=paths(), url=st.text("a1f.-/", max_size=6).map("/{}".format))
def test_no_overlap_is_missed(path: str, other: str, url: str) -> None:
    """If nothing is found, no URL matches both paths."""
    if common_path(path, other) is None:
        assert not (matches(path, url) and matches(other, url))


@pytest.mark.parametrize(
    ("path", "other", "common"),
    [
        ("/api/alice/tasks", "/api/{user_id}/tasks", "/api/alice/tasks"),
        ("/api/{a}/b", "/api/a/{b}", "/api/a/b"),
        ("/api/{user_id}/tasks", "/api/{user_id}/notes", None),
        ("/api/{a}", "/api/{a}/{b}", None),
        ("/api/{rest:path}", "/api/{a}/{b}", "/api/a/a"),
        ("/api/{rest:path}", "/api", None),
        ("/{n:int}", "/{x:float}", "/0"),
        ("/{n:int}", "/x", None),
        ("/{n:int}.5", "/{x:float}", "/0.5"),
        ("/{id:uuid}", f"/{UUID}", f"/{UUID}"),
        ("/{id:uuid}", f"/{UUID.upper()}".replace("-", ""), f"/{UUID.upper()}".replace("-", "")),
        ("/{id:uuid}", f"/{UUID}0", None),
        ("/{a}.txt", "/{b}.json", None),
        ("/{a}.txt", "/hello.{b}", "/hello.txt"),
        ("/{a}{b}", "/x", None),
        ("/a.b", "/a-b", None),
    ],
)
def test_examples(path: str, other: str, common: str | None) -> None:
    """Literal text, parameters and convertors, and which URLs they have in common."""
    assert common == common_path(path, other)


def test_an_unknown_convertor_may_match_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """In doubt, there is an overlap: refusing too much is better than hiding a route."""

    class Date(Convertor[str]):
        regex = "[0-9]{4}-[0-9]{2}"

    monkeypatch.setitem(CONVERTOR_TYPES, "month", Date())

    assert common_path("/api/{month:month}", "/api/{user_id}/tasks") is not None
    assert common_path("/notes/{month:month}", "/api/{user_id}/tasks") is None
