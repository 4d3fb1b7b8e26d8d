"""Write a file that appears only when it is complete, and never replaces another one."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["interruptible", "new_file"]


@contextlib.contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """
    Yield an empty file beside *file*, for the block to write, and give it the name *file* once it is on the disk.

    Only this user can read it.  If the block fails, nothing is left.  If *file* exists, the process exits.
    """
    _refuse(file)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
    os.close(descriptor)
    part = Path(name)
    try:
        with interruptible():
            yield part
        _sync(part)
        _rename(part, file)
        _sync(file.parent)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM, with which supervisors stop a command, interrupt the block like Ctrl-C, so that it cleans up."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _refuse(file: Path) -> None:
    if os.path.lexists(file):
        sys.exit(f"taskd: {file} exists, and nothing is overwritten: choose another name, or remove it")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(part: Path, file: Path) -> None:
    try:
        # Unlike renaming, this does not replace a file that somebody else has made meanwhile.
        os.link(part, file)
    except FileExistsError:
        _refuse(file)
    except OSError:
        # Not every file system has links.
        _refuse(file)
        part.rename(file)
