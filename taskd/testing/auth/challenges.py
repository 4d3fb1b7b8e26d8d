"""Test what a 401 tells the client."""

from __future__ import annotations

import re

import httpx

from taskd.testing.auth.requests import Credentials, assert_refused, sent
from taskd.testing.promises import promises

__all__ = ["ChallengeTests"]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105
_PARAMETER = rf'{_TOKEN} *= *(?:{_TOKEN}|"(?:[^"\\]|\\.)*")'
_CHALLENGE = rf"{_TOKEN}(?: +(?:{_PARAMETER}(?: *, *{_PARAMETER})*|[A-Za-z0-9._~+/-]+=*))?"
CHALLENGES = re.compile(rf"{_CHALLENGE}(?: *, *{_CHALLENGE})*")


@promises
class ChallengeTests:
    """The header `WWW-Authenticate`, and the sentence for the user."""

    async def test_every_refusal_has_a_challenge(self, client: httpx.AsyncClient, credentials: Credentials) -> None:
        """Each 401 has a `WWW-Authenticate` that follows RFC 9110, section 11.6.1: a scheme, then its parameters."""
        for response in await _refusals(client, credentials):
            challenge = response.headers["WWW-Authenticate"]
            assert CHALLENGES.fullmatch(challenge), f"this is no challenge: {challenge}"

    async def test_every_refusal_is_a_sentence(self, client: httpx.AsyncClient, credentials: Credentials) -> None:
        """The `detail` of each 401 is one sentence, which clients show to their users."""
        for response in await _refusals(client, credentials):
            detail = response.json()["detail"]
            assert detail.strip() == detail != "", "there is no sentence"
            assert "\n" not in detail, f"there is more than one line: {detail}"
            assert "Traceback" not in detail


async def _refusals(client: httpx.AsyncClient, credentials: Credentials) -> list[httpx.Response]:
    """Return the responses to a request without credentials, with wrong ones, and with those of another user."""
    headers = credentials("alice")
    wrong = {name: f"{value}x" for name, value in headers.items()}
    refused = {
        "no credentials": await sent(client),
        "wrong credentials": await sent(client, wrong),
        "another user's path": await sent(client, headers, user="bob"),
    }
    for what, response in refused.items():
        assert_refused(response, what)
    return [*refused.values()]
