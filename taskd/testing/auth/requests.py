"""Requests to an application that an auth backend guards, with credentials and with what only resembles them."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs
import httpx
from starlette.applications import Starlette
from starlette.authentication import AuthenticationBackend
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taskd.auth import Guard, request_headers_of
from taskd.plugins import Source
from taskd.routes.errors import ERROR_HANDLERS
from taskd.routes.responses import JSONResponse
from taskd.routes.router import resources

__all__ = ["Credentials", "Header", "Headers", "assert_admitted", "assert_refused", "declared", "guarded_by", "sent"]

Headers = dict[str, str]
Credentials = Callable[[str], Headers]

# Patterns that match anything, in the places where a key may be looked up.
PATTERNS = ("%", "*", ".*", "' OR '1'='1", '" or ""="')


def guarded_by(backend: AuthenticationBackend) -> httpx.AsyncClient:
    """Return a client for an application that *backend* guards, and that responds with the user's identity."""

    async def whoami(request: Request) -> Response:
        return JSONResponse(request.user.identity)

    routes = resources([(Source("contract", "the contract"), Route("/api/{user_id}", whoami))], Guard(backend))
    app = Starlette(routes=routes, exception_handlers=ERROR_HANDLERS)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://taskd")


def declared(backend: AuthenticationBackend) -> set[str]:
    """Return the headers that *backend* reads, in lower case."""
    return {name.lower() for name in request_headers_of(backend)}


async def sent(
    client: httpx.AsyncClient,
    headers: Mapping[str, str] | Iterable[tuple[str, str | bytes]] = (),
    user: str = "alice",
    **options: Mapping[str, str],
) -> httpx.Response:
    """Send a request for the path of *user*."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    encoded = [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]
    return await client.get(f"/api/{user}", headers=[(name.encode(), value) for name, value in encoded], **options)  # type: ignore[arg-type]


def assert_admitted(response: httpx.Response, user: str = "alice") -> None:
    """Check that the request was admitted as one of *user*."""
    assert (200, user) == (response.status_code, response.json())


def assert_refused(response: httpx.Response, what: str) -> None:
    """Check that the request was refused with a 401."""
    assert 401 == response.status_code, f"{what} got {response.status_code}: {response.text}"


@attrs.frozen
class Header:
    """
    A header with credentials, in its parts.

    Attributes:
        name: The name of the header.
        prefix: What comes before the secret, such as a scheme and a space, or the name of a cookie.
        secret: The rest.
    """

    name: str
    prefix: str
    secret: str

    @classmethod
    def all_in(cls, headers: Headers) -> list[Header]:
        """Return the parts of each of the *headers*."""
        return [cls._of(name, value) for name, value in headers.items()]

    @classmethod
    def _of(cls, name: str, value: str) -> Header:
        before, separator, after = value.partition("=") if name.lower() == "cookie" else value.rpartition(" ")
        return cls(name, before + separator, after)

    @property
    def value(self) -> str:
        """The whole value of the header."""
        return self.prefix + self.secret

    def altered(self) -> Iterator[str]:
        """Yield other secrets that are similar, or that match this one as a pattern."""
        secret = self.secret
        tail = secret[-20:]
        similar = [
            *[secret[:-9], secret[: len(secret) // 2], secret[1:], f"{secret}x", f"x{secret}", f"0{secret}"],
            *[secret[::-1], f"{secret}, {secret}x"],
            *[_shifted(secret), secret[:-20] + _shifted(tail), _shifted(secret[:8]) + secret[8:]],
        ]
        # Keys of one case, such as hexadecimal numbers, may be case-insensitive.
        if not (secret.islower() or secret.isupper()):
            similar.append(secret.swapcase())
        yield from (each for each in dict.fromkeys(similar) if each not in ("", secret))
        yield from (each for each in (*PATTERNS, "_" * len(secret), "." * len(secret)) if each != secret)

    def malformed(self) -> Iterator[bytes]:
        """Yield values of the header that contain no credentials, or not in the right form."""
        prefix, secret = self.prefix.encode(), self.secret.encode()
        yield from (b"", prefix, prefix.strip(), prefix + b" ", b" ", b",", b"=", b'"', b";")
        yield from (prefix + b'"', prefix + b"=")
        # Not ASCII, not UTF-8, and what only looks like ASCII.
        for text in (b"\xff\xfe", b"\x80", "\u00e9".encode(), "\uff21".encode(), "\U0001f389".encode()):
            yield from (text, prefix + text, prefix + secret + text)
        yield from (prefix + b"x x", prefix + b"x " + b"y" * 9, b"x", b"Nonsense " + secret + b"x")
        yield from (prefix + b"x" * 20_000, prefix + b"1" * 20_000, prefix + b"." * 20_000, prefix + b"x." * 10_000)


def _shifted(text: str) -> str:
    """Return *text* with each ASCII letter and digit replaced by the next one, so that more than its case differs."""
    return text.translate(_NEXT)


def _after(characters: str) -> dict[int, str]:
    return {ord(character): characters[position - len(characters) + 1] for position, character in enumerate(characters)}


_NEXT = {**_after(string.ascii_lowercase), **_after(string.ascii_uppercase), **_after(string.digits)}
