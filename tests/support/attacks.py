"""Tokens that must be refused, each with the reason in the response, and unusual ones that must be accepted."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import re
import string
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.types import ASGIApp

from taskd.testing import lifespan
from taskd_jwt.clock import Clock
from taskd_jwt.jwks.timing import Timing
from taskd_jwt.strict_json import decode_base64url
from tests.conftest import SECRET
from tests.support.applications import build_verifying
from tests.support.issuer import KINDS, URL, Issuer, KeyPair, encoded, good_claims, part

MAX_TOKEN_BYTES = 8192
ISSUER = Issuer()
ED, ES, RS, PS = (ISSUER.keys[kind] for kind in ("EdDSA", "ES256", "RS256", "PS256"))
# Not one of the issuer's keys.
FOREIGN = KeyPair.generate("EdDSA")
ED_HEADER = {"alg": "EdDSA", "typ": "JWT", "kid": ED.key_id}
CLAIMS = good_claims()
NOW_S = int(time.time())
GOOD = ISSUER.sign()
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")
DIGITS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
# Better Auth's session tokens have this length and these characters.
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


def sign_by_secret(header: object, payload: object, secret: str | bytes = SECRET) -> str:
    """Sign any header and payload with HS256."""
    signed = f"{part(header)}.{part(payload)}"
    key = secret.encode() if isinstance(secret, str) else secret
    return f"{signed}.{encoded(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def by_secret(claims: dict[str, Any] | None = None, secret: str | bytes = SECRET, **headers: Any) -> str:
    """Sign the claims of a valid token with HS256."""
    return sign_by_secret({"alg": "HS256", "typ": "JWT", **headers}, good_claims(claims), secret)


def with_header(**headers: Any) -> str:
    """Sign valid claims with changes to the header; None becomes null."""
    return ED.sign({**ED_HEADER, **headers}, CLAIMS)


def with_header_text(text: str) -> str:
    """Sign valid claims with a header that a JSON encoder would not produce."""
    return ED.sign(text, CLAIMS)


def with_claims(**claims: Any) -> str:
    """Sign valid claims with these changes; None becomes null."""
    return ED.sign(ED_HEADER, {**CLAIMS, **claims})


def with_claims_text(name: str, value: str) -> str:
    """Sign claims with one value that a JSON encoder would not produce."""
    others = {other: given for other, given in CLAIMS.items() if other != name}
    return ED.sign(ED_HEADER, json.dumps(others)[:-1] + f', "{name}": {value}}}')


def unsigned(alg: str, signature: str = "") -> str:
    return f"{part({'alg': alg, 'typ': 'JWT'})}.{part(CLAIMS)}.{signature}"


def with_signature(key: KeyPair, signature: bytes) -> str:
    """Return a token of *key* with another signature."""
    return f"{part({'alg': key.algorithm, 'kid': key.key_id})}.{PAYLOAD}.{encoded(signature)}"


def next_digit(text: str) -> str:
    """Change the unused bits of the last base64url character."""
    return text[:-1] + DIGITS[DIGITS.index(text[-1]) + 1]


def of_length(length: int) -> str:
    """Return a valid token of exactly this many bytes."""
    left = length - len(SIGNATURE) - 2
    headers = [{**ED_HEADER, "x": "x" * size} for size in range(3)]
    # One length in four does not occur in base64url; a longer header then leaves another length for the payload.
    sizes = [(header, size) for header in headers for size in range(left // 2, left)]
    return next(
        ED.sign(header, {**CLAIMS, "note": "x" * size})
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
    """Return standard base64, which has some characters that base64url does not."""
    return base64.b64encode(content).decode().rstrip("=")


STANDARD = f"{uncoded(json.dumps({**ED_HEADER, 'x': '???>>>'}).encode())}.{PAYLOAD}"
NONES = ("none", "NONE", "nOnE", "None")
NOT_A_NUMBER = {
    '"1"': "a string",
    f'"{NOW_S + 3600}"': "a string of digits",
    "true": "true",
    "null": "null",
    "[]": "a list",
    f"[{NOW_S + 3600}]": "a list with a number",
    "{}": "an object",
    "1e999": "infinite",
    "-1e999": "below all",
    "9" * 24: "of 24 digits",
}
ATTACKS: dict[str, tuple[str, str]] = {
    # RFC 8725, section 3.1; RFC 7518, section 3.6.
    **{f"alg {alg}": (unsigned(alg), "its alg is none") for alg in NONES},
    **{f"alg {alg} with a signature": (unsigned(alg, SIGNATURE), "its alg is none") for alg in NONES},
    "alg none and a space": (unsigned("none ", SIGNATURE), "algorithm is not supported"),
    "alg none signed": (with_header(alg="none"), "its alg is none"),
    "alg empty": (with_header(alg=""), "algorithm is not supported"),
    # Algorithm confusion: public keys used as secrets.
    "HS256 by a public key in PEM": (by_secret(secret=spki(ED, Encoding.PEM)), "signature is wrong"),
    "HS256 by a public key in PEM, stripped": (by_secret(secret=spki(ED, Encoding.PEM).strip()), "signature is wrong"),
    "HS256 by a public key in DER": (by_secret(secret=spki(ED, Encoding.DER)), "signature is wrong"),
    "HS256 by an RSA key in PEM": (by_secret(secret=spki(RS, Encoding.PEM)), "signature is wrong"),
    "HS256 by an RSA key's modulus": (by_secret(secret=RS.jwk()["n"]), "signature is wrong"),
    "HS256 by a JWK": (by_secret(secret=json.dumps(ED.jwk())), "signature is wrong"),
    "HS256 by the string x": (by_secret(secret=ED.jwk()["x"]), "signature is wrong"),
    "HS256 by the bytes of x": (by_secret(secret=decode_base64url(ED.jwk()["x"])), "signature is wrong"),
    "HS256 by x, of a published kid": (
        by_secret(secret=decode_base64url(ED.jwk()["x"]), kid=ED.key_id),
        "signature is wrong",
    ),
    "HS256 by nothing": (by_secret(secret=""), "signature is wrong"),
    "HS256 by another secret": (by_secret(secret=SECRET + " "), "signature is wrong"),
    "HS256 of other claims": (
        f"{by_secret({'sub': 'root'}).rpartition('.')[0]}.{by_secret().rpartition('.')[2]}",
        "signature is wrong",
    ),
    "EdDSA by the secret": (sign_by_secret(ED_HEADER, CLAIMS), "signature is wrong"),
    "RS256 by the secret": (sign_by_secret({"alg": "RS256", "kid": RS.key_id}, CLAIMS), "signature is wrong"),
    "hs256 in lower case": (sign_by_secret({"alg": "hs256"}, CLAIMS), "algorithm is not supported"),
    "HS384": (sign_by_secret({"alg": "HS384"}, CLAIMS), "algorithm is not supported"),
    "HS512": (jwt.encode(CLAIMS, SECRET * 2, "HS512"), "algorithm is not supported"),
    "ES384": (with_header(alg="ES384"), "algorithm is not supported"),
    "Ed25519": (with_header(alg="Ed25519"), "algorithm is not supported"),
    # One key, one algorithm (RFC 8725, section 3.2).
    "RS256 by the key for PS256": (PS.sign({"alg": "RS256", "kid": PS.key_id}, CLAIMS), "does not match the key"),
    "PS256 by the key for RS256": (RS.sign({"alg": "PS256", "kid": RS.key_id}, CLAIMS), "does not match the key"),
    "EdDSA of a key for ES256": (ED.sign({**ED_HEADER, "kid": ES.key_id}, CLAIMS), "does not match the key"),
    "ES512 of a key for ES256": (ES.sign({"alg": "ES512", "kid": ES.key_id}, CLAIMS), "does not match the key"),
    "a foreign key": (FOREIGN.sign(ED_HEADER, CLAIMS), "signature is wrong"),
    "a foreign key by its own name": (FOREIGN.sign({**ED_HEADER, "kid": "f"}, CLAIMS), "does not contain the key"),
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
    "no alg": (ED.sign({"kid": ED.key_id}, CLAIMS), "no alg"),
    "alg null": (with_header(alg=None), "no alg"),
    "alg a number": (with_header(alg=256), "no alg"),
    "alg a list": (with_header(alg=["EdDSA"]), "no alg"),
    "alg an object": (with_header(alg={"EdDSA": 1}), "no alg"),
    "two algs": (with_header_text('{"alg":"EdDSA","alg":"HS256","kid":"' + ED.key_id + '"}'), "duplicate name"),
    "two kids": (with_header_text('{"alg":"EdDSA","kid":"x","kid":"' + ED.key_id + '"}'), "duplicate name"),
    "a header that is a list": (ED.sign([ED_HEADER], CLAIMS), "header is malformed: it is not a JSON object"),
    "a header that is null": (ED.sign(None, CLAIMS), "header is malformed: it is not a JSON object"),
    "no header": (f".{PAYLOAD}.{SIGNATURE}", "header is malformed: it is not JSON"),
    "crit": (with_header(crit=["exp"]), "must not have crit"),
    "crit of nothing": (with_header(crit=[]), "must not have crit"),
    "crit null": (with_header(crit=None), "must not have crit"),
    "b64 false": (with_header(b64=False, crit=["b64"]), "must not have"),
    "b64 false, not critical": (with_header(b64=False), "must not have b64"),
    "b64 true": (with_header(b64=True), "must not have b64"),
    "an embedded key": (FOREIGN.sign({"alg": "EdDSA", "jwk": FOREIGN.jwk()}, CLAIMS), "must not have jwk"),
    "an embedded key of a known name": (FOREIGN.sign({**ED_HEADER, "jwk": FOREIGN.jwk()}, CLAIMS), "must not have jwk"),
    "an embedded secret": (
        by_secret(secret="x" * 32, jwk={"kty": "oct", "k": encoded(b"x" * 32)}),
        "must not have jwk",
    ),
    "a linked key set": (FOREIGN.sign({**ED_HEADER, "jku": "https://evil.example/jwks"}, CLAIMS), "must not have jku"),
    "a linked certificate": (FOREIGN.sign({**ED_HEADER, "x5u": "https://evil.example"}, CLAIMS), "must not have x5u"),
    "a certificate": (FOREIGN.sign({**ED_HEADER, "x5c": ["MIIB"]}, CLAIMS), "must not have x5c"),
    "no kid": (ED.sign({"alg": "EdDSA"}, CLAIMS), "no kid"),
    "kid null": (with_header(kid=None), "kid must be a string"),
    "kid a number": (with_header(kid=1), "kid must be a string"),
    "kid a list": (with_header(kid=[ED.key_id]), "kid must be a string"),
    "kid empty": (with_header(kid=""), "kid must be a string"),
    "kid of 256 characters": (with_header(kid="a" * 256), "kid must be a string"),
    "kid with NUL": (with_header(kid=f"{ED.key_id}\0"), "kid must be a string"),
    "kid with a line end": (with_header(kid=f"{ED.key_id}\n"), "kid must be a string"),
    "kid with a space": (with_header(kid=f" {ED.key_id}"), "kid must be a string"),
    "kid not ASCII": (with_header(kid="k\u00e9y"), "kid must be a string"),
    "kid a path": (with_header(kid="../../../dev/null"), "does not contain the key"),
    "kid SQL": (with_header(kid="'OR'1'='1';--"), "does not contain the key"),
    "kid a URL": (with_header(kid="https://evil.example/key"), "does not contain the key"),
    "kid in another case": (with_header(kid=ED.key_id.upper()), "does not contain the key"),
    "kid of the secret, a number": (by_secret(kid=1), "kid must be a string"),
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
    "a JWE with an encrypted key": (f"{part({'alg': 'RSA-OAEP', 'enc': 'A256GCM'})}.a.b.c.d", "a JWE"),
    "enc": (with_header(enc="A256GCM"), "must not have enc"),
    "a JWT in a JWT": (ED.sign({**ED_HEADER, "cty": "JWT"}, GOOD), "payload is malformed: it is not JSON"),
    # Claims (RFC 7519, section 4).
    "two subs": (with_claims_text("sub", '"alice", "sub": "root"'), "duplicate name"),
    "two exps": (with_claims_text("exp", f'1, "exp": {NOW_S + 3600}'), "duplicate name"),
    "two of a name inside": (with_claims_text("x", '{"a": [{"b": 1, "b": 2}]}'), "duplicate name"),
    "two of a name, one escaped": (with_claims_text("sub", '"alice", "s\\u0075b": "root"'), "duplicate name"),
    "sub a number": (with_claims(sub=1), "sub claim must be a string"),
    "sub null": (with_claims(sub=None), "sub claim must be a string"),
    "sub a list": (with_claims(sub=["alice"]), "sub claim must be a string"),
    "sub an object": (with_claims(sub={"alice": 1}), "sub claim must be a string"),
    "sub true": (with_claims(sub=True), "sub claim must be a string"),
    "sub empty": (with_claims(sub=""), "sub claim must be a string"),
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
    **{
        f"exp of {len(text)} characters, {text[:3]}": (with_claims_text("exp", text), "has a number of more than 24")
        for text in ("9" * 25, "9" * 4999, "-" + "9" * 24, "1." + "9" * 23, "1.0e" + "0" * 20 + "1")
    },
    "exp hexadecimal": (with_claims_text("exp", "0xFFFFFFFF"), "it is not JSON"),
    "claims that are a list": (ED.sign(ED_HEADER, [CLAIMS]), "payload is malformed: it is not a JSON object"),
    "claims that are a string": (ED.sign(ED_HEADER, '"alice"'), "it is not a JSON object"),
    "no claims": (ED.sign(ED_HEADER, b""), "payload is malformed: it is not JSON"),
    "two payloads": (ED.sign(ED_HEADER, json.dumps(CLAIMS) * 2), "it is not JSON"),
    "another audience": (with_claims(aud="https://other.example"), "audience https://other.example is not"),
    "an audience that begins like ours": (with_claims(aud=f"{URL}.evil.example"), "is not https://auth.example.com"),
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
    "other unused bits at the end of the signature": (f"{HEADER}.{PAYLOAD}.{next_digit(SIGNATURE)}", "base64"),
    "other unused bits at the end of the header": (
        f"{next_digit(part('{}'))}.{PAYLOAD}.{SIGNATURE}",
        "header is malformed: it is not base64url",
    ),
    "other unused bits at the end of the payload": (
        f"{HEADER}.{next_digit(part('{}'))}.{SIGNATURE}",
        "payload is malformed: it is not base64url",
    ),
    "standard base64": (
        f"{STANDARD}.{encoded(ED.signature(STANDARD.encode()))}",
        "header is malformed: it is not base",
    ),
    "nothing": ("", "malformed"),
    "not base64": ("a.b.c", "malformed"),
    "not ASCII": ("\u00e9.\u00e9.\u00e9", "malformed"),
    "a fourth part": (f"{GOOD}.x", "malformed"),
    "a token and more": (f"{GOOD} {GOOD}", "malformed"),
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
    "quotes around": (f'"{GOOD}"', "in quotes: send it without"),
    "single quotes around": (f"'{GOOD}'", "in quotes: send it without"),
    "a quote at the end": (f'{GOOD}"', "in quotes: send it without"),
    "two tokens with a comma": (f"{GOOD},{GOOD}", "malformed"),
    "two credentials with a comma": (f"{GOOD}, Bearer {GOOD}", "malformed"),
    "the scheme twice": (f"Bearer {GOOD}", "Bearer comes twice"),
    "the scheme twice, in lower case": (f"bearer  {GOOD}", "Bearer comes twice"),
    **{word: (word, "once there is a token") for word in ("undefined", "null", "[object Promise]")},
    "percent-encoded": (quote(GOOD, safe="").replace(".", "%2E"), "malformed"),
    "letters that look alike": (GOOD.replace("e", "\u0435"), "malformed"),
    **{
        f"a header in {encoding}": (ED.sign(json.dumps(ED_HEADER).encode(encoding), CLAIMS), "header is malformed")
        for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-32-be", "utf-8-sig")
    },
    **{
        f"claims in {encoding}": (ED.sign(ED_HEADER, json.dumps(CLAIMS).encode(encoding)), "payload is malformed")
        for encoding in ("utf-16", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig")
    },
    "a header in Latin-1": (ED.sign('{"alg": "EdDSA", "x": "\u00e9"}'.encode("latin-1"), CLAIMS), "it is not UTF-8"),
    "claims in Latin-1": (
        ED.sign(ED_HEADER, '{"sub": "\u00e9"}'.encode("latin-1")),
        "payload is malformed: it is not UTF",
    ),
    "claims with a surrogate in UTF-8": (ED.sign(ED_HEADER, b'{"sub": "\xed\xa0\x80"}'), "it is not UTF-8"),
    "claims in overlong UTF-8": (ED.sign(ED_HEADER, b'{"sub": "\xc1\xa1"}'), "it is not UTF-8"),
    "claims with a lone surrogate": (with_claims_text("sub", '"\\ud800"'), "user must be a text"),
    "exp in milliseconds": (with_claims(exp=(NOW_S + 3600) * 1000), "exp claim must be a number of seconds"),
    "sub too long": (with_claims(sub="a" * 256), "sub claim must be a string of 1 to 255"),
    "a sub that no path can hold": (with_claims(sub=".."), "user must be a text"),
    "claims with a NUL": (with_claims_text("sub", '"alice\\u0000"'), "user must be a text"),
    "a header of 5,000 brackets": (with_header_text("[" * 5000), "header is malformed: it has too many members"),
    "claims of 5,000 brackets": (ED.sign(ED_HEADER, "[" * 5000), "payload is malformed: it is not JSON"),
    "a header of 301 escapes": (
        with_header_text('{"alg":"' + r"\u0061" * 301 + '"}'),
        "malformed: it has too many escapes",
    ),
    "a header of 2,000 strings": (with_header_text('""' * 2000 + "," * 13), "malformed: it has too many members"),
    "a header of 300 members": (
        with_header(**{f"header{number}": number for number in range(300)}),
        "header is malformed: it has too many members",
    ),
    "a header with an unterminated string": (with_header_text('{"alg":"' + ",{" * 50), "malformed: it is not JSON"),
    "a header of 13 members and an escaped quote in a string": (
        with_header_text('{"a":"\\\\","b":"\\"","alg":"EdDSA"' + ',"x":1' * 10 + "}"),
        "too many members",
    ),
    "one byte too long": (of_length(MAX_TOKEN_BYTES + 1), "longer than 8192 bytes"),
    "of 100,000 bytes": ("a" * 100_000, "longer than 8192 bytes"),
    # Better Auth's other tokens, some of them signed with the shared secret.
    "a session token": (SESSION_TOKEN, A_SESSION_TOKEN),
    "a bearer token": (f"{SESSION_TOKEN}.{SESSION_SIGNATURE}", A_SESSION_TOKEN),
    "a bearer token, percent-encoded": (quote(f"{SESSION_TOKEN}.{SESSION_SIGNATURE}", safe=""), A_SESSION_TOKEN),
    "something that begins like a bearer token": (f"{SESSION_TOKEN}.{'=' * 8000}!", "malformed"),
    "something that begins like a JWE": (f"a.b.c.d.{'e' * 8000}!", "malformed"),
    "8,000 dots": ("." * 8000, "malformed"),
    "a bearer token in base64url": (f"{SESSION_TOKEN}.{encoded(bytes(range(224, 256)))}", A_SESSION_TOKEN),
    "a cookie cache, by the secret": (
        sign_by_secret({"alg": "HS256"}, {**SESSION, "iat": NOW_S, "exp": NOW_S + 300}),
        COOKIE_CACHE,
    ),
    "a cookie cache, by a key": (
        ED.sign(
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
    "an e-mail verification": (sign_by_secret({"alg": "HS256"}, EMAIL), "verify an e-mail address"),
    "an e-mail verification without another address": (
        sign_by_secret({"alg": "HS256"}, {name: value for name, value in EMAIL.items() if name != "updateTo"}),
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
    "unknown parameters": with_header(cty="json", x="y", x5t="z"),
    "escapes in a header": sign_by_secret(
        r'{"alg":"HS256","typ":"JWT","cty":"\u001f\ud800\udc00","zip":"\u001f\ud800\udc00","x5t":"\ud800\udc00"}',
        CLAIMS,
    ),
    "braces, brackets, commas and quotes in a string": with_header(cty='{[,"\\' * 90, x5t='\\"'),
    "a kid of escapes": sign_by_secret(r'{"alg":"HS256","kid":"' + r"\u0061" * 255 + '"}', CLAIMS),
    "twelve members": with_header(**{f"x{number}": "," for number in range(9)}),
    "several audiences": with_claims(aud=["https://other.example", URL]),
    "a list with one audience": with_claims(aud=[URL]),
    "unknown claims": with_claims(email="a@b.c", session={}, name="\u00e9\U0001f600"),
    "dates with a fraction": with_claims(exp=NOW_S + 3600.5, iat=NOW_S - 0.5, nbf=NOW_S - 10.25),
    "no iat": ISSUER.sign({"iat": None}),
    "numbers of 24 characters": with_claims_text("x", f"[{'9' * 24}, -2.2250738585072014e-308]"),
    "white space in JSON": ED.sign(f" {json.dumps(ED_HEADER)}\n", json.dumps(CLAIMS, indent=2)),
    "escapes in JSON": with_claims_text("sub", '"\\u0061lice"'),
    "of the maximum length": of_length(MAX_TOKEN_BYTES),
}
SCHEMES = {
    "secret": {"BETTER_AUTH_SECRET": SECRET},
    "key set": {"BETTER_AUTH_URL": URL},
    "both": {"BETTER_AUTH_SECRET": SECRET, "BETTER_AUTH_URL": URL},
}


# The keys are fetched whenever one is unknown, so that a token with an unknown key is refused at once.
EAGER = Timing(min_interval_s=0, cooldown_s=0, quiet_s=0)


@contextlib.asynccontextmanager
async def serving_attacks(folder: Path, clock: Clock = time) -> AsyncIterator[ASGIApp]:
    """Serve an application that accepts both token schemes and fetches keys without a rate limit."""
    app = build_verifying({"DATABASE_URL": f"sqlite:///{folder}/tasks.db", **SCHEMES["both"]}, EAGER, clock)
    async with lifespan(app):
        yield app


def refusal(response: httpx.Response) -> str:
    """Return why a token was refused, after checking the form of the response."""
    assert 401 == response.status_code, response.text
    detail, code = response.json()["detail"], response.json()["code"]
    assert {"detail": detail, "code": code} == response.json()
    assert ("expired_token" if detail.startswith("The token expired ") else "invalid_token") == code
    # RFC 6750, section 3.
    described = r'Bearer realm="taskd", error="invalid_token", error_description="[\x20-\x21\x23-\x5b\x5d-\x7e]+"'
    assert re.fullmatch(described, response.headers["WWW-Authenticate"])
    assert re.fullmatch(r"[A-Z][^\n]{10,250}[.?]", detail)
    assert isinstance(detail, str)
    return detail
