"""JSON and base64url as tokens have them, without the liberties that Python's own readers take."""

from __future__ import annotations

import base64
import json
from typing import Any, NoReturn

__all__ = ["MalformedError", "decode_base64url", "decode_object"]


# Python writes those of its own in 24 at most, and takes long to read some of hundreds: those between two of its own.
MAX_NUMBER_LENGTH = 40


class MalformedError(Exception):
    """A text is not what it should be.  The message says what is wrong, and does not quote it."""


def decode_base64url(text: str) -> bytes:
    """
    Return what *text* encodes (RFC 7515, section 2): no padding, and of all spellings the one that an encoder gives.

    Raises:
        MalformedError: It is anything else.
    """
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        decoded = b""
    if base64.urlsafe_b64encode(decoded).decode().rstrip("=") != text:
        raise MalformedError("it is not base64url without padding")
    return decoded


def decode_object(content: bytes) -> dict[str, Any]:
    """
    Return the JSON object that *content* is.

    It is in UTF-8, no name occurs twice in an object (RFC 7515, section 4; RFC 7519, section 4), and all numbers are
    some, written with `MAX_NUMBER_LENGTH` characters at most.

    Raises:
        MalformedError: It is anything else.
    """
    try:
        decoded = _DECODER.decode(content.decode())
    except UnicodeDecodeError:
        raise MalformedError("it is not UTF-8") from None
    except (ValueError, RecursionError):
        raise MalformedError("it is not JSON") from None
    if not isinstance(decoded, dict):
        raise MalformedError("it is not a JSON object")
    return decoded


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    decoded = dict(pairs)
    if len(decoded) < len(pairs):
        raise MalformedError("a name occurs twice in it")
    return decoded


def _refuse(_: str) -> NoReturn:
    raise MalformedError("NaN and Infinity are not JSON")


def _bounded(text: str) -> str:
    if len(text) > MAX_NUMBER_LENGTH:
        raise MalformedError(f"a number in it has more than {MAX_NUMBER_LENGTH} characters")
    return text


# Made once: `json.loads` would make one for each call.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_float=lambda text: float(_bounded(text)),
    parse_int=lambda text: int(_bounded(text)),
    parse_constant=_refuse,
)
