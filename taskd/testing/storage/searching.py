"""Test which tasks a search finds."""

from __future__ import annotations

import pytest

from taskd.queries import TaskQuery
from taskd.storage import TaskStore
from taskd.tasks import NewTask, TaskChanges
from taskd.testing.promises import promises
from taskd.testing.storage.limits import limited
from taskd.testing.storage.samples import assert_lists, create_all, titles

__all__ = ["SearchTests"]

# Texts that are equal after case folding, and what Unicode calls them.
SAME = {
    "capital letters": ("water", "WATER", "Water"),
    "sharp s": ("stra\u00dfe", "STRASSE", "STRA\u1e9eE"),
    "final sigma": ("\u03bf\u03b4\u03bf\u03c2", "\u039f\u0394\u039f\u03a3", "\u03bf\u03b4\u03bf\u03c3"),
    "ligatures": ("\ufb01sh", "FISH", "fish"),
    "long s": ("\u017fea", "SEA", "sea"),
    "dotted capital i": ("\u0130", "i\u0307"),
    "Cyrillic": ("\u0434\u043e\u043c", "\u0414\u041e\u041c"),
    "Cherokee": ("\u13a0", "\uab70"),
    "outside the BMP": ("\U00010428", "\U00010400"),
    "Kelvin": ("k", "\u212a"),
}
# Texts that look or sound alike, but differ.
DIFFERENT = {
    "accents": ("cafe", "caf\u00e9"),
    "normalization": ("caf\u00e9", "cafe\u0301"),
    "dotless i": ("\u0131", "i"),
    "width": ("a", "\uff21"),
    "superscripts": ("2", "\u00b2"),
    "white space": ("a b", "a\u00a0b"),
    "number of spaces": ("a b", "a  b"),
    "line breaks": ("a\nb", "a\r\nb"),
    "emoji": ("\U0001f389", "\U0001f38a"),
    "emoji and replacement": ("\U0001f389", "\ufffd"),
}
# Characters that may be special in patterns, full-text queries, statements or JSON.
LITERAL = [
    *["%", "_", "\\", "*", "?", "[a]", "^a", "a$", "a.c", "a|b", "a&b", "!a", "(a", "+a", "-a", "a:*"],
    *[
        "'",
        '"',
        "''",
        "\\'",
        "\\%",
        "\\\\",
        "--",
        ";",
        "$1",
        ":a",
        "{}",
        "\\u0041",
        " ",
        "\t",
        "\n",
        "\ufeff",
        "\u200b",
    ],
]


@promises
@limited
class SearchTests:
    """`search` compares texts after full case folding, and in no other way."""

    @pytest.mark.parametrize("texts", SAME.values(), ids=list(SAME))
    async def test_case_does_not_matter(self, store: TaskStore, owner: str, texts: tuple[str, ...]) -> None:
        """Texts that are equal after case folding match each other, in titles and in descriptions."""
        await create_all(store, owner, *[NewTask(title=f"-{text}-") for text in texts])
        await create_all(store, owner, *[NewTask(title="d", description=f"-{text}-") for text in texts])
        for text in texts:
            assert 2 * len(texts) == len((await store.list(owner, TaskQuery(search=f"{text}-"))).tasks), text

    @pytest.mark.parametrize("texts", DIFFERENT.values(), ids=list(DIFFERENT))
    async def test_nothing_but_case_is_ignored(self, store: TaskStore, owner: str, texts: tuple[str, str]) -> None:
        """Nothing but case is ignored: texts are not normalized, and words are not stemmed."""
        await create_all(store, owner, *[NewTask(title=f"-{text}-", description=f"-{text}-") for text in texts])
        for text in texts:
            assert [f"-{text}-"] == titles(await store.list(owner, TaskQuery(search=f"-{text}-")))

    async def test_every_character_stands_for_itself(self, store: TaskStore, owner: str) -> None:
        """There are no wildcards, operators, quotes or escapes, and white space counts."""
        tasks = await create_all(store, owner, *[NewTask(title=f"a{text}c") for text in LITERAL])
        tasks += await create_all(store, owner, NewTask(title="abc"), NewTask(title="A", description="aac"))
        for text in LITERAL:
            await assert_lists(store, owner, TaskQuery(search=text, count=True), tasks)
            await assert_lists(store, owner, TaskQuery(search=f"a{text}C", count=True), tasks)

    async def test_any_part_of_a_text_is_found(self, store: TaskStore, owner: str) -> None:
        """The text may be anywhere: inside a word, at the beginning, or at the very end of a long description."""
        end = NewTask(title="end", description="\U0001f389" * 9_996 + "last")
        await create_all(store, owner, NewTask(title="middle", description="-Xlasting"), NewTask(title="Last"), end)

        assert ["end", "Last", "middle"] == titles(await store.list(owner, TaskQuery(search="LAST")))
        assert ["middle"] == titles(await store.list(owner, TaskQuery(search="xlast")))
        assert ["end"] == titles(await store.list(owner, TaskQuery(search="\U0001f389last")))

    async def test_every_character_of_a_long_text_counts(self, store: TaskStore, owner: str) -> None:
        """A text of 200 characters is searched for as a whole."""
        await create_all(store, owner, *[NewTask(title="x" * 199 + last) for last in "ab"])

        assert ["x" * 199 + "b"] == titles(await store.list(owner, TaskQuery(search="x" * 199 + "B")))
        assert [] == titles(await store.list(owner, TaskQuery(search="x" * 199 + "c")))

    async def test_only_the_title_and_the_description_are_searched(self, store: TaskStore, owner: str) -> None:
        """A text is not found in tags, nor across the end of the title and the beginning of the description."""
        await create_all(store, owner, NewTask(title="ab", description="cd", tags=["tag"]), NewTask(title="none"))

        assert ["ab"] == titles(await store.list(owner, TaskQuery(search="b")))
        assert ["ab"] == titles(await store.list(owner, TaskQuery(search="C")))
        for text in ("tag", "bc", "b c", "pending", "null", owner):
            assert [] == titles(await store.list(owner, TaskQuery(search=text))), text

    async def test_a_changed_text_is_found(self, store: TaskStore, owner: str) -> None:
        """After an update, the new texts can be found, and so can those that did not change."""
        [task] = await create_all(store, owner, NewTask(title="One", description="Two"))

        async def found() -> list[str]:
            searches = ["one", "two", "three", "four"]
            return [text for text in searches if (await store.list(owner, TaskQuery(search=text))).tasks]

        await store.update(owner, task.id, TaskChanges(title="Three"))
        assert ["two", "three"] == await found()
        await store.update(owner, task.id, TaskChanges(description="Four"))
        await store.toggle(owner, task.id)
        assert ["three", "four"] == await found()
        await store.update(owner, task.id, TaskChanges(description=None))
        assert ["three"] == await found()
