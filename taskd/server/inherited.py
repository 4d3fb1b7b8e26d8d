"""Listen on sockets that another process has opened, such as systemd (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping, Sequence

from taskd.server.sockets import Listener, ListenError, netloc

__all__ = ["listen_on", "take_passed"]

# SD_LISTEN_FDS_START in sd_listen_fds(3).
FIRST = 3


def take_passed(environ: MutableMapping[str, str]) -> Sequence[int]:
    """
    Return the descriptors of the sockets that systemd has passed to this process; none if it has not.

    The variables that say so are removed from *environ*, because they are not for processes that this one starts.
    """
    is_ours = environ.get("LISTEN_PID") == str(os.getpid())
    count = environ.get("LISTEN_FDS", "")
    if not is_ours or not (count.isascii() and count.isdigit()):
        return ()
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    return range(FIRST, FIRST + int(count))


def listen_on(descriptors: Sequence[int]) -> Listener:
    """
    Listen on the sockets with these *descriptors*.

    Raises:
        ListenError: One of them is not a socket that listens for connections.
    """
    sockets = [_opened(each) for each in descriptors]
    return Listener(", ".join(map(_url, sockets)), sockets)


def _opened(descriptor: int) -> socket.socket:
    try:
        opened = socket.socket(fileno=descriptor)
        is_listening = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ListenError(f"cannot listen on file descriptor {descriptor}: {error.strerror}") from None
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    if not (is_listening and opened.type is socket.SOCK_STREAM and opened.family in families):
        opened.detach()
        remedy = "it is not a socket that listens for connections; for systemd, use ListenStream= and Accept=no"
        raise ListenError(f"cannot listen on file descriptor {descriptor}: {remedy}")
    # Workers get the sockets that they need in another way.
    opened.set_inheritable(False)
    return opened


def _url(listening: socket.socket) -> str:
    name = listening.getsockname()
    if listening.family is socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    return f"http://{netloc(*name[:2])}"
