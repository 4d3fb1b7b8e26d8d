"""The file that a command writes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from taskd.new_files import new_file

__all__ = ["output_file"]


@contextlib.contextmanager
def output_file(file: Path) -> Iterator[Path]:
    """Yield a file that becomes *file* after the block, as `new_file` does; if *file* exists, exit."""
    try:
        with new_file(file) as part:
            yield part
    except FileExistsError:
        sys.exit(f"taskd: {file} exists, and nothing is overwritten: choose another name, or remove it")
