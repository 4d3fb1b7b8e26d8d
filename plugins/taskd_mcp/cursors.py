"""
Cursors: opaque text that says which list to continue, and where.

A cursor contains the arguments of the first call, so that an assistant need not repeat them.  Its checksum detects
changes, and needs no secret: a cursor gives access to nothing that its arguments would not return anyway.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from taskd.queries import Position

__all__ = ["DAMAGED", "Continuation", "encoded", "parsed"]

DAMAGED = "must be copied unchanged from the next_cursor of the previous page"

_CHECK_BYTES = 8


class Continuation(msgspec.Struct, frozen=True, array_like=True):
    """
    What a cursor contains.

    Attributes:
        tool: The name of the tool.
        arguments: The arguments of the first call, except for `limit`.
        key: The key of the position, as JSON has it.
        id: The id of the last task of the previous page.
    """

    tool: str
    arguments: dict[str, Any]
    key: Any
    id: UUID


def encoded(tool: str, arguments: Mapping[str, Any], position: Position) -> str:
    """Return the cursor for the page at *position* of the list that *tool* returns for *arguments*."""
    raw = msgspec.json.encode(Continuation(tool, dict(arguments), position.key, position.id))
    return base64.urlsafe_b64encode(raw + _check(raw)).rstrip(b"=").decode()


def parsed(text: str) -> Continuation:
    """Parse *text*; raise `ValueError` unless it is what `encoded` returned."""
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        continuation = msgspec.json.decode(whole[:-_CHECK_BYTES], type=Continuation)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise ValueError(DAMAGED) from None
    if whole[-_CHECK_BYTES:] != _check(whole[:-_CHECK_BYTES]):
        raise ValueError(DAMAGED)
    return continuation


def _check(raw: bytes) -> bytes:
    return hashlib.blake2s(raw, digest_size=_CHECK_BYTES, person=b"mcp 1").digest()
