"""Check the secrets and the expected claims, for `taskd doctor`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import eq

from taskd.checks import Check, Outcome
from taskd.urls import HTTPAddress
from taskd_jwt.schemes import KeySetScheme, SecretScheme

__all__ = ["check_claims", "check_secrets"]

# RFC 7518, section 3.2, requires a key of at least 256 bits, and the settings enforce that length.  The key's entropy
# can only be estimated, from this one sample: 32 hexadecimal digits, which hold 128 bits, are estimated at 96 to 126.
MIN_SECRET_BITS = 96
# Which share of the bytes may follow from the byte before: of random hexadecimal digits, an eighth does.
MAX_STEPS = 0.5
_AROUND = b" \t\r\n\"'"
_UNQUOTE = "Remove them from BETTER_AUTH_SECRET, unless the frontend's secret has them, too."
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
        if check.outcome is Outcome.OK and not secret.isprintable():
            check = Check(name, Outcome.NOTE, "it has line breaks or invisible characters in it", _UNQUOTE)
        if name != "secret" and check.outcome is Outcome.OK:
            check = Check(name, Outcome.NOTE, f"{check.finding}; tokens signed with it are accepted", remedy)
        yield check


def _check_secret(name: str, secret: bytes, remedy: str) -> Check:
    bits = round(_entropy_bits(secret))
    finding = f"{len(secret)} bytes, with at most {bits} bits of entropy"
    if bits < MIN_SECRET_BITS:
        return Check(name, Outcome.FAILED, f"{finding}: easy to guess", remedy)
    if _shortest_period(secret) <= len(secret) // 2:
        return Check(name, Outcome.FAILED, "it repeats itself, and is easy to guess", remedy)
    if _steps(secret) > MAX_STEPS:
        return Check(name, Outcome.FAILED, "its characters are in order, and easy to guess", remedy)
    if secret != secret.strip(_AROUND):
        return Check(name, Outcome.NOTE, "it has spaces or quotes around it", _UNQUOTE)
    if any(word in secret.lower() for word in _EXAMPLE_WORDS):
        return Check(name, Outcome.FAILED, "it looks copied from an example, and is easy to guess", remedy)
    return Check(name, Outcome.OK, finding)


def check_claims(secret: SecretScheme | None, key_sets: Sequence[KeySetScheme]) -> Iterator[Check]:
    """Yield a note for each expected claim that no token of Better Auth can have."""
    # The settings are for the only issuer; several are each named in the same way.
    scheme = key_sets[0] if len(key_sets) == 1 else secret
    if scheme is None:
        return
    for variable, value in (("TASKD_JWT_AUDIENCE", scheme.rules.audience), ("TASKD_JWT_ISSUER", scheme.rules.issuer)):
        address = HTTPAddress.parse(value or "")
        if address is not None and address.path in ("", "/") and value != address.origin:
            finding = f"{variable} is written differently from an origin: {address.origin}"
            remedy = f"Unless Better Auth is configured like that, set {variable}={address.origin}, or remove it."
            yield Check("claims", Outcome.NOTE, finding, remedy)


def _shortest_period(secret: bytes) -> int:
    """Return the length of the shortest text of which *secret* consists, repeated as often as necessary."""
    return next(size for size in range(1, len(secret) + 1) if all(map(eq, secret, secret[size:])))


def _steps(secret: bytes) -> float:
    """Return which share of the bytes of *secret* follow from the byte before, as in 1234 or in dcba."""
    steps = Counter(later - earlier for earlier, later in pairwise(secret) if abs(later - earlier) <= 1)
    return max(steps.values(), default=0) / len(secret)


def _entropy_bits(secret: bytes) -> float:
    """
    Estimate the entropy of *secret* from how often each byte occurs in it.

    This is an upper bound: it does not notice that the bytes are in a predictable order, such as that of the alphabet.
    """
    shares = [count / len(secret) for count in Counter(secret).values()]
    return -len(secret) * sum(share * math.log2(share) for share in shares)
