"""Authenticate requests by the bearer token in their `Authorization` header (RFC 6750, section 2.1)."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator

import attrs
from starlette.authentication import AuthCredentials, AuthenticationBackend
from starlette.requests import HTTPConnection

from taskd.auth import AuthUnavailable, InvalidCredentials, MissingCredentials, User
from taskd.checks import Check, Outcome
from taskd.outages import OutageLog
from taskd_introspection.endpoint import Endpoint, EndpointError
from taskd_introspection.verdicts import Clock, Rules, Verdict, VerdictCache

__all__ = ["IntrospectionBackend"]

# A child of taskd's logger, so that it has the same configuration.
logger = logging.getLogger("taskd.introspection")

# RFC 6750, section 2.1.
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}=*")
# RFC 6750, section 3: characters that an error_description must not contain.
NOT_DESCRIBABLE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


@attrs.define(eq=False)
class IntrospectionBackend(AuthenticationBackend):
    """
    Identifies the user of a request by the `sub` of an active token.

    Attributes:
        endpoint: Whom to ask about tokens.
        rules: Which active tokens are for this server.
        cache: What it has said lately.
        clock: Returns the time, by which tokens expire.
    """

    endpoint: Endpoint
    rules: Rules
    cache: VerdictCache
    clock: Clock = time
    _calls: dict[bytes, asyncio.Task[Verdict | EndpointError]] = attrs.field(init=False, repr=False, factory=dict)
    _outages: OutageLog = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._outages = OutageLog(
            f"The introspection endpoint at {self.endpoint.url}", logger, clock=self.clock.monotonic
        )

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, User]:
        """
        Return the user of the request's token.

        Raises:
            MissingCredentials: There is no `Authorization` header, or it uses another scheme.
            InvalidCredentials: The token is not active, or not for this server.
            AuthUnavailable: The endpoint does not say whether it is.
        """
        token = _bearer_token(conn)
        digest = self.cache.digest(token)
        verdict = self.cache.get(digest) or await self._ask(digest, token)
        return AuthCredentials(["authenticated"]), verdict.admit(self.clock.time())

    async def _ask(self, digest: bytes, token: str) -> Verdict:
        """Ask the endpoint about *token*, together with all requests that have the same one."""
        call = self._calls.get(digest)
        if call is None:
            call = self._calls[digest] = asyncio.create_task(self._call(digest, token))
            call.add_done_callback(lambda _: self._calls.pop(digest, None))
        # If the client leaves, the others go on waiting.
        result = await asyncio.shield(call)
        if isinstance(result, EndpointError):
            raise AuthUnavailable(str(result))
        return result

    async def _call(self, digest: bytes, token: str) -> Verdict | EndpointError:
        started_s = self.clock.monotonic()
        try:
            verdict = self.rules.judge(await self.endpoint.ask(token), self.clock.time())
        except EndpointError as error:
            self._outages.failed(str(error))
            # Not raised, because nobody may be waiting any more.
            return error
        self._outages.succeeded(started_s)
        self.cache.keep(digest, verdict, started_s)
        return verdict

    def challenge(self, error: str | None) -> str:
        """Return the challenge for a 401 (RFC 6750, section 3)."""
        challenge = 'Bearer realm="taskd"'
        if error is None:
            return challenge
        description = NOT_DESCRIBABLE.sub("'", error)
        return f'{challenge}, error="invalid_token", error_description="{description}"'

    async def diagnose(self) -> AsyncIterator[Check]:
        """Ask about a token that nobody has issued, and check that tokens for other services are refused."""
        try:
            claims = await self.endpoint.ask(secrets.token_urlsafe())
        except EndpointError as error:
            remedy = "Check INTROSPECTION_URL, INTROSPECTION_CLIENT_ID and INTROSPECTION_CLIENT_SECRET."
            yield Check("introspection", Outcome.FAILED, str(error), remedy)
            return
        if claims["active"]:
            remedy = "Check INTROSPECTION_URL: whoever responds there lets anyone in."
            yield Check("introspection", Outcome.FAILED, "a token that nobody has issued is active", remedy)
        else:
            yield Check("introspection", Outcome.OK, f"{self.endpoint.url} responds")
        if self.rules.audience is None:
            remedy = "Set INTROSPECTION_AUDIENCE: otherwise, any service that gets a user's token can use it here."
            yield Check("audience", Outcome.NOTE, "tokens for other services are accepted", remedy)

    async def close(self) -> None:
        """Stop asking, and close all connections."""
        for call in self._calls.values():
            call.cancel()
        await self.endpoint.close()


def _bearer_token(conn: HTTPConnection) -> str:
    headers = conn.headers.getlist("authorization")
    if not headers:
        raise MissingCredentials("The token is missing: send Authorization: Bearer and a token.")
    if len(headers) > 1:
        raise InvalidCredentials("There must be exactly one Authorization header.")
    scheme, _, token = headers[0].partition(" ")
    if scheme.lower() != "bearer":
        raise MissingCredentials("The Authorization header must use the Bearer scheme.")
    if not TOKEN.fullmatch(token.strip(" ")):
        raise InvalidCredentials("The token is malformed.")
    return token.strip(" ")
