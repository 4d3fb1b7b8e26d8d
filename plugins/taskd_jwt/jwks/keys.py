"""Read JSON Web Key Sets (RFC 7517), and keep only the keys that may verify a token."""

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
from taskd_jwt.header import KEY_ID
from taskd_jwt.strict_json import MalformedError, decode_object

__all__ = ["KeySet", "KeySetError", "read_key_set"]

# RFC 7518, sections 3.3 and 3.5: RS256 and PS256 must use keys of this size or larger.
MIN_RSA_BITS = 2048
# The length of a 16384-bit RSA modulus in base64url.  Larger keys add no security, and slow verification down.
MAX_PARAMETER_LENGTH = 2731
# The prime of Curve25519's field.
_FIELD = 2**255 - 19
# Enough for an issuer that creates a key every ten minutes and publishes it for a month.
MAX_KEYS = 5000


class KeySetError(Exception):
    """
    A key set cannot be fetched or read.

    Args:
        reason: What went wrong.  It must not contain a secret.
        advice: What to do about it, as a sentence; empty if that is not known.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.advice = advice


class _UnusableError(Exception):
    """A key must not be used; the message says why."""


@attrs.frozen
class KeySet:
    """
    The keys that an issuer publishes.

    Attributes:
        keys: The usable keys by `kid`, each for exactly one algorithm.
        ignored: What is wrong with each of the other keys.
    """

    keys: Mapping[str, jwt.PyJWK] = attrs.field(factory=dict, eq=False)
    ignored: tuple[str, ...] = ()
    # Compared instead of `keys`: PyJWK does not define equality, but its parts do.
    _comparable: Mapping[str, tuple[str, Any]] = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: _comparable(self.keys), takes_self=True)
    )

    @property
    def algorithms(self) -> list[str]:
        """The algorithms of the usable keys."""
        return sorted({key.algorithm_name for key in self.keys.values()})


def _comparable(keys: Mapping[str, jwt.PyJWK]) -> dict[str, tuple[str, Any]]:
    return {name: (key.algorithm_name, key.key) for name, key in keys.items()}


def read_key_set(document: bytes) -> KeySet:
    """
    Read a JSON Web Key Set (RFC 7517, section 5).

    Raises:
        KeySetError: *document* is not a key set.  Individual keys that are invalid are ignored instead.
    """
    members = _members(document)
    occurrences = Counter(_key_id(member) for member in members)
    keys, ignored = {}, []
    for member in members:
        key_id = _key_id(member)
        try:
            if key_id and occurrences[key_id] > 1:
                raise _UnusableError("another key has the same kid")  # noqa: TRY301  handled like the other reasons
            keys[key_id] = _key(member)
        except _UnusableError as error:
            ignored.append(f"{key_id or 'a key without a valid kid'}: {error}")
    return KeySet(keys, tuple(ignored))


def _members(document: bytes) -> list[Any]:
    try:
        members = decode_object(document)["keys"]
    except (MalformedError, KeyError):
        members = None
    if not isinstance(members, list):
        advice = "If the keys are elsewhere, set TASKD_JWKS_URL."
        raise KeySetError("the response is not a JSON Web Key Set", advice)
    if len(members) > MAX_KEYS:
        raise KeySetError(f"it has more than {MAX_KEYS} keys")
    return members


def _key_id(member: object) -> str:
    """Return the `kid` of a key, or an empty string if it has none that a token could name."""
    key_id = member.get("kid") if isinstance(member, dict) else None
    return key_id if isinstance(key_id, str) and KEY_ID.fullmatch(key_id) else ""


def _key(member: Any) -> jwt.PyJWK:
    """Return a public key for exactly one algorithm, or raise `_UnusableError`."""
    _check_member(member)
    algorithm = _algorithm(member)
    try:
        key = jwt.PyJWK(member, algorithm)
    # PyJWT raises these if a parameter has the wrong type.
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        raise _UnusableError(f"it is not a valid key for {algorithm}") from None
    _check_strength(key)
    return key


def _check_member(member: Any) -> None:
    """Refuse a key that can be recognized as unusable without parsing it."""
    if not _key_id(member):
        raise _UnusableError("no token can name it")
    if member.get("kty") == "oct":
        raise _UnusableError("it is a secret, which must not be published")
    # RFC 7518, section 6.3.2: the factors of an RSA key give away `d`.
    if any(name in member for name in ("d", "p", "q", "dp", "dq", "qi", "oth")):
        raise _UnusableError("it includes its private part")
    if member.get("use", "sig") != "sig" or not _verifies(member.get("key_ops", ["verify"])):
        raise _UnusableError("it is not for signatures")
    if any(isinstance(value, str) and len(value) > MAX_PARAMETER_LENGTH for value in member.values()):
        raise _UnusableError("it is too large")


def _check_strength(key: jwt.PyJWK) -> None:
    if isinstance(key.key, RSAPublicKey) and key.key.key_size < MIN_RSA_BITS:
        raise _UnusableError(f"it is too weak: RSA needs {MIN_RSA_BITS} bits")
    if isinstance(key.key, Ed25519PublicKey) and _has_small_order(key.key.public_bytes_raw()):
        raise _UnusableError("it is too weak: anyone can forge its signatures")


def _has_small_order(ed25519_key: bytes) -> bool:
    """
    Tell whether a key is a point of small order, whose signatures can be guessed; OpenSSL accepts such keys.

    A key exchange with such a point on the Montgomery form of the curve (RFC 7748, section 4.1) yields zero and fails.
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
    """Return the `alg` of a key, or the first algorithm for keys of its type if it has none."""
    fitting = [
        name
        for name, (kind, curves) in KEY_SET_ALGORITHMS.items()
        # Better Auth adds a curve even to RSA keys if it was previously set up for another type of key.
        if member.get("kty") == kind and (not curves or member.get("crv") in curves)
    ]
    algorithm = member.get("alg", fitting[0] if fitting else None)
    if algorithm not in fitting:
        raise _UnusableError(f"it is for none of {', '.join(KEY_SET_ALGORITHMS)}")
    return str(algorithm)
