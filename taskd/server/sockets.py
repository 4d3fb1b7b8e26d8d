"""Listen on a host and a port, and what all that listens has in common."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Any

import attrs

from taskd.server.open_files import RAISE_LIMIT
from taskd.server.port_holder import port_holder

__all__ = ["BACKLOG", "ListenError", "Listener", "SocketFile", "netloc"]

# How many clients may be connecting at the same time; the kernel has its own limit.
BACKLOG = 65_535
# A port that is free at the first address may be in use at the next one.
ATTEMPTS_AT_FREE_PORTS = 10

_NAME_IT = "set --host to one of this machine's addresses (0.0.0.0 for all)"
_REMEDIES = {
    errno.EADDRINUSE: "stop the process that listens there, or choose another port with --port",
    errno.EACCES: (
        "only root, and processes with the capability CAP_NET_BIND_SERVICE, may use ports below 1024: choose a higher"
        " one with --port"
    ),
    errno.EADDRNOTAVAIL: _NAME_IT,
    errno.EMFILE: RAISE_LIMIT,
}


class ListenError(Exception):
    """It is not possible to listen there: the host has no such address, for example, or the port is in use."""


@attrs.frozen
class _Address:
    """An address of the host, as `socket.getaddrinfo` returns it."""

    family: socket.AddressFamily
    name: tuple[Any, ...]

    def listen(self, port: int, *, dual_stack: bool) -> socket.socket:
        """Listen on *port*; on the IPv6 address for all interfaces, *dual_stack* includes IPv4."""
        listening = socket.socket(self.family, socket.SOCK_STREAM)
        try:
            # A port is in use only if another process is listening on it, not because of old connections.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self.family is socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
            listening.bind((self.name[0], port, *self.name[2:]))
            # Only listen() shows that no other process is listening: two can be bound at the same time.
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        return listening


@attrs.frozen
class SocketFile:
    """
    The file of a Unix socket.

    Attributes:
        path: Its path.
        status: What tells it from other files.
        descriptor: Keeps its inode from being used for another file; None if the operating system cannot do that.
    """

    path: Path
    status: os.stat_result
    descriptor: int | None

    @classmethod
    def at(cls, path: Path) -> SocketFile:
        """Return the file that is at *path* now."""
        # Opening it with O_PATH neither connects to the socket nor listens on it.
        descriptor = os.open(path, os.O_PATH) if hasattr(os, "O_PATH") else None
        return cls(path, path.lstat(), descriptor)

    def remove(self) -> None:
        """Remove the file, unless another one has taken its place; this must be called once only."""
        # If it cannot be removed, the next process that listens there does it.
        with contextlib.suppress(OSError):
            if os.path.samestat(self.status, self.path.lstat()):
                self.path.unlink()
        if self.descriptor is not None:
            os.close(self.descriptor)


@attrs.frozen
class Listener:
    """
    Sockets that listen.

    Attributes:
        url: Where they do, for display.
        sockets: The sockets.
        file: Their file, if it is a Unix socket that was made here.
    """

    url: str
    sockets: list[socket.socket]
    file: SocketFile | None = None

    @classmethod
    def open(cls, host: str, port: int) -> Listener:
        """
        Listen at every address of *host*, on the same port.

        `::` includes IPv4, and port 0 selects a port that is free at all addresses.

        Raises:
            ListenError: It is not possible to listen there.
        """
        try:
            sockets = _listen(_addresses(host), port)
        except (OSError, UnicodeError) as error:  # UnicodeError: no host can have such a name
            raise ListenError(f"cannot listen on {netloc(host, port)}: {_reason(error, host, port)}") from None
        return cls(f"http://{netloc(host, sockets[0].getsockname()[1])}", sockets)

    def release(self) -> None:
        """Remove the file of a Unix socket, at the very end, once nobody listens any more."""
        if self.file is not None:
            self.file.remove()

    def close(self) -> None:
        """Close the sockets, which ends listening unless another process shares them."""
        for listening in self.sockets:
            listening.close()


def _reason(error: OSError | UnicodeError, host: str, port: int) -> str:
    """Return what is wrong, and what to do about it."""
    if not isinstance(error, OSError):
        return f"this is not a valid host name: {_NAME_IT}"
    if error.errno == errno.EADDRINUSE and (holder := port_holder([each.name[0] for each in _addresses(host)], port)):
        return f"{error.strerror} by {holder}: stop it, or choose another port with --port"
    remedy = _NAME_IT if isinstance(error, socket.gaierror) else _REMEDIES.get(error.errno or 0)
    return f"{error.strerror}: {remedy}" if remedy else str(error.strerror)


def netloc(host: str, port: int) -> str:
    """Return *host* and *port* as they are in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _addresses(host: str) -> list[_Address]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # If /etc/hosts lists an address twice, it is returned twice.
    return list(dict.fromkeys(_Address(family, name) for family, _, _, _, name in found))


def _listen(addresses: list[_Address], port: int) -> list[socket.socket]:
    for _ in range(ATTEMPTS_AT_FREE_PORTS - 1 if port == 0 else 0):
        try:
            return _listen_once(addresses, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return _listen_once(addresses, port)


def _listen_once(addresses: list[_Address], port: int) -> list[socket.socket]:
    """Listen on one port at all *addresses*, except IPv6 ones if this machine has no IPv6."""
    listening: list[socket.socket] = []
    without_ipv6: OSError | None = None
    try:
        for address in addresses:
            try:
                listening.append(address.listen(port, dual_stack=len(addresses) == 1))
            except OSError as error:
                if not _is_for_want_of_ipv6(address, error):
                    raise
                without_ipv6 = error
            else:
                port = listening[0].getsockname()[1]
        if without_ipv6 is not None and not listening:
            raise without_ipv6
    except OSError:
        for each in listening:
            each.close()
        raise
    return listening


def _is_for_want_of_ipv6(address: _Address, error: OSError) -> bool:
    return address.family is socket.AF_INET6 and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
