"""Auth: the first of several plugins whose credentials a request has, such as an API key, else a JWT."""

from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import chain

import environ as environ_config
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser
from starlette.requests import HTTPConnection

from taskd import hookimpl
from taskd.auth import MissingCredentials, TokenIssuer, challenge_of, request_headers_of
from taskd.checks import Check, Diagnosable
from taskd.parts import Parts
from taskd.settings import SettingsError, load_settings


def names_in(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if len(names) < 2:
        raise SettingsError("EITHER_AUTH", "must be the names of at least two auth plugins, such as apikey,jwt")
    return names


@environ_config.config(prefix="EITHER", frozen=True)
class EitherSettings:
    auth: list[str] = environ_config.var("apikey,jwt", converter=names_in)


class EitherBackend(AuthenticationBackend):
    def __init__(self, backends: Sequence[AuthenticationBackend]) -> None:
        self.backends = backends
        headers = [request_headers_of(each) for each in backends]
        # Caches must not store responses that depend on something other than headers.
        self.request_headers = tuple(dict.fromkeys(chain(*headers))) if all(headers) else ()
        issuers = [each for each in backends if isinstance(each, TokenIssuer)]
        if issuers:
            self.issue_token = issuers[0].issue_token

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        for backend in self.backends:
            try:
                result = await backend.authenticate(conn)
            except MissingCredentials:
                # Any other exception is final: these credentials are wrong, or cannot be verified now.
                continue
            if result is not None:
                return result
        return None

    def challenge(self, error: str | None) -> str:
        return ", ".join(challenge_of(each, error) for each in self.backends)

    async def diagnose(self) -> AsyncIterator[Check]:
        for backend in self.backends:
            if isinstance(backend, Diagnosable):
                async for check in backend.diagnose():
                    yield check


@hookimpl
def taskd_auth(environ: Mapping[str, str], parts: Parts) -> EitherBackend:
    return EitherBackend([parts.auth(name) for name in load_settings(EitherSettings, environ).auth])


@hookimpl
def taskd_security_scheme(environ: Mapping[str, str], parts: Parts) -> list[Mapping[str, object]]:
    names = load_settings(EitherSettings, environ).auth
    return [scheme for name in names for scheme in parts.security_schemes(name)]
