"""Looking up the name of a host: one lookup at a time, for all who wait for it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import attrs

__all__ = ["Lookup"]


@attrs.define(eq=False)
class Lookup:
    """
    The name of a host, which is looked up before each connection to it.

    A lookup takes a thread until the name server has answered, whether anybody still waits or not; and one that is
    cancelled while uvloop makes a connection is forgotten there, so that asyncio complains in the log when it fails
    later.  So a connection is begun only after this, which is shared and never cancelled, has succeeded.
    """

    host: str
    port: int
    _running: asyncio.Task[Any] | None = attrs.field(init=False, default=None)

    async def wait(self) -> None:
        """
        Wait for the lookup that is under way, or for a new one.

        Raises:
            socket.gaierror: The name is not known, or nobody answers for it.
        """
        if self._running is None or self._running.done():
            lookup = asyncio.get_running_loop().getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            self._running = asyncio.ensure_future(lookup)
            self._running.add_done_callback(_retrieve)
        await asyncio.shield(self._running)


def _retrieve(ended: asyncio.Future[Any]) -> None:
    """Take note of what went wrong: it may be that nobody waits for it any more."""
    if not ended.cancelled():
        ended.exception()
