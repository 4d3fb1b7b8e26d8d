"""Find out which process listens on a port, as far as the kernel tells: on Linux, and of the user's own processes."""

from __future__ import annotations

import contextlib
import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["port_holder"]

# The state of a listening socket in /proc/net/tcp (proc_pid_net(5)).
LISTENING = "0A"
PROC = Path("/proc")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def port_holder(addresses: list[str], port: int) -> str | None:
    """Return the process that keeps others from listening on *port* at *addresses*, in words; None if unknown."""
    wanted = [ipaddress.ip_address(each.partition("%")[0]) for each in addresses]
    inodes = {inode for address, inode in _listeners(port) if any(_excludes(address, each) for each in wanted)}
    # Workers have a higher id than their parent, in most cases.
    for process in sorted(int(each.name) for each in PROC.glob("[0-9]*")):
        if inodes & set(_sockets(process)):
            return f"process {process}{_name(process)}"
    return None


def _listeners(port: int) -> Iterator[tuple[Address, str]]:
    """Yield the address and the inode of each socket that listens on *port*."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                address, _, number = local.partition(":")
                if state == LISTENING and int(number, 16) == port:
                    yield _parsed(address), rest[5]


def _parsed(address: str) -> Address:
    """Return an address, of which /proc shows each four bytes as a number of this machine."""
    words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
    return ipaddress.ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))


def _excludes(held: Address, wanted: Address) -> bool:
    return held == wanted or held.is_unspecified or wanted.is_unspecified


def _sockets(process: int) -> Iterator[str]:
    """Yield the inodes of the sockets of a process; none if it belongs to another user."""
    with contextlib.suppress(OSError):
        for link in (PROC / str(process) / "fd").iterdir():
            with contextlib.suppress(OSError):
                kind, _, inode = link.readlink().name.partition(":")
                if kind == "socket":
                    yield inode.strip("[]")


def _name(process: int) -> str:
    """Return the name of a process in brackets; not its arguments, which may contain secrets."""
    try:
        name = (PROC / str(process) / "comm").read_text().strip()
    except OSError:
        return ""
    return f" ({name})" if name.isprintable() else ""
