"""What a client sends to PostgreSQL, counted (PostgreSQL manual, chapter 55)."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Hashable

import attrs

__all__ = ["Wire"]

# The types of messages that a client sends.
_EXECUTE, _QUERY, _SYNC, _PARSE = b"E", b"Q", b"S", b"P"


@attrs.define
class Wire:
    """
    Counts the messages on connections without TLS.

    Attributes:
        messages: How many messages of each type were sent.
    """

    messages: Counter[bytes] = attrs.field(factory=Counter)
    _unread: dict[Hashable, bytearray] = attrs.field(init=False, factory=dict)

    @property
    def round_trips(self) -> int:
        """How often a client has waited for the server."""
        return self.messages[_SYNC] + self.messages[_QUERY]

    @property
    def statements(self) -> int:
        """How many statements were run."""
        return self.messages[_EXECUTE] + self.messages[_QUERY]

    @property
    def parsed(self) -> int:
        """How many statements the server had to parse."""
        return self.messages[_PARSE] + self.messages[_QUERY]

    def see(self, connection: Hashable, data: bytes) -> None:
        """Take *data* that was sent on *connection*."""
        is_first = connection not in self._unread
        unread = self._unread.setdefault(connection, bytearray())
        unread += data
        if is_first:
            # The first message has no type.
            self._read(unread, 0)
        while (kind := self._read(unread, 1)) is not None:
            self.messages[kind] += 1

    def _read(self, unread: bytearray, type_bytes: int) -> bytes | None:
        """Remove the first message, and return its type, or None if it is incomplete."""
        if len(unread) < type_bytes + 4:
            return None
        (length,) = struct.unpack_from("!I", unread, type_bytes)
        if len(unread) < type_bytes + length:
            return None
        kind = bytes(unread[:type_bytes])
        del unread[: type_bytes + length]
        return kind
