"""
A TCP proxy that delays what it forwards, as a network does: it keeps the order, and limits nothing.

It runs in a process of its own, so that its CPU time counts for nobody:

    python -m benchmarks.compare.delay PORT SECONDS

It forwards to that port, delays each direction by that time, and prints the port on which it listens.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import cast

import attrs
import uvloop

from benchmarks.compare.installing import ROOT

__all__ = ["delayed"]

HOST = "127.0.0.1"


@attrs.define(eq=False)
class DelayLine:
    """Calls functions in order, each a fixed time after it was added."""

    delay_s: float
    _waiting: collections.deque[tuple[float, Callable[[], None]]] = attrs.field(factory=collections.deque)

    def add(self, call: Callable[[], None]) -> None:
        """Call *call* when its time has come."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self.delay_s
        if not self._waiting:
            loop.call_at(due_s, self._run)
        self._waiting.append((due_s, call))

    def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0] <= loop.time():
            self._waiting.popleft()[1]()
        if self._waiting:
            loop.call_at(self._waiting[0][0], self._run)


@attrs.define(eq=False)
class End(asyncio.Protocol):
    """One end of a forwarded connection; what it receives goes to the other end, later."""

    line: DelayLine
    other: End | None = None
    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write to."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Forward *data*."""
        self.line.add(lambda: self._forward(data))

    def connection_lost(self, _: Exception | None) -> None:
        """Close the other end."""
        self.line.add(self._close_other)

    def _close_other(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def _forward(self, data: bytes) -> None:
        assert self.other is not None
        assert self.other.transport is not None
        # Its client may have left in the meantime.
        if not self.other.transport.is_closing():
            self.other.transport.write(data)


class Client(End):
    """The end towards the client, which opens the end towards the server."""

    def __init__(self, line: DelayLine, port: int) -> None:
        super().__init__(line)
        self.port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the server; until then, nothing is read."""
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        # The transport keeps this protocol, and the protocol keeps the task.
        self.task = asyncio.get_running_loop().create_task(self._connect())

    def _close_other(self) -> None:
        """Close the other end, or stop opening it."""
        self.task.cancel()
        super()._close_other()

    async def _connect(self) -> None:
        other = self.other = End(self.line, self)
        await asyncio.get_running_loop().create_connection(lambda: other, HOST, self.port)
        assert self.transport is not None
        self.transport.resume_reading()


async def forward(port: int, delay_s: float) -> None:
    """Forward connections to *port* until the process is killed."""
    # A busy machine should not add to the delay.  Only root may ask for this.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    line = DelayLine(delay_s)
    server = await asyncio.get_running_loop().create_server(lambda: Client(line, port), HOST, 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def delayed(url: str, round_trip_ms: float) -> Iterator[str]:
    """Yield a URL through which the database at *url* is so far away; the same URL if the time is zero."""
    if not round_trip_ms:
        yield url
        return
    [(host, port)] = re.findall(r"@([^:/]+):(\d+)/", url)
    command = [sys.executable, "-m", "benchmarks.compare.delay", port, str(round_trip_ms / 2000)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield url.replace(f"@{host}:{port}/", f"@{HOST}:{process.stdout.readline().strip()}/")
        finally:
            process.kill()


if __name__ == "__main__":
    uvloop.run(forward(int(sys.argv[1]), float(sys.argv[2])))
