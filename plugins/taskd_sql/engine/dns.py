"""Find an address at which a host accepts connections; callers share one lookup at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import aiohappyeyeballs
import attrs

__all__ = ["Lookup"]

# When an address has not responded for this long, the next one is tried as well (RFC 8305, section 5).
HEAD_START_S = 0.25
# Bounds the memory used for a name whose addresses change all the time.
MAX_AVOIDED = 100


@attrs.define(eq=False)
class Lookup:
    """
    A host whose name is looked up before each connection to it.

    Drivers are given an address instead of the name, for two reasons.  A lookup occupies a thread until the name server
    responds, even if nobody needs the result any more, so lookups are shared and never cancelled.  And uvloop loses
    track of a lookup if connecting is cancelled, so asyncio logs an error when that lookup fails later.
    """

    host: str
    port: int
    _running: asyncio.Task[Any] | None = attrs.field(init=False, default=None)
    # The address that failed most recently is last.
    _avoided: list[tuple[str, int]] = attrs.field(init=False, factory=list)

    async def address(self) -> tuple[str, int]:
        """
        Return an address at which the host accepts connections, and the port.

        If a host has several addresses, the first may never respond, and drivers would wait for it until they time out.
        So the addresses are tried here, with a short wait for each.

        Raises:
            socket.gaierror: The name is unknown, or no name server responds.
            OSError: No address accepts connections.
        """
        if self.host.startswith("/"):  # a socket in the file system
            return self.host, self.port
        found = await self._found()
        if len(found) == 1:
            [(*_, address)] = found
            return _numeric(address)
        ranked = sorted(found, key=lambda each: self.rank(_numeric(each[-1])))
        with await aiohappyeyeballs.start_connection(ranked, happy_eyeballs_delay=HEAD_START_S) as connected:
            return _numeric(connected.getpeername())

    def avoid(self, address: tuple[str, int]) -> None:
        """Try *address* last from now on: it accepted a connection, but did not work."""
        self._avoided = [*(each for each in self._avoided if each != address), address][-MAX_AVOIDED:]

    def rank(self, address: tuple[str, int]) -> int:
        """Return the rank of *address*; the lowest is tried first."""
        return self._avoided.index(address) if address in self._avoided else -1

    async def _found(self) -> Sequence[tuple[Any, ...]]:
        """Return the result of `getaddrinfo`, from the running lookup or a new one."""
        if self._running is None or self._running.done():
            lookup = asyncio.get_running_loop().getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            self._running = asyncio.ensure_future(lookup)
            self._running.add_done_callback(_mark_retrieved)
        found: Sequence[tuple[Any, ...]] = await asyncio.shield(self._running)
        return found


def _numeric(address: Any) -> tuple[str, int]:
    """Return an address from `getaddrinfo` in numeric form, with the interface if an IPv6 address needs it."""
    host, port = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    return host, int(port)


def _mark_retrieved(lookup: asyncio.Future[Any]) -> None:
    """Mark a lookup's error as retrieved, because all callers may have been cancelled."""
    if not lookup.cancelled():
        lookup.exception()
