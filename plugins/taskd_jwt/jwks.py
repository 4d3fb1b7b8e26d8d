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
import httpx
import jwt

from taskd import AuthUnavailable, Availability, InvalidCredentials
from taskd_jwt.keys import KeySet, KeySetError, read_key_set

__all__ = ["RemoteKeySet"]

logger = logging.getLogger(__name__)

MAX_AGE_S = 600.0
# From this age on they are fetched again without anybody having to wait for it.
REFRESH_AGE_S = 540.0
# How old they may become while they cannot be fetched.
MAX_STALE_AGE_S = 24 * 60 * 60.0
# Between the beginnings of fetches, whatever they are for.  After a while without any there may be two at the lesser
# interval, so that a key that is new soon after a fetch is found; there are never more than three in a minute.
MIN_INTERVAL_S = 5.0
COOLDOWN_S = 31.0
FETCH_TIMEOUT_S = 10.0
# Less than the core gives an auth plugin, so that it is this that ends first.
WAIT_S = 2.5
MAX_DOCUMENT_BYTES = 1024 * 1024
# How many of the keys that are not used have a line of their own in the log.
MAX_TOLD = 20
# How much of what went wrong is said in the log: the endpoint may have worded it.
MAX_REASON_LENGTH = 200


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
    _begun_s: tuple[float, float] = attrs.field(init=False, default=(float("-inf"), float("-inf")))
    _fetch: asyncio.Task[None] | None = attrs.field(init=False, default=None)
    _tls: ssl.SSLContext = attrs.field(init=False, factory=ssl.create_default_context)
    _availability: Availability = attrs.field(init=False)

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
        return MAX_AGE_S - age_s if age_s < MAX_AGE_S else min(COOLDOWN_S, MAX_STALE_AGE_S - age_s)

    async def fetch(self) -> KeySet:
        """
        Fetch the key set now, without keeping it.

        Raises:
            KeySetError: It cannot be had.
        """
        document = await _download(self.url, self._tls)
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
        if time.monotonic() < self._may_begin_s():
            return None
        self._begun_s = (self._begun_s[1], time.monotonic())
        self._fetch = asyncio.create_task(self._load())
        return self._fetch

    async def _load(self) -> None:
        """Fetch the keys and keep them; if they cannot be had, say so once and keep those that there are."""
        begun_s = time.monotonic()
        try:
            keys = await self.fetch()
        except KeySetError as error:
            self._failed_s = time.monotonic()
            self._availability.failed(str(error))
            return
        self._keep(keys)
        self._fetched_s = begun_s
        if keys.keys:
            self._availability.served(begun_s)
        else:
            self._availability.failed("none of its keys can be used")

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

    def _may_begin_s(self) -> float:
        """Return when the next fetch may begin, by the clock of `time.monotonic`."""
        last_but_one_s, last_s = self._begun_s
        return max(last_s + MIN_INTERVAL_S, min(last_s + COOLDOWN_S, last_but_one_s + 2 * COOLDOWN_S))

    def _retry_after_s(self) -> int:
        """Return after how many seconds the next fetch may begin."""
        return max(1, math.ceil(self._may_begin_s() - time.monotonic()))


async def _download(url: str, tls: ssl.SSLContext) -> bytes:
    """Return what is at *url*; raises `KeySetError`."""
    client = httpx.AsyncClient(
        verify=tls,
        # Neither a proxy nor a password of the environment's: who answers decides who gets in.
        trust_env=False,
        follow_redirects=False,
        # httpcore closes a connection whose handshake it has given up itself, but not one whose fetch was cancelled.
        timeout=httpx.Timeout(FETCH_TIMEOUT_S, connect=FETCH_TIMEOUT_S / 2),
        # What is compressed could be as large as one likes.
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
    )
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_S), client, client.stream("GET", url) as answer:
            return await _content(answer)
    except (TimeoutError, httpx.TimeoutException):
        raise KeySetError("no answer in time") from None
    # ValueError: of a host that is none, by the rules of international names.
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise KeySetError((str(error) or type(error).__name__)[:MAX_REASON_LENGTH]) from None


async def _content(answer: httpx.Response) -> bytes:
    if answer.status_code != httpx.codes.OK:
        raise KeySetError(f"it answers {answer.status_code}")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise KeySetError("it answers in an encoding that was not asked for")
    content = bytearray()
    async for chunk in answer.aiter_raw():
        content += chunk
        if len(content) > MAX_DOCUMENT_BYTES:
            raise KeySetError(f"it answers with more than {MAX_DOCUMENT_BYTES} bytes")
        # Chunks that are there already are given without a pause, and there may be ten thousand of them.
        await asyncio.sleep(0)
    return bytes(content)
