"""Which keys of a key set are usable, and which documents are not key sets."""

from __future__ import annotations

import bisect
import functools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from taskd_jwt.algorithms import KEY_SET_ALGORITHMS
from taskd_jwt.jwks.keys import MAX_PARAMETER_LENGTH, MIN_RSA_BITS, KeySet, KeySetError, read_key_set
from tests.support.issuer import KINDS, Issuer, KeyPair, encoded, rsa_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("kty", "crv", "alg", "kid", "use", "key_ops", "x", "y", "n", "e", "d", "p", "q", "k", "ext", "x5c", "oth")
# Words that occur in key sets, also where they do not belong.
WORDS = st.sampled_from(
    ["RSA", "EC", "OKP", "oct", "P-256", "P-384", "P-521", "Ed25519", "Ed448", "X25519", "sig", "enc", "verify", "kid"]
)
ALGORITHMS = st.sampled_from(["HS256", "ES384", "none", *KEY_SET_ALGORITHMS])
NUMBERS = st.sampled_from(["AQAB", "AQ", "Aw", "AA", "="])
# The prime of Curve25519's field, and the y of a point of order 8.
P = 2**255 - 19
ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
VALUES = JSON | WORDS | ALGORITHMS | NUMBERS | st.binary(max_size=80).map(encoded)


@functools.cache
def key(kind: str) -> KeyPair:
    return KeyPair.generate(kind, f"the {kind} key".replace(" ", "-"))


def read(*members: object) -> KeySet:
    return read_key_set(json.dumps({"keys": members}).encode())


