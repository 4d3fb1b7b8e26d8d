"""Parse HTTP URLs in settings, and tell whether a host is this machine."""

from __future__ import annotations

import ipaddress
import re

import attrs

__all__ = ["HTTPAddress", "is_loopback"]

MAX_PORT = 65535
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9_.-]+|\[[0-9a-f:.]+\])(:(?P<port>\d{1,5}))?(?P<path>/(?:(?![?#@\\])[!-~])*)?",
    re.IGNORECASE | re.ASCII,
)


@attrs.frozen
class HTTPAddress:
    """
    An HTTP URL without a user, query or fragment.

    Attributes:
        origin: Scheme, host and port as browsers send them (RFC 6454, section 6.2): in lower case, without a default
            port.
        host: The host, without the brackets of an IPv6 address.
        path: The path as written, which may be empty.
    """

    origin: str
    host: str
    path: str

    @classmethod
    def parse(cls, url: str) -> HTTPAddress | None:
        """Parse *url*; return None if it is not such a URL."""
        match = _URL.fullmatch(url)
        if not match or int(match["port"] or 0) > MAX_PORT:
            return None
        scheme, host, port = match["scheme"].lower(), match["host"].lower(), match["port"]
        if host.startswith("[") and not _is_ipv6(host[1:-1]):
            return None
        is_default = port is None or int(port) == {"http": 80, "https": 443}[scheme]
        origin = f"{scheme}://{host}" + ("" if is_default else f":{int(port)}")
        return cls(origin, host.strip("[]"), match["path"] or "")

    @property
    def is_confidential(self) -> bool:
        """Whether nobody else can read or change the traffic: it is encrypted, or never leaves this machine."""
        return self.origin.startswith("https:") or is_loopback(self.host)

    def __str__(self) -> str:
        """Return the address as a URL."""
        return self.origin + self.path


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Tell whether *host*, a name or an IP address, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
