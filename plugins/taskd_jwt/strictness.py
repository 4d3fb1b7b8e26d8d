"""JSON and base64url as tokens have them, without the liberties that Python's own readers take."""

from __future__ import annotations

import base64
import json
from typing import Any, NoReturn

__all__ = ["MalformedError", "decode_base64url", "decode_object"]

# What any of Python's own takes, "-2.2250738585072014e-308" for example.  Longer ones are rounded, digit by digit.
MAX_NUMBER_LENGTH = 24


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


def decode_object(content: bytes, *, short_numbers: bool = False) -> dict[str, Any]:
    """
    Return the JSON object that *content* is.

    It is in UTF-8, no name occurs twice in an object (RFC 7515, section 4; RFC 7519, section 4), and all numbers are;
    with *short_numbers* they have `MAX_NUMBER_LENGTH` characters at most.

    Raises:
        MalformedError: It is anything else.
    """
    try:
        decoded = (_FOR_SHORT_NUMBERS if short_numbers else _DECODER).decode(content.decode())
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


def _float(text: str) -> float:
    return float(text) if len(text) <= MAX_NUMBER_LENGTH else _refuse_number()


def _int(text: str) -> int:
    return int(text) if len(text) <= MAX_NUMBER_LENGTH else _refuse_number()


def _refuse_number() -> NoReturn:
    raise MalformedError(f"a number in it has more than {MAX_NUMBER_LENGTH} characters")


# Made once: `json.loads` would make one for each call.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)
_FOR_SHORT_NUMBERS = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_float, parse_int=_int, parse_constant=_refuse
)
