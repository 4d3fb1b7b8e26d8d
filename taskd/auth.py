"""
What an auth plugin provides, and the guard that denies access by default.

An auth plugin provides an implementation of Starlette's `AuthenticationBackend`.  Its `authenticate` returns the
credentials and a user whose `identity` is the owner of the tasks, raises `InvalidCredentials`, or returns `None` if the
request has no credentials.  If it depends on something that is down, it raises `AuthUnavailable`.  Only the backend
knows how credentials are sent; all that the guard learns is whether they are valid, invalid, expired or missing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, runtime_checkable

import attrs
from starlette.authentication import AuthenticationBackend, AuthenticationError, BaseUser
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import Scope

from taskd.errors import CodedError, ErrorCode
from taskd.logs import RateLimitedLog
from taskd.time_limit import TimedOut, TimeLimit, Timeouts

__all__ = [
    "AuthUnavailable",
    "DenyAll",
    "ExpiredCredentials",
    "Guard",
    "InvalidCredentials",
    "MissingCredentials",
    "TokenIssuer",
    "TrialSettings",
    "User",
    "challenge_of",
    "is_identity",
    "request_headers_of",
    "when_known",
]

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 2
MAX_IDENTITY_LENGTH = 255
IDENTITY = f"a text of 1 to {MAX_IDENTITY_LENGTH} characters other than . and .., without NUL"
# RFC 9110, section 11.6.1: each 401 must have a challenge.  This one is for backends that define none.
CHALLENGE = 'Credentials realm="taskd"'
# RFC 9110, section 11.6.2: the default header for credentials.
REQUEST_HEADERS = ("Authorization",)
MISSING = "The credentials are missing: the API document says how to send them."
INVALID = "The credentials are invalid."
EXPIRED = "The credentials have expired."
OTHER_USER = "The credentials are for a user other than the one in the path."
# The scope's key for what `when_known` adds.
_USER_CHECKS = "taskd.user_checks"
# A field value (RFC 9110, section 5.5), without the octets that have no defined meaning.
_FIELD_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
# Visible ASCII characters, which include all those that a header's name may contain.
_NAME = re.compile(r"[\x21-\x7e]+")


class InvalidCredentials(AuthenticationError):
    """The credentials are invalid.  The message, a single sentence, is sent to the client; it must not quote them."""


class ExpiredCredentials(InvalidCredentials):
    """The credentials are invalid only because they have expired, so the client may be able to renew them by itself."""


class MissingCredentials(AuthenticationError):
    """The credentials are missing or of an unsupported kind.  The message, a single sentence, is sent to the client."""


class AuthUnavailable(Exception):
    """
    The credentials cannot be verified at the moment.  Clients get a 503.

    The core does not log this error; a backend can log an outage once with `taskd.outages.OutageLog`.

    Args:
        reason: What is unavailable, for the log; never shown to clients.
        retry_after_s: How many seconds a client should wait before it tries again.
    """

    def __init__(self, reason: str, retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


@attrs.frozen
class User(BaseUser):
    """A user whose credentials have been verified; *identity* is the owner in the store and the path's `{user_id}`."""

    identity: str

    @property
    def is_authenticated(self) -> bool:
        """Return True: a request without valid credentials never gets a user."""
        return True

    @property
    def display_name(self) -> str:
        """Return the identity: nothing else is known about a user."""
        return self.identity


@runtime_checkable
class TokenIssuer(Protocol):
    """What `taskd token` and `taskd dev` need from an auth backend; optional."""

    def issue_token(self, user_id: str, lifetime_s: int) -> str:
        """Return a token that identifies *user_id* to this backend for *lifetime_s* seconds."""
        ...


@attrs.frozen
class TrialSettings:
    """
    What an auth plugin adds to the environment for `taskd dev`.

    Args:
        settings: Values for variables that are not set, by name.
        note: How tokens are made, for display, such as "signed with the secret in FILE".  It must not contain a secret.
    """

    settings: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    note: str = ""


class DenyAll(AuthenticationBackend):
    """Refuses every request.  It stands in for the backend when nothing is served."""

    async def authenticate(self, conn: HTTPConnection) -> None:  # noqa: ARG002
        """Return None, so that every request counts as one without credentials."""
        return


