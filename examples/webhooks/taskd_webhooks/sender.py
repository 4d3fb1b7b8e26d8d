"""Send a message, and try again if it was not accepted."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs
import httpx
import tenacity

from taskd.outages import OutageLog
from taskd.tls import tls_context
from taskd_webhooks.messages import Message
from taskd_webhooks.settings import Settings

__all__ = ["Sender"]

# In all: one at once, and others after about 5 s, 20 s, 80 s, 5 min, and then every 10 min.
ATTEMPTS = 8
LONGEST_S = 600
BACKOFF = tenacity.wait_exponential(multiplier=5, exp_base=4, max=LONGEST_S) + tenacity.wait_random(0, 5)
# How long an attempt may take; the specification recommends 15 to 30 s.
TIMEOUT_S = 15

logger = logging.getLogger(__name__)


class NotAccepted(Exception):
    """The receiver could not be reached, or did not accept the message."""

    def __init__(self, reason: str, retry_after_s: int = 0) -> None:
        super().__init__(reason)
        self.retry_after_s = min(retry_after_s, LONGEST_S)


@attrs.define(eq=False)
class Sender:
    """
    Sends messages to one URL.

    Args:
        settings: Where to send them, and what to sign them with.
        client: Makes the requests.
        sleep: Waits between two attempts.
    """

    settings: Settings
    client: httpx.AsyncClient
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    outages: OutageLog = attrs.field(factory=lambda: OutageLog("The receiver of webhooks", logger))
    _is_gone: bool = attrs.field(init=False, default=False)

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, settings: Settings) -> AsyncIterator[Sender]:
        """Yield a sender, and close its connections at the end of the block."""
        # Proxies in the environment could read what goes to this machine without TLS.
        async with httpx.AsyncClient(verify=tls_context(), trust_env=False, timeout=TIMEOUT_S) as client:
            yield cls(settings, client)

    async def deliver(self, message: Message) -> None:
        """Send a message until it is accepted, or there have been too many attempts."""
        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(NotAccepted),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=_wait,
            sleep=self.sleep,
            reraise=True,
        )
        try:
            await attempts(self._send, message)
        except NotAccepted:
            # The reason is in the log already.
            logger.error("Message %s was not accepted in %d attempts, and is lost", message.id, ATTEMPTS)  # noqa: TRY400  a traceback says no more

    async def _send(self, message: Message) -> None:
        if self._is_gone:
            return
        started_s = self.outages.clock()
        try:
            await self._request(message)
        except NotAccepted as error:
            self.outages.failed(str(error))
            raise
        self.outages.succeeded(started_s)

    async def _request(self, message: Message) -> None:
        # Each attempt has its own time, and so its own signature.
        headers = message.headers(self.settings.secrets, dt.datetime.now(dt.timezone.utc))
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                # The response's body is not read.
                self.client.stream("POST", str(self.settings.url), content=message.body, headers=headers) as response,
            ):
                self._check(response)
        except (TimeoutError, httpx.HTTPError, OSError) as error:
            # The text of the error may have the URL in it.
            raise NotAccepted(f"{self.settings.url.host}: {type(error).__name__}") from None

    def _check(self, response: httpx.Response) -> None:
        if response.status_code == httpx.codes.GONE:
            self._is_gone = True
            logger.error("The receiver of webhooks responds with 410: nothing is sent to it until the next start")
        elif not response.is_success:
            seconds = response.headers.get("retry-after", "")
            retry_after_s = int(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 10 else 0
            raise NotAccepted(f"{self.settings.url.host} responds with {response.status_code}", retry_after_s)


def _wait(state: tenacity.RetryCallState) -> float:
    """Return how many seconds to wait before the next attempt: at least as long as the receiver asks for."""
    error = state.outcome.exception() if state.outcome else None
    planned: float = BACKOFF(state)
    return max(planned, error.retry_after_s if isinstance(error, NotAccepted) else 0)
