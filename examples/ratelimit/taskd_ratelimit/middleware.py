"""
ASGI middleware that refuses requests beyond a quota, and tells clients how much of it is left.

The response fields are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

import ipaddress
import logging
from collections.abc import Mapping

import attrs
from starlette.authentication import BaseUser
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskd.auth import when_known
from taskd_ratelimit.known_users import KnownUsers
from taskd_ratelimit.policy import Policy, Usage

# A child of taskd's logger, so that it has the same configuration.
logger = logging.getLogger("taskd.ratelimit")

HEALTH_PATHS = ("/livez", "/readyz")
# A network usually gets so many bits of an IPv6 address for itself, and could use all of the addresses.
IPV6_PREFIX = 64
DETAIL = "Too many requests: wait as many seconds as Retry-After says, then try again."
UNKNOWN = (
    "Users send credentials in headers that RATELIMIT_HEADERS does not name, so addresses are charged for them, too"
)


@attrs.define(eq=False)
class RateLimiter:
    """
    Counts each request for its user and, if the user is not known yet, first for its address.

    Attributes:
        app: The application.
        per_user: How many requests a user may send.
        per_address: How many requests without a known user may come from an address.
        known: The users whose credentials the application has verified.
    """

    app: ASGIApp
    per_user: Policy
    per_address: Policy
    known: KnownUsers
    _has_warned: bool = attrs.field(init=False, default=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if its quota is not used up, and add the fields to the response."""
        if scope["path"].removeprefix(scope.get("root_path", "")) in HEALTH_PATHS:
            await self.app(scope, receive, send)
            return
        digest = self.known.digest(scope["headers"])
        known = self.known.find(digest)
        usage = await self._count(known, scope)
        if usage is not None and usage.is_exceeded:
            raise _refusal(usage, self._fields(usage))

        async def count_user(user: BaseUser) -> None:
            nonlocal usage
            self._remember(digest, user.identity)
            if user.identity != known:
                usage = await self.per_user.count(user.identity)
                if usage.is_exceeded:
                    # The response gets the fields below.
                    raise _refusal(usage)

        when_known(scope, count_user)

        async def add_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = [(name.lower().encode(), value.encode()) for name, value in self._fields(usage).items()]
                message = {**message, "headers": [*message.get("headers", ()), *fields]}
            await send(message)

        await self.app(scope, receive, add_fields)

    async def _count(self, user: str | None, scope: Scope) -> Usage | None:
        """Count a request for its *user* or its address; return None if it has neither."""
        if user is not None:
            return await self.per_user.count(user)
        # A server behind a UNIX domain socket knows no addresses.
        client = scope.get("client")
        return await self.per_address.count(_network(client[0])) if client else None

    def _remember(self, digest: bytes | None, user: str) -> None:
        """Remember whose credentials the application has verified, so that the next request is counted only once."""
        if digest is not None:
            self.known.learn(digest, user)
        elif not self._has_warned:
            self._has_warned = True
            logger.warning(UNKNOWN)

    def _fields(self, usage: Usage | None) -> dict[str, str]:
        fields = {"RateLimit-Policy": f"{self.per_user.field}, {self.per_address.field}"}
        if usage is not None:
            fields["RateLimit"] = usage.field
        return {**fields, "Access-Control-Expose-Headers": "RateLimit, RateLimit-Policy"}


def _refusal(usage: Usage, fields: Mapping[str, str] | None = None) -> HTTPException:
    return HTTPException(429, DETAIL, {"Retry-After": str(usage.wait_s), **(fields or {})})


def _network(host: str) -> str:
    """Return the part of a client's address that identifies it."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
