"""Auth backends that refuse requests in the wrong way, or tell too much."""

from __future__ import annotations

import hmac
import logging
from functools import partial

from starlette.authentication import AuthCredentials, SimpleUser, UnauthenticatedUser
from starlette.requests import HTTPConnection

from taskd.auth import ExpiredCredentials, InvalidCredentials, MissingCredentials, User
from tests.support.catalogue.backends import HeaderKeys, Keys, Result
from tests.support.catalogue.faults import auth_fault

response_fault = partial(auth_fault, "responses")
leak_fault = partial(auth_fault, "leaks")

logger = logging.getLogger(__name__)


@response_fault()
class NonASCIICrashes(HeaderKeys):
    """Fails if a key contains bytes over 0x7f, because `compare_digest` does not take such texts."""

    def is_same(self, sent: str, key: str) -> bool:
        return hmac.compare_digest(sent, key)


@response_fault()
class NotUTF8Crashes(Keys):
    """Fails if a header is not UTF-8."""

    def headers(self, conn: HTTPConnection) -> list[str]:
        return [value.decode() for name, value in conn.scope["headers"] if name == b"authorization"]


@response_fault()
class MalformedCrashes(Keys):
    """Fails if there is no space, or a second one, in the header."""

    def key_in(self, headers: list[str]) -> str:
        if headers and headers[0]:
            _, _key = headers[0].split(" ")
        return super().key_in(headers)


@response_fault()
class EmptyHeaderCrashes(Keys):
    """Fails if the header is empty."""

    def key_in(self, headers: list[str]) -> str:
        if headers and not headers[0].split()[0]:
            raise MissingCredentials
        return super().key_in(headers)


@response_fault()
class LongKeysCrash(Keys):
    """Fails if a key is longer than a column of the database."""

    async def user_of(self, sent: str) -> str:
        if len(sent) > 4096:
            raise ValueError("value too long")
        return await super().user_of(sent)


@response_fault()
class UnknownKeyCrashes(Keys):
    """Lets a KeyError through if a key is unknown."""

    async def user_of(self, sent: str) -> str:
        return {key: user for user, key in self.keys.items()}[sent]


@response_fault()
class WrongIsMissing(Keys):
    """Returns None for a wrong key, as if none had been sent."""

    async def authenticate(self, conn: HTTPConnection) -> Result:
        try:
            return await super().authenticate(conn)
        except InvalidCredentials:
            return None


@response_fault()
class WrongIsAnonymous(Keys):
    """Returns an unauthenticated user for a wrong key."""

    async def authenticate(self, conn: HTTPConnection) -> Result:
        try:
            return await super().authenticate(conn)
        except InvalidCredentials:
            return AuthCredentials(), UnauthenticatedUser()


@response_fault()
class MissingIsInvalid(Keys):
    """Treats a missing key as a wrong one."""

    def key_in(self, headers: list[str]) -> str:
        try:
            return super().key_in(headers)
        except MissingCredentials as error:
            raise InvalidCredentials(str(error)) from None


@response_fault()
class AnothersPathIsInvalid(Keys):
    """Compares the path itself, and treats valid keys for another user's path as wrong ones."""

    async def authenticate(self, conn: HTTPConnection) -> Result:
        result = await super().authenticate(conn)
        if result and result[1].identity != conn.path_params["user_id"]:
            raise InvalidCredentials
        return result


@response_fault()
class MissingIsAGuest(Keys):
    """Lets in whoever sends nothing, as a guest."""

    async def authenticate(self, conn: HTTPConnection) -> Result:
        try:
            return await super().authenticate(conn)
        except MissingCredentials:
            return AuthCredentials(), SimpleUser("guest")


@response_fault()
class WrongIsExpired(Keys):
    """Says of a wrong key that it has expired, so that clients keep renewing it."""

    def refuse(self, sent: str) -> str:  # noqa: ARG002
        raise ExpiredCredentials


@response_fault()
class IdentityIsBytes(Keys):
    """Returns a user whose identity is not a text."""

    async def authenticate(self, conn: HTTPConnection) -> Result:
        user = await self.user_of(self.sent(conn))
        return AuthCredentials(), User(user.encode())  # type: ignore[arg-type]


@response_fault()
class ChallengeWithoutScheme(Keys):
    """Sends a challenge that names no scheme."""

    def challenge(self, error: str | None) -> str:  # noqa: ARG002
        return 'realm="acme"'


@response_fault()
class ChallengeBroken(Keys):
    """Puts quotes into the challenge without escaping them."""

    def refuse(self, sent: str) -> str:  # noqa: ARG002
        raise InvalidCredentials('The key in "Authorization" is unknown.')


@response_fault()
class NoChallenge(Keys):
    """Has an empty challenge."""

    def challenge(self, error: str | None) -> str:  # noqa: ARG002
        return ""


@leak_fault()
class Echoed(Keys):
    """Repeats a wrong key in the response."""

    def refuse(self, sent: str) -> str:
        raise InvalidCredentials(f"The key {sent} is unknown.")


@leak_fault()
class PartEchoed(Keys):
    """Repeats the beginning of a wrong key in the response, which may be that of a right one."""

    def refuse(self, sent: str) -> str:
        raise InvalidCredentials(f"The key {sent[:10]}... is unknown.")


@leak_fault()
class EchoedInTheChallenge(Keys):
    """Repeats a wrong key in the challenge only."""

    wrong = ""

    def refuse(self, sent: str) -> str:
        self.wrong = sent if sent.isascii() and sent.isalnum() else ""
        return super().refuse(sent)

    def challenge(self, error: str | None) -> str:
        return f'Bearer error="invalid_token", token="{self.wrong}"' if error else "Bearer"


@leak_fault()
class Logged(Keys):
    """Logs wrong keys, which may be mistyped right ones."""

    def refuse(self, sent: str) -> str:
        logger.info("unknown key: %s", sent)
        return super().refuse(sent)


@leak_fault()
class LoggedOnSuccess(Keys):
    """Logs right keys, for debugging."""

    async def user_of(self, sent: str) -> str:
        user = await super().user_of(sent)
        logger.debug("%s sent %s", user, sent)
        return user
