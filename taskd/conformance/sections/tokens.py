"""Check which tokens are accepted, and what a refusal says."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

import httpx

from taskd.conformance.client import ANONYMOUS, Client, Header
from taskd.conformance.expect import Json, Skipped, array_of, expect, expect_error
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section
from taskd.conformance.tokens import SCHEME, Token

__all__ = ["checks"]

checks = Checks(Section.WHO_MAY)

AUTHORIZATION = "Authorization"


def _token(client: Client) -> str:
    """Return the client's token; the check is skipped if the server takes other credentials."""
    if client.account.header != (AUTHORIZATION, f"{SCHEME} {client.account.token}"):
        raise Skipped(f"applies only to {AUTHORIZATION}: {SCHEME}")
    return client.account.token


async def _sent(client: Client, headers: Iterable[Header], query: str = "limit=1") -> httpx.Response:
    """Return the response to a read of the list with *headers* in place of the token's own."""
    return await client.send("GET", f"{client.tasks}?{query}", credentials=headers)


def _expect_invalid(response: httpx.Response) -> Json:
    """Go on only if *response* refuses credentials as RFC 6750 says."""
    body = expect_error(response, 401, "invalid_token")
    _expect_challenge(response)
    return body


def _expect_challenge(response: httpx.Response) -> None:
    challenge = response.headers.get("WWW-Authenticate", "")
    expect(challenge.lower().startswith(f"{SCHEME.lower()} "), f"a challenge that begins with {SCHEME}", response)
    expect('error="invalid_token"' in challenge, 'a challenge with error="invalid_token"', response)
    expect('error_description="' in challenge, "a challenge with an error_description", response)


@checks.add
async def scheme(client: Client) -> None:
    """The scheme may be in any case."""
    token = _token(client)
    for name in (SCHEME, SCHEME.lower(), SCHEME.upper()):
        array_of(await _sent(client, [(AUTHORIZATION, f"{name} {token}")]))


@checks.add
async def missing(client: Client) -> None:
    """A request without a token gets a challenge for one."""
    _token(client)
    response = await _sent(client, ANONYMOUS)
    expect_error(response, 401, "missing_credentials")
    challenge = response.headers.get("WWW-Authenticate", "")
    expect(challenge.lower().split(" ")[0] == SCHEME.lower(), f"a challenge for {SCHEME}", response)


@checks.add
async def two_headers(client: Client) -> None:
    """Two Authorization headers are invalid_token, even if both are good."""
    header = (AUTHORIZATION, f"{SCHEME} {_token(client)}")
    _expect_invalid(await _sent(client, [header, header]))


@checks.add
async def elsewhere(client: Client) -> None:
    """A token in a query or a cookie is not looked at."""
    token = quote(_token(client), safe="")
    names = ("token", "access_token", "jwt", "session")
    query = "&".join(f"{name}={token}" for name in names)
    cookie = "; ".join(f"{name}={token}" for name in names)
    expect_error(await _sent(client, ANONYMOUS, query), 401, "missing_credentials")
    expect_error(await _sent(client, [("Cookie", cookie)]), 401, "missing_credentials")


@checks.add
async def altered(client: Client) -> None:
    """A token that was altered in any part is a 401 invalid_token."""
    token = _parsed(client)
    for text in token.altered().values():
        _expect_invalid(await _sent(client, [(AUTHORIZATION, f"{SCHEME} {text}")]))


def _parsed(client: Client) -> Token:
    token = Token.parse(_token(client))
    if token is None:
        raise Skipped("applies only to JSON Web Tokens")
    return token


@checks.add
async def malformed(client: Client) -> None:
    """What is no token is a 401 invalid_token."""
    token = _token(client)
    for text in ("x", "null", f"{token}x", f"{token} {token}", token[::-1]):
        _expect_invalid(await _sent(client, [(AUTHORIZATION, f"{SCHEME} {text}")]))


@checks.add
async def other_schemes(client: Client) -> None:
    """Another scheme, or none, is a 401."""
    token = _token(client)
    for value in (token, f"Basic {token}", f"Token {token}", "Basic YWxpY2U6cGFzc3dvcmQ="):
        response = await _sent(client, [(AUTHORIZATION, value)])
        expect(response.status_code == 401, "status 401", response)
        expect(response.headers.get("WWW-Authenticate"), "WWW-Authenticate", response)


@checks.add
async def details(client: Client) -> None:
    """The detail of a 401 says which fault it was, without echoing the token."""
    token = _parsed(client).altered()
    found = set()
    for text in (token["another signature"], token["two parts"]):
        response = await _sent(client, [(AUTHORIZATION, f"{SCHEME} {text}")])
        found.add(_expect_invalid(response)["detail"])
        sent = f"{response.text} {response.headers.get('WWW-Authenticate')}"
        expect(not any(part in sent for part in text.split(".")), "a response without the token", response)
    found.add(expect_error(await _sent(client, ANONYMOUS), 401, "missing_credentials")["detail"])
    expect(len(found) == 3, "a detail of its own for each fault")


@checks.add
async def another_user(client: Client) -> None:
    """The challenge for another user's path has an error."""
    _token(client)
    response = await client.get(f"/api/{quote(client.account.user, safe='')}x/tasks")
    expect_error(response, 401, "wrong_user")
    _expect_challenge(response)
