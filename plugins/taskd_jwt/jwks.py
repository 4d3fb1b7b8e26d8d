"""
The issuer's keys, fetched from where it publishes them (RFC 7517), and kept.

Nothing here blocks the event loop, and no request waits for more than `WAIT_S`: a fetch is a task of its own, one at a
time, that goes on when those who wait for it leave.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
import time
from collections.abc import Callable

import attrs
import jwt

from taskd import AuthUnavailable, Availability, InvalidCredentials
from taskd_jwt import fetch_limit
from taskd_jwt.download import download
from taskd_jwt.fetch_limit import FetchLimit
from taskd_jwt.keys import KeySet, KeySetError, read_key_set

__all__ = ["RemoteKeySet"]

logger = logging.getLogger(__name__)

MAX_AGE_S = 600.0
# From this age on they are fetched again without anybody having to wait for it.
REFRESH_AGE_S = 540.0
# How old they may become while they cannot be fetched.
MAX_STALE_AGE_S = 24 * 60 * 60.0
# Less than the core gives an auth plugin, so that it is this that ends first.
WAIT_S = 2.5
# How many of the keys that are not used have a line of their own in the log.
MAX_TOLD = 20
# What asyncio calls the task that fetches.
FETCH = "taskd: fetch a key set"


@attrs.define(eq=False)
class RemoteKeySet:
    """
    The key set at *url*.

    Making one does no I/O; it is fetched when a key is first asked for, in whichever event loop that is.

    Attributes:
        url: Where it is.  It is shown in the log and holds no secret.
        on_change: Called when the keys are others than before.
    """

    url: str
    on_change: Callable[[], None]
    _keys: KeySet = attrs.field(init=False, factory=KeySet)
    _fetched_s: float = attrs.field(init=False, default=float("-inf"))
    _failed_s: float = attrs.field(init=False, default=float("-inf"))
    _limit: FetchLimit = attrs.field(init=False, factory=FetchLimit)
    _fetch: asyncio.Task[None] | None = attrs.field(init=False, default=None)
    _tls: ssl.SSLContext = attrs.field(init=False, factory=ssl.create_default_context)
    _availability: Availability = attrs.field(init=False)
    _is_defect_told: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._availability = Availability(f"The key set at {self.url}", logger)

    async def key(self, key_id: str) -> jwt.PyJWK:
        """
        Return the key of that `kid`.

        Raises:
            AuthUnavailable: It is none of those that there are, and newer ones cannot be had now.
            InvalidCredentials: This is none of them.
        """
        fetch = self._renew()
        if key_id not in self._keys.keys:
            # It may be newer than these: an issuer that rotates its keys publishes one with the first token of it.
            fetch = fetch or self._begin()
        if fetch is not None:
            await asyncio.wait([fetch], timeout=WAIT_S)
        if key := self._keys.keys.get(key_id):
            return key
        if fetch is not None and not fetch.done():
            raise AuthUnavailable(f"the key set at {self.url} is still on its way")
        # While it cannot be fetched nobody can tell whether this is a new key of it.
        if not self._keys.keys or self._is_failing:
            raise AuthUnavailable(f"there are no keys from {self.url}, or none that are new", self._retry_after_s())
        raise InvalidCredentials("The token is signed with a key that is not, or no longer, in the key set.")

    def good_for_s(self) -> float:
        """Return for how many seconds a key that was just returned may be relied upon without asking again."""
        age_s = time.monotonic() - self._fetched_s
        return MAX_AGE_S - age_s if age_s < MAX_AGE_S else min(fetch_limit.COOLDOWN_S, MAX_STALE_AGE_S - age_s)

    async def fetch(self) -> KeySet:
        """
        Fetch the key set now, without keeping it.

        Raises:
            KeySetError: It cannot be had.
        """
        document = await download(self.url, self._tls)
        # A mebibyte of keys takes a while to read.
        return await asyncio.to_thread(read_key_set, document)

    def _renew(self) -> asyncio.Task[None] | None:
        """Have keys that are no longer young fetched again; return the fetch if it has to be waited for."""
        now_s = time.monotonic()
        age_s = now_s - self._fetched_s
        if age_s < REFRESH_AGE_S:
            return None
        if age_s >= MAX_STALE_AGE_S and self._keys.keys:
            logger.warning("The keys from %s are a day old, and not used until they are fetched again", self.url)
            self._keep(KeySet())
        fetch = self._begin()
        # While it fails nobody waits for what would most likely fail again.
        is_known_to_fail = self._is_failing and now_s - self._failed_s < MAX_AGE_S
        is_usable = age_s < MAX_AGE_S or (is_known_to_fail and self._keys.keys)
        return None if is_usable else fetch

    def _begin(self) -> asyncio.Task[None] | None:
        """Return the fetch that is under way; if there is none, begin one, but not too soon after the last."""
        fetch = self._fetch
        if fetch is not None and not fetch.done() and fetch.get_loop() is asyncio.get_running_loop():
            return fetch
        now_s = time.monotonic()
        if self._limit.wait_s(now_s) > 0:
            return None
        self._limit.begin(now_s)
        self._fetch = asyncio.create_task(self._load(), name=FETCH)
        return self._fetch

    async def _load(self) -> None:
        """Fetch the keys and keep them; if they cannot be had, say so once and keep those that there are."""
        begun_s = time.monotonic()
        try:
            self._keep(await self.fetch())
        except KeySetError as error:
            self._fail(str(error))
        except Exception as error:
            if not self._is_defect_told:
                logger.exception("Fetching the key set at %s failed by a defect; report it", self.url)
            self._is_defect_told = True
            self._fail(f"a defect, {type(error).__name__}")
        else:
            self._fetched_s = begun_s
            if self._keys.keys:
                self._availability.served(begun_s)
            else:
                self._availability.failed("none of its keys can be used")

    def _fail(self, reason: str) -> None:
        self._failed_s = time.monotonic()
        self._availability.failed(reason)

    def _keep(self, keys: KeySet) -> None:
        """Use *keys* from now on."""
        if keys == self._keys:
            return
        for reason in keys.dropped[:MAX_TOLD]:
            logger.warning("A key from %s is not used: %s", self.url, reason)
        if len(keys.dropped) > MAX_TOLD:
            logger.warning("%d keys from %s are not used", len(keys.dropped), self.url)
        logger.info("%d keys from %s are used", len(keys.keys), self.url)
        self._keys = keys
        self.on_change()

    @property
    def _is_failing(self) -> bool:
        """Whether the last fetch that ended has failed."""
        return self._failed_s > self._fetched_s

    def _retry_after_s(self) -> int:
        """Return after how many seconds the next fetch may begin."""
        return max(1, math.ceil(self._limit.wait_s(time.monotonic())))
