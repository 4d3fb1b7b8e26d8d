"""Check the secret and the key set, for `taskd doctor`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from taskd.checks import Check, Outcome
from taskd_jwt.jwks.cache import MAX_LOGGED_KEYS, RemoteKeySet
from taskd_jwt.jwks.keys import KeySetError

__all__ = ["check_key_set", "check_secrets"]

# RFC 7518, section 3.2, requires a key of at least 256 bits, and the settings enforce that length.  The key's entropy
# can only be estimated, from this one sample: 32 hexadecimal digits, which hold 128 bits, are estimated at 96 to 126.
MIN_SECRET_BITS = 96
# Words that suggest that a secret was copied from an example.
_EXAMPLE_WORDS = (b"secret", b"change", b"example", b"password", b"12345678", b"better-auth")


def check_secrets(secrets: Iterable[str]) -> Iterator[Check]:
    """Check that the secrets, the current one and perhaps the previous one, are hard to guess."""
    remedies = {
        "secret": "Set BETTER_AUTH_SECRET, here and in the frontend, to the output of openssl rand -hex 32.",
        "previous secret": "Remove BETTER_AUTH_SECRET_PREVIOUS when the tokens signed with it have expired.",
    }
    for secret, (name, remedy) in zip(secrets, remedies.items(), strict=False):
        check = _check_secret(name, secret.encode(), remedy)
        if name != "secret" and check.outcome is Outcome.OK:
            check = Check(name, Outcome.NOTE, f"{check.finding}; tokens signed with it are accepted", remedy)
        yield check


def _check_secret(name: str, secret: bytes, remedy: str) -> Check:
    bits = round(_entropy_bits(secret))
    finding = f"{len(secret)} bytes, with at most {bits} bits of entropy"
    if bits < MIN_SECRET_BITS:
        return Check(name, Outcome.FAILED, f"{finding}: easy to guess", remedy)
    if any(word in secret.lower() for word in _EXAMPLE_WORDS):
        return Check(name, Outcome.FAILED, "it looks copied from an example, and is easy to guess", remedy)
    return Check(name, Outcome.OK, finding)


async def check_key_set(remote: RemoteKeySet, name: str = "key set") -> Check:
    """Check that the key set can be fetched and has usable keys."""
    try:
        found = await remote.fetch()
    except KeySetError as error:
        remedy = (
            "Check that Better Auth is running, has its jwt plugin, and publishes its keys at"
            f" {remote.url}. {error.advice}"
        )
        return Check(name, Outcome.FAILED, str(error), remedy.strip())
    remedy = f"Ignored keys: {'; '.join(found.ignored[:MAX_LOGGED_KEYS])}." if found.ignored else ""
    if not found.keys:
        return Check(name, Outcome.FAILED, "it has no usable key", remedy or "Let Better Auth create a key.")
    finding = f"{len(found.keys)} for {', '.join(found.algorithms)}"
    return Check(name, Outcome.NOTE if found.ignored else Outcome.OK, finding, remedy)


def _entropy_bits(secret: bytes) -> float:
    """
    Estimate the entropy of *secret* from how often each byte occurs in it.

    This is an upper bound: it does not notice that the bytes are in a predictable order, such as that of the alphabet.
    """
    shares = [count / len(secret) for count in Counter(secret).values()]
    return -len(secret) * sum(share * math.log2(share) for share in shares)
