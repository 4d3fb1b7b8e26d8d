"""Supported signature algorithms (RFC 7518, section 3.1; RFC 8037, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["HS256", "KEY_SET_ALGORITHMS"]

# Used only with the shared secret, never with a published key.
HS256 = "HS256"
# Used with published keys, each with the type (`kty`) and the curves (`crv`) that its keys may have.
KEY_SET_ALGORITHMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "EdDSA": ("OKP", ("Ed25519",)),
    "ES256": ("EC", ("P-256",)),
    "ES512": ("EC", ("P-521",)),
    "RS256": ("RSA", ()),
    "PS256": ("RSA", ()),
}
