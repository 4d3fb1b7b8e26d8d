"""Recognize the credentials of a request, so that its user is known from an earlier request with the same ones."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

__all__ = ["CredentialsReader"]


def _lower(names: Iterable[str]) -> frozenset[bytes]:
    return frozenset(name.lower().encode() for name in names)


@attrs.frozen
class CredentialsReader:
    """
    Hashes all the credentials in a request's headers, because any of them may decide who the user is.

    Args:
        names: The names of the headers in which credentials are sent.
    """

    names: frozenset[bytes] = attrs.field(converter=_lower)
    _fields: re.Pattern[bytes] = attrs.field(init=False, repr=False)

    @_fields.default
    def _pattern(self) -> re.Pattern[bytes]:
        names = b"|".join(map(re.escape, sorted(self.names))) or rb"(?!)"
        # A dot is matched many times faster than a set of characters.
        return re.compile(rb"\r\n((?i:" + names + rb")):(.*)(?=\r\n)")

    def in_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> int | None:
        """Return a hash of the credentials in *headers*, whose names are in lower case; None if there are none."""
        return _hash((name, value) for name, value in headers if name in self.names)

    def in_head(self, data: bytes) -> int | None:
        """Return the same hash for *data*, the head of a request as it was received, which need not be valid."""
        return _hash((name.lower(), value.strip(b" \t")) for name, value in self._fields.findall(data))


def _hash(fields: Iterable[tuple[bytes, bytes]]) -> int | None:
    sent = tuple(fields)
    return hash(sent) if sent else None
