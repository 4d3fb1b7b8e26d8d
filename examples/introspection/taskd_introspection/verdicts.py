"""Decide what the endpoint's response means for a request, and remember it for a short time."""

import hashlib
import math
import secrets
import time
from collections.abc import MutableMapping
from typing import Any, Protocol

import attrs
from cachetools import TLRUCache

from taskd.auth import ExpiredCredentials, InvalidCredentials, User, is_identity
from taskd_introspection.endpoint import EndpointError

__all__ = ["Clock", "Rules", "Verdict", "VerdictCache"]

INACTIVE = "The token is not active: it has expired, was revoked, or was not issued by the authorization server."
# Each cache holds so many tokens.
MAX_TOKENS = 10_000


@attrs.frozen
class Verdict:
    """
    Who the user of a token is, or why there is none.

    Attributes:
        user: The user; None if the token is refused.
        refusal: What is wrong with the token, in one sentence.
        expires_s: When the token expires, in seconds since 1970.
    """

    user: User | None
    refusal: str = ""
    expires_s: float = math.inf

    def admit(self, now_s: float) -> User:
        """
        Return the user, if it is *now_s* seconds since 1970.

        Raises:
            InvalidCredentials: The token is refused, or has expired since.
        """
        if self.user is None:
            raise InvalidCredentials(self.refusal)
        if now_s >= self.expires_s:
            raise ExpiredCredentials("The token has expired.")
        return self.user


@attrs.frozen
class Rules:
    """
    Which active tokens are for this server.

    Attributes:
        audience: What `aud` must be or contain; None accepts any.
        issuer: What `iss` must be; None accepts any.
    """

    audience: str | None = None
    issuer: str | None = None

    def judge(self, claims: dict[str, Any], now_s: float) -> Verdict:
        """
        Return the verdict, *now_s* seconds since 1970, on a token of which the endpoint says *claims*.

        Raises:
            EndpointError: The response is malformed.
        """
        if not claims["active"]:
            return Verdict(None, INACTIVE)
        if refusal := self._refusal(claims, now_s):
            return Verdict(None, refusal)
        return Verdict(User(claims["sub"]), expires_s=_time(claims, "exp", math.inf))

    def _refusal(self, claims: dict[str, Any], now_s: float) -> str:
        """Return why an active token is refused nevertheless; empty if it is not."""
        subject, audience = claims.get("sub"), claims.get("aud")
        if not isinstance(subject, str) or not is_identity(subject):
            return "The token has no sub that can be a user's id."
        if str(claims.get("token_type", "Bearer")).lower() != "bearer" or "cnf" in claims:
            # Whoever has such a token must also prove that they have its key (RFC 8705, RFC 9449).
            return "The token is not a bearer token."
        if _time(claims, "nbf", 0) > now_s:
            return "The token is not valid yet."
        if self.issuer is not None and claims.get("iss") != self.issuer:
            return "The token is from another issuer."
        if self.audience is not None and self.audience not in (audience if isinstance(audience, list) else [audience]):
            return "The token is for another audience."
        return ""


def _time(claims: dict[str, Any], name: str, default: float) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise EndpointError(f"{name} in the response is not a number")
    return value


class Clock(Protocol):
    """Tells the time, as the module `time` does."""

    def time(self) -> float:
        """Return the seconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only increase."""
        ...


Entries = MutableMapping[bytes, tuple[Verdict, float]]


@attrs.frozen(eq=False)
class VerdictCache:
    """
    Remembers verdicts on tokens, which are kept as keyed digests.

    Refused tokens have a cache of their own: however many there are, they do not displace those of users.

    Attributes:
        cache_s: How many seconds to rely on a verdict.  A token that expires earlier is not accepted for longer.
        clock: Tells how old verdicts are.
    """

    cache_s: float
    clock: Clock = time
    _admitted: Entries = attrs.field(init=False, repr=False)
    _refused: Entries = attrs.field(init=False, repr=False)
    _key: bytes = attrs.field(init=False, repr=False, factory=lambda: secrets.token_bytes(32))

    @_admitted.default
    @_refused.default
    def _empty(self) -> Entries:
        return TLRUCache(MAX_TOKENS, ttu=lambda _, entry, __: entry[1], timer=self.clock.monotonic)

    def digest(self, token: str) -> bytes:
        """Return the key under which the verdict on *token* is kept."""
        return hashlib.blake2b(token.encode(), key=self._key, digest_size=32).digest()

    def get(self, digest: bytes) -> Verdict | None:
        """Return the verdict that is kept under *digest*, unless it is too old."""
        entry = self._admitted.get(digest) or self._refused.get(digest)
        return None if entry is None else entry[0]

    def keep(self, digest: bytes, verdict: Verdict, asked_s: float) -> None:
        """Remember a *verdict* of the endpoint, which was asked at *asked_s*, by the monotonic clock."""
        verdicts = self._refused if verdict.user is None else self._admitted
        verdicts[digest] = verdict, asked_s + self.cache_s
