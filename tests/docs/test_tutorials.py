"""The tutorials work: their commands are run in order, and print what the tutorials show."""

from __future__ import annotations

from tests.support.reader import Reader

KEY = "k" * 32


def test_the_first_ten_minutes(reader: Reader) -> None:
    """Each request gets the response that is shown, and the last request deletes the task."""
    reader.follow("first-ten-minutes.md")

    assert "" == reader.output
