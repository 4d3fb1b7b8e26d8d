"""
Recognize the tokens that Better Auth makes for internal use.

Better Auth has several kinds of tokens.  Only one of them is for APIs, and some of the others are signed with the same
secret.  The 401 says which kind was sent, so that a frontend developer knows what to send instead.
"""

from __future__ import annotations

import re
from collections.abc import Container

__all__ = ["COOKIE_CACHE", "COOKIE_CACHE_TYPE", "SESSION", "is_session_token", "refusal_of_claims"]

_GET_ANOTHER = "not a token for an API: get one from Better Auth's /token."
SESSION = "This is a session token, not a JWT: get one from Better Auth's /token."
COOKIE_CACHE = f"This is Better Auth's cookie cache, {_GET_ANOTHER}"
_EMAIL_VERIFICATION = f"This is Better Auth's token to verify an e-mail address, {_GET_ANOTHER}"
# The `typ` of the cookie cache when it is signed with a key.
COOKIE_CACHE_TYPE = "better-auth.session-cache+jwt"
# A session token, alone or followed by the signature that Better Auth's bearer plugin adds.
_SESSION_TOKEN = re.compile(r"[A-Za-z0-9]{32}(\.[A-Za-z0-9+/=%_-]{1,200})?")


def is_session_token(text: str) -> bool:
    """Tell whether *text* looks like a session token."""
    return _SESSION_TOKEN.fullmatch(text) is not None


def refusal_of_claims(names: Container[str]) -> str | None:
    """Return why a token whose claims have these *names* is refused, or None if it is not an internal token."""
    if "sub" in names:
        return None
    if "session" in names:
        return COOKIE_CACHE
    return _EMAIL_VERIFICATION if "email" in names else None
