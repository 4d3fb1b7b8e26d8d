"""What gets in with both lanes open, and what does not: attacks on tokens, and the answers to them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import string
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import respx
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from taskd import build_app
from taskd.testing import lifespan
from taskd_jwt.strictness import MalformedError, decode_base64url, decode_object
from tests.conftest import SECRET, client_of
from tests.issuer import KINDS, URL, Issuer, KeyPair, encoded, good_claims, part, published

pytestmark = pytest.mark.anyio

MAX_TOKEN_BYTES = 8192
ISSUER = Issuer()
ED, ES, RS, PS = (ISSUER.keys[kind] for kind in ("EdDSA", "ES256", "RS256", "PS256"))
# One that is not the issuer's.
FOREIGN = KeyPair.generate("EdDSA")
ED_HEADER = {"alg": "EdDSA", "typ": "JWT", "kid": ED.key_id}
CLAIMS = good_claims()
NOW_S = int(time.time())
GOOD = ISSUER.sign()
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")
DIGITS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
# Better Auth's are as long, and of these characters.
SESSION_TOKEN = "f3Zr0vSQ6uZ9tHqkq5pWj2x1yL8n4b7c"
SESSION_SIGNATURE = base64.b64encode(hmac.digest(SECRET.encode(), SESSION_TOKEN.encode(), "sha256")).decode()
SESSION = {
    "session": {"token": SESSION_TOKEN, "userId": "alice"},
    "user": {"id": "alice", "email": "alice@example.com"},
    "updatedAt": NOW_S * 1000,
    "version": "1",
}
EMAIL = {"email": "alice@example.com", "updateTo": "alice@example.org", "iat": NOW_S, "exp": NOW_S + 3600}
A_SESSION_TOKEN, COOKIE_CACHE = "a session token, not a JWT", "cookie cache"


def seal_by_secret(header: object, payload: object, secret: str | bytes = SECRET) -> str:
    """Sign whatever header and payload there are by HS256."""
    signed = f"{part(header)}.{part(payload)}"
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{signed}.{encoded(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def by_secret(claims: dict[str, Any] | None = None, secret: str | bytes = SECRET, **headers: Any) -> str:
    """Sign the claims of a good token by HS256."""
    return seal_by_secret({"alg": "HS256", "typ": "JWT", **headers}, good_claims(claims), secret)


def with_header(**headers: Any) -> str:
    """Sign good claims with a header that has more, or other things; those that are None are null."""
    return ED.seal({**ED_HEADER, **headers}, CLAIMS)


def with_header_text(text: str) -> str:
    """Sign good claims with a header that no encoder of JSON gives."""
    return ED.seal(text, CLAIMS)


def with_claims(**claims: Any) -> str:
    """Sign claims of which some are others than a good token's; those that are None are null."""
    return ED.seal(ED_HEADER, {**CLAIMS, **claims})


def with_claims_text(name: str, value: str) -> str:
    """Sign claims of which one is written as no encoder of JSON does."""
    others = {other: given for other, given in CLAIMS.items() if other != name}
    return ED.seal(ED_HEADER, json.dumps(others)[:-1] + f', "{name}": {value}}}')


def unsigned(alg: str, signature: str = "") -> str:
    return f"{part({'alg': alg, 'typ': 'JWT'})}.{part(CLAIMS)}.{signature}"


def with_signature(key: KeyPair, signature: bytes) -> str:
    """Put another signature under a token of *key*."""
    return f"{part({'alg': key.algorithm, 'kid': key.key_id})}.{PAYLOAD}.{encoded(signature)}"


def next_digit(text: str) -> str:
    """Change the bits of the last character that encode nothing."""
    return text[:-1] + DIGITS[DIGITS.index(text[-1]) + 1]


