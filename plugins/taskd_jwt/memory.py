"""Remembering tokens that were verified."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import MutableMapping

import attrs
import cachetools

from taskd import User

__all__ = ["VerifiedTokens"]

# Some 5 MB, if it is full.
MAX_TOKENS = 10_000


@attrs.frozen(eq=False)
class VerifiedTokens:
    """
    The users of tokens that were verified, so that this is not done again for each request.

    No token is kept, but its digest by a key that only this process has: what is in memory opens nothing.  Of too many,
    those are forgotten that have not been used for longest.
    """

    _users: MutableMapping[bytes, tuple[User, float, float]] = attrs.field(
        init=False, repr=False, factory=lambda: cachetools.LRUCache(MAX_TOKENS)
    )
    _key: bytes = attrs.field(init=False, repr=False, factory=lambda: secrets.token_bytes(32))

    def user(self, token: str) -> User | None:
        """Return whose *token* is, if it was verified and is still good."""
        user, expiry_s, until_s = self._users.get(self._digest(token), (None, 0.0, 0.0))
        return user if time.time() < expiry_s and time.monotonic() < until_s else None

    def remember(self, token: str, user: User, expiry_s: float, good_for_s: float) -> None:
        """
        Remember *token*, which was verified.

        Args:
            token: The token.
            user: Whose it is.
            expiry_s: When it expires, in seconds since 1970.
            good_for_s: For how long it may be relied upon at most, whatever happens to that clock.
        """
        self._users[self._digest(token)] = user, expiry_s, time.monotonic() + good_for_s

    def forget_all(self) -> None:
        """Forget everything: what it was verified with is no longer valid."""
        self._users.clear()

    def _digest(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode(), key=self._key, digest_size=32).digest()
