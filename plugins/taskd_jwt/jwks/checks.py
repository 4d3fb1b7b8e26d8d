"""Check the key set, and the server that publishes it, for `taskd doctor`."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs
import httpx

from taskd.checks import Check, Outcome
from taskd_jwt.jwks.cache import MAX_LOGGED_KEYS, RemoteKeySet
from taskd_jwt.jwks.keys import KeySet, KeySetError

__all__ = ["check_key_set"]

# The dates in tokens may be this far ahead of this machine's clock.
MAX_CLOCK_OFFSET_S = 30
CERTIFICATE_NOTICE = dt.timedelta(days=14)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


@attrs.define
class _Seen:
    """
    What a response tells about its server.

    Attributes:
        offset_s: How far its clock is ahead of ours, in seconds, if it tells the time.
        expires: When its certificate expires, if it has one.
        is_taskd: Whether it is itself a taskd, which has no keys.
    """

    offset_s: float | None = None
    expires: dt.datetime | None = None
    is_taskd: bool = False

    async def observe(self, response: httpx.Response) -> None:
        """Look at *response*."""
        self.offset_s = _offset_s(response.headers)
        stream = response.extensions.get("network_stream")
        tls: ssl.SSLObject | None = stream and stream.get_extra_info("ssl_object")
        certificate: Any = tls and tls.getpeercert()
        if certificate:
            self.expires = dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), dt.timezone.utc)
        if response.status_code == httpx.codes.NOT_FOUND:
            self.is_taskd = await _is_of_taskd(response)


def _offset_s(headers: httpx.Headers) -> float | None:
    """Return how far the clock that made these *headers* is ahead of ours, unless they come from a cache."""
    if "Date" not in headers or headers.get("Age", "0") != "0":
        return None
    try:
        return (email.utils.parsedate_to_datetime(headers["Date"]) - _now()).total_seconds()
    except (ValueError, TypeError):  # TypeError: it has no time zone
        return None


async def _is_of_taskd(response: httpx.Response) -> bool:
    """Tell whether a 404 is one of taskd's."""
    async for chunk in response.aiter_raw(1000):
        try:
            body = json.loads(chunk)
        except ValueError:
            return False
        return "X-Request-ID" in response.headers and isinstance(body, dict) and body.get("code") == "not_found"
    return False


async def check_key_set(remote: RemoteKeySet, suffix: str = "") -> AsyncIterator[Check]:
    """
    Check that the key set can be fetched and has usable keys, and the clock and the certificate of its server.

    Args:
        remote: The key set.
        suffix: What to append to the names of the checks, if there are several key sets.
    """
    seen = _Seen()
    try:
        found = await remote.fetch(seen.observe)
    except KeySetError as error:
        checks = [_unavailable(remote, error, seen)]
    else:
        checks = [_keys(found)]
    for check in (*checks, *_clock(seen), *_certificate(seen)):
        yield attrs.evolve(check, name=f"{check.name}{suffix}")


def _unavailable(remote: RemoteKeySet, error: KeySetError, seen: _Seen) -> Check:
    if seen.is_taskd:
        remedy = "Set BETTER_AUTH_URL to the URL of the frontend, where Better Auth runs, not to that of taskd."
        return Check("key set", Outcome.FAILED, f"a taskd responds at {remote.url}, which has no keys", remedy)
    remedy = f"Check that Better Auth is running, has its jwt plugin, and publishes its keys at {remote.url}."
    return Check("key set", Outcome.FAILED, str(error), f"{remedy} {error.advice}".strip())


def _keys(found: KeySet) -> Check:
    remedy = f"Ignored keys: {'; '.join(found.ignored[:MAX_LOGGED_KEYS])}." if found.ignored else ""
    if not found.keys:
        return Check("key set", Outcome.FAILED, "it has no usable key", remedy or "Let Better Auth create a key.")
    finding = f"{len(found.keys)} for {', '.join(found.algorithms)}"
    return Check("key set", Outcome.NOTE if found.ignored else Outcome.OK, finding, remedy)


def _clock(seen: _Seen) -> Iterator[Check]:
    if seen.offset_s is None:
        return
    finding = f"the key set's server is {abs(seen.offset_s):.0f} s {'ahead' if seen.offset_s > 0 else 'behind'}"
    if abs(seen.offset_s) <= MAX_CLOCK_OFFSET_S:
        yield Check("issuer's clock", Outcome.OK, finding)
        return
    remedy = "Set this machine's clock with NTP, and that of BETTER_AUTH_URL: tokens are refused before their time."
    yield Check("issuer's clock", Outcome.FAILED, finding, remedy)


def _certificate(seen: _Seen) -> Iterator[Check]:
    if seen.expires is None:
        return
    remaining = seen.expires - _now()
    finding = f"the certificate of the key set's server is valid for {remaining.days} days"
    if remaining >= CERTIFICATE_NOTICE:
        yield Check("issuer's tls", Outcome.OK, finding)
        return
    remedy = "Renew the certificate of the host in BETTER_AUTH_URL, or in TASKD_JWKS_URL."
    yield Check("issuer's tls", Outcome.NOTE, finding, remedy)
