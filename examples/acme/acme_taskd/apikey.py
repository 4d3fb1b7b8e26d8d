"""Auth: one key for each user, from the environment: ACME_KEYS="alice:3vZ9...,bob:Qm1x..."."""

import hmac
from collections.abc import Mapping

import environ as environ_config
from starlette.authentication import AuthCredentials, AuthenticationBackend
from starlette.requests import HTTPConnection

from taskd import hookimpl
from taskd.auth import InvalidCredentials, MissingCredentials, User
from taskd.settings import Secret, SettingsError, load_settings


def parse_keys(text: str) -> Mapping[str, Secret]:
    pairs = [pair.strip().partition(":") for pair in text.split(",")]
    if any(len(key) < 32 for _, _, key in pairs):
        raise SettingsError("ACME_KEYS", "must be USER:KEY,USER:KEY with keys of at least 32 characters")
    return {user: Secret(key) for user, _, key in pairs}


@environ_config.config(prefix="ACME")
class KeySettings:
    keys: Mapping[str, Secret] = environ_config.var(converter=parse_keys)


class KeyBackend(AuthenticationBackend):
    challenge = 'ApiKey realm="acme"'
    request_headers = ("X-API-Key",)

    def __init__(self, keys: Mapping[str, Secret]) -> None:
        self.keys = keys

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, User]:
        sent = conn.headers.get("x-api-key")
        if sent is None:
            raise MissingCredentials("The key is missing: send it in the header X-API-Key.")
        for user, key in self.keys.items():
            if hmac.compare_digest(key.value.encode(), sent.encode()):
                return AuthCredentials(["authenticated"]), User(user)
        raise InvalidCredentials("The key in X-API-Key is unknown.")


@hookimpl
def taskd_security_scheme() -> Mapping[str, object]:
    return {"type": "apiKey", "in": "header", "name": "X-API-Key"}


@hookimpl
def taskd_auth(environ: Mapping[str, str]) -> KeyBackend:
    return KeyBackend(load_settings(KeySettings, environ).keys)
