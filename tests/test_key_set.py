"""Which keys of a key set are used, and what is no key set."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from taskd_jwt.algorithms import KEY_SET_ALGORITHMS
from taskd_jwt.keys import MAX_PARAMETER_LENGTH, MIN_RSA_BITS, KeySet, KeySetError, read_key_set
from tests.issuer import KINDS, Issuer, KeyPair, encoded, rsa_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("kty", "crv", "alg", "kid", "use", "key_ops", "x", "y", "n", "e", "d", "p", "q", "k", "ext", "x5c", "oth")
# What occurs in key sets, at places where it does not fit, too.
WORDS = st.sampled_from(
    ["RSA", "EC", "OKP", "oct", "P-256", "P-384", "P-521", "Ed25519", "Ed448", "X25519", "sig", "enc", "verify", "kid"]
)
ALGORITHMS = st.sampled_from(["HS256", "ES384", "none", *KEY_SET_ALGORITHMS])
NUMBERS = st.sampled_from(["AQAB", "AQ", "Aw", "AA", "="])
# Of Curve25519's field, and of a point that is nothing eight times.
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
    """Return a key with its private part."""
    algorithm: Any = jwt.get_algorithm_by_name(key(kind).algorithm)
    return {**key(kind).jwk(), **algorithm.to_jwk(key(kind).private, as_dict=True), "key_ops": ["verify"]}


DROPPED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "a secret": (lambda: {"kty": "oct", "k": encoded(b"x" * 32), "kid": "a", "alg": "HS256"}, "it is a secret"),
    "a secret of another algorithm": (lambda: key("EdDSA").jwk(kty="oct"), "it is a secret"),
    "for encryption": (lambda: key("EdDSA").jwk(use="enc"), "not for signatures"),
    "a use that is no text": (lambda: key("EdDSA").jwk(use=["sig"]), "not for signatures"),
    "operations without verify": (lambda: key("EdDSA").jwk(key_ops=["sign"]), "not for signatures"),
    "no operation": (lambda: key("EdDSA").jwk(key_ops=[]), "not for signatures"),
    "operations as a text": (lambda: key("EdDSA").jwk(key_ops="verify"), "not for signatures"),
    "an RSA key of 1024 bits": (lambda: key("RS256").jwk(**weak_numbers(1024)), "too weak"),
    "an RSA key of 2047 bits": (lambda: key("PS256").jwk(**weak_numbers(2047)), "too weak"),
    "a private key": (lambda: private_jwk("EdDSA"), "private part"),
    "a private EC key": (lambda: private_jwk("ES256"), "private part"),
    "a private RSA key": (lambda: private_jwk("RS256"), "private part"),
    "a private part that is none": (lambda: key("EdDSA").jwk(d=""), "private part"),
    "the factors of an RSA key": (
        lambda: {name: value for name, value in private_jwk("RS256").items() if name != "d"},
        "private part",
    ),
    "no kid": (lambda: key("EdDSA").jwk(kid=None), "no token can name it"),
    "a kid that is a number": (lambda: key("EdDSA").jwk(kid=1), "no token can name it"),
    "an empty kid": (lambda: key("EdDSA").jwk(kid=""), "no token can name it"),
    "a kid with a line end": (lambda: key("EdDSA").jwk(kid="a\n"), "no token can name it"),
    "a kid with a space": (lambda: key("EdDSA").jwk(kid="a b"), "no token can name it"),
    "a kid that is not ASCII": (lambda: key("EdDSA").jwk(kid="\u00e9"), "no token can name it"),
    "a long kid": (lambda: key("EdDSA").jwk(kid="a" * 256), "no token can name it"),
    "an unknown algorithm": (lambda: key("EdDSA").jwk(alg="XYZ"), "not one for"),
    "ES384": (lambda: key("ES256").jwk(alg="ES384", crv="P-384"), "not one for"),
    "ECDH": (lambda: key("ES256").jwk(alg="ECDH-ES"), "not one for"),
    "X25519": (lambda: key("EdDSA").jwk(crv="X25519"), "not one for"),
    "secp256k1": (lambda: key("ES256").jwk(crv="secp256k1"), "not one for"),
    "Ed25519 as an algorithm": (lambda: key("EdDSA").jwk(alg="Ed25519"), "not one for"),
    "RSA-OAEP": (lambda: key("RS256").jwk(alg="RSA-OAEP"), "not one for"),
    "none": (lambda: key("EdDSA").jwk(alg="none"), "not one for"),
    "HS256 by a public key": (lambda: key("RS256").jwk(alg="HS256"), "not one for"),
    "an algorithm that is a list": (lambda: key("EdDSA").jwk(alg=["EdDSA"]), "not one for"),
    "a kind that is a long number": (lambda: key("EdDSA").jwk(kty=10**30), "not one for"),
    "a kind that is a list": (lambda: key("EdDSA").jwk(kty=["OKP"]), "not one for"),
    "an algorithm of another kind": (lambda: key("EdDSA").jwk(alg="ES256"), "not one for"),
    "an algorithm of another curve": (lambda: key("ES256").jwk(alg="ES512"), "not one for"),
    "a curve of another size": (lambda: key("ES256").jwk(alg="ES512", crv="P-521"), "no key for ES512"),
    # Its points of small order are accepted by OpenSSL, and Better Auth makes none.
    "Ed448": (lambda: key("EdDSA").jwk(crv="Ed448", x=encoded(bytes(57))), "not one for EdDSA"),
    "no x": (lambda: key("EdDSA").jwk(x=None), "no key for EdDSA"),
    "a short x": (lambda: key("EdDSA").jwk(x="AAAA"), "no key for EdDSA"),
    "an x that is no base64": (lambda: key("EdDSA").jwk(x="?"), "no key for EdDSA"),
    "an x that is not ASCII": (lambda: key("EdDSA").jwk(x="\u00e9" * 43), "no key for EdDSA"),
    "an x that is a number": (lambda: key("EdDSA").jwk(x=5), "no key for EdDSA"),
    "an x that is an object": (lambda: key("EdDSA").jwk(x={}), "no key for EdDSA"),
    "no y": (lambda: key("ES256").jwk(y=None), "no key for ES256"),
    "a y that is a number": (lambda: key("ES256").jwk(y=5), "no key for ES256"),
    "a point beside the curve": (lambda: key("ES256").jwk(y=key("ES256").jwk()["x"]), "no key for ES256"),
    "the point at infinity": (lambda: key("ES256").jwk(x=encoded(bytes(32)), y=encoded(bytes(32))), "no key for ES256"),
    "no modulus": (lambda: key("RS256").jwk(n=None), "no key for RS256"),
    "a modulus that is a number": (lambda: key("RS256").jwk(n=5), "no key for RS256"),
    "an exponent that is a number": (lambda: key("RS256").jwk(e=65537), "no key for RS256"),
    "an empty exponent": (lambda: key("RS256").jwk(e=""), "no key for RS256"),
    "an exponent of 1": (lambda: key("RS256").jwk(e="AQ"), "no key for RS256"),
    "an exponent of 2": (lambda: key("RS256").jwk(e="Ag"), "no key for RS256"),
    "too long a modulus": (lambda: key("RS256").jwk(n="_" * (MAX_PARAMETER_LENGTH + 1)), "too large"),
    "too long a note": (lambda: key("EdDSA").jwk(note="a" * (MAX_PARAMETER_LENGTH + 1)), "too large"),
}
NO_KEY_SETS = {
    "nothing": b"",
    "a list": b"[]",
    "a key alone": b'{"kty": "OKP"}',
    "an empty object": b"{}",
    "null": b"null",
    "keys that are an object": b'{"keys": {}}',
    "keys that are a text": b'{"keys": "[]"}',
    "keys that are null": b'{"keys": null}',
    "HTML": b"<!doctype html><title>Not found</title>",
    "UTF-16": '{"keys": []}'.encode("utf-16"),
    "UTF-32": '{"keys": []}'.encode("utf-32-le"),
    "a byte order mark": b'\xef\xbb\xbf{"keys": []}',
    "bytes that are no text": b'{"keys": ["\xff"]}',
    "two lists of keys": b'{"keys": [], "keys": []}',
    "a key with two of a name": b'{"keys": [{"kid": "a", "kid": "b"}]}',
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
def test_a_key_of_each_kind_is_used(kind: str) -> None:
    """Each key is for its own algorithm, and only its public half is there."""
    found = read(key(kind).jwk())

    assert ((), [key(kind).algorithm]) == (found.dropped, found.algorithms)
    assert {key(kind).key_id: key(kind).algorithm} == {name: k.algorithm_name for name, k in found.keys.items()}
    assert not hasattr(found.keys[key(kind).key_id].key, "sign")


def test_the_key_set_of_an_issuer_is_used() -> None:
    """All kinds of keys may be in one set, and their order does not matter."""
    document = Issuer().document()
    found = read_key_set(json.dumps(document).encode())

    assert ((), 5) == (found.dropped, len(found.keys))
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
def test_what_else_a_key_says_of_itself(kind: str, changes: dict[str, Any], algorithm: str) -> None:
    """Without `alg` a key is for the first algorithm of its kind; members that are not known mean nothing."""
    found = read(key(kind).jwk(**changes))

    assert ([algorithm], ()) == (found.algorithms, found.dropped)


def test_an_rsa_key_of_2048_bits_is_strong_enough() -> None:
    """RFC 7518, section 3.3: that size or larger."""
    [used] = read(key("RS256").jwk()).keys.values()

    assert MIN_RSA_BITS == used.key.key_size


@pytest.mark.parametrize(("make", "reason"), DROPPED.values(), ids=DROPPED)
def test_a_key_that_must_not_verify_is_dropped(make: Callable[[], dict[str, Any]], reason: str) -> None:
    """It says why, and the other keys are used."""
    found = read(make(), key("ES512").jwk())

    assert [key("ES512").key_id] == list(found.keys)
    [dropped] = found.dropped
    assert reason in dropped


@pytest.mark.parametrize("member", [None, 5, "key", [], {}, ["kid"], True], ids=repr)
def test_what_is_no_key_is_dropped(member: object) -> None:
    """A list of keys may hold anything, and the keys in it are used."""
    found = read(member)

    assert ({}, ("one without a good kid: no token can name it",)) == (found.keys, found.dropped)


@pytest.mark.parametrize("second", ["the same", "another", "unusable"])
def test_two_keys_of_one_name_are_both_dropped(second: str) -> None:
    """Which of them a token means cannot be told, even if one of them could not be used."""
    others = {
        "the same": key("EdDSA").jwk(),
        "another": key("ES256").jwk(kid=key("EdDSA").key_id),
        "unusable": {"kid": key("EdDSA").key_id, "kty": "oct"},
    }
    for members in ([key("EdDSA").jwk(), others[second]], [others[second], key("EdDSA").jwk()]):
        found = read(*members, key("ES512").jwk())

        assert [key("ES512").key_id] == list(found.keys)
        assert (f"{key('EdDSA').key_id}: its kid is not its own",) * 2 == found.dropped


def test_names_of_keys_differ_by_case() -> None:
    """A `kid` is compared letter by letter (RFC 7517, section 4.5)."""
    assert {"a", "A"} == set(read(key("EdDSA").jwk(kid="a"), key("ES256").jwk(kid="A")).keys)


@pytest.mark.parametrize("members", [[], [{"kty": "oct", "kid": "a"}]], ids=["empty", "unusable"])
def test_a_key_set_may_have_no_key_that_is_used(members: list[object]) -> None:
    """It is a key set all the same."""
    found = read(*members)

    assert ({}, len(members)) == (found.keys, len(found.dropped))


@pytest.mark.parametrize("document", NO_KEY_SETS.values(), ids=NO_KEY_SETS)
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    """No keys are better than those that somebody may have put there, and the message quotes nothing."""
    with pytest.raises(KeySetError, match=r"^what it sends is not a JSON Web Key Set$"):
        read_key_set(document)


def test_a_key_set_has_so_many_keys_at_most() -> None:
    """A mebibyte has room for half a million that are none."""
    assert 5000 == len(read(*[0] * 5000).dropped)

    with pytest.raises(KeySetError, match=r"^it has more than 5000 keys$"):
        read(*[0] * 5001)


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", [0, 1, P - 1, P, P + 1, ORDER_8, P - ORDER_8])
def test_a_key_for_which_anybody_can_sign_is_dropped(y: int, sign: int) -> None:
    """The public key is a point of small order: a signature of the neutral point and zero is good for some texts."""
    found = read(key("EdDSA").jwk(x=encoded((y + sign * 2**255).to_bytes(32, "little"))))

    assert ("the-EdDSA-key: it is too weak: anybody can sign for it",) == found.dropped


def test_key_sets_are_equal_if_all_their_members_are() -> None:
    """A set that is fetched again is the same, one with another key by the same name, or another fault, is not."""
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


def test_whatever_can_be_read_can_be_compared() -> None:
    """What stands in a key beside it may be so deep that a thread can read it, and its caller not compare it."""
    with ThreadPoolExecutor(1) as thread:
        depth = bisect.bisect_left(
            range(100_000), True, key=lambda depth: not thread.submit(is_read, with_a_deep_note(depth)).result()
        )
        first, second = thread.map(read_key_set, [with_a_deep_note(depth - 1)] * 2)

    assert 1 == len(first.keys)
    assert first == second


def assert_harmless(found: KeySet) -> None:
    """Check that no key is used that must not be."""
    for name, used in found.keys.items():
        assert used.algorithm_name in KEY_SET_ALGORITHMS, name
        assert not hasattr(used.key, "sign")
        assert not hasattr(used.key, "private_numbers")
        assert not isinstance(used.key, bytes)
        assert not isinstance(used.key, rsa.RSAPublicKey) or used.key.key_size >= MIN_RSA_BITS


@settings(deadline=None, database=None)
@given(document=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_no_key_set_is_refused_by_one_error(document: bytes) -> None:
    """Nothing that is sent makes more than a `KeySetError`."""
    with pytest.raises(KeySetError):
        read_key_set(document)


@settings(deadline=None, database=None)
@given(members=st.lists(JSON | st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=8), max_size=4))
def test_whatever_a_key_is_it_is_used_or_dropped(members: list[Any]) -> None:
    """Each member of a key set is in one of both places."""
    found = read(*members)

    assert len(members) == len(found.keys) + len(found.dropped)
    assert_harmless(found)


@settings(deadline=None, database=None, max_examples=300)
@given(kind=st.sampled_from(KINDS), changes=st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=3))
def test_a_good_key_with_any_change_is_used_or_dropped(kind: str, changes: dict[str, Any]) -> None:
    """No change to a good key makes an error, or a key that must not be used."""
    found = read({**key(kind).jwk(), **changes})

    assert 1 == len(found.keys) + len(found.dropped)
    assert_harmless(found)


@settings(deadline=None, database=None)
@given(kind=st.sampled_from(KINDS), content=st.binary(min_size=32, max_size=256), name=st.sampled_from("xyne"))
def test_a_good_key_with_any_number_is_used_or_dropped(kind: str, content: bytes, name: str) -> None:
    """Whatever numbers there are in a key, it is a public one, and not a weak one."""
    found = read(key(kind).jwk(**{name: encoded(content)}))

    assert 1 == len(found.keys) + len(found.dropped)
    assert_harmless(found)
