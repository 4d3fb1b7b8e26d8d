"""Listen on a Unix socket, which is a file."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from taskd.server.sockets import BACKLOG, Listener, ListenError, SocketFile

__all__ = ["listen_at"]

# Processes that listen hold the lock for a moment, but anyone who can read the folder may hold it longer.
LOCK_TIMEOUT_S = 5.0
_LOCK_PAUSE_S = 0.01

_REMEDIES = {
    errno.ENOENT: "make its folder first",
    errno.EACCES: "let taskd's user write to its folder",
    errno.EADDRINUSE: "stop the process that listens there, or choose another path with --uds",
    errno.EWOULDBLOCK: "another process keeps its folder locked: find it with lslocks",
    errno.EEXIST: "it is not a socket: choose another path with --uds",
}


def listen_at(path: Path, mode: int) -> Listener:
    """
    Listen on a Unix socket at *path*, whose file has the permissions *mode*.

    A socket that a process has left behind is replaced, but only if nobody is listening on it.

    Raises:
        ListenError: It is not possible to listen there.
    """
    path = path.absolute()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _alone_in(path.parent):
            _remove_stale(path)
            _bind(listening, path, mode)
            listening.listen(BACKLOG)
            file = SocketFile.at(path)
    except OSError as error:
        listening.close()
        raise ListenError(f"cannot listen on unix:{path}: {_reason(error)}") from None
    return Listener(f"unix:{path}", [listening], file)


def _reason(error: OSError) -> str:
    # Python itself finds that a path is too long, without an error number.
    text = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{text}: {remedy}" if remedy else text


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let other processes wait that want to listen in *folder*: two must not both replace what a third left behind."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    import fcntl  # noqa: PLC0415  Windows has no such module, but may import this one

    until_s = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until_s:
                raise
            time.sleep(_LOCK_PAUSE_S)
        else:
            return


def _remove_stale(path: Path) -> None:
    """Remove the socket at *path*, if there is one that nobody is listening on."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    if _has_listener(path):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    path.unlink()


def _has_listener(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # If so many clients are connecting that there is no place for this one, that is an error, too.
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True
    return True


def _bind(listening: socket.socket, path: Path, mode: int) -> None:
    """Create the file, which has its permissions from the first moment."""
    before = os.umask(0o777 & ~mode)
    try:
        listening.bind(os.fspath(path))
    finally:
        os.umask(before)
