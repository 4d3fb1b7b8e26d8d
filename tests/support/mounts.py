"""Small, full and read-only file systems, for users who may mount them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.support.requirements import complaint_of, permitted


@attrs.frozen
class Disk:
    """A separate file system, mounted at *folder*."""

    folder: Path

    @property
    def filler(self) -> Path:
        return self.folder / "filler"

    def fill(self, all_but: int) -> None:
        """Fill the disk except for *all_but* bytes."""
        free = os.statvfs(self.folder)
        self.filler.write_bytes(b"x" * (free.f_bavail * free.f_bsize - all_but))

    @contextlib.contextmanager
    def mounted_at(self, target: Path, source: Path) -> Iterator[None]:
        """Mount *source*, a file or folder on a disk, over *target*, like a container's volume."""
        self._must("mount", "--bind", str(source), str(target))
        try:
            yield
        finally:
            self._must("umount", str(target))

    @contextlib.contextmanager
    def read_only(self, target: Path) -> Iterator[None]:
        """Make *target*, a file or folder, read-only for everyone, including root."""
        with self.mounted_at(target, target):
            self._must("mount", "-o", "remount,bind,ro", str(target))
            yield

    def _must(self, *command: str) -> None:
        complaint = complaint_of(*command)
        assert complaint is None, complaint


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[Disk]:
    """Mount a disk of *size* at *folder*."""
    permitted("no file system can be mounted", "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield Disk(folder)
    finally:
        assert complaint_of("umount", str(folder)) is None
