"""Check the header of a token (RFC 7515, section 4.1) as RFC 8725 advises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from taskd.auth import InvalidCredentials
from taskd_jwt.better_auth import COOKIE_CACHE, COOKIE_CACHE_TYPE

__all__ = ["KEY_ID", "check_header"]

KEY_ID = re.compile(r"[\x21-\x7e]{1,255}")
# Extensions that a verifier would have to understand, and keys that come with the token (RFC 8725, section 3.10).
_REFUSED_PARAMETERS = ("crit", "b64", "jwk", "jku", "x5u", "x5c", "enc")
# RFC 7519, section 5.1, and RFC 9068, section 2.1.  JWTs of other kinds must not be accepted (RFC 8725, section 3.11).
_TYPES = ("jwt", "at+jwt")


def check_header(parameters: Mapping[str, Any]) -> tuple[str, str | None]:
    """
    Check a header; return its algorithm, and its key id if it has one.

    Raises:
        InvalidCredentials: A parameter is missing, wrong or never accepted.
    """
    for name in _REFUSED_PARAMETERS:
        if name in parameters:
            raise InvalidCredentials(f"The token's header must not have {name}.")
    algorithm, key_id = _algorithm(parameters), _key_id(parameters)
    _check_type(parameters)
    return algorithm, key_id


def _algorithm(parameters: Mapping[str, Any]) -> str:
    algorithm = parameters.get("alg")
    if not isinstance(algorithm, str):
        raise InvalidCredentials("The token's header has no alg.")
    if algorithm.lower() == "none":
        raise InvalidCredentials("The token is not signed: its alg is none.")
    return algorithm


def _key_id(parameters: Mapping[str, Any]) -> str | None:
    if "kid" not in parameters:
        return None
    key_id = parameters["kid"]
    if not (isinstance(key_id, str) and KEY_ID.fullmatch(key_id)):
        raise InvalidCredentials("The token's kid must be a string of 1 to 255 printable ASCII characters.")
    return key_id


def _check_type(parameters: Mapping[str, Any]) -> None:
    if "typ" not in parameters:
        return
    kind = parameters["typ"]
    if kind == COOKIE_CACHE_TYPE:
        raise InvalidCredentials(COOKIE_CACHE)
    if not (isinstance(kind, str) and kind.lower() in _TYPES):
        raise InvalidCredentials("The token's typ must be JWT or at+jwt, or absent.")
