"""
Cursors: where the next page of a list begins, as opaque text.

A cursor contains the position, and which query it is from.  Its check value reveals every change, but needs no secret:
a cursor leads to nothing that its query would not show.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Collection
from typing import Annotated
from uuid import UUID

import attrs
import msgspec
from msgspec import Meta

from taskd.fields import FieldType
from taskd.queries import Position, Sort, TaskQuery
from taskd.tasks import DueAt

__all__ = ["REPEATED", "Cursor"]

DAMAGED = "must be unchanged from a Link to the next page"
OTHER_QUERY = "must be sent with the filters, sort and order of the Link that it is from"

# The parameters that must be repeated with a cursor.  Cursors count on this order, so new ones go to the end.
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

# Bits that say which of these were given, the digest of the query, and the id; the key follows, as JSON, and then the
# check value.
_HEAD = struct.Struct(">H8s16s")
_CHECK_BYTES = 8

# A cursor can be made up, so the store must be safe from its key.
_KEYS = {
    Sort.CREATED_AT: FieldType.of(None),
    Sort.UPDATED_AT: FieldType.of(DueAt),
    Sort.DUE_AT: FieldType.of(DueAt | None),
    Sort.PRIORITY: FieldType.of(Annotated[int, Meta(ge=0, le=3)]),
    Sort.TITLE: FieldType.of(Annotated[str, Meta(pattern=r"^[^\x00]*$")]),
}


@attrs.frozen
class Cursor:
    """
    Where the next page of a query begins.

    Attributes:
        given: Which parameters the query had, as bits.
        digest: The digest of the query's filters, sort and order.
        id: The id of the last task before the page.
        key: The key by which this task is sorted, as JSON.
    """

    given: int
    digest: bytes
    id: UUID
    key: bytes

    @classmethod
    def after(cls, position: Position, query: TaskQuery, given: Collection[str]) -> Cursor:
        """Return the cursor for the page of *query* at *position*; *given* names the parameters of the request."""
        return cls(_bits(given), _digest(query), position.id, msgspec.json.encode(position.key))

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Return the cursor that *text* is; raise `ValueError` if it is not exactly what `str` returned."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        except ValueError:
            raise ValueError(DAMAGED) from None
        payload, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
        # Several texts decode to the same bytes.
        if len(payload) < _HEAD.size or check != _check(payload) or _encoded(raw) != text:
            raise ValueError(DAMAGED)
        given, digest, id_ = _HEAD.unpack_from(payload)
        return cls(given, digest, UUID(bytes=id_), payload[_HEAD.size :])

    def __str__(self) -> str:
        payload = _HEAD.pack(self.given, self.digest, self.id.bytes) + self.key
        return _encoded(payload + _check(payload))

    def position(self, query: TaskQuery, given: Collection[str]) -> Position:
        """
        Return where the page of *query* begins.

        The query must have the filters, the sort and the order of the one that the cursor is from.  A parameter that
        was given must be given again, even if it makes no difference.

        Raises:
            ValueError: The cursor is from another query.
        """
        if self.digest != _digest(query) or self.given & ~_bits(given):
            raise ValueError(OTHER_QUERY)
        try:
            return Position(_KEYS[query.sort].read(msgspec.json.decode(self.key)), self.id)
        except (ValueError, msgspec.DecodeError, RecursionError):
            raise ValueError(DAMAGED) from None


def _bits(given: Collection[str]) -> int:
    return sum(1 << bit for bit, name in enumerate(REPEATED) if name in given)


def _digest(query: TaskQuery) -> bytes:
    # Sets have no order that all processes share.
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


def _check(payload: bytes) -> bytes:
    return hashlib.blake2s(payload, digest_size=_CHECK_BYTES, person=b"cursor 1").digest()


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
