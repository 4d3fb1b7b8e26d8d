"""
Reading a token before any key is looked at: strictly by RFC 7515 and 7519, as RFC 8725 advises.

What is refused here costs less than a signature, and is told apart for the developer of a frontend, who is the one to
read it: Better Auth has several kinds of tokens, and only one of them is for APIs.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from taskd import InvalidCredentials
from taskd_jwt.strictness import MalformedError, decode_base64url, decode_object

__all__ = ["KEY_ID", "Token", "read"]

KEY_ID = re.compile(r"[\x21-\x7e]{1,255}")
# Better Auth's session token, and as its bearer plugin signs it.
_SESSION_TOKEN = re.compile(r"[A-Za-z0-9]{32}(\.[A-Za-z0-9+/=%_-]{1,200})?")
# RFC 7516, section 3.1.
_PARTS_OF_A_JWE = 5
# Possessive: what does not match in the end is not tried once more for each of its characters.
_ENCRYPTED = re.compile(r"[A-Za-z0-9_-]++(\.[A-Za-z0-9_-]*+){4}")
# Braces and brackets that open, commas, and backslashes: what stands between them costs more to read than to send.
# Those in texts are counted, too, since telling them apart would take reading them.
_STRUCTURE = (b"{", b"[", b",", b"\\")
# That of Better Auth has three members.
MAX_HEADER_STRUCTURE = 12
# Above those of Better Auth's tokens and cookies, and low enough that reading costs less than the rest of a request.
LIGHT_LENGTH = 2048
LIGHT_STRUCTURE = 32
# Extensions that would have to be understood, and keys that come with the token (RFC 8725, section 3.10).
_REFUSED_PARAMETERS = ("crit", "b64", "jwk", "jku", "x5u", "x5c", "enc")
# RFC 7519, section 5.1; RFC 9068, section 2.1.  RFC 8725, section 3.11: other kinds of JWTs are not taken for these.
_TYPES = ("jwt", "at+jwt")

_GET_ANOTHER = "not a token for an API: get one from Better Auth's /token."
_SESSION = "This is a session token, not a JWT: get one from Better Auth's /token."
_COOKIE_CACHE = f"This is Better Auth's cookie cache, {_GET_ANOTHER}"
_VERIFICATION = f"This is Better Auth's token to verify an e-mail address, {_GET_ANOTHER}"


@attrs.frozen
class Token:
    """
    A JWS as it came: well-formed, and not to be believed before its signature is verified.

    Attributes:
        algorithm: Its `alg`.
        key_id: Its `kid`, if it has one.
        payload: What should be claims, in JSON.
        signed: What the signature is of (RFC 7515, section 5.1).
        signature: The signature.
    """

    algorithm: str
    key_id: str | None
    payload: bytes = attrs.field(repr=False)
    signed: bytes = attrs.field(repr=False)
    signature: bytes = attrs.field(repr=False)

    @property
    def is_light(self) -> bool:
        """Whether reading the claims certainly costs little."""
        return len(self.payload) <= LIGHT_LENGTH and _structure(self.payload) <= LIGHT_STRUCTURE

    def claims(self) -> dict[str, Any]:
        """
        Read what it claims.

        Raises:
            InvalidCredentials: It is not a JSON object, or that of a kind of token that is never accepted.
        """
        claims = _object(self.payload, "payload")
        _recognize(claims)
        return claims


def read(compact: str) -> Token:
    """
    Take a token apart.

    Raises:
        InvalidCredentials: It is not a well-formed JWS in the compact serialization, or it is of a kind that is never
            accepted.  The message says why, without quoting it.
    """
    parts = compact.split(".", _PARTS_OF_A_JWE)
    if len(parts) != 3:
        raise InvalidCredentials(_what_is_no_jws(compact, len(parts)))
    header, payload, signature = parts
    algorithm, key_id = _check_header(_header(header))
    content = _bytes(payload, "payload")
    if not signature:
        raise InvalidCredentials("The token has no signature.")
    signed = f"{header}.{payload}".encode()
    return Token(algorithm, key_id, content, signed, _bytes(signature, "signature"))


def _what_is_no_jws(compact: str, parts: int) -> str:
    if parts == _PARTS_OF_A_JWE and _ENCRYPTED.fullmatch(compact):
        return "The token is encrypted (a JWE): send one that is signed."
    if _SESSION_TOKEN.fullmatch(compact):
        return _SESSION
    return "The token is malformed: it is not a signed JWT."


def _bytes(part: str, name: str) -> bytes:
    try:
        return decode_base64url(part)
    except MalformedError as error:
        raise InvalidCredentials(f"The token's {name} is malformed: {error}.") from None


def _structure(content: bytes) -> int:
    return sum(map(content.count, _STRUCTURE))


def _header(part: str) -> dict[str, Any]:
    content = _bytes(part, "header")
    if _structure(content) > MAX_HEADER_STRUCTURE:
        raise InvalidCredentials("The token's header is malformed: it has too many members.")
    return _object(content, "header")


def _object(content: bytes, name: str) -> dict[str, Any]:
    try:
        return decode_object(content, short_numbers=True)
    except MalformedError as error:
        raise InvalidCredentials(f"The token's {name} is malformed: {error}.") from None


def _check_header(parameters: dict[str, Any]) -> tuple[str, str | None]:
    """Return algorithm and key id."""
    for name in _REFUSED_PARAMETERS:
        if name in parameters:
            raise InvalidCredentials(f"The token's header must not have {name}.")
    algorithm, key_id, kind = (parameters.get(name) for name in ("alg", "kid", "typ"))
    if not isinstance(algorithm, str):
        raise InvalidCredentials("The token's header has no alg.")
    if algorithm.lower() == "none":
        raise InvalidCredentials("The token is not signed: its alg is none.")
    if "kid" in parameters and not (isinstance(key_id, str) and KEY_ID.fullmatch(key_id)):
        raise InvalidCredentials("The token's kid must be a text of 1 to 255 printable ASCII characters.")
    if "typ" in parameters and not (isinstance(kind, str) and kind.lower() in _TYPES):
        is_cookie = kind == "better-auth.session-cache+jwt"
        raise InvalidCredentials(_COOKIE_CACHE if is_cookie else "The token's typ must be JWT or at+jwt, or absent.")
    return algorithm, key_id


def _recognize(claims: dict[str, Any]) -> None:
    """Refuse what Better Auth signs for its own use, with the shared secret among others."""
    if "sub" not in claims:
        if "session" in claims:
            raise InvalidCredentials(_COOKIE_CACHE)
        if "email" in claims:
            raise InvalidCredentials(_VERIFICATION)
