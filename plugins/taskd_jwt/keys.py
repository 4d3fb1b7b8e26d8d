"""JSON Web Key Sets (RFC 7517): which of the keys that an issuer publishes may verify a token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from taskd_jwt.algorithms import KEY_SET_ALGORITHMS
from taskd_jwt.strictness import MalformedError, decode_object
from taskd_jwt.tokens import KEY_ID

__all__ = ["KeySet", "KeySetError", "read_key_set"]

# RFC 7518, section 3.3: a key of this size or larger must be used with RS256, and by section 3.5 with PS256.
MIN_RSA_BITS = 2048
# That of an RSA key of 16384 bits, beyond which nothing is gained, and each signature takes its time.
MAX_PARAMETER_LENGTH = 2731
# That of Curve25519.
_FIELD = 2**255 - 19
# More than an issuer has that makes one every ten minutes and shows it for a month.
MAX_KEYS = 5000


class KeySetError(Exception):
    """The key set cannot be had, or what came is none.  The message says why, and holds no secret."""


class _UnusableError(Exception):
    """A key must not verify anything; the message says why."""


@attrs.frozen
class KeySet:
    """
    The keys that an issuer publishes.

    Attributes:
        keys: Those that can be used, by `kid`; each knows the one algorithm that it is for.
        dropped: For each of the others, what is wrong with it.
    """

    keys: Mapping[str, jwt.PyJWK] = attrs.field(factory=dict, eq=False)
    dropped: tuple[str, ...] = ()
    # PyJWK does not compare; what it consists of does.
    _comparable: Mapping[str, tuple[str, Any]] = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: _comparable(self.keys), takes_self=True)
    )

    @property
    def algorithms(self) -> list[str]:
        """The algorithms of the keys."""
        return sorted({key.algorithm_name for key in self.keys.values()})


def _comparable(keys: Mapping[str, jwt.PyJWK]) -> dict[str, tuple[str, Any]]:
    return {name: (key.algorithm_name, key.key) for name, key in keys.items()}


def read_key_set(document: bytes) -> KeySet:
    """
    Return the keys of a JSON Web Key Set (RFC 7517, section 5).

    Raises:
        KeySetError: *document* is none.  What is wrong with a single key only drops that key.
    """
    try:
        members = decode_object(document)["keys"]
    except (MalformedError, KeyError):
        members = None
    if not isinstance(members, list):
        raise KeySetError("what it sends is not a JSON Web Key Set")
    if len(members) > MAX_KEYS:
        raise KeySetError(f"it has more than {MAX_KEYS} keys")
    occurrences = Counter(_key_id(member) for member in members)
    keys, dropped = {}, []
    for member in members:
        key_id = _key_id(member)
        try:
            if key_id and occurrences[key_id] > 1:
                raise _UnusableError("its kid is not its own")  # noqa: TRY301  it is one reason among others
            keys[key_id] = _key(member)
        except _UnusableError as error:
            dropped.append(f"{key_id or 'one without a good kid'}: {error}")
    return KeySet(keys, tuple(dropped))


def _key_id(member: object) -> str:
    """Return the `kid` of a key, or an empty text if it has none that a token could name."""
    key_id = member.get("kid") if isinstance(member, dict) else None
    return key_id if isinstance(key_id, str) and KEY_ID.fullmatch(key_id) else ""


def _key(member: Any) -> jwt.PyJWK:
    """Return a key that can only verify, and only by one algorithm; raises `_UnusableError`."""
    _check_member(member)
    algorithm = _algorithm(member)
    try:
        key = jwt.PyJWK(member, algorithm)
    # PyJWT lets through what Python raises for values of other types than the RFC's.
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        raise _UnusableError(f"it is no key for {algorithm}") from None
    _check_strength(key)
    return key


def _check_member(member: Any) -> None:
    """Refuse what nobody needs to parse to know that it must not verify anything."""
    if not _key_id(member):
        raise _UnusableError("no token can name it")
    if member.get("kty") == "oct":
        raise _UnusableError("it is a secret, and published")
    # RFC 7518, section 6.3.2: the factors of an RSA key are as good as `d`.
    if any(name in member for name in ("d", "p", "q", "dp", "dq", "qi", "oth")):
        raise _UnusableError("its private part is published")
    if member.get("use", "sig") != "sig" or not _verifies(member.get("key_ops", ["verify"])):
        raise _UnusableError("it is not for signatures")
    if any(isinstance(value, str) and len(value) > MAX_PARAMETER_LENGTH for value in member.values()):
        raise _UnusableError("it is too large")


def _check_strength(key: jwt.PyJWK) -> None:
    if isinstance(key.key, RSAPublicKey) and key.key.key_size < MIN_RSA_BITS:
        raise _UnusableError(f"it is too weak: RSA needs {MIN_RSA_BITS} bits")
    if isinstance(key.key, Ed25519PublicKey) and _is_of_small_order(key.key.public_bytes_raw()):
        raise _UnusableError("it is too weak: anybody can sign for it")


def _is_of_small_order(ed25519_key: bytes) -> bool:
    """
    Tell whether multiples of the point are so few that signatures can be guessed; OpenSSL takes such keys.

    On the Montgomery form of the curve (RFC 7748, section 4.1) an exchange with one ends in zeros, and is refused.
    """
    y = int.from_bytes(ed25519_key, "little") & ~(1 << 255)
    if (1 - y) % _FIELD == 0:
        return True
    u = (1 + y) * pow(1 - y, -1, _FIELD) % _FIELD
    try:
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(u.to_bytes(32, "little")))
    except ValueError:
        return True
    return False


def _verifies(operations: object) -> bool:
    return isinstance(operations, list) and "verify" in operations


def _algorithm(member: Mapping[str, Any]) -> str:
    """Return the algorithm of a key: its `alg`, or if it has none, the first for keys of its kind."""
    fitting = [
        name
        for name, (kind, curves) in KEY_SET_ALGORITHMS.items()
        # Better Auth gives an RSA key a curve, too, once it was set up for another kind of keys.
        if member.get("kty") == kind and (not curves or member.get("crv") in curves)
    ]
    algorithm = member.get("alg", fitting[0] if fitting else None)
    if algorithm not in fitting:
        raise _UnusableError(f"it is not one for {', '.join(KEY_SET_ALGORITHMS)}")
    return str(algorithm)
