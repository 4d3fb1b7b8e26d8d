"""Where Redis is."""

import re
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs
import environ as environ_config

from taskd.settings import ALLOW_PLAINTEXT, SettingsError, plaintext_setting
from taskd.urls import is_loopback

__all__ = ["RedisAddress", "RedisSettings"]

URL = "REDIS_URL"
FORMS = "redis://HOST:PORT/DATABASE, rediss://USER:PASSWORD@HOST:PORT/DATABASE or unix:///PATH"
_DATABASE = re.compile(r"/?|/(?P<number>\d{1,5})", re.ASCII)


@attrs.frozen
class RedisAddress:
    """
    Where Redis is, and how to connect to it.

    Attributes:
        description: The address in words, without a password.
        is_local: Whether it is this machine.
        has_tls: Whether connections are encrypted.
        options: The arguments for the client.
    """

    description: str
    is_local: bool
    has_tls: bool
    options: dict[str, Any] = attrs.field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "RedisAddress":
        """
        Parse a URL.

        Raises:
            ValueError: It is not one that this plugin supports.
        """
        url = urlsplit(text)
        # A query could turn off what the store relies on, such as the verification of certificates.
        if url.query or url.fragment:
            raise ValueError
        credentials = {"username": _decoded(url.username), "password": _decoded(url.password)}
        if url.scheme == "unix" and url.path and not url.netloc:
            return cls(f"Redis at {url.path}", is_local=True, has_tls=False, options={"unix_socket_path": url.path})
        database = _DATABASE.fullmatch(url.path)
        if url.scheme not in ("redis", "rediss") or not url.hostname or database is None:
            raise ValueError
        number, port, has_tls = int(database["number"] or 0), url.port or 6379, url.scheme == "rediss"
        return cls(
            f"database {number} of Redis at {url.hostname}:{port}",
            is_local=is_loopback(url.hostname),
            has_tls=has_tls,
            options={"host": url.hostname, "port": port, "db": number, "ssl": has_tls, **credentials},
        )


def _decoded(text: str | None) -> str | None:
    return unquote(text) if text else None


def _address(text: str) -> RedisAddress:
    try:
        return RedisAddress.parse(text)
    except ValueError:
        # The value is not quoted: it may contain a password.
        raise SettingsError(URL, f"must be {FORMS}, without a query") from None


@environ_config.config(prefix="REDIS", frozen=True)
class RedisSettings:
    url: RedisAddress = environ_config.var("redis://127.0.0.1:6379/0", converter=_address)
    allow_plaintext: bool = plaintext_setting()

    def address(self) -> RedisAddress:
        """
        Return where Redis is.

        Raises:
            SettingsError: Others on the network could read the password and the tasks.
        """
        if not (self.url.is_local or self.url.has_tls or self.allow_plaintext):
            raise SettingsError(
                URL,
                "must begin with rediss:// unless the host is this machine: others on the network could read and change"
                f" tasks ({ALLOW_PLAINTEXT}=1 allows it)",
            )
        return self.url