def of_length(length: int) -> str:
    """Return a good token of that many bytes."""
    left = length - len(SIGNATURE) - 2
    headers = [{**ED_HEADER, "x": "x" * size} for size in range(3)]
    # Of four lengths base64url has three: a part that cannot have the one that is left goes with another header.
    sizes = [(header, size) for header in headers for size in range(left // 2, left)]
    return next(
        ED.seal(header, {**CLAIMS, "note": "x" * size})
        for header, size in sizes
        if len(part(header)) + len(part({**CLAIMS, "note": "x" * size})) == left
    )


def lengthened(token: str, position: int) -> str:
    """Pad one part of a token."""
    parts = token.split(".")
    parts[position] += "=" * (-len(parts[position]) % 4 or 4)
    return ".".join(parts)


def spki(key: KeyPair, encoding: Encoding) -> bytes:
    published_key: bytes = key.private.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    return published_key


def uncoded(content: bytes) -> str:
    """Return standard base64, of which some characters are others than base64url's."""
    return base64.b64encode(content).decode().rstrip("=")


STANDARD = f"{uncoded(json.dumps({**ED_HEADER, 'x': '???>>>'}).encode())}.{PAYLOAD}"
NONES = ("none", "NONE", "nOnE", "None")
NOT_A_NUMBER = {
    '"1"': "a text",
    f'"{NOW_S + 3600}"': "a text of digits",
    "true": "true",
    "null": "null",
    "[]": "a list",
    f"[{NOW_S + 3600}]": "a list with a number",
    "{}": "an object",
    "1e999": "infinite",
    "-1e999": "below all",
    str(10**400): "of 400 digits",
}
ATTACKS: dict[str, tuple[str, str]] = {
    # RFC 8725, section 3.1; RFC 7518, section 3.6.
    **{f"alg {alg}": (unsigned(alg), "its alg is none") for alg in NONES},
    **{f"alg {alg} with a signature": (unsigned(alg, SIGNATURE), "its alg is none") for alg in NONES},
    "alg none and a space": (unsigned("none ", SIGNATURE), "another algorithm than"),
    "alg none signed": (with_header(alg="none"), "its alg is none"),
    "alg empty": (with_header(alg=""), "another algorithm than"),
    # Algorithm confusion: what is public as a secret.
    "HS256 by a public key in PEM": (by_secret(secret=spki(ED, Encoding.PEM)), "signature is wrong"),
    "HS256 by a public key in PEM, stripped": (by_secret(secret=spki(ED, Encoding.PEM).strip()), "signature is wrong"),
    "HS256 by a public key in DER": (by_secret(secret=spki(ED, Encoding.DER)), "signature is wrong"),
    "HS256 by an RSA key in PEM": (by_secret(secret=spki(RS, Encoding.PEM)), "signature is wrong"),
    "HS256 by an RSA key's modulus": (by_secret(secret=RS.jwk()["n"]), "signature is wrong"),
    "HS256 by a JWK": (by_secret(secret=json.dumps(ED.jwk())), "signature is wrong"),
    "HS256 by the text of x": (by_secret(secret=ED.jwk()["x"]), "signature is wrong"),
    "HS256 by the bytes of x": (by_secret(secret=decode_base64url(ED.jwk()["x"])), "signature is wrong"),
    "HS256 by x, of a published kid": (
        by_secret(secret=decode_base64url(ED.jwk()["x"]), kid=ED.key_id),
        "signature is wrong",
    ),
    "HS256 by nothing": (by_secret(secret=""), "signature is wrong"),
    "HS256 by another secret": (by_secret(secret=SECRET + " "), "signature is wrong"),
    "EdDSA by the secret": (seal_by_secret(ED_HEADER, CLAIMS), "signature is wrong"),
    "RS256 by the secret": (seal_by_secret({"alg": "RS256", "kid": RS.key_id}, CLAIMS), "signature is wrong"),
    "hs256 in lower case": (seal_by_secret({"alg": "hs256"}, CLAIMS), "another algorithm than"),
    "HS384": (seal_by_secret({"alg": "HS384"}, CLAIMS), "another algorithm than"),
    "ES384": (with_header(alg="ES384"), "another algorithm than"),
    "Ed25519": (with_header(alg="Ed25519"), "another algorithm than"),
    # One key, one algorithm (RFC 8725, section 3.2).
    "RS256 by the key for PS256": (PS.seal({"alg": "RS256", "kid": PS.key_id}, CLAIMS), "not that of the key"),
    "PS256 by the key for RS256": (RS.seal({"alg": "PS256", "kid": RS.key_id}, CLAIMS), "not that of the key"),
    "EdDSA of a key for ES256": (ED.seal({**ED_HEADER, "kid": ES.key_id}, CLAIMS), "not that of the key"),
    "ES512 of a key for ES256": (ES.seal({"alg": "ES512", "kid": ES.key_id}, CLAIMS), "not that of the key"),
    "a foreign key": (FOREIGN.seal(ED_HEADER, CLAIMS), "signature is wrong"),
    "a foreign key by its own name": (FOREIGN.seal({**ED_HEADER, "kid": "f"}, CLAIMS), "not, or no longer, in the key"),
    "ES256 of zeros": (with_signature(ES, bytes(64)), "signature is wrong"),
    "ES256 of ones": (with_signature(ES, b"\xff" * 64), "signature is wrong"),
    "ES256 of r and s 1": (with_signature(ES, (bytes(31) + b"\1") * 2), "signature is wrong"),
    "ES256 too short": (with_signature(ES, bytes(63)), "signature is wrong"),
    "ES256 of one byte": (with_signature(ES, b"\0"), "signature is wrong"),
    "ES256 in DER": (with_signature(ES, encode_dss_signature(1, 1)), "signature is wrong"),
    "EdDSA of zeros": (with_signature(ED, bytes(64)), "signature is wrong"),
    "EdDSA too long": (with_signature(ED, bytes(65)), "signature is wrong"),
    "RS256 of zeros": (with_signature(RS, bytes(256)), "signature is wrong"),
    "PS256 too short": (with_signature(PS, bytes(255)), "signature is wrong"),
    "no signature": (f"{HEADER}.{PAYLOAD}.", "no signature"),
    "the signature of other claims": (f"{HEADER}.{part({**CLAIMS, 'sub': 'root'})}.{SIGNATURE}", "signature is wrong"),
    "the header of another token": (f"{part({**ED_HEADER, 'typ': 'at+jwt'})}.{PAYLOAD}.{SIGNATURE}", "is wrong"),
    # The header (RFC 7515, section 4).
    "no alg": (ED.seal({"kid": ED.key_id}, CLAIMS), "no alg"),
    "alg null": (with_header(alg=None), "no alg"),
    "alg a number": (with_header(alg=256), "no alg"),
    "alg a list": (with_header(alg=["EdDSA"]), "no alg"),
    "alg an object": (with_header(alg={"EdDSA": 1}), "no alg"),
    "two algs": (with_header_text('{"alg":"EdDSA","alg":"HS256","kid":"' + ED.key_id + '"}'), "occurs twice"),
    "two kids": (with_header_text('{"alg":"EdDSA","kid":"x","kid":"' + ED.key_id + '"}'), "occurs twice"),
    "a header that is a list": (ED.seal([ED_HEADER], CLAIMS), "header is malformed: it is not a JSON object"),
    "a header that is null": (ED.seal(None, CLAIMS), "header is malformed: it is not a JSON object"),
    "no header": (f".{PAYLOAD}.{SIGNATURE}", "header is malformed: it is not JSON"),
    "crit": (with_header(crit=["exp"]), "must not have crit"),
    "crit of nothing": (with_header(crit=[]), "must not have crit"),
    "crit null": (with_header(crit=None), "must not have crit"),
    "b64 false": (with_header(b64=False, crit=["b64"]), "must not have"),
    "b64 false, not critical": (with_header(b64=False), "must not have b64"),
    "b64 true": (with_header(b64=True), "must not have b64"),
    "an embedded key": (FOREIGN.seal({"alg": "EdDSA", "jwk": FOREIGN.jwk()}, CLAIMS), "must not have jwk"),
    "an embedded key of a known name": (FOREIGN.seal({**ED_HEADER, "jwk": FOREIGN.jwk()}, CLAIMS), "must not have jwk"),
    "an embedded secret": (
        by_secret(secret="x" * 32, jwk={"kty": "oct", "k": encoded(b"x" * 32)}),
        "must not have jwk",
    ),
    "a linked key set": (FOREIGN.seal({**ED_HEADER, "jku": "https://evil.example/jwks"}, CLAIMS), "must not have jku"),
    "a linked certificate": (FOREIGN.seal({**ED_HEADER, "x5u": "https://evil.example"}, CLAIMS), "must not have x5u"),
    "a certificate": (FOREIGN.seal({**ED_HEADER, "x5c": ["MIIB"]}, CLAIMS), "must not have x5c"),
    "no kid": (ED.seal({"alg": "EdDSA"}, CLAIMS), "no kid"),
    "kid null": (with_header(kid=None), "kid must be a text"),
    "kid a number": (with_header(kid=1), "kid must be a text"),
    "kid a list": (with_header(kid=[ED.key_id]), "kid must be a text"),
    "kid empty": (with_header(kid=""), "kid must be a text"),
    "kid of 256 characters": (with_header(kid="a" * 256), "kid must be a text"),
    "kid with NUL": (with_header(kid=f"{ED.key_id}\0"), "kid must be a text"),
    "kid with a line end": (with_header(kid=f"{ED.key_id}\n"), "kid must be a text"),
    "kid with a space": (with_header(kid=f" {ED.key_id}"), "kid must be a text"),
    "kid not ASCII": (with_header(kid="k\u00e9y"), "kid must be a text"),
    "kid a path": (with_header(kid="../../../dev/null"), "not, or no longer, in the key set"),
    "kid SQL": (with_header(kid="'OR'1'='1';--"), "not, or no longer, in the key set"),
    "kid a URL": (with_header(kid="https://evil.example/key"), "not, or no longer, in the key set"),
    "kid in another case": (with_header(kid=ED.key_id.upper()), "not, or no longer, in the key set"),
    "kid of the secret, a number": (by_secret(kid=1), "kid must be a text"),
    **{
        f"typ {kind!r}": (with_header(typ=kind), "typ must be JWT")
        for kind in ("JWS", "JOSE", "JOSE+JSON", "", " JWT", "application/json", "dpop+jwt", "logout+jwt")
    },
    **{
        f"typ {kind!r}": (with_header(typ=kind), "typ must be JWT")
        for kind in ("secevent+jwt", "kb+jwt", "id_token", "J\u212aT", 1, None, True, ["JWT"])
    },
    "typ of a session cache": (with_header(typ="better-auth.session-cache+jwt"), COOKIE_CACHE),
    # RFC 7516: encrypted, not signed.
    "a JWE": (f"{part({'alg': 'dir', 'enc': 'A256GCM'})}..{part('iv')}.{part('text')}.{part('tag')}", "a JWE"),
    "a JWE with a key": (f"{part({'alg': 'RSA-OAEP', 'enc': 'A256GCM'})}.a.b.c.d", "a JWE"),
    "enc": (with_header(enc="A256GCM"), "must not have enc"),
    "a JWT in a JWT": (ED.seal({**ED_HEADER, "cty": "JWT"}, GOOD), "payload is malformed: it is not JSON"),
    # Claims (RFC 7519, section 4).
    "two subs": (with_claims_text("sub", '"alice", "sub": "root"'), "occurs twice"),
    "two exps": (with_claims_text("exp", f'1, "exp": {NOW_S + 3600}'), "occurs twice"),
    "two of a name inside": (with_claims_text("x", '{"a": [{"b": 1, "b": 2}]}'), "occurs twice"),
    "two of a name, one escaped": (with_claims_text("sub", '"alice", "s\\u0075b": "root"'), "occurs twice"),
    "sub a number": (with_claims(sub=1), "sub claim must be a text"),
    "sub null": (with_claims(sub=None), "sub claim must be a text"),
    "sub a list": (with_claims(sub=["alice"]), "sub claim must be a text"),
    "sub an object": (with_claims(sub={"alice": 1}), "sub claim must be a text"),
    "sub true": (with_claims(sub=True), "sub claim must be a text"),
    "sub empty": (with_claims(sub=""), "sub claim must be a text"),
    "no sub": (ISSUER.sign({"sub": None}), "no sub claim"),
    "no exp": (ISSUER.sign({"exp": None}), "no exp claim"),
    "no aud": (ISSUER.sign({"aud": None}), "no aud claim"),
    "no iss": (ISSUER.sign({"iss": None}), "no iss claim"),
    "expired 12 s ago": (with_claims(exp=NOW_S - 12), "expired"),
    "expired in 1969": (with_claims(exp=-1), "expired"),
    "nbf ahead": (with_claims(nbf=NOW_S + 3600), "not valid yet: its nbf"),
    "iat ahead": (with_claims(iat=NOW_S + 3600), "not valid yet: its iat"),
    **{
        f"{name} {what}": (with_claims_text(name, text), f"{name} claim must be a number")
        for name in ("exp", "nbf", "iat")
        for text, what in NOT_A_NUMBER.items()
    },
    **{
        f"{name} {text}": (with_claims_text(name, text), "NaN and Infinity are not JSON")
        for name in ("exp", "nbf", "iat", "x")
        for text in ("NaN", "Infinity", "-Infinity")
    },
    "exp of 5,000 digits": (with_claims_text("exp", "9" * 4999), "payload is malformed: it is not JSON"),
    "exp hexadecimal": (with_claims_text("exp", "0xFFFFFFFF"), "it is not JSON"),
    "claims that are a list": (ED.seal(ED_HEADER, [CLAIMS]), "payload is malformed: it is not a JSON object"),
    "claims that are a text": (ED.seal(ED_HEADER, '"alice"'), "it is not a JSON object"),
    "no claims": (ED.seal(ED_HEADER, b""), "payload is malformed: it is not JSON"),
    "two payloads": (ED.seal(ED_HEADER, json.dumps(CLAIMS) * 2), "it is not JSON"),
    "another audience": (with_claims(aud="https://other.example"), "audience https://other.example is not"),
    "an audience that begins as ours": (with_claims(aud=f"{URL}.evil.example"), "is not https://auth.example.com"),
    "an audience with a slash": (with_claims(aud=f"{URL}/"), "is not https://auth.example.com"),
    "an audience in upper case": (with_claims(aud=URL.upper()), "is not https://auth.example.com"),
    "no audience at all": (with_claims(aud=[]), "audience is not"),
    "an audience that is null": (with_claims(aud=None), "audience is not"),
    "an audience that is an object": (with_claims(aud={URL: URL}), "audience is not"),
    "audiences and a number": (with_claims(aud=[URL, 1]), "audience is not"),
    "an audience in a list in a list": (with_claims(aud=[[URL]]), "audience is not"),
    "another issuer": (with_claims(iss="https://other.example"), "issuer https://other.example is not"),
    "issuers": (with_claims(iss=[URL]), "issuer is not"),
    "an issuer that is null": (with_claims(iss=None), "issuer is not"),
    "an issuer with a slash": (with_claims(iss=f"{URL}/"), "is not https://auth.example.com"),
    "an issuer with quotes": (with_claims(iss='"\\\r\n'), "issuer is not"),
    "an issuer of 200 characters": (with_claims(iss="a" * 200), "issuer is not"),
    "another audience, by the secret": (by_secret({"aud": "https://other.example"}), "audience"),
    "another issuer, by the secret": (by_secret({"iss": "https://other.example"}), "issuer"),
    # The encoding (RFC 7515, section 2).
    **{
        f"a padded {name}": (lengthened(GOOD, position), f"{name} is malformed: it is not base64url")
        for position, name in enumerate(("header", "payload", "signature"))
    },
    "a last character of the signature that says the same": (f"{HEADER}.{PAYLOAD}.{next_digit(SIGNATURE)}", "base64"),
    "a last character of the header that says the same": (
        f"{next_digit(part('{}'))}.{PAYLOAD}.{SIGNATURE}",
        "header is malformed: it is not base64url",
    ),
    "a last character of the payload that says the same": (
        f"{HEADER}.{next_digit(part('{}'))}.{SIGNATURE}",
        "payload is malformed: it is not base64url",
    ),
    "standard base64": (
        f"{STANDARD}.{encoded(ED.signature(STANDARD.encode()))}",
        "header is malformed: it is not base",
    ),
    "a space in the header": (f"{HEADER[:8]} {HEADER[8:]}.{PAYLOAD}.{SIGNATURE}", "malformed"),
    "a line end in the payload": (f"{HEADER}.{PAYLOAD[:8]}\n{PAYLOAD[8:]}.{SIGNATURE}", "malformed"),
    "a tab at the end": (f"{GOOD}\t", "malformed"),
    "a NUL at the end": (f"{GOOD}\0", "malformed"),
    "a space before a dot": (f"{HEADER} .{PAYLOAD}.{SIGNATURE}", "malformed"),
    "a dot at the end": (f"{GOOD}.", "malformed"),
    "a dot at the beginning": (f".{GOOD}", "malformed"),
    "dots alone": ("..", "malformed"),
    "one dot": (".", "malformed"),
    "two parts": (f"{HEADER}.{PAYLOAD}", "malformed"),
    "quotes around": (f'"{GOOD}"', "malformed"),
    "two tokens with a comma": (f"{GOOD},{GOOD}", "malformed"),
    "two credentials with a comma": (f"{GOOD}, Bearer {GOOD}", "malformed"),
    "the scheme twice": (f"Bearer {GOOD}", "malformed"),
    "percent-encoded": (quote(GOOD, safe="").replace(".", "%2E"), "malformed"),
    "letters that look alike": (GOOD.replace("e", "\u0435"), "malformed"),
    **{
        f"a header in {encoding}": (ED.seal(json.dumps(ED_HEADER).encode(encoding), CLAIMS), "header is malformed")
        for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-32-be", "utf-8-sig")
    },
    **{
        f"claims in {encoding}": (ED.seal(ED_HEADER, json.dumps(CLAIMS).encode(encoding)), "payload is malformed")
        for encoding in ("utf-16", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig")
    },
    "a header in Latin-1": (ED.seal('{"alg": "EdDSA", "x": "\u00e9"}'.encode("latin-1"), CLAIMS), "it is not UTF-8"),
    "claims in Latin-1": (
        ED.seal(ED_HEADER, '{"sub": "\u00e9"}'.encode("latin-1")),
        "payload is malformed: it is not UTF",
    ),
    "claims with a surrogate in UTF-8": (ED.seal(ED_HEADER, b'{"sub": "\xed\xa0\x80"}'), "it is not UTF-8"),
    "claims in overlong UTF-8": (ED.seal(ED_HEADER, b'{"sub": "\xc1\xa1"}'), "it is not UTF-8"),
    "claims with a lone surrogate": (with_claims_text("sub", '"\\ud800"'), "user must be a text"),
    "exp in milliseconds": (with_claims(exp=(NOW_S + 3600) * 1000), "exp claim must be a number of seconds"),
    "sub too long": (with_claims(sub="a" * 256), "sub claim must be a text of 1 to 255"),
    "claims with a NUL": (with_claims_text("sub", '"alice\\u0000"'), "user must be a text"),
    "a header of 5,000 brackets": (with_header_text("[" * 5000), "header is malformed: it has more than 100"),
    "claims of 5,000 brackets": (ED.seal(ED_HEADER, "[" * 5000), "payload is malformed: it has more than 100"),
    "one byte too long": (of_length(MAX_TOKEN_BYTES + 1), "longer than 8192 bytes"),
    "of 100,000 bytes": ("a" * 100_000, "longer than 8192 bytes"),
    # What else Better Auth makes, and signs by the shared secret.
    "a session token": (SESSION_TOKEN, A_SESSION_TOKEN),
    "a bearer token": (f"{SESSION_TOKEN}.{SESSION_SIGNATURE}", A_SESSION_TOKEN),
    "a bearer token, percent-encoded": (quote(f"{SESSION_TOKEN}.{SESSION_SIGNATURE}", safe=""), A_SESSION_TOKEN),
    "a bearer token in base64url": (f"{SESSION_TOKEN}.{encoded(bytes(range(224, 256)))}", A_SESSION_TOKEN),
    "a cookie cache, by the secret": (
        seal_by_secret({"alg": "HS256"}, {**SESSION, "iat": NOW_S, "exp": NOW_S + 300}),
        COOKIE_CACHE,
    ),
    "a cookie cache, by a key": (
        ED.seal(
            {**ED_HEADER, "typ": "better-auth.session-cache+jwt"},
            {**SESSION, **CLAIMS, "aud": "better-auth.session-cache"},
        ),
        COOKIE_CACHE,
    ),
    "a cookie cache, by a key, with another typ": (
        with_claims(**SESSION, aud="better-auth.session-cache"),
        "audience better-auth.session-cache is not",
    ),
    "a cookie cache, encrypted": (f"{part({'alg': 'dir', 'enc': 'A256CBC-HS512'})}..a.b.c", "a JWE"),
    "a compact cookie cache": (part({"session": SESSION, "expiresAt": NOW_S * 1000, "signature": "x"}), "malformed"),
    "an e-mail verification": (seal_by_secret({"alg": "HS256"}, EMAIL), "verify an e-mail address"),
    "an e-mail verification without another address": (
        seal_by_secret({"alg": "HS256"}, {name: value for name, value in EMAIL.items() if name != "updateTo"}),
        "verify an e-mail address",
    ),
}
ACCEPTED = {
    **{kind: ISSUER.sign(kind=kind) for kind in KINDS},
    "HS256": by_secret(),
    "HS256 without aud and iss": by_secret({"aud": None, "iss": None}),
    "HS256 of any kid": by_secret(kid=ED.key_id),
    "HS256 of another kid": by_secret(kid="any"),
    **{f"typ {kind}": with_header(typ=kind) for kind in ("jwt", "JWT", "Jwt", "at+jwt", "AT+JWT")},
    "no typ": ISSUER.sign(typ=None),
    "parameters that are not known": with_header(cty="json", x="y", x5t="z"),
    "several audiences": with_claims(aud=["https://other.example", URL]),
    "a list with one audience": with_claims(aud=[URL]),
    "claims that are not known": with_claims(email="a@b.c", session={}, name="\u00e9\U0001f600"),
    "dates with a fraction": with_claims(exp=NOW_S + 3600.5, iat=NOW_S - 0.5, nbf=NOW_S - 10.25),
    "no iat": ISSUER.sign({"iat": None}),
    "white space in JSON": ED.seal(f" {json.dumps(ED_HEADER)}\n", json.dumps(CLAIMS, indent=2)),
    "escapes in JSON": with_claims_text("sub", '"\\u0061lice"'),
    "as long as may be": of_length(MAX_TOKEN_BYTES),
}
LANES = {
    "the secret": {"BETTER_AUTH_SECRET": SECRET},
    "the key set": {"BETTER_AUTH_URL": URL},
    "both": {"BETTER_AUTH_SECRET": SECRET, "BETTER_AUTH_URL": URL},
}
patient = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def keys() -> Iterator[respx.Route]:
    """The keys of the issuer are where taskd looks for them."""
    with published(ISSUER) as route:
        yield route


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ASGIApp]:
    """An application with both lanes; it is none the worse for any number of tokens."""
    folder = tmp_path_factory.mktemp("tokens")
    application = build_app({"DATABASE_URL": f"sqlite:///{folder}/tasks.db", **LANES["both"]})
    async with lifespan(application):
        yield application


async def answer_to(app: ASGIApp, token: str) -> httpx.Response:
    async with client_of(app) as client:
        return await client.get("/api/alice/tasks", headers={b"Authorization": f"Bearer {token}".encode()})


def refusal(answer: httpx.Response) -> str:
    """Return why a token was refused, after checking the form of the answer."""
    assert 401 == answer.status_code, answer.text
    assert {"detail"} == set(answer.json())
    detail = answer.json()["detail"]
    # RFC 6750, section 3.
    described = r'Bearer realm="taskd", error="invalid_token", error_description="[\x20-\x21\x23-\x5b\x5d-\x7e]+"'
    assert re.fullmatch(described, answer.headers["WWW-Authenticate"])
    assert re.fullmatch(r"[A-Z][^\n]{10,250}[.?]", detail)
    assert isinstance(detail, str)
    return detail


@pytest.mark.parametrize(("token", "reason"), ATTACKS.values(), ids=ATTACKS)
async def test_an_attack_is_answered_by_what_is_wrong(
    app: ASGIApp, token: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever integrates a frontend reads what to do; nobody reads the token, in the answer or in the log."""
    caplog.set_level("DEBUG")
    answer = await answer_to(app, token)

    assert reason in refusal(answer)
    shown = f"{answer.text} {answer.headers} {caplog.text}"
    assert not [piece for piece in (token, *token.split(".")) if len(piece) > 8 and piece in shown]


@pytest.mark.parametrize("token", ACCEPTED.values(), ids=ACCEPTED)
async def test_what_is_within_the_rules_is_accepted(app: ASGIApp, token: str) -> None:
    """Strictness refuses nothing that a good issuer makes, the second time neither."""
    assert [200, 200] == [(await answer_to(app, token)).status_code for _ in range(2)]


@pytest.mark.parametrize("value", ["[" * 99 + "]" * 99, f"[{', '.join(['{}'] * 98)}]"], ids=["deep", "wide"])
async def test_claims_may_be_nested(app: ASGIApp, value: str) -> None:
    """A hundred objects and arrays are read, the claims themselves included, and one more is refused."""
    assert 200 == (await answer_to(app, with_claims_text("x", value))).status_code
    assert "more than 100 arrays and objects" in refusal(await answer_to(app, with_claims_text("x", f"[{value}]")))


@pytest.mark.parametrize(("ahead_s", "status"), [(28, 200), (33, 401)])
async def test_clocks_may_differ_by_half_a_minute(app: ASGIApp, ahead_s: int, status: int) -> None:
    """An issuer whose clock is that much ahead is believed, and no other."""
    now_s = time.time()

    for name in ("iat", "nbf"):
        assert status == (await answer_to(app, with_claims(**{name: now_s + ahead_s}))).status_code


async def test_two_good_headers_are_refused(app: ASGIApp) -> None:
    """Whichever of two tokens is meant, another part of the way may have looked at the other."""
    async with client_of(app) as client:
        tokens = [GOOD, ACCEPTED["HS256"]]
        for headers in (tokens, [GOOD, GOOD], [GOOD, "x"]):
            answer = await client.get(
                "/api/alice/tasks", headers=[("Authorization", f"Bearer {token}") for token in headers]
            )

            assert "exactly one Authorization header" in refusal(answer)


@pytest.mark.parametrize("kind", ["HS256", *KINDS])
@pytest.mark.parametrize("lanes", LANES)
async def test_a_lane_that_is_not_open_is_named(tmp_path: Path, lanes: str, kind: str) -> None:
    """A good token is accepted, or told which variable is to be set; no key is tried that is not of its lane."""
    app = build_app({"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", **LANES[lanes]})
    is_of_secret = kind == "HS256"
    variable = "BETTER_AUTH_SECRET" if is_of_secret else "BETTER_AUTH_URL"
    token = by_secret({"aud": None, "iss": None}) if is_of_secret else ISSUER.sign(kind=kind)
    async with lifespan(app):
        answer = await answer_to(app, token)

        if variable in LANES[lanes]:
            assert 200 == answer.status_code
        else:
            assert f"The token is signed with {kind}: set {variable}." == refusal(answer)


@pytest.mark.parametrize(
    ("settings_of", "claims", "reason"),
    [
        ({}, {}, None),
        ({}, {"iss": "anybody"}, None),
        ({}, {"aud": URL}, "set TASKD_JWT_AUDIENCE"),
        ({"BETTER_AUTH_URL": URL}, {}, None),
        ({"BETTER_AUTH_URL": URL}, {"aud": URL, "iss": URL}, None),
        ({"BETTER_AUTH_URL": URL}, {"aud": "other"}, "audience other is not"),
        ({"BETTER_AUTH_URL": URL}, {"iss": "other"}, "issuer other is not"),
        ({"TASKD_JWT_AUDIENCE": "api"}, {}, "no aud claim"),
        ({"TASKD_JWT_AUDIENCE": "api"}, {"aud": "api"}, None),
        ({"TASKD_JWT_AUDIENCE": "api"}, {"aud": ["api", "b"], "iss": "anybody"}, None),
        ({"TASKD_JWT_ISSUER": "us"}, {}, "no iss claim"),
        ({"TASKD_JWT_ISSUER": "us"}, {"iss": "them"}, "issuer them is not us"),
        ({"TASKD_JWT_ISSUER": "us"}, {"iss": "us"}, None),
        ({"BETTER_AUTH_URL": URL, "TASKD_JWT_AUDIENCE": "api"}, {"aud": URL}, f"audience {URL} is not api"),
        ({"BETTER_AUTH_URL": URL, "TASKD_JWT_AUDIENCE": "api"}, {"aud": "api"}, None),
    ],
)
async def test_audience_and_issuer_of_what_the_secret_signs(
    tmp_path: Path, settings_of: dict[str, str], claims: dict[str, Any], reason: str | None
) -> None:
    """They may be left out unless they are configured; those that are there must be right."""
    app = build_app({"DATABASE_URL": f"sqlite:///{tmp_path}/t.db", "BETTER_AUTH_SECRET": SECRET, **settings_of})
    async with lifespan(app):
        answer = await answer_to(app, by_secret({"aud": None, "iss": None, **claims}))

        assert 200 == answer.status_code if reason is None else reason in refusal(answer)


async def test_forged_tokens_do_not_reach_the_database(tmp_path: Path, keys: respx.Route) -> None:
    """However many come, each different, the file is not even made; the first good token makes it."""
    app = build_app({"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", **LANES["both"]})
    attacks = [token for token, reason in ATTACKS.values() if "user must be a text" not in reason]
    forged = [FOREIGN.seal({**ED_HEADER, "kid": f"k{number}"}, {**CLAIMS, "jti": number}) for number in range(100)]
    forged += [FOREIGN.seal(ED_HEADER, {**CLAIMS, "jti": number}) for number in range(100)]
    forged += [by_secret({"jti": number}, secret="x" * 32) for number in range(100)]
    for token in attacks + forged:
        refusal(await answer_to(app, token))

    assert [] == list(tmp_path.iterdir())
    assert 1 == keys.call_count
    async with lifespan(app):
        assert 200 == (await answer_to(app, GOOD)).status_code
    assert (tmp_path / "tasks.db").exists()


@patient
@given(data=st.data())
@pytest.mark.parametrize("token", [GOOD, ACCEPTED["HS256"]], ids=["EdDSA", "HS256"])
async def test_a_damaged_token_is_refused(app: ASGIApp, token: str, data: st.DataObject) -> None:
    """Whatever is changed in it, put into it or taken from it, it is 401, and nothing else."""
    begin = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(begin, min(len(token), begin + 4)) | st.just(len(token)))
    middle = data.draw(st.text(DIGITS, max_size=4) | st.text(st.characters(max_codepoint=255), max_size=4))
    damaged = token[:begin] + middle + token[end:]
    answer = await answer_to(app, damaged)

    # Spaces around a token are not of it.
    assert (damaged.strip(" ") == token) == (answer.status_code == 200), damaged
    assert answer.status_code in (200, 401)


@patient
@given(position=st.integers(0, 2**16), bit=st.integers(0, 7), kind=st.sampled_from(KINDS))
async def test_a_token_with_any_bit_changed_is_refused(app: ASGIApp, position: int, bit: int, kind: str) -> None:
    """Every bit of what is encoded counts, in each of the three parts."""
    parts = [bytearray(decode_base64url(piece)) for piece in ACCEPTED[kind].split(".")]
    changed = parts[position % 3]
    changed[position // 3 % len(changed)] ^= 1 << bit

    refusal(await answer_to(app, ".".join(encoded(bytes(piece)) for piece in parts)))


ODD = st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2)
FORBIDDEN = ("crit", "b64", "jwk", "jku", "x5u", "x5c", "enc")
HEADERS = st.fixed_dictionaries(
    {"alg": st.just("EdDSA") | ODD | st.sampled_from(["HS256", "RS256", "none", "eddsa"])},
    optional={
        "kid": st.just(ED.key_id) | st.sampled_from([ES.key_id, "other"]) | ODD,
        "typ": st.sampled_from(["JWT", "jwt", "at+jwt", "JWS", "AT+jwt"]) | ODD,
        "cty": st.just("JWT") | ODD,
        "x5t": ODD,
        "zip": st.just("DEF") | ODD,
    },
)


@patient
@given(header=HEADERS, forbidden=st.dictionaries(st.sampled_from(FORBIDDEN), ODD, max_size=1), sealed=st.booleans())
async def test_whatever_a_header_says_only_the_rules_count(
    app: ASGIApp, header: dict[str, Any], forbidden: dict[str, Any], *, sealed: bool
) -> None:
    """A token that is signed by the key or by the secret gets in if its header is as it must be, and only then."""
    header = {**header, **forbidden}
    typ = header.get("typ", "JWT")
    is_well = not forbidden and isinstance(typ, str) and typ.lower() in ("jwt", "at+jwt")
    if sealed:
        is_well = is_well and (header["alg"], header.get("kid")) == ("EdDSA", ED.key_id)
        token = ED.seal(header, CLAIMS)
    else:
        kid = header.get("kid", "any")
        is_well = is_well and header["alg"] == "HS256" and isinstance(kid, str)
        is_well = is_well and re.fullmatch("[!-~]{1,255}", kid) is not None
        token = seal_by_secret(header, CLAIMS)
    answer = await answer_to(app, token)

    assert (200 if is_well else 401) == answer.status_code


@settings(database=None)
@given(content=st.binary(max_size=100))
def test_base64url_has_one_spelling(content: bytes) -> None:
    """What is encoded is read as it was; with padding, or another last character, it is refused."""
    text = encoded(content)
    others = [text + "=", f"{text} ", f" {text}", f"{text}\n", text + "=" * (-len(text) % 4 or 4)]
    if text and len(text) % 4:
        others += [
            text[:-1] + digit for digit in DIGITS if digit != text[-1] and _decoded(text[:-1] + digit) == content
        ]

    assert content == decode_base64url(text)
    for other in others:
        with pytest.raises(MalformedError):
            decode_base64url(other)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@settings(database=None)
@given(text=st.text(max_size=20) | st.text(DIGITS + "+/=. ", max_size=20))
def test_what_is_read_as_base64url_is_written_so_again(text: str) -> None:
    """Anything else is refused by one error."""
    try:
        content = decode_base64url(text)
    except MalformedError:
        return

    assert text == encoded(content)


@settings(database=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    damage=st.tuples(st.integers(0, 50), st.sampled_from([b"", b'"', b"{", b"]", b",", b"\xff", b" ", b"NaN", b"\0"])),
)
def test_what_is_read_as_an_object_is_what_python_reads(value: Any, damage: tuple[int, bytes]) -> None:
    """Python's own reader takes more, and never something else."""
    position, inserted = damage
    content = json.dumps({"a": value}).encode()
    content = content[:position] + inserted + content[position:]
    try:
        decoded = decode_object(content)
    except MalformedError:
        return

    assert json.loads(content) == decoded
