"""Remember verified tokens."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator

import attrs

from taskd.auth import User
from taskd.telemetry import Kind, Measurement
from taskd_jwt.clock import Clock

__all__ = ["TokenCache"]

# About 5 MB when full.
MAX_TOKENS = 10_000


@attrs.define(eq=False)
class TokenCache:
    """
    Remembers the users of verified tokens, so that each token is verified only once.

    The cache holds keyed digests instead of tokens, so its contents cannot be used to authenticate.  When it is full,
    the least recently used token is dropped.

    Attributes:
        clock: Tells which tokens have expired.
        max_tokens: How many tokens the cache holds.
        hits: How often a token was found.
        misses: How often a token was not found, or was no longer valid.
    """

    clock: Clock = attrs.field(default=time, repr=False)
    max_tokens: int = attrs.field(default=MAX_TOKENS, repr=False)
    hits: int = attrs.field(init=False, default=0, repr=False)
    misses: int = attrs.field(init=False, default=0, repr=False)
    # The least recently used token comes first.
    _users: OrderedDict[bytes, tuple[User, float, float]] = attrs.field(init=False, repr=False, factory=OrderedDict)
    _key: bytes = attrs.field(init=False, repr=False, factory=lambda: secrets.token_bytes(32))

    def get(self, token: str) -> User | None:
        """Return the user of *token*, if it has been verified and is still valid."""
        digest = self._digest(token)
        if digest in self._users:
            self._users.move_to_end(digest)
            user, expires_s, until_s = self._users[digest]
            if self.clock.time() < expires_s and self.clock.monotonic() < until_s:
                self.hits += 1
                return user
        self.misses += 1
        return None

    def add(self, token: str, user: User, expires_s: float, valid_for_s: float) -> None:
        """
        Remember a verified token.

        Args:
            token: The token.
            user: Its user.
            expires_s: When it expires, in seconds since 1970.
            valid_for_s: The maximum number of seconds to rely on it, even if the system's clock is set back.
        """
        digest = self._digest(token)
        self._users[digest] = user, expires_s, self.clock.monotonic() + valid_for_s
        self._users.move_to_end(digest)
        if len(self._users) > self.max_tokens:
            self._users.popitem(last=False)

    def clear(self) -> None:
        """Forget all tokens: the keys they were verified with may no longer be valid."""
        self._users.clear()

    def measurements(self) -> Iterator[Measurement]:
        """Yield how many tokens the cache holds, and how often it was of use."""
        yield Measurement("token_cache_size", "Tokens in the token cache.", len(self._users))
        hits = "Requests whose token was in the token cache."
        yield Measurement("token_cache_hits", hits, self.hits, Kind.COUNTER)
        misses = "Requests whose token was not in the token cache, valid or not."
        yield Measurement("token_cache_misses", misses, self.misses, Kind.COUNTER)

    def _digest(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode(), key=self._key, digest_size=32).digest()
