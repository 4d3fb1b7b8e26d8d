"""
Limit the cost of reading JSON whose signature has not been verified yet.

Braces, brackets, commas and backslashes make JSON more expensive to parse than to send, so they are counted first.
"""

from __future__ import annotations

import re

__all__ = ["header_excess", "is_cheap"]

# More than Better Auth's tokens and cookies need, but low enough that parsing costs less than the rest of a request.
CHEAP_LENGTH = 2048
CHEAP_STRUCTURE = 32
# Better Auth's headers have three members.
MAX_HEADER_MEMBERS = 12
# The quotes around the names and values of that many members, if all values are strings.
MAX_HEADER_QUOTES = 4 * MAX_HEADER_MEMBERS
# More than the longest kid needs, even if every character in it is escaped.
MAX_HEADER_ESCAPES = 300
# A JSON string; an unterminated one extends to the end of the document.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


def is_cheap(payload: bytes) -> bool:
    """Tell whether *payload* is certain to be cheap to parse."""
    return len(payload) <= CHEAP_LENGTH and _structure(payload) + payload.count(b"\\") <= CHEAP_STRUCTURE


def header_excess(header: bytes) -> str | None:
    """Return what *header* has too many of, or None if it is safe to parse."""
    if header.count(b"\\") > MAX_HEADER_ESCAPES:
        return "escapes"
    return None if _has_few_members(header) else "members"


def _has_few_members(header: bytes) -> bool:
    if _structure(header) <= MAX_HEADER_MEMBERS:
        return True
    if header.count(b'"') > MAX_HEADER_QUOTES + MAX_HEADER_ESCAPES:
        return False
    # The values in a header, unlike those in a payload, may contain any number of these characters.
    return _structure(_STRING.sub(b"", header)) <= MAX_HEADER_MEMBERS


def _structure(content: bytes) -> int:
    """Count opening braces, opening brackets and commas, including those in strings."""
    return content.count(b"{") + content.count(b"[") + content.count(b",")
