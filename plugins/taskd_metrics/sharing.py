"""
Share the numbers of several processes through files.

Each process keeps its numbers in a file, and as long as it lives, a lock on another one; so it does not matter how it
ends.  Whoever reads the numbers adds the counters of processes that have ended to those in `ENDED`, and removes their
files: if a counter fell, Prometheus would think that it had begun anew.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import multiprocessing
import os
import shutil
import stat
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs
import msgspec

from taskd.telemetry import Measurement
from taskd_metrics.merging import counters, merged

__all__ = ["NAME", "Sharing", "folder_of_siblings"]

NAME = "taskd-metrics"
ENDED = "ended"
MUTEX = "mutex"
# The endings of the names of files.
KINDS = ("lock", "new", "numbers")
# How often to try to join while the last process is leaving.
ATTEMPTS = 10

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Measurement]).decode


def folder_of_siblings() -> Path | None:
    """Return the folder for the processes that have the same parent as this one; None if it was started on its own."""
    if multiprocessing.parent_process() is None:
        return None
    # Only a parent and its children have this key.
    key = multiprocessing.current_process().authkey
    return Path(tempfile.gettempdir()) / f"{NAME}-{hashlib.sha256(key).hexdigest()[:16]}"


@attrs.define(eq=False)
class Sharing:
    """
    Shares the numbers of this process with those that use the same *folder*, in which nothing else may be.

    Everything here waits for files, so it must not run in the event loop.
    """

    folder: Path
    _name: str = attrs.field(init=False, factory=lambda: uuid.uuid4().hex)
    _lock: int | None = attrs.field(init=False, default=None)
    # Several threads may write.
    _writing: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def join(self) -> None:
        """Begin to share.  The first process removes what others have left behind."""
        for _ in range(ATTEMPTS):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._check_folder()
            with contextlib.suppress(FileNotFoundError):
                self._join()
                return
        raise FileNotFoundError(f"{self.folder} is removed again and again")

    def _check_folder(self) -> None:
        """Refuse a folder that somebody else may have made, or may write to: they could choose what is deleted."""
        status = self.folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder, or a link to one", str(self.folder))
        if status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "belongs to another user", str(self.folder))
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(errno.EPERM, "other users may write to it", str(self.folder))

    def _join(self) -> None:
        with self._mutex():
            if not self._others(is_alive=True):
                for kind in KINDS:
                    for path in self.folder.glob(f"*.{kind}"):
                        path.unlink()
            self._lock = os.open(self._path("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def write(self, own: Sequence[Measurement]) -> None:
        """Let others read the numbers of this process."""
        with self._writing:
            if self._lock is not None:
                self._replace(self._name, own)
                # Otherwise, what clears temporary folders may take it for a forgotten file.
                os.utime(self._lock)

    def everything(self, own: Sequence[Measurement]) -> list[Measurement]:
        """Return the numbers of this process together with those of the others."""
        # What Prometheus has seen of a counter must outlive this process.
        self.write(own)
        with self._mutex():
            self._bury()
            found = [self._numbers(name) for name in (*self._others(is_alive=True), ENDED)]
        return merged([*own, *(each for numbers in found for each in numbers)])

    def leave(self, own: Sequence[Measurement]) -> None:
        """Stop sharing, and leave the counters behind.  The last process removes the folder."""
        self.write(own)
        with self._mutex(), self._writing:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
            if not self._others(is_alive=True):
                shutil.rmtree(self.folder)

    def _bury(self) -> None:
        """Add the counters of processes that have ended to those of all that have."""
        dead = self._others(is_alive=False)
        if dead:
            numbers = [each for name in (*dead, ENDED) for each in counters(self._numbers(name))]
            self._replace(ENDED, merged(numbers))
        for name in dead:
            self._path("numbers", name).unlink(missing_ok=True)
            self._path("lock", name).unlink()

    def _others(self, *, is_alive: bool) -> list[str]:
        """Return the names of the other processes that live, or of those that do not."""
        names = [path.stem for path in self.folder.glob("*.lock")]
        return [name for name in names if name != self._name and self._is_alive(name) == is_alive]

    def _is_alive(self, name: str) -> bool:
        try:
            with self._path("lock", name).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

    def _numbers(self, name: str) -> list[Measurement]:
        with contextlib.suppress(FileNotFoundError):
            return _decode(self._path("numbers", name).read_bytes())
        return []

    def _replace(self, name: str, measurements: Iterable[Measurement]) -> None:
        """Replace the numbers of *name* at once, so that nobody reads half of them."""
        new = self._path("new", name)
        new.write_bytes(_encode(list(measurements)))
        new.replace(self._path("numbers", name))

    def _path(self, kind: str, name: str = "") -> Path:
        return self.folder / f"{name or self._name}.{kind}"

    @contextlib.contextmanager
    def _mutex(self) -> Iterator[None]:
        """
        Keep other processes from doing the same at the same time.

        Raises:
            FileNotFoundError: The last process has removed the folder.
        """
        path = self.folder / MUTEX
        with path.open("ab") as mutex:
            fcntl.flock(mutex, fcntl.LOCK_EX)
            if path.stat().st_ino != os.fstat(mutex.fileno()).st_ino:
                raise FileNotFoundError(path)
            yield
