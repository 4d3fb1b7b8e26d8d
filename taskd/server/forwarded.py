"""
Find out who sent a request that a proxy has forwarded, from `X-Forwarded-For` and `X-Forwarded-Proto`.

Anyone can send these headers, so they count only if the connection is from a trusted proxy.  Each proxy adds the
address of its own client at the end of `X-Forwarded-For`.  So the list is read from the end, up to the first address
that is not a trusted proxy's: what is in front of that was written by somebody unknown.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

__all__ = ["THIS_MACHINE", "TrustedProxies"]

# What can connect to a Unix socket is decided by whoever may write to its file.
UNIX = "unix"
ANY = "*"
THIS_MACHINE = f"127.0.0.1,::1,{UNIX}"

# How many addresses of the list are read.  Nobody has so many proxies.
MAX_ADDRESSES = 16
MAX_ADDRESS_BYTES = 64
# An address that may have a port; one of IPv6 is in brackets then.
_ENTRY = re.compile(r"\[(?P<bracketed>[^]]*)\](:\d+)?|(?P<with_port>[\d.]+):\d+|(?P<plain>.*)", re.ASCII)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@attrs.frozen
class TrustedProxies:
    """
    The proxies whose headers count.

    Attributes:
        networks: Their addresses.
        may_be_unix: Whether everything that connects to a Unix socket is one.
        may_be_any: Whether everything that connects is one.  No other address is trusted then, so the last one in the
            list is the client's.
    """

    networks: tuple[Network, ...] = ()
    may_be_unix: bool = False
    may_be_any: bool = False

    @classmethod
    def parse(cls, text: str) -> TrustedProxies:
        """
        Read a list of addresses, networks, `unix` and `*`, with commas between them; nobody is trusted if it is empty.

        Raises:
            ValueError: It contains something else.
        """
        names = {name.strip() for name in text.split(",")} - {""}
        networks = tuple(ipaddress.ip_network(name) for name in sorted(names - {UNIX, ANY}))
        return cls(networks, UNIX in names, ANY in names)

    def include(self, peer: tuple[str, int] | None, *, is_unix: bool) -> bool:
        """Tell whether *peer*, at the other end of a connection, is a trusted proxy; a Unix socket has no address."""
        if self.may_be_any:
            return True
        if is_unix:
            return self.may_be_unix
        address = None if peer is None else _address(peer[0].encode())
        return address is not None and self._has(address)

    def origin(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
        """Return what the *headers* of a request from a trusted proxy say, by its key in an ASGI scope."""
        lists, schemes = [], []
        for name, value in headers:
            if name == b"x-forwarded-for":
                lists.append(value)
            elif name == b"x-forwarded-proto":
                schemes.append(value.lower())
        found: dict[str, Any] = {}
        if lists and (client := self._client(b",".join(lists).rsplit(b",", MAX_ADDRESSES)[-MAX_ADDRESSES:])):
            found["client"] = (str(client), 0)
        if schemes in ([b"http"], [b"https"]):
            found["scheme"] = schemes[0].decode()
        return found

    def _client(self, entries: Sequence[bytes]) -> Address | None:
        """Return the last address that is not a trusted proxy's; if all are, the first; None if it is not clear."""
        client = None
        for entry in reversed(entries):
            address = _address(entry)
            if address is None:
                break
            client = address
            if self.may_be_any or not self._has(address):
                break
        return client

    def _has(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def _address(entry: bytes) -> Address | None:
    """Return the address in an *entry* of the list; None if it has none."""
    return None if len(entry) > MAX_ADDRESS_BYTES else _parsed(entry)


@functools.lru_cache(maxsize=4096)
def _parsed(entry: bytes) -> Address | None:
    match = _ENTRY.fullmatch(entry.decode("latin-1").strip())
    if match is None:
        return None
    try:
        address = ipaddress.ip_address(match["bracketed"] or match["with_port"] or match["plain"] or "")
    except ValueError:
        return None
    # A socket that is open for both versions shows an IPv4 address as one of IPv6.
    return getattr(address, "ipv4_mapped", None) or address
