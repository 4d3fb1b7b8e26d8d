"""Tell caches what to keep of a response, and which request headers it depends on (RFC 9111, sections 4.1 and 5.2)."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import attrs

from taskd.server.response import NO_STORE

__all__ = ["NEVER_STORED", "UNRESTRICTED", "CacheHeaders"]

Header = tuple[bytes, bytes]

# Caches may keep the response to a read for its user only, and must ask the server before each use.
_PRIVATE = (b"cache-control", b"private, no-cache")
# Every response depends on the origin, because it says whether pages of that origin may read it.
_VARY = (b"vary", b"Origin")


@attrs.frozen
class CacheHeaders:
    """
    The `Cache-Control` and `Vary` of one kind of response.

    Attributes:
        vary: The request headers that all these responses depend on.
        cache_control: What caches may do with a response that does not say so itself; None leaves it to their defaults.
        is_default: Whether a response may override `cache_control`.
    """

    vary: Header = _VARY
    cache_control: Header | None = None
    is_default: bool = True

    @classmethod
    def of_reads(cls, request_headers: Iterable[str]) -> CacheHeaders:
        """
        Return the headers for successful reads below /api, where credentials are sent in *request_headers*.

        If credentials are not sent in headers, a cache cannot tell whose response it has, so it must not store any.
        """
        names = [name.encode() for name in request_headers]
        return cls((b"vary", b", ".join([_VARY[1], *names])), _PRIVATE) if names else NEVER_STORED

    @property
    def fields(self) -> tuple[Header, ...]:
        """The headers of a response that has no others."""
        return (self.vary,) if self.cache_control is None else (self.cache_control, self.vary)

    def added_to(self, headers: Iterable[Header]) -> list[Header]:
        """Add these headers to the *headers* of a response: a single `Vary` with all names, and one `Cache-Control`."""
        kept, vary, cache_control = [], self.vary, self.cache_control
        for header in headers:
            name = header[0].lower()
            if name == b"vary":
                vary = _merged(vary, header)
            elif name != b"cache-control":
                kept.append(header)
            elif self.is_default:
                kept.append(header)
                cache_control = None
        if cache_control is not None:
            kept.append(cache_control)
        kept.append(vary)
        return kept


UNRESTRICTED = CacheHeaders()
NEVER_STORED = CacheHeaders(cache_control=NO_STORE, is_default=False)


@functools.lru_cache(maxsize=64)
def _merged(*varies: Header) -> Header:
    """Return a single `Vary` with all names in *varies*."""
    names = [name.strip() for _, value in varies for name in value.split(b",")]
    # Names are case-insensitive.
    unique = {name.lower(): name for name in reversed(names) if name}
    return (b"vary", b"*" if b"*" in unique else b", ".join(reversed(unique.values())))
