"""
Who is asking: what an auth plugin provides, and the guard that denies by default.

An auth plugin provides Starlette's `AuthenticationBackend`.  Its `authenticate` returns the credentials and a user
whose `identity` names the owner of tasks, or raises `InvalidCredentials`, or returns `None` if no credentials came.
Where it depends on something that is down, it raises `AuthUnavailable`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import attrs
from starlette.authentication import AuthenticationBackend, AuthenticationError, BaseUser
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import Scope

__all__ = ["AuthUnavailable", "Guard", "InvalidCredentials", "MissingCredentials", "TokenIssuer", "User", "is_identity"]

logger = logging.getLogger(__name__)

AUTH_TIMEOUT_S = 3
RETRY_AFTER_S = 2
# OpenID Connect Core 1.0, section 2: of a subject.
MAX_IDENTITY_LENGTH = 255
IDENTITY = f"neither . nor .., but a text of 1 to {MAX_IDENTITY_LENGTH} characters without NUL"


class InvalidCredentials(AuthenticationError):
    """Credentials came and are no good.  The message, one sentence, reaches the client: it must not quote them."""


class MissingCredentials(AuthenticationError):
    """No credentials came, or of a kind that is not spoken here.  The message, one sentence, reaches the client."""


class AuthUnavailable(Exception):
    """
    Credentials came, and whether they are good cannot be told now.  Clients get a 503.

    It is not logged for each request: what is missing is said once, for which there is `taskd.Availability`.

    Args:
        reason: What is missing, for people; never shown to clients.
        retry_after_s: After how many seconds a client may try again.
    """

    def __init__(self, reason: str, retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


@attrs.frozen
class User(BaseUser):
    """Somebody whose credentials were verified.  *identity* is the owner in the store and the path's `{user_id}`."""

    identity: str

    @property
    def is_authenticated(self) -> bool:
        """Return True: a request without good credentials never gets a user."""
        return True

    @property
    def display_name(self) -> str:
        """Return the identity; nothing else is known of a user."""
        return self.identity


@runtime_checkable
class TokenIssuer(Protocol):
    """An auth plugin's backend may also make tokens, for `taskd token` and `taskd dev`."""

    def issue_token(self, user_id: str, lifetime_s: int) -> str:
        """Return a token that this backend accepts as *user_id* for *lifetime_s* seconds."""
        ...


@attrs.frozen
class Guard:
    """Admits a request only if its credentials are good and its path is the user's own."""

    backend: AuthenticationBackend

    async def admit(self, scope: Scope) -> None:
        """
        Put the verified user into *scope*, as Starlette's own middleware does.

        Raises:
            HTTPException: 401 without good credentials for this path; 503 when they cannot be verified now.
        """
        try:
            async with asyncio.timeout(AUTH_TIMEOUT_S) as timeout:
                result = await self.backend.authenticate(HTTPConnection(scope))
        except AuthenticationError as error:
            raise _unauthorized(str(error), invalid=not isinstance(error, MissingCredentials)) from None
        except AuthUnavailable as error:
            raise _unavailable(error.retry_after_s) from None
        except TimeoutError:
            if not timeout.expired():
                raise
            logger.warning("The auth plugin did not answer in %d s", AUTH_TIMEOUT_S)
            raise _unavailable(RETRY_AFTER_S) from None
        if result is None:
            raise _unauthorized("No credentials came: send Authorization: Bearer and a token.", invalid=False)
        scope["auth"], scope["user"] = result
        _check_identity(scope["user"].identity, scope["path_params"])


def _check_identity(identity: object, path_params: Mapping[str, object]) -> None:
    if not isinstance(identity, str) or not is_identity(identity):
        raise _unauthorized(f"The token's user must be {IDENTITY}.", invalid=True)
    if path_params.get("user_id", identity) != identity:
        raise _unauthorized("The token is for another user than the one in the path.", invalid=True)


def is_identity(identity: str) -> bool:
    """Tell whether *identity* can be a user's: any store can keep it, and a path can hold it."""
    if not 1 <= len(identity) <= MAX_IDENTITY_LENGTH or "\0" in identity:
        return False
    # RFC 3986, section 6.2.2.3: clients leave these out of a path, encoded or not.
    if identity in (".", ".."):
        return False
    return identity.isascii() or not re.search("[\ud800-\udfff]", identity)


def _unavailable(retry_after_s: int) -> HTTPException:
    detail = "The credentials cannot be verified now; try again later."
    return HTTPException(503, detail, {"Retry-After": str(retry_after_s)})


def _unauthorized(detail: str, *, invalid: bool) -> HTTPException:
    challenge = 'Bearer realm="taskd"'
    if invalid:
        # RFC 6750, section 3: what an error_description may hold.
        description = re.sub(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]", "'", detail)
        challenge += f', error="invalid_token", error_description="{description}"'
    return HTTPException(401, detail, {"WWW-Authenticate": challenge})
