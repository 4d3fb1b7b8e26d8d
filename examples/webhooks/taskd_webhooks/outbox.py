"""Keep messages in memory until they have been delivered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from taskd.outages import OutageLog
from taskd_webhooks.messages import Message

__all__ = ["Outbox"]

# How many messages are sent at once.
CONCURRENCY = 8
# A lifespan has two seconds to end.
FLUSH_S = 1.5

logger = logging.getLogger(__name__)

Deliver = Callable[[Message], Awaitable[None]]


class Outbox:
    """
    A queue of messages.

    Args:
        limit: How many messages may wait.  When so many are waiting, further ones are dropped: no request waits for
            the receiver.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(limit)
        # Waiting or being delivered.
        self._kept = 0
        self._dropped = 0
        self._fullness = OutageLog("The outbox of webhooks", logger)

    def put(self, message: Message) -> None:
        """Add a message, unless too many are waiting."""
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:
            self._dropped += 1
            self._fullness.failed(f"{self._kept} messages are waiting for the receiver, so new ones are dropped")
        else:
            self._kept += 1
            self._fullness.succeeded(self._fullness.clock())

    @contextlib.asynccontextmanager
    async def delivered_by(self, deliver: Deliver) -> AsyncIterator[None]:
        """Deliver messages during the block; at its end, take a moment to deliver those that are left."""
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(self._work(deliver)) for _ in range(CONCURRENCY)]
            try:
                yield
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._waiting.join(), FLUSH_S)
            finally:
                for worker in workers:
                    worker.cancel()

    def close(self) -> None:
        """Log how many messages have been lost, if any."""
        if self._kept or self._dropped:
            logger.error("Messages lost: %d not delivered in time, %d dropped", self._kept, self._dropped)

    async def _work(self, deliver: Deliver) -> None:
        while True:
            message = await self._waiting.get()
            try:
                await deliver(message)
            except Exception:
                logger.exception("Message %s could not be sent", message.id)
            self._waiting.task_done()
            self._kept -= 1
