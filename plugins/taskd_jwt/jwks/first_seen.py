"""Remember when tokens were first seen, to tell an invalid token from one with a new key."""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping

import attrs
import cachetools

from taskd_jwt.jws import Token

__all__ = ["FirstSeen"]

# About 1.5 MB when full.
MAX_TOKENS = 10_000


@attrs.frozen(eq=False)
class FirstSeen:
    """
    A record of when tokens were first seen, counted in fetches of the key set.

    Anyone who knows the id of a key can put it into any number of tokens, even before the key is published, so the fact
    that a key was not found says nothing about the next token that names it.  But no token can be signed before its key
    exists.  So a token is known to be invalid once its key is missing from a key set that was fetched after the token
    arrived.

    When the record is full, the least recently used token is dropped, and counts as new if it arrives again.

    Attributes:
        max_tokens: How many tokens the record holds.
    """

    max_tokens: int = MAX_TOKENS
    _fetches: MutableMapping[bytes, int] = attrs.field(init=False, repr=False)

    @_fetches.default
    def _empty(self) -> MutableMapping[bytes, int]:
        return cachetools.LRUCache(self.max_tokens)

    def fetches_before(self, token: Token, fetches: int) -> int:
        """Return how many fetches had started when *token* first arrived: *fetches*, if the token is new."""
        # The digest includes the signature, which only the issuer can predict.
        digest = hashlib.blake2b(token.signed + b"." + token.signature, digest_size=16).digest()
        return self._fetches.setdefault(digest, fetches)
