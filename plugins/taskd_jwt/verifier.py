"""
Verify JSON Web Tokens (RFC 7519) as RFC 8725 advises.

A token's algorithm only selects the token scheme.  The token cannot choose that scheme's keys or rules, and every key
is for exactly one algorithm.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import attrs
import jwt

from taskd.auth import InvalidCredentials, User
from taskd_jwt import jws
from taskd_jwt.algorithms import HS256, KEY_SET_ALGORITHMS
from taskd_jwt.claims import quoted
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
        key_sets: The token schemes for all other algorithms, one for each issuer; none refuses such tokens.
        cache: The tokens that have already been verified.
    """

    secret: SecretScheme | None
    key_sets: tuple[KeySetScheme, ...]
    cache: TokenCache = attrs.field(factory=TokenCache)

    @classmethod
    def of(cls, settings: JWTSettings, timing: Timing | None = None, clock: Clock = time) -> Verifier:
        """Return the verifier for the token schemes in *settings*; *timing* is about the keys of the issuers."""
        issuers, secrets, cache = settings.issuers(), settings.secrets(), TokenCache(clock)
        secret, key_sets = None, []
        if secrets:
            secret = SecretScheme(secrets, attrs.evolve(settings.secret_rules(), clock=clock))
        if issuers:
            from taskd_jwt.jwks.cache import RemoteKeySet  # noqa: PLC0415  imports httpx, which a secret does not need

            for issuer in issuers:
                keys = RemoteKeySet(issuer.key_set_url, cache.clear, timing or Timing(), clock)
                key_sets.append(KeySetScheme(keys, attrs.evolve(issuer.rules, clock=clock)))
        return cls(secret, tuple(key_sets), cache)

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
        scheme = self._scheme(token)
        # Refusing a token must cost less than accepting one, so claims are checked before the signature, unless parsing
        # them might cost more than verifying the signature.
        claims = scheme.rules.read(token) if token.is_cheap else None
        keys = await scheme.candidates(token)
        _check_signature(token, keys, scheme.advice)
        claims = claims or scheme.rules.read(token)
        # The token may have expired while its key was being fetched.
        scheme.rules.check_dates(claims)
        user = User(claims.subject)
        self.cache.add(compact, user, claims.expires_s, scheme.valid_for_s())
        return user

    def _scheme(self, token: Token) -> TokenScheme:
        scheme: TokenScheme | None
        if token.algorithm == HS256:
            scheme, variable = self.secret, "BETTER_AUTH_SECRET"
        elif token.algorithm in KEY_SET_ALGORITHMS:
            scheme, variable = self._key_set(token), "BETTER_AUTH_URL"
        else:
            supported = ", ".join([HS256, *KEY_SET_ALGORITHMS])
            raise InvalidCredentials(f"The token's algorithm is not supported: use one of {supported}.")
        if scheme is None:
            raise InvalidCredentials(f"The token is signed with {token.algorithm}: set {variable}.")
        return scheme

    def _key_set(self, token: Token) -> KeySetScheme | None:
        """Return the token scheme of the issuer of *token*; None if there are no issuers."""
        if len(self.key_sets) <= 1:
            return next(iter(self.key_sets), None)
        # Nobody has verified the name of the issuer yet.  It only selects the keys and the rules, which include it.
        name = token.issuer()
        for scheme in self.key_sets:
            if scheme.rules.issuer == name:
                return scheme
        known = " or ".join(str(scheme.rules.issuer) for scheme in self.key_sets)
        raise InvalidCredentials(f"The token's issuer {quoted(name)}is not {known}.")


def _check_signature(token: Token, keys: Iterable[jwt.PyJWK], advice: str) -> None:
    for key in keys:
        if token.algorithm != key.algorithm_name:
            raise InvalidCredentials("The token's alg does not match the key that its kid names.")
        if key.Algorithm.verify(token.signed, key.key, token.signature):
            return
    raise InvalidCredentials(f"The token's signature is wrong: {advice}")
