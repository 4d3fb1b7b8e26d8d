"""Write a file that appears only when it is complete, and never replaces another one."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["new_file"]


@contextlib.contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """
    Yield an empty file beside *file*, for the block to write, and give it the name *file* once it is on the disk.

    Only this user can read it, unless the block changes its mode.  If the block fails, nothing is left.

    Raises:
        FileExistsError: *file* exists.
    """
    _refuse(file)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
    os.close(descriptor)
    part = Path(name)
    try:
        yield part
        _sync(part)
        _rename(part, file)
        _sync(file.parent)
    finally:
        part.unlink(missing_ok=True)


def _refuse(file: Path) -> None:
    if os.path.lexists(file):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(file))


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
        raise
    except OSError:
        # Not every file system has links.
        _refuse(file)
        part.rename(file)
