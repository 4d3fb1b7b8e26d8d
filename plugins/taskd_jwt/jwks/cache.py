"""
Cache the keys that an issuer publishes (RFC 7517), and fetch them when needed.

Nothing here blocks the event loop, and no request waits longer than `Timing.wait_s`: fetches run one at a time in a
separate task, which continues even if the requests that are waiting for it are cancelled.

A token with an unknown key is refused only if the key set was fetched after the token first arrived.  Until then, its
key may be a new one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
import time
from collections.abc import Callable, Iterator

import attrs
import jwt

from taskd.auth import AuthUnavailable, InvalidCredentials
from taskd.outages import OutageLog
from taskd.telemetry import Kind, Measurement
from taskd.tls import tls_context
from taskd_jwt.clock import Clock
from taskd_jwt.jwks.fetch import Observer, fetch_key_set
from taskd_jwt.jwks.first_seen import FirstSeen
from taskd_jwt.jwks.keys import KeySet, KeySetError
from taskd_jwt.jwks.rate_limit import MissingKeys
from taskd_jwt.jwks.single_flight import SingleFlight
from taskd_jwt.jwks.timing import Timing
from taskd_jwt.jws import Token

__all__ = ["RemoteKeySet"]

logger = logging.getLogger(__name__)

# How many ignored keys get a log line of their own.
MAX_LOGGED_KEYS = 20


@attrs.define(eq=False)
class RemoteKeySet:
    """
    The key set at *url*.

    Creating an instance does no I/O.  The key set is fetched when a key is first needed, in the event loop that is
    running then.

    Attributes:
        url: Where the key set is.  The URL is logged, so it must not contain a secret.
        on_change: Called when the keys have changed.
        timing: How long keys are used, and how often they are fetched.
        clock: Tells how old the keys are.
    """

    url: str
    on_change: Callable[[], None]
    timing: Timing = attrs.field(factory=Timing)
    clock: Clock = attrs.field(default=time, repr=False)
    _keys: KeySet = attrs.field(init=False, factory=KeySet)
    _fetched_s: float = attrs.field(init=False, default=float("-inf"))
    _failed_s: float = attrs.field(init=False, default=float("-inf"))
    _missing: MissingKeys = attrs.field(init=False)
    _first_seen: FirstSeen = attrs.field(init=False, factory=FirstSeen)
    _fetches: SingleFlight = attrs.field(init=False)
    # The number of the last fetch that succeeded.
    _succeeded: int = attrs.field(init=False, default=0)
    _tls: ssl.SSLContext = attrs.field(init=False, factory=tls_context)
    _outages: OutageLog = attrs.field(init=False)
    _is_bug_logged: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._missing = MissingKeys(self.timing)
        self._fetches = SingleFlight(self._load, self.timing, self.clock)
        self._outages = OutageLog(f"The key set at {self.url}", logger, clock=self.clock.monotonic)

    async def key(self, key_id: str, token: Token) -> jwt.PyJWK:
        """
        Return the key with the given `kid`, for verifying *token*.

        Raises:
            AuthUnavailable: The key is not known yet, but may be a new one.
            InvalidCredentials: There is no such key, even among the keys fetched after *token* arrived.
        """
        started = self._fetches.started
        fetch = self._refresh()
        if key_id not in self._keys.keys:
            # An issuer that rotates its keys publishes a new key at the same time as the first token signed with it.
            fetch = fetch or self._fetch_for(key_id)
        if fetch is not None:
            await asyncio.wait([fetch], timeout=self.timing.wait_s)
        # Valid tokens are recorded, too, so that they are refused at once if their key is withdrawn.
        started = self._first_seen.fetches_before(token, started)
        if key := self._keys.keys.get(key_id):
            return key
        if fetch is not None and not fetch.done():
            raise AuthUnavailable(f"the key set at {self.url} is still being fetched")
        # Do not sign users out because a fetch is not due yet, has failed, or started before the token arrived.
        if not self._keys.keys or self._succeeded <= started:
            raise AuthUnavailable(f"there are no new keys from {self.url}", self._retry_after_s(key_id))
        self._missing.add(key_id, self._fetched_s)
        raise InvalidCredentials("The key set does not contain the key that the token's kid names.")

    def valid_for_s(self) -> float:
        """Return for how many seconds a key that was just returned may be used without asking again."""
        timing, age_s = self.timing, self.clock.monotonic() - self._fetched_s
        if age_s < timing.max_age_s:
            return timing.max_age_s - age_s
        return min(timing.cooldown_s, timing.max_stale_age_s - age_s)

    async def fetch(self, observe: Observer | None = None) -> KeySet:
        """
        Fetch the key set now, without caching it; let *observe* look at the response.

        Raises:
            KeySetError: It cannot be fetched or read.
        """
        return await fetch_key_set(self.url, self._tls, self.timing.fetch_timeout_s, observe)

    def measurements(self, issuer: str) -> Iterator[Measurement]:
        """Yield how many keys *issuer* has, how old they are, and whether they can be fetched."""
        labels, count = {"issuer": issuer}, len(self._keys.keys)
        yield Measurement("key_set_keys", "Keys that tokens are verified with.", count, Kind.MAXIMUM, labels)
        if self._succeeded:
            age = "For how many seconds the oldest key set in use has not been fetched again."
            age_s = self.clock.monotonic() - self._fetched_s
            yield Measurement("key_set_age_seconds", age, age_s, Kind.MAXIMUM, labels)
        fetches = "How often the key set was fetched, successfully or not."
        yield Measurement("key_set_fetches", fetches, self._fetches.started, Kind.COUNTER, labels)
        yield from self._outages.measurements(f"key set of {issuer}")

    def _refresh(self) -> asyncio.Task[None] | None:
        """Fetch the keys again if they are old; return the task if the caller must wait for it."""
        now_s = self.clock.monotonic()
        age_s = now_s - self._fetched_s
        if age_s < self.timing.refresh_age_s:
            return None
        if age_s >= self.timing.max_stale_age_s and self._keys.keys:
            logger.warning("The keys from %s are a day old, and not used until they are fetched again", self.url)
            self._replace(KeySet())
        task = self._fetches.start()
        # While fetches are failing, requests do not wait for the next one, which would probably fail as well.
        is_known_to_fail = self._is_failing and now_s - self._failed_s < self.timing.max_age_s
        is_usable = age_s < self.timing.max_age_s or (is_known_to_fail and self._keys.keys)
        return None if is_usable else task

    def _fetch_for(self, key_id: str) -> asyncio.Task[None] | None:
        """Return a fetch that may find an unknown key, or None if it is too soon to start one."""
        is_quiet = self._missing.wait_s(key_id, self.clock.monotonic()) > 0
        return self._fetches.running() if is_quiet else self._fetches.start()

    async def _load(self, number: int) -> None:
        """Fetch the keys and use them; if that fails, log the failure once and keep the old keys."""
        started_s = self.clock.monotonic()
        try:
            found = await self.fetch()
        except KeySetError as error:
            self._fail(f"{error}. {error.advice}" if error.advice else str(error))
        except Exception as error:
            if not self._is_bug_logged:
                logger.exception("Fetching the key set at %s failed because of a bug; please report it", self.url)
            self._is_bug_logged = True
            self._fail(f"a bug, {type(error).__name__}")
        else:
            # A fetch that was paused together with its event loop may end after fetches that started later.
            if number > self._succeeded:
                self._succeeded, self._fetched_s = number, started_s
                self._replace(found)
                self._log_outage(started_s)

    def _log_outage(self, started_s: float) -> None:
        if self._keys.keys:
            self._outages.succeeded(started_s)
        else:
            self._outages.failed("none of its keys can be used")

    def _fail(self, reason: str) -> None:
        self._failed_s = self.clock.monotonic()
        self._outages.failed(reason)

    def _replace(self, keys: KeySet) -> None:
        """Use *keys* from now on, and log them if they have changed."""
        if keys == self._keys:
            return
        self._log_keys(keys)
        self._keys = keys
        self.on_change()

    def _log_keys(self, keys: KeySet) -> None:
        for reason in keys.ignored[:MAX_LOGGED_KEYS]:
            logger.warning("Ignoring a key from %s: %s", self.url, reason)
        if len(keys.ignored) > MAX_LOGGED_KEYS:
            logger.warning("Ignoring %d keys from %s in all", len(keys.ignored), self.url)
        logger.info("Using %d keys from %s", len(keys.keys), self.url)

    @property
    def _is_failing(self) -> bool:
        """Whether the most recently finished fetch failed."""
        return self._failed_s > self._fetched_s

    def _retry_after_s(self, key_id: str) -> int:
        """Return how many seconds to wait before looking for the key again."""
        now_s = self.clock.monotonic()
        return max(1, math.ceil(max(self._fetches.wait_s(now_s), self._missing.wait_s(key_id, now_s))))
