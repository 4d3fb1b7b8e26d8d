"""Show progress on stderr, if that is a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import click

__all__ = ["is_shown", "progress"]


def is_shown() -> bool:
    """Tell whether anybody would see a progress bar."""
    return sys.stderr.isatty()


@contextlib.contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that says how much more of *length* is done."""
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=not is_shown()) as bar:
        yield bar.update