def rsa_numbers(modulus: int, exponent: int) -> dict[str, str]:
    return {
        name: encoded(number.to_bytes((number.bit_length() + 7) // 8, "big"))
        for name, number in (("n", modulus), ("e", exponent))
    }


def private_jwk(kind: str) -> dict[str, Any]:
    """Return a key that includes its private part."""
    algorithm: Any = jwt.get_algorithm_by_name(key(kind).algorithm)
    return {**key(kind).jwk(), **algorithm.to_jwk(key(kind).private, as_dict=True), "key_ops": ["verify"]}


UNUSABLE: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "a secret": (lambda: {"kty": "oct", "k": encoded(b"x" * 32), "kid": "a", "alg": "HS256"}, "it is a secret"),
    "a secret of another algorithm": (lambda: key("EdDSA").jwk(kty="oct"), "it is a secret"),
    "for encryption": (lambda: key("EdDSA").jwk(use="enc"), "not for signatures"),
    "a use that is not a string": (lambda: key("EdDSA").jwk(use=["sig"]), "not for signatures"),
    "operations without verify": (lambda: key("EdDSA").jwk(key_ops=["sign"]), "not for signatures"),
    "no operation": (lambda: key("EdDSA").jwk(key_ops=[]), "not for signatures"),
    "operations that are a string": (lambda: key("EdDSA").jwk(key_ops="verify"), "not for signatures"),
    "an RSA key of 1024 bits": (lambda: key("RS256").jwk(**weak_numbers(1024)), "too weak"),
    "an RSA key of 2047 bits": (lambda: key("PS256").jwk(**weak_numbers(2047)), "too weak"),
    "a private key": (lambda: private_jwk("EdDSA"), "includes its private part"),
    "a private EC key": (lambda: private_jwk("ES256"), "includes its private part"),
    "a private RSA key": (lambda: private_jwk("RS256"), "includes its private part"),
    "an empty private part": (lambda: key("EdDSA").jwk(d=""), "includes its private part"),
    "the factors of an RSA key": (
        lambda: {name: value for name, value in private_jwk("RS256").items() if name != "d"},
        "includes its private part",
    ),
    "no kid": (lambda: key("EdDSA").jwk(kid=None), "no token can name it"),
    "a kid that is a number": (lambda: key("EdDSA").jwk(kid=1), "no token can name it"),
    "an empty kid": (lambda: key("EdDSA").jwk(kid=""), "no token can name it"),
    "a kid with a line end": (lambda: key("EdDSA").jwk(kid="a\n"), "no token can name it"),
    "a kid with a space": (lambda: key("EdDSA").jwk(kid="a b"), "no token can name it"),
    "a kid that is not ASCII": (lambda: key("EdDSA").jwk(kid="\u00e9"), "no token can name it"),
    "a long kid": (lambda: key("EdDSA").jwk(kid="a" * 256), "no token can name it"),
    "an unknown algorithm": (lambda: key("EdDSA").jwk(alg="XYZ"), "it is for none of"),
    "ES384": (lambda: key("ES256").jwk(alg="ES384", crv="P-384"), "it is for none of"),
    "ECDH": (lambda: key("ES256").jwk(alg="ECDH-ES"), "it is for none of"),
    "X25519": (lambda: key("EdDSA").jwk(crv="X25519"), "it is for none of"),
    "secp256k1": (lambda: key("ES256").jwk(crv="secp256k1"), "it is for none of"),
    "Ed25519 as an algorithm": (lambda: key("EdDSA").jwk(alg="Ed25519"), "it is for none of"),
    "RSA-OAEP": (lambda: key("RS256").jwk(alg="RSA-OAEP"), "it is for none of"),
    "none": (lambda: key("EdDSA").jwk(alg="none"), "it is for none of"),
    "HS256 by a public key": (lambda: key("RS256").jwk(alg="HS256"), "it is for none of"),
    "an algorithm that is a list": (lambda: key("EdDSA").jwk(alg=["EdDSA"]), "it is for none of"),
    "a type that is a long number": (lambda: key("EdDSA").jwk(kty=10**30), "it is for none of"),
    "a type that is a list": (lambda: key("EdDSA").jwk(kty=["OKP"]), "it is for none of"),
    "an algorithm for another type": (lambda: key("EdDSA").jwk(alg="ES256"), "it is for none of"),
    "an algorithm for another curve": (lambda: key("ES256").jwk(alg="ES512"), "it is for none of"),
    "a curve of another size": (lambda: key("ES256").jwk(alg="ES512", crv="P-521"), "not a valid key for ES512"),
    # OpenSSL accepts its points of small order, and Better Auth does not use it.
    "Ed448": (lambda: key("EdDSA").jwk(crv="Ed448", x=encoded(bytes(57))), "it is for none of EdDSA"),
    "no x": (lambda: key("EdDSA").jwk(x=None), "not a valid key for EdDSA"),
    "a short x": (lambda: key("EdDSA").jwk(x="AAAA"), "not a valid key for EdDSA"),
    "an x that is not base64": (lambda: key("EdDSA").jwk(x="?"), "not a valid key for EdDSA"),
    "an x that is not ASCII": (lambda: key("EdDSA").jwk(x="\u00e9" * 43), "not a valid key for EdDSA"),
    "an x that is a number": (lambda: key("EdDSA").jwk(x=5), "not a valid key for EdDSA"),
    "an x that is an object": (lambda: key("EdDSA").jwk(x={}), "not a valid key for EdDSA"),
    "no y": (lambda: key("ES256").jwk(y=None), "not a valid key for ES256"),
    "a y that is a number": (lambda: key("ES256").jwk(y=5), "not a valid key for ES256"),
    "a point that is not on the curve": (
        lambda: key("ES256").jwk(y=key("ES256").jwk()["x"]),
        "not a valid key for ES256",
    ),
    "the point at infinity": (
        lambda: key("ES256").jwk(x=encoded(bytes(32)), y=encoded(bytes(32))),
        "not a valid key for ES256",
    ),
    "no modulus": (lambda: key("RS256").jwk(n=None), "not a valid key for RS256"),
    "a modulus that is a number": (lambda: key("RS256").jwk(n=5), "not a valid key for RS256"),
    "an exponent that is a number": (lambda: key("RS256").jwk(e=65537), "not a valid key for RS256"),
    "an empty exponent": (lambda: key("RS256").jwk(e=""), "not a valid key for RS256"),
    "an exponent of 1": (lambda: key("RS256").jwk(e="AQ"), "not a valid key for RS256"),
    "an exponent of 2": (lambda: key("RS256").jwk(e="Ag"), "not a valid key for RS256"),
    "too long a modulus": (lambda: key("RS256").jwk(n="_" * (MAX_PARAMETER_LENGTH + 1)), "too large"),
    "too long a note": (lambda: key("EdDSA").jwk(note="a" * (MAX_PARAMETER_LENGTH + 1)), "too large"),
}
OTHER_DOCUMENTS = {
    "nothing": b"",
    "a list": b"[]",
    "a key alone": b'{"kty": "OKP"}',
    "an empty object": b"{}",
    "null": b"null",
    "keys that are an object": b'{"keys": {}}',
    "keys that are a string": b'{"keys": "[]"}',
    "keys that are null": b'{"keys": null}',
    "HTML": b"<!doctype html><title>Not found</title>",
    "UTF-16": '{"keys": []}'.encode("utf-16"),
    "UTF-32": '{"keys": []}'.encode("utf-32-le"),
    "a byte order mark": b'\xef\xbb\xbf{"keys": []}',
    "bytes that are not UTF-8": b'{"keys": ["\xff"]}',
    "two lists of keys": b'{"keys": [], "keys": []}',
    "a key with a duplicate name": b'{"keys": [{"kid": "a", "kid": "b"}]}',
    "NaN": b'{"keys": [], "x": NaN}',
    "-Infinity": b'{"keys": [{"x": -Infinity}]}',
    "deep nesting": b'{"keys": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number of 10,000 digits": b'{"keys": [' + b"9" * 10_000 + b"]}",
    "half a document": b'{"keys": [',
    "two documents": b'{"keys": []}{"keys": []}',
}


def weak_numbers(bits: int) -> dict[str, str]:
    numbers = rsa_key(f"weak {bits}", bits).public_key().public_numbers()
    return rsa_numbers(numbers.n, numbers.e)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_each_kind_is_usable(kind: str) -> None:
    """Each key is for its own algorithm, and has only its public half."""
    found = read(key(kind).jwk())

    assert ((), [key(kind).algorithm]) == (found.ignored, found.algorithms)
    assert {key(kind).key_id: key(kind).algorithm} == {name: k.algorithm_name for name, k in found.keys.items()}
    assert not hasattr(found.keys[key(kind).key_id].key, "sign")


def test_a_key_set_may_have_keys_of_all_kinds() -> None:
    """All of them are used, whatever their order."""
    document = Issuer().document()
    found = read_key_set(json.dumps(document).encode())

    assert ((), 5) == (found.ignored, len(found.keys))
    assert sorted(KEY_SET_ALGORITHMS) == found.algorithms
    assert sorted(found.keys) == sorted(read(*document["keys"][::-1]).keys)


@pytest.mark.parametrize(
    ("kind", "changes", "algorithm"),
    [
        ("EdDSA", {"alg": None}, "EdDSA"),
        ("ES512", {"alg": None}, "ES512"),
        ("RS256", {"alg": None}, "RS256"),
        ("RS256", {"alg": "PS256"}, "PS256"),
        ("RS256", {"crv": "Ed25519"}, "RS256"),
        ("EdDSA", {"use": "sig"}, "EdDSA"),
        ("EdDSA", {"key_ops": ["verify"]}, "EdDSA"),
        ("EdDSA", {"key_ops": ["sign", "verify"]}, "EdDSA"),
        ("ES256", {"x5t": "abc", "ext": True, "exp": 5}, "ES256"),
        ("EdDSA", {"kid": "a" * 255}, "EdDSA"),
        ("EdDSA", {"kid": "../../';DROP--"}, "EdDSA"),
    ],
)
def test_optional_and_unknown_members_of_a_key(kind: str, changes: dict[str, Any], algorithm: str) -> None:
    """Without `alg`, a key is for the first algorithm of its type; unknown members are ignored."""
    found = read(key(kind).jwk(**changes))

    assert ([algorithm], ()) == (found.algorithms, found.ignored)


def test_an_rsa_key_of_2048_bits_is_strong_enough() -> None:
    """RFC 7518, section 3.3, requires this size or larger."""
    [used] = read(key("RS256").jwk()).keys.values()

    assert MIN_RSA_BITS == used.key.key_size


@pytest.mark.parametrize(("make", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_key_is_ignored(make: Callable[[], dict[str, Any]], reason: str) -> None:
    """The reason is kept, and the other keys are used."""
    found = read(make(), key("ES512").jwk())

    assert [key("ES512").key_id] == list(found.keys)
    [ignored] = found.ignored
    assert reason in ignored


@pytest.mark.parametrize("member", [None, 5, "key", [], {}, ["kid"], True], ids=repr)
def test_a_member_that_is_not_a_key_is_ignored(member: object) -> None:
    """A list of keys may contain anything."""
    found = read(member)

    assert ({}, ("a key without a valid kid: no token can name it",)) == (found.keys, found.ignored)


@pytest.mark.parametrize("second", ["the same", "another", "unusable"])
def test_two_keys_with_the_same_kid_are_both_ignored(second: str) -> None:
    """A token's kid would be ambiguous, even if one of the keys is unusable."""
    others = {
        "the same": key("EdDSA").jwk(),
        "another": key("ES256").jwk(kid=key("EdDSA").key_id),
        "unusable": {"kid": key("EdDSA").key_id, "kty": "oct"},
    }
    for members in ([key("EdDSA").jwk(), others[second]], [others[second], key("EdDSA").jwk()]):
        found = read(*members, key("ES512").jwk())

        assert [key("ES512").key_id] == list(found.keys)
        assert (f"{key('EdDSA').key_id}: another key has the same kid",) * 2 == found.ignored


def test_key_ids_are_case_sensitive() -> None:
    """The comparison of a `kid` is case-sensitive (RFC 7517, section 4.5)."""
    assert {"a", "A"} == set(read(key("EdDSA").jwk(kid="a"), key("ES256").jwk(kid="A")).keys)


@pytest.mark.parametrize("members", [[], [{"kty": "oct", "kid": "a"}]], ids=["empty", "unusable"])
def test_a_key_set_may_have_no_usable_key(members: list[object]) -> None:
    """It is still a key set."""
    found = read(*members)

    assert ({}, len(members)) == (found.keys, len(found.ignored))


@pytest.mark.parametrize("document", OTHER_DOCUMENTS.values(), ids=OTHER_DOCUMENTS)
def test_another_document_is_refused(document: bytes) -> None:
    """Nothing is guessed from a malformed document, and the message does not quote it."""
    with pytest.raises(KeySetError, match=r"^the response is not a JSON Web Key Set$"):
        read_key_set(document)


def test_the_number_of_keys_is_limited() -> None:
    """A mebibyte has room for half a million members that are not keys."""
    assert 5000 == len(read(*[0] * 5000).ignored)

    with pytest.raises(KeySetError, match=r"^it has more than 5000 keys$"):
        read(*[0] * 5001)


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", [0, 1, P - 1, P, P + 1, ORDER_8, P - ORDER_8])
def test_a_key_of_small_order_is_ignored(y: int, sign: int) -> None:
    """With such a public key, the neutral point and zero are a valid signature of some messages."""
    found = read(key("EdDSA").jwk(x=encoded((y + sign * 2**255).to_bytes(32, "little"))))

    assert ("the-EdDSA-key: it is too weak: anyone can forge its signatures",) == found.ignored


def test_key_sets_are_equal_if_their_keys_are() -> None:
    """A set with another key under the same kid, or with another ignored key, is different."""
    renamed = KeyPair.generate("EdDSA", key("EdDSA").key_id)

    assert read(key("EdDSA").jwk()) == read(key("EdDSA").jwk())
    assert read(key("EdDSA").jwk()) == read(key("EdDSA").jwk(note="another"))
    assert read(key("EdDSA").jwk()) != read(renamed.jwk())
    assert read(key("EdDSA").jwk()) != read(key("EdDSA").jwk(), {})
    assert read(key("EdDSA").jwk()) != read()
    assert read(key("PS256").jwk()) != read(key("PS256").jwk(alg="RS256"))


def with_a_deep_note(depth: int) -> bytes:
    return f'{{"keys": [{json.dumps(key("EdDSA").jwk())[:-1]}, "note": {"[" * depth}{"]" * depth}}}]}}'.encode()


def is_read(document: bytes) -> bool:
    try:
        read_key_set(document)
    except KeySetError:
        return False
    return True


def test_deeply_nested_key_sets_can_be_compared() -> None:
    """A key may have an unknown member as deeply nested as the decoder allows."""
    with ThreadPoolExecutor(1) as thread:
        depth = bisect.bisect_left(
            range(100_000), True, key=lambda depth: not thread.submit(is_read, with_a_deep_note(depth)).result()
        )
        first, second = thread.map(read_key_set, [with_a_deep_note(depth - 1)] * 2)

    assert 1 == len(first.keys)
    assert first == second


def assert_harmless(found: KeySet) -> None:
    """Check that no usable key is private, weak or for an unsupported algorithm."""
    for name, used in found.keys.items():
        assert used.algorithm_name in KEY_SET_ALGORITHMS, name
        assert not hasattr(used.key, "sign")
        assert not hasattr(used.key, "private_numbers")
        assert not isinstance(used.key, bytes)
        assert not isinstance(used.key, rsa.RSAPublicKey) or used.key.key_size >= MIN_RSA_BITS


@given(document=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_random_documents_are_refused(document: bytes) -> None:
    """No document raises anything but a `KeySetError`."""
    with pytest.raises(KeySetError):
        read_key_set(document)


@given(members=st.lists(JSON | st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=8), max_size=4))
def test_random_members_are_used_or_ignored(members: list[Any]) -> None:
    """Each member of a key set is either usable or ignored."""
    found = read(*members)

    assert len(members) == len(found.keys) + len(found.ignored)
    assert_harmless(found)


@given(kind=st.sampled_from(KINDS), changes=st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=3))
def test_a_valid_key_with_random_changes_is_used_or_ignored(kind: str, changes: dict[str, Any]) -> None:
    """No change to a valid key raises an error, or leads to a key that must not be used."""
    found = read({**key(kind).jwk(), **changes})

    assert 1 == len(found.keys) + len(found.ignored)
    assert_harmless(found)


@given(kind=st.sampled_from(KINDS), content=st.binary(min_size=32, max_size=256), name=st.sampled_from("xyne"))
def test_a_valid_key_with_random_numbers_is_used_or_ignored(kind: str, content: bytes, name: str) -> None:
    """No numbers lead to a key that is private or weak."""
    found = read(key(kind).jwk(**{name: encoded(content)}))

    assert 1 == len(found.keys) + len(found.ignored)
    assert_harmless(found)
