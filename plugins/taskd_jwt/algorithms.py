"""The algorithms that are spoken (RFC 7518, section 3.1; RFC 8037), each for keys of one kind."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["HS256", "KEY_SET_ALGORITHMS"]

# Of the shared secret, and of no key that is published.
HS256 = "HS256"
# Of published keys: with their kind (`kty`), and the curves (`crv`) that those may be on.
KEY_SET_ALGORITHMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "EdDSA": ("OKP", ("Ed25519",)),
    "ES256": ("EC", ("P-256",)),
    "ES512": ("EC", ("P-521",)),
    "RS256": ("RSA", ()),
    "PS256": ("RSA", ()),
}
