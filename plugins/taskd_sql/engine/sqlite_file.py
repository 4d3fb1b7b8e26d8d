"""Create the file of an SQLite database, and refuse one that would lose writes."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import attrs

from taskd.storage import StoreUnavailable

__all__ = ["OpenFiles", "is_mounted_alone", "mount_id", "prepare"]


def prepare(file: Path) -> None:
    """
    Create *file* unless it exists, and check that SQLite can safely write to it.

    Raises:
        OSError: It cannot be created or written.
        StoreUnavailable: It is not a regular file, or is mounted without its folder.
    """
    _create(file)
    if is_mounted_alone(file):
        raise StoreUnavailable("it is mounted without its folder, so its journal would be lost: mount the folder")


def _create(file: Path) -> None:
    # Follow links, even to a file that does not exist yet.
    real = os.path.realpath(file)
    try:
        # Others must not be able to read the tasks; SQLite gives its side files the same mode.
        os.close(os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
    except FileExistsError:
        if not Path(real).is_file():
            raise StoreUnavailable("it is not a regular file: set DATABASE_URL to another one") from None
        # Check without opening the file: closing any descriptor of it drops all locks that this process holds on it.
        if not os.access(real, os.W_OK):
            raise PermissionError(errno.EACCES, "the file cannot be written") from None


def is_mounted_alone(file: Path) -> bool:
    """
    Tell whether *file*, which must exist, is itself a mount point, as a container's volume may be.

    Its journal is then in the container, not in the volume: the last commits would be lost with the container.
    """
    # SQLite keeps the journal beside the file, not beside a link to it.
    real = file.resolve()
    return _mount_of(real) != _mount_of(real.parent)


def _mount_of(path: Path) -> str:
    """Return an identifier of the mount of *path*: on Linux, its number, because a device may be mounted twice."""
    if sys.platform != "linux":
        return str(path.stat().st_dev)
    # O_PATH does not open the file itself: see `_create`.
    descriptor = os.open(path, os.O_PATH)
    try:
        # In an overlay file system, as in containers, a file and its folder may be on different devices.
        return mount_id(descriptor) or str(os.fstat(descriptor).st_dev)
    finally:
        os.close(descriptor)


def mount_id(descriptor: int) -> str | None:
    """Return the line of /proc that has the number of the mount of an open file, or None if there is none."""
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    except OSError:  # /proc is not mounted
        return None
    return next((line for line in lines if line.startswith("mnt_id:")), None)


@attrs.frozen
class OpenFiles:
    """
    The files that SQLite holds open, by the names they had when it opened them.

    SQLite keeps writing to a file that has been moved or deleted, and those writes would be lost at the next start.
    """

    inodes: dict[Path, tuple[int, int] | None]

    @classmethod
    def of(cls, file: Path) -> OpenFiles:
        """Return the files of the open database *file*."""
        # The journal and its index are beside the file, not beside a link to it.  Two processes with different indexes
        # would overwrite each other's parts of the journal.
        real = file.resolve()
        return cls({each: _inode(each) for each in (real.with_name(real.name + end) for end in ("", "-wal", "-shm"))})

    def check(self) -> None:
        """Raise `StoreUnavailable` unless every name still refers to the same file."""
        if not all(inode is None or inode == _inode(file) for file, inode in self.inodes.items()):
            raise StoreUnavailable("it was moved or replaced while in use: put it back, or restart taskd")


def _inode(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116  runs for every statement, and pathlib takes twice as long
    except OSError:  # missing or unreachable
        return None
    return found.st_dev, found.st_ino
