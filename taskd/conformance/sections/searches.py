"""Check searches."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from taskd.conformance.client import Client
from taskd.conformance.expect import expect_equal
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks"]

checks = Checks(Section.LISTS)


async def _expect_each(client: Client, searches: Mapping[str, str]) -> None:
    """Expect that each text finds the tasks with these names."""
    for text, names in searches.items():
        await _expect_found(client, text, names)


async def _expect_found(client: Client, text: str, names: str) -> None:
    found = await client.names(f"search={quote(text, safe='')}")
    # Other letters of a name are the text that is searched.
    expect_equal(list(names), [name[0] for name in found], f"the tasks for the search {text!r}")


@checks.add
async def texts(client: Client) -> None:
    """A search finds what the title or the description contains."""
    await client.create("a zebra")
    await client.create("b", description="one zebra and another")
    await client.create("c", description="a zeb")
    for text, names in {"zebra": "ba", "zeb": "cba", "one zebra": "b", "zebras": ""}.items():
        await _expect_found(client, text, names)


@checks.add
async def case(client: Client) -> None:
    """A search ignores case by Unicode's full case folding."""
    await client.create("a Zebra")
    await client.create("b stra\u00dfe")
    await client.create("c", description="\u039f\u0394\u039f\u03a3")
    await client.create("d \u0130")
    searches = {
        "zEBRA": "a",
        "STRASSE": "b",
        "stra\u1e9ee": "b",
        "\u03bf\u03b4\u03bf\u03c2": "c",
        "\u03bf\u03b4\u03bf\u03c3": "c",
        "i\u0307": "d",
    }
    await _expect_each(client, searches)


@checks.add
async def normalization(client: Client) -> None:
    """A search does not normalize: a letter with an accent is not a letter and an accent."""
    await client.create("a \u00e9")
    await client.create("b e\u0301")
    await _expect_each(client, {"\u00e9": "a", "\u00c9": "a", "e\u0301": "b", "\ufb01": ""})


@checks.add
async def literally(client: Client) -> None:
    """White space and characters that are special elsewhere are taken literally."""
    await client.create("a x  y")
    await client.create("b 100% [x]")
    await client.create("c a_b \\ *'\"")
    searches = {
        "x y": "",
        "x  y": "a",
        "x\ty": "",
        "0%": "b",
        "1%": "",
        "[x]": "b",
        "_": "c",
        "\\": "c",
        "*": "c",
        "'": "c",
    }
    await _expect_each(client, searches)


@checks.add
async def length(client: Client) -> None:
    """A search has up to 200 characters."""
    await client.create("a", description="\U0001f389" * 200)
    await _expect_found(client, "\U0001f389" * 200, "a")
