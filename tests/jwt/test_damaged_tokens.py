"""Tokens with random damage and with random headers are refused without an error."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp

from taskd_jwt.strict_json import decode_base64url
from tests.support.applications import response_to
from tests.support.attacks import (
    ACCEPTED,
    CLAIMS,
    DIGITS,
    ED,
    ES,
    GOOD,
    ISSUER,
    refusal,
    serving_attacks,
    sign_by_secret,
)
from tests.support.issuer import KINDS, encoded, published

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _keys() -> Iterator[None]:
    """Publish the issuer's keys where taskd fetches them."""
    with published(ISSUER):
        yield


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ASGIApp]:
    async with serving_attacks(tmp_path_factory.mktemp("tokens")) as application:
        yield application


@given(data=st.data())
@pytest.mark.parametrize("token", [GOOD, ACCEPTED["HS256"]], ids=["EdDSA", "HS256"])
async def test_a_damaged_token_is_refused(app: ASGIApp, token: str, data: st.DataObject) -> None:
    """Any change, insertion or removal leads to a 401."""
    begin = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(begin, min(len(token), begin + 4)) | st.just(len(token)))
    middle = data.draw(st.text(DIGITS, max_size=4) | st.text(st.characters(max_codepoint=255), max_size=4))
    damaged = token[:begin] + middle + token[end:]
    response = await response_to(app, damaged)

    # Spaces around a token are ignored.
    assert (damaged.strip(" ") == token) == (response.status_code == 200), damaged
    assert response.status_code in (200, 401)


@given(position=st.integers(0, 2**16), bit=st.integers(0, 7), kind=st.sampled_from(KINDS))
async def test_a_token_with_any_bit_changed_is_refused(app: ASGIApp, position: int, bit: int, kind: str) -> None:
    """Every encoded bit counts, in each of the three parts."""
    parts = [bytearray(decode_base64url(piece)) for piece in ACCEPTED[kind].split(".")]
    changed = parts[position % 3]
    changed[position // 3 % len(changed)] ^= 1 << bit

    refusal(await response_to(app, ".".join(encoded(bytes(piece)) for piece in parts)))


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


@given(header=HEADERS, forbidden=st.dictionaries(st.sampled_from(FORBIDDEN), ODD, max_size=1), by_key=st.booleans())
async def test_a_random_header_is_accepted_only_within_the_rules(
    app: ASGIApp, header: dict[str, Any], forbidden: dict[str, Any], *, by_key: bool
) -> None:
    """A token signed with a key or with the secret is accepted if its header is valid, and only then."""
    header = {**header, **forbidden}
    typ = header.get("typ", "JWT")
    is_valid = not forbidden and isinstance(typ, str) and typ.lower() in ("jwt", "at+jwt")
    if by_key:
        is_valid = is_valid and (header["alg"], header.get("kid")) == ("EdDSA", ED.key_id)
        token = ED.sign(header, CLAIMS)
    else:
        kid = header.get("kid", "any")
        is_valid = is_valid and header["alg"] == "HS256" and isinstance(kid, str)
        is_valid = is_valid and re.fullmatch("[!-~]{1,255}", kid) is not None
        token = sign_by_secret(header, CLAIMS)
    response = await response_to(app, token)

    assert (200 if is_valid else 401) == response.status_code
