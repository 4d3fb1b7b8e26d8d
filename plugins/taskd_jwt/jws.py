"""
Parse a token strictly according to RFC 7515 and RFC 7519, before any key is looked up.

Refusing a token here costs less than verifying a signature.  The messages are for frontend developers.
"""

from __future__ import annotations

import re
from typing import Any

import attrs
import msgspec

from taskd.auth import InvalidCredentials
from taskd_jwt.better_auth import SESSION, is_session_token
from taskd_jwt.cost import header_excess, is_cheap
from taskd_jwt.header import check_header
from taskd_jwt.strict_json import MalformedError, decode_base64url, decode_object

__all__ = ["Token", "read"]

_QUOTES = ('"', "'", "`")
# The strings that JavaScript makes from values that are not tokens.
_NO_TOKENS = ("undefined", "null", "[object Object]", "[object Promise]")
# RFC 7516, section 3.1.
_PARTS_OF_A_JWE = 5
# The quantifiers are possessive, so that a long text that does not match is read only once.
_ENCRYPTED = re.compile(r"[A-Za-z0-9_-]++(\.[A-Za-z0-9_-]*+){4}")


class _Issued(msgspec.Struct):
    """The only claim that is read before the others; parsing skips those, which costs little whatever they are."""

    iss: str | None = None


@attrs.frozen
class Token:
    """
    A well-formed JWS, which must not be trusted before its signature is verified.

    Attributes:
        algorithm: Its `alg`.
        key_id: Its `kid`, if it has one.
        payload: Its payload, which should be claims in JSON.
        signed: The bytes that the signature covers (RFC 7515, section 5.1).
        signature: The signature.
    """

    algorithm: str
    key_id: str | None
    payload: bytes = attrs.field(repr=False)
    signed: bytes = attrs.field(repr=False)
    signature: bytes = attrs.field(repr=False)

    @property
    def is_cheap(self) -> bool:
        """Whether the payload is certain to be cheap to parse."""
        return is_cheap(self.payload)

    def payload_object(self) -> dict[str, Any]:
        """
        Parse the payload.

        Raises:
            InvalidCredentials: It is not a JSON object.
        """
        return _object(self.payload, "payload")

    def issuer(self) -> str:
        """
        Return the `iss` claim, without parsing the whole payload.

        Raises:
            InvalidCredentials: There is none that is a string.
        """
        try:
            issuer = msgspec.json.decode(self.payload, type=_Issued).iss
        except (msgspec.DecodeError, RecursionError):
            raise InvalidCredentials("The token's payload is malformed: its iss cannot be read.") from None
        if issuer is None:
            raise InvalidCredentials("The token has no iss claim.")
        return issuer


def read(compact: str) -> Token:
    """
    Parse a token, and check its header.

    Raises:
        InvalidCredentials: It is not a well-formed JWS in the compact serialization, or its header contains something
            that is never accepted.  The message says why without quoting the token.
    """
    _check_wrapping(compact)
    parts = compact.split(".", _PARTS_OF_A_JWE)
    if len(parts) != 3:
        raise InvalidCredentials(_why_not_a_jws(compact, len(parts)))
    header, payload, signature = parts
    algorithm, key_id = check_header(_header(header))
    content = _bytes(payload, "payload")
    if not signature:
        raise InvalidCredentials("The token has no signature.")
    signed = f"{header}.{payload}".encode()
    return Token(algorithm, key_id, content, signed, _bytes(signature, "signature"))


def _check_wrapping(compact: str) -> None:
    """Refuse common frontend mistakes: a token wrapped in something else, or a request sent before there is a token."""
    if compact[:7].lower() == "bearer ":
        raise InvalidCredentials("The word Bearer comes twice: send it once, then a space and the token.")
    if compact[:1] in _QUOTES or compact[-1:] in _QUOTES:
        raise InvalidCredentials("The token is in quotes: send it without them.")
    if compact in _NO_TOKENS:
        raise InvalidCredentials("The token is a word such as null: send the request once there is a token.")


def _why_not_a_jws(compact: str, parts: int) -> str:
    if parts == _PARTS_OF_A_JWE and _ENCRYPTED.fullmatch(compact):
        return "The token is encrypted (a JWE): send one that is signed."
    if is_session_token(compact):
        return SESSION
    return "The token is malformed: it is not a signed JWT."


def _header(part: str) -> dict[str, Any]:
    content = _bytes(part, "header")
    if excess := header_excess(content):
        raise InvalidCredentials(f"The token's header is malformed: it has too many {excess}.")
    return _object(content, "header")


def _bytes(part: str, name: str) -> bytes:
    try:
        return decode_base64url(part)
    except MalformedError as error:
        raise InvalidCredentials(f"The token's {name} is malformed: {error}.") from None


def _object(content: bytes, name: str) -> dict[str, Any]:
    try:
        return decode_object(content, short_numbers=True)
    except MalformedError as error:
        raise InvalidCredentials(f"The token's {name} is malformed: {error}.") from None
