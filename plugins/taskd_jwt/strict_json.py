"""Decode JSON and base64url strictly; Python's own decoders accept more than tokens may contain."""

from __future__ import annotations

import base64
import json
from typing import Any, NoReturn

__all__ = ["MalformedError", "decode_base64url", "decode_object"]

# As long as the longest float that Python writes, such as "-2.2250738585072014e-308".  Rounding longer numbers is slow.
MAX_NUMBER_LENGTH = 24


class MalformedError(Exception):
    """The input is malformed.  The message says why without quoting it."""


def decode_base64url(text: str) -> bytes:
    """
    Decode base64url without padding (RFC 7515, section 2), in the only form that an encoder produces.

    Raises:
        MalformedError: *text* is in any other form.
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
    Decode a JSON object in UTF-8 in which no object has duplicate names (RFC 7515, section 4; RFC 7519, section 4).

    With *short_numbers*, numbers may have at most `MAX_NUMBER_LENGTH` characters.

    Raises:
        MalformedError: *content* is not such an object.
    """
    try:
        decoded = (_SHORT_NUMBERS_DECODER if short_numbers else _DECODER).decode(content.decode())
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
        raise MalformedError("it has a duplicate name")
    return decoded


def _refuse_constant(_: str) -> NoReturn:
    raise MalformedError("NaN and Infinity are not JSON")


def _float(text: str) -> float:
    return float(text) if len(text) <= MAX_NUMBER_LENGTH else _refuse_number()


def _int(text: str) -> int:
    return int(text) if len(text) <= MAX_NUMBER_LENGTH else _refuse_number()


def _refuse_number() -> NoReturn:
    raise MalformedError(f"it has a number of more than {MAX_NUMBER_LENGTH} characters")


# Created once: `json.loads` would create a decoder for each call.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
_SHORT_NUMBERS_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_float, parse_int=_int, parse_constant=_refuse_constant
)
