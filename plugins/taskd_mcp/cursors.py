"""
Cursors: opaque text that says which list to continue, and where.

A cursor contains the arguments of the first call, so that an assistant need not repeat them.  Its checksum detects
changes, and needs no secret: a cursor gives access to nothing that its arguments would not return anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from taskd.queries import Position, sealed, unsealed

__all__ = ["DAMAGED", "Continuation", "encoded", "parsed"]

DAMAGED = "must be copied unchanged from the next_cursor of the previous page"

_PURPOSE = b"mcp 1"


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
    return sealed(raw, _PURPOSE)


def parsed(text: str) -> Continuation:
    """Parse *text*; raise `ValueError` unless it is what `encoded` returned."""
    try:
        return msgspec.json.decode(unsealed(text, _PURPOSE), type=Continuation)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise ValueError(DAMAGED) from None
