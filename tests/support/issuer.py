"""An issuer like Better Auth: key pairs, the key set that it publishes, and tokens."""

from __future__ import annotations

import base64
import contextlib
import functools
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import httpx
import jwt
import respx
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

URL = "https://auth.example.com"
JWKS_URL = f"{URL}/api/auth/jwks"
KINDS = ("EdDSA", "ES256", "ES512", "RS256", "PS256")
LIFETIME_S = 7 * 86_400
_numbers = itertools.count(1)


@functools.cache
def rsa_key(_name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return the RSA key of that name; generating one is slow, so each is generated only once."""
    return rsa.generate_private_key(65537, bits)


def new_private_key(kind: str) -> Any:
    if kind == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if kind in ("ES256", "ES512"):
        return ec.generate_private_key(ec.SECP256R1() if kind == "ES256" else ec.SECP521R1())
    return rsa_key(kind)


def encoded(content: bytes) -> str:
    """Encode *content* in base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def part(content: object) -> str:
    """Encode a part of a token: bytes and strings as they are, anything else as JSON."""
    if isinstance(content, str):
        content = content.encode()
    return encoded(content if isinstance(content, bytes) else json.dumps(content).encode())


@attrs.frozen(eq=False)
class KeyPair:
    """A private key and its published half."""

    algorithm: str
    key_id: str
    private: Any

    @classmethod
    def generate(cls, kind: str, key_id: str | None = None) -> KeyPair:
        return cls(kind, key_id or f"key-{next(_numbers)}", new_private_key(kind))

    def signature(self, signed: bytes) -> bytes:
        return jwt.get_algorithm_by_name(self.algorithm).sign(signed, self.private)

    def sign(self, header: object, payload: object) -> str:
        """Sign any header and payload, well-formed or not."""
        signed = f"{part(header)}.{part(payload)}"
        return f"{signed}.{encoded(self.signature(signed.encode()))}"

    def jwk(self, **changes: object) -> dict[str, Any]:
        """Return the public key as Better Auth publishes it, with *changes*; a member changed to None is left out."""
        algorithm: Any = jwt.get_algorithm_by_name(self.algorithm)
        members = {**algorithm.to_jwk(self.private.public_key(), as_dict=True), "alg": self.algorithm}
        members |= {"kid": self.key_id, "key_ops": None, "use": None, **changes}
        return {name: value for name, value in members.items() if value is not None}


@attrs.define(eq=False)
class Issuer:
    """
    An issuer with one key of each kind.

    Attributes:
        kinds: The kinds of its keys.
        keys: Its keys, by kind.
    """

    kinds: tuple[str, ...] = KINDS
    keys: dict[str, KeyPair] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.rotate()

    def rotate(self) -> None:
        """Replace all keys with new ones that have new ids."""
        self.keys = {kind: KeyPair.generate(kind) for kind in self.kinds}

    def document(self) -> dict[str, Any]:
        """Return the key set."""
        return {"keys": [key.jwk() for key in self.keys.values()]}

    def sign(self, claims: Mapping[str, Any] | None = None, kind: str = "EdDSA", **headers: Any) -> str:
        """Sign the claims and headers of a valid token, with these changes; those changed to None are left out."""
        key = self.keys[kind]
        given = {"alg": key.algorithm, "typ": "JWT", "kid": key.key_id, **headers}
        header = {name: value for name, value in given.items() if value is not None}
        return key.sign(header, good_claims(claims))


def good_claims(claims: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the claims of a valid token for alice, with these changes; those changed to None are left out."""
    now_s = int(time.time())
    merged = {"sub": "alice", "iss": URL, "aud": URL, "iat": now_s, "exp": now_s + LIFETIME_S, **(claims or {})}
    return {name: value for name, value in merged.items() if value is not None}


@contextlib.contextmanager
def published(issuer: Issuer) -> Iterator[respx.Route]:
    """Publish the keys of *issuer*; no other request leaves this process."""
    with respx.mock(assert_all_called=False) as router:
        yield router.get(JWKS_URL).mock(side_effect=lambda _: httpx.Response(200, json=issuer.document()))
