"""
Send tokens as the contract's default says, and alter them.

This is the only module that knows JSON Web Tokens; it verifies none.
"""

from __future__ import annotations

import base64
import binascii
import json

import attrs

from taskd.conformance.client import Account

__all__ = ["SCHEME", "Token", "account_of", "subject_of"]

SCHEME = "Bearer"


def account_of(token: str, user: str, header: str | None = None) -> Account:
    """
    Return the account of *user*, whose requests carry *token*.

    Args:
        token: The token, or the value of *header*, with or without a scheme.
        user: The user's id.
        header: The name of the header that has the token and nothing else; None means `Authorization: Bearer`.
    """
    sent = ("Authorization", f"{SCHEME} {token}") if header is None else (header, token)
    return Account(user, sent, token.rpartition(" ")[2])


def subject_of(token: str) -> str | None:
    """Return the user for whom a JSON Web Token was issued; None if *token* is none, or says nothing of a user."""
    parsed = Token.parse(token)
    subject = parsed and parsed.claims.get("sub")
    return subject if isinstance(subject, str) and subject else None


@attrs.frozen
class Token:
    """The three parts of a JSON Web Token."""

    head: str
    payload: str
    signature: str = attrs.field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Token | None:
        """Parse *text*; return None if it is no such token."""
        parts = text.split(".")
        if len(parts) != 3 or not all(parts):
            return None
        token = cls(*parts)
        return token if token.claims else None

    @property
    def claims(self) -> dict[str, object]:
        """What the token says; empty if that cannot be read."""
        try:
            claims = json.loads(base64.urlsafe_b64decode(self.payload + "=" * (-len(self.payload) % 4)))
        except (ValueError, binascii.Error):
            return {}
        return claims if isinstance(claims, dict) else {}

    def altered(self) -> dict[str, str]:
        """Return tokens that must be refused, by what was done to them."""
        # The last character may have bits that count for nothing.
        flipped = ("A" if self.signature[0] != "A" else "B") + self.signature[1:]
        someone = _encoded({**self.claims, "sub": "somebody-else"})
        unsigned = _encoded({"alg": "none", "typ": "JWT"})
        return {
            "another signature": f"{self.head}.{self.payload}.{flipped}",
            "half a signature": f"{self.head}.{self.payload}.{self.signature[: len(self.signature) // 2]}",
            "no signature": f"{self.head}.{self.payload}.",
            "another user": f"{self.head}.{someone}.{self.signature}",
            "no algorithm": f"{unsigned}.{self.payload}.",
            "two parts": f"{self.head}.{self.payload}",
        }


def _encoded(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
