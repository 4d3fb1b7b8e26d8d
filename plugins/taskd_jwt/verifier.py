"""
Verify JSON Web Tokens (RFC 7519) as RFC 8725 advises.

A token's algorithm only selects the token scheme.  The token cannot choose that scheme's keys or rules, and every key
is for exactly one algorithm.
"""

from __future__ import annotations

import time

import attrs
import jwt

from taskd.auth import InvalidCredentials, User
from taskd_jwt import jws
from taskd_jwt.algorithms import HS256, KEY_SET_ALGORITHMS
from taskd_jwt.clock import Clock
from taskd_jwt.jwks.timing import Timing
from taskd_jwt.jws import Token
from taskd_jwt.schemes import KeySetScheme, SecretScheme, TokenScheme
from taskd_jwt.settings import JWTSettings
from taskd_jwt.token_cache import TokenCache

__all__ = ["Verifier"]

MAX_TOKEN_BYTES = 8192


@attrs.frozen(eq=False)
class Verifier:
    """
    Verifies tokens and caches the results.

    Attributes:
        secret: The token scheme for HS256; None refuses such tokens.
        key_set: The token scheme for all other algorithms; None refuses such tokens.
        cache: The tokens that have already been verified.
    """

    secret: SecretScheme | None
    key_set: KeySetScheme | None
    cache: TokenCache = attrs.field(factory=TokenCache)

    @classmethod
    def of(cls, settings: JWTSettings, timing: Timing | None = None, clock: Clock = time) -> Verifier:
        """Return the verifier for the token schemes in *settings*; *timing* is about the keys of the issuer."""
        url, cache = settings.key_set_url(), TokenCache(clock)
        secret = key_set = None
        if settings.secret:
            secret = SecretScheme(settings.secret.value, attrs.evolve(settings.secret_rules(), clock=clock))
        if url:
            from taskd_jwt.jwks.cache import RemoteKeySet  # noqa: PLC0415  imports httpx, which a secret does not need

            keys = RemoteKeySet(url, cache.clear, timing or Timing(), clock)
            key_set = KeySetScheme(keys, attrs.evolve(settings.key_set_rules(), clock=clock))
        return cls(secret, key_set, cache)

    async def verify(self, compact: str) -> User:
        """
        Return the user of a token.

        Raises:
            InvalidCredentials: The token is invalid; the message says why without quoting it.
            AuthUnavailable: The keys needed to verify it are not available.
        """
        if len(compact) > MAX_TOKEN_BYTES:
            raise InvalidCredentials(f"The token is longer than {MAX_TOKEN_BYTES} bytes.")
        return self.cache.get(compact) or await self._verify(compact)

    async def _verify(self, compact: str) -> User:
        token = jws.read(compact)
        scheme = self._scheme(token.algorithm)
        # Refusing a token must cost less than accepting one, so claims are checked before the signature, unless parsing
        # them might cost more than verifying the signature.
        claims = scheme.rules.read(token) if token.is_cheap else None
        key = await scheme.key(token)
        _check_signature(token, key, scheme.advice)
        claims = claims or scheme.rules.read(token)
        # The token may have expired while its key was being fetched.
        scheme.rules.check_dates(claims)
        user = User(claims.subject)
        self.cache.add(compact, user, claims.expires_s, scheme.valid_for_s())
        return user

    def _scheme(self, algorithm: str) -> TokenScheme:
        scheme: TokenScheme | None
        if algorithm == HS256:
            scheme, variable = self.secret, "BETTER_AUTH_SECRET"
        elif algorithm in KEY_SET_ALGORITHMS:
            scheme, variable = self.key_set, "BETTER_AUTH_URL"
        else:
            supported = ", ".join([HS256, *KEY_SET_ALGORITHMS])
            raise InvalidCredentials(f"The token's algorithm is not supported: use one of {supported}.")
        if scheme is None:
            raise InvalidCredentials(f"The token is signed with {algorithm}: set {variable}.")
        return scheme


def _check_signature(token: Token, key: jwt.PyJWK, advice: str) -> None:
    if token.algorithm != key.algorithm_name:
        raise InvalidCredentials("The token's alg does not match the key that its kid names.")
    if not key.Algorithm.verify(token.signed, key.key, token.signature):
        raise InvalidCredentials(f"The token's signature is wrong: {advice}")
