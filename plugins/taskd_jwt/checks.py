"""Check the secret and the key set, for `taskd doctor`."""

from __future__ import annotations

import math
from collections import Counter

from taskd.checks import Check, Outcome
from taskd_jwt.jwks.cache import MAX_LOGGED_KEYS, RemoteKeySet
from taskd_jwt.jwks.keys import KeySetError

__all__ = ["check_key_set", "check_secret"]

# RFC 7518, section 3.2, requires a key of at least 256 bits, and the settings enforce that length.  The key's entropy
# can only be estimated, from this one sample: 32 hexadecimal digits, which hold 128 bits, are estimated at 96 to 126.
MIN_SECRET_BITS = 96
# Words that suggest that a secret was copied from an example.
_EXAMPLE_WORDS = (b"secret", b"change", b"example", b"password", b"12345678", b"better-auth")


def check_secret(secret: bytes) -> Check:
    """Check that *secret* is hard to guess."""
    bits = round(_entropy_bits(secret))
    finding = f"{len(secret)} bytes, with at most {bits} bits of entropy"
    remedy = "Set BETTER_AUTH_SECRET, here and in the frontend, to the output of openssl rand -hex 32."
    if bits < MIN_SECRET_BITS:
        return Check("secret", Outcome.FAILED, f"{finding}: easy to guess", remedy)
    if any(word in secret.lower() for word in _EXAMPLE_WORDS):
        return Check("secret", Outcome.FAILED, "it looks copied from an example, and is easy to guess", remedy)
    return Check("secret", Outcome.OK, finding)


async def check_key_set(remote: RemoteKeySet) -> Check:
    """Check that the key set can be fetched and has usable keys."""
    try:
        found = await remote.fetch()
    except KeySetError as error:
        remedy = (
            "Check that Better Auth is running, has its jwt plugin, and publishes its keys at"
            f" {remote.url}. {error.advice}"
        )
        return Check("key set", Outcome.FAILED, str(error), remedy.strip())
    remedy = f"Ignored keys: {'; '.join(found.ignored[:MAX_LOGGED_KEYS])}." if found.ignored else ""
    if not found.keys:
        return Check("key set", Outcome.FAILED, "it has no usable key", remedy or "Let Better Auth create a key.")
    finding = f"{len(found.keys)} for {', '.join(found.algorithms)}"
    return Check("key set", Outcome.NOTE if found.ignored else Outcome.OK, finding, remedy)


def _entropy_bits(secret: bytes) -> float:
    """
    Estimate the entropy of *secret* from how often each byte occurs in it.

    This is an upper bound: it does not notice that the bytes are in a predictable order, such as that of the alphabet.
    """
    shares = [count / len(secret) for count in Counter(secret).values()]
    return -len(secret) * sum(share * math.log2(share) for share in shares)