@attrs.frozen
class Guard:
    """
    Admits a request only if its credentials are valid and its path is the user's own.

    Attributes:
        backend: Verifies credentials.
        name: What the log calls the backend.
        timeouts: How long the backend may take.
        parameters: What is added to each challenge, such as `name="value"`.
    """

    backend: AuthenticationBackend
    name: str = "The auth plugin"
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    parameters: str = ""
    _limit: TimeLimit = attrs.field(init=False, repr=False)
    _refusals: RateLimitedLog = attrs.field(init=False, repr=False, factory=lambda: RateLimitedLog(logger, 10.0))

    @_limit.default
    def _limit_of_calls(self) -> TimeLimit:
        return TimeLimit(self.timeouts.auth_s)

    async def admit(self, conn: HTTPConnection) -> None:
        """
        Put the verified user into the scope of *conn*, as Starlette's own middleware does.

        Raises:
            HTTPException: 401 if there are no valid credentials for this path; 503 if they cannot be verified at the
                moment.
        """
        try:
            result = await self._limit.wait(self.backend.authenticate(conn))
        except MissingCredentials as error:
            raise self._missing(str(error) or MISSING) from None
        except ExpiredCredentials as error:
            raise self._refused(ErrorCode.EXPIRED_TOKEN, str(error) or EXPIRED) from None
        except AuthenticationError as error:
            raise self._refused(ErrorCode.INVALID_TOKEN, str(error) or INVALID) from None
        except AuthUnavailable as error:
            raise _unavailable(error.retry_after_s) from None
        except TimedOut:
            logger.warning("%s did not respond in %d s", self.name, self.timeouts.auth_s)
            raise _unavailable(RETRY_AFTER_S) from None
        except SystemExit as error:
            # SystemExit would end the server.
            raise RuntimeError(f"{self.name} tried to exit") from error
        if result is None:
            raise self._missing(MISSING)
        credentials, user = result
        if not _is_authenticated(user):
            raise self._missing(MISSING)
        self._check_identity(user.identity, conn.path_params)
        conn.scope["auth"], conn.scope["user"] = credentials, user
        # Removed, so that they do not run again if the request is forwarded to another endpoint.
        for check in conn.scope.pop(_USER_CHECKS, ()):
            await check(user)

    def _check_identity(self, identity: object, path_params: Mapping[str, object]) -> None:
        if not isinstance(identity, str) or not is_identity(identity):
            raise self._refused(ErrorCode.INVALID_TOKEN, f"The user must be {IDENTITY}.")
        if path_params.get("user_id", identity) != identity:
            raise self._refused(ErrorCode.WRONG_USER, OTHER_USER)

    def _missing(self, detail: str) -> CodedError:
        """Return the error for missing credentials, whose challenge contains no error."""
        return CodedError(ErrorCode.MISSING_CREDENTIALS, detail, {"WWW-Authenticate": self._challenge(None)})

    def _refused(self, code: ErrorCode, detail: str) -> CodedError:
        """Return the error for credentials that do not allow the request, and log it."""
        self._refusals.info("Credentials were refused: %s", detail)
        return CodedError(code, detail, {"WWW-Authenticate": self._challenge(detail)})

    def _challenge(self, error: str | None) -> str:
        challenge: object = challenge_of(self.backend, error)
        if not isinstance(challenge, str) or not _FIELD_VALUE.fullmatch(challenge):
            raise TypeError(f"{self.name} must give a challenge of printable ASCII characters")
        if not self.parameters:
            return challenge
        # RFC 9110, section 11.6.1: a space after the scheme, and commas between parameters.
        return f"{challenge}{', ' if '=' in challenge else ' '}{self.parameters}"


def when_known(scope: Scope, check: Callable[[BaseUser], Awaitable[None]]) -> None:
    """
    Have *check* called with the user of a request as soon as its credentials have been verified.

    This is for middleware, which is passed before the user is known.  *check* is awaited before the endpoint runs, and
    may refuse the request by raising what an endpoint may raise.  It is not called if the route is public, or if the
    credentials are refused.

    Args:
        scope: The ASGI scope of the request.  Middleware may copy it afterwards.
        check: What to call.
    """
    scope.setdefault(_USER_CHECKS, []).append(check)


def challenge_of(backend: AuthenticationBackend, error: str | None) -> str:
    """
    Return the `WWW-Authenticate` that *backend* gives for a 401, for a backend that combines others.

    Args:
        backend: The backend.
        error: What is wrong with the credentials, in one sentence; None if there are none.
    """
    own = getattr(backend, "challenge", CHALLENGE)
    challenge: str = own(error) if callable(own) else own
    return challenge


def request_headers_of(backend: AuthenticationBackend) -> tuple[str, ...]:
    """
    Return the names of the request headers from which *backend* reads credentials, by default `Authorization`.

    Raises:
        TypeError: The backend's `request_headers` is not a list of names.
    """
    names = getattr(backend, "request_headers", REQUEST_HEADERS)
    if isinstance(names, str) or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise TypeError(f"{type(backend).__name__}.request_headers must be a list of the names of headers")
    return tuple(names)


def _is_authenticated(user: BaseUser) -> bool:
    is_authenticated = user.is_authenticated
    # A method that was meant to be a property must not count as True.
    if not isinstance(is_authenticated, bool):
        raise TypeError(f"is_authenticated of a {type(user).__name__} must be True or False")
    return is_authenticated


def is_identity(identity: str) -> bool:
    """Tell whether *identity* can be a user id: every store must be able to hold it, and a path to contain it."""
    if not 1 <= len(identity) <= MAX_IDENTITY_LENGTH or "\0" in identity:
        return False
    # RFC 3986, section 6.2.2.3: clients remove these from a path, encoded or not.
    if identity in (".", ".."):
        return False
    return identity.isascii() or not re.search("[\ud800-\udfff]", identity)


def _unavailable(retry_after_s: int) -> HTTPException:
    detail = "The credentials cannot be verified now; try again later."
    return HTTPException(503, detail, {"Retry-After": str(retry_after_s)})
