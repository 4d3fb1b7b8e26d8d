"""
Cursors: opaque text that says where the next page of a list begins.

A cursor contains the position and identifies the query that it is for.  Its checksum detects changes, and needs no
secret: a cursor gives access to nothing that its query would not return anyway.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection
from uuid import UUID

import attrs
import msgspec

from taskd.queries import Position, TaskQuery, sealed, unsealed

__all__ = ["REPEATED", "Cursor"]

DAMAGED = "must be copied unchanged from the Link to the next page"
OTHER_QUERY = "must be sent with the same filters, sort and order as in the Link that it is from"

# The parameters that must be repeated with a cursor.  A cursor stores their positions here, so add new ones at the end.
REPEATED = (
    "status",
    "priority",
    "is_completed",
    "completed",
    "tag",
    "due_after",
    "due_before",
    "search",
    "sort",
    "order",
)

# Bits for the parameters that were given, the digest of the query, and the id.  The key follows, as JSON.
_HEAD = struct.Struct(">H8s16s")
_PURPOSE = b"cursor 1"


@attrs.frozen
class Cursor:
    """
    Where the next page of a query begins.

    Attributes:
        given: The parameters that the query was given, as bits.
        digest: The digest of the query's filters, sort and order.
        id: The id of the last task of the previous page.
        key: The key by which that task is sorted, as JSON.
    """

    given: int
    digest: bytes
    id: UUID
    key: bytes

    @classmethod
    def after(cls, position: Position, query: TaskQuery, given: Collection[str]) -> Cursor:
        """Return the cursor for the page of *query* at *position*; *given* names the parameters in the request."""
        return cls(_bits(given), _digest(query), position.id, msgspec.json.encode(position.key))

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse *text*; raise `ValueError` unless it is exactly what `str` returns for some cursor."""
        try:
            payload = unsealed(text, _PURPOSE)
        except ValueError:
            raise ValueError(DAMAGED) from None
        if len(payload) < _HEAD.size:
            raise ValueError(DAMAGED)
        given, digest, id_ = _HEAD.unpack_from(payload)
        return cls(given, digest, UUID(bytes=id_), payload[_HEAD.size :])

    def __str__(self) -> str:
        payload = _HEAD.pack(self.given, self.digest, self.id.bytes) + self.key
        return sealed(payload, _PURPOSE)

    def position(self, query: TaskQuery, given: Collection[str]) -> Position:
        """
        Return where the page of *query* begins.

        The query must have the same filters, sort and order as the one that the cursor is for.  A parameter that was
        given must be given again, even if it makes no difference.

        Raises:
            ValueError: The cursor is for another query.
        """
        if self.digest != _digest(query) or self.given & ~_bits(given):
            raise ValueError(OTHER_QUERY)
        try:
            # Clients can forge a cursor.
            return Position.read(query.sort, msgspec.json.decode(self.key), self.id)
        except (ValueError, msgspec.DecodeError, RecursionError):
            raise ValueError(DAMAGED) from None


def _bits(given: Collection[str]) -> int:
    return sum(1 << bit for bit, name in enumerate(REPEATED) if name in given)


def _digest(query: TaskQuery) -> bytes:
    # The order of a set differs between processes.
    values = [
        sorted(status.value for status in query.statuses),
        sorted(priority.value for priority in query.priorities),
        sorted(query.tags),
        query.due_after,
        query.due_before,
        query.search,
        query.sort,
        query.order,
    ]
    return hashlib.blake2s(msgspec.json.encode(values), digest_size=8, person=b"query 1").digest()
