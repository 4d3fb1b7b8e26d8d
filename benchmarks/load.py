"""
Generate HTTP load in a separate process, so that it takes no time from the event loop of the process that measures.

`run` sends what a `Plan` says and returns a `Result`; `running` does so in the background.  Every client has one
connection, which it keeps alive, and sends its next request when it has the response to the last one.  Clients read
only a response's status, its length and what a rejection must have, so they cost much less than any server.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import enum
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import attrs
import msgspec
import uvloop

__all__ = ["MAX_CONNECTIONS", "Plan", "Result", "Retry", "Running", "percentile", "raise_file_limit", "run", "running"]

HOST = "127.0.0.1"
MAX_CONNECTIONS = 4000
MAX_DURATION_S = 120.0
# How many connections may be opened at a time, how long each may take, and the pause before another attempt.
OPENING_AT_ONCE = 200
CONNECT_TIMEOUT_S = 5.0
RECONNECT_PAUSE_S = 0.1
# How long to wait until all connections are open, before measuring begins with those that are.
OPEN_TIMEOUT_S = 10.0
# How long to wait for outstanding responses at the end: longer than taskd promises to take.
PATIENCE_S = 15.0
# The most by which a client that obeys Retry-After prolongs its wait, as a fraction of Retry-After.
JITTER = 0.5
# If a rejection lacks Retry-After, a client that would obey it must not retry in a busy loop.
DEFAULT_RETRY_AFTER_S = 1
MAX_KEPT_BODIES = 20

_END_OF_HEAD = b"\r\n\r\n"
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked\r\n")
_CLOSE = re.compile(rb"(?i)\r\nconnection: *close\r\n")
_JSON = re.compile(rb"(?i)\r\ncontent-type: *application/json\r\n")
_RETRY_AFTER = re.compile(rb"(?i)\r\nretry-after: *([1-9]\d*)\r\n")


class Retry(enum.Enum):
    """What a client does after a 503."""

    AT_ONCE = "at once"
    AFTER_PAUSE = "obeying"


@attrs.frozen(kw_only=True)
class Plan:
    """
    The load to generate.

    Attributes:
        port: Where the server listens, on the loopback interface.
        requests: What the clients send; each client always sends the same request.
        connections: The number of clients.
        duration_s: How long to measure, unless stopped earlier.
        settle_s: How long to wait after all connections are open before measuring begins.
        interval_s: The time between two requests of a client; latency counts from when a request was due.
        pid: The id of the server's process, to measure its use of the processors.
    """

    port: int
    requests: Sequence[bytes]
    connections: int = attrs.field(validator=attrs.validators.in_(range(1, MAX_CONNECTIONS + 1)))
    duration_s: float = attrs.field(default=MAX_DURATION_S, validator=attrs.validators.le(MAX_DURATION_S))
    settle_s: float = 0.3
    interval_s: float = 0.0
    retry: Retry = Retry.AT_ONCE
    pid: int | None = None


@attrs.frozen(kw_only=True)
class Result:
    """
    What the clients saw, even while connections were being opened and while the last responses were coming in.

    Attributes:
        begun_s: When measuring began, by `time.monotonic`, which all processes share.
        ended_s: When measuring ended; no request was sent after that.
        cpu_s: The CPU time that the server used between the two.
        starved_s: How long, between the two, its main thread was ready to run while others had the processors.
        statuses: The status of each response.
        sent_s: When each response's request was sent.
        received_s: When each response was complete.
        refused: How many connections could not be opened.
        cut_off: How many connections ended between a request and its response.
        unanswered: How many requests still had no response at the end.
        malformed: How many 503s lacked a usable Retry-After, or were not JSON.
        bodies: The first few different bodies of 503s.
    """

    begun_s: float
    ended_s: float
    cpu_s: float
    starved_s: float
    statuses: Sequence[int]
    sent_s: Sequence[float]
    received_s: Sequence[float]
    refused: int
    cut_off: int
    unanswered: int
    malformed: int
    bodies: Sequence[str]

    @property
    def duration_s(self) -> float:
        """Return for how long the load was measured."""
        return self.ended_s - self.begun_s

    @property
    def starved(self) -> float:
        """Return the fraction of that time in which others had the processors while the server could have used them."""
        return self.starved_s / self.duration_s

    @property
    def available_s(self) -> float:
        """Return for how long the load was measured, less the time that others took from the server."""
        return max(self.duration_s - self.starved_s, 0.01 * self.duration_s)

    @property
    def good(self) -> int:
        """Return the number of good responses while measuring."""
        return sum(1 for status, _ in self._measured() if is_good(status))

    @property
    def rejected(self) -> int:
        """Return the number of 503s while measuring."""
        return sum(1 for status, _ in self._measured() if status == 503)

    @property
    def good_per_s(self) -> float:
        """Return the throughput in good responses per second."""
        return self.good / self.duration_s

    @property
    def rejected_per_s(self) -> float:
        """Return the throughput in 503s per second."""
        return self.rejected / self.duration_s

    def rates(self, windows: int) -> list[float]:
        """Return the throughput in good responses per second, for each of *windows* equal parts of the time."""
        counts = [0] * windows
        for status, received_s in self._measured():
            counts[int((received_s - self.begun_s) / self.duration_s * windows)] += is_good(status)
        return [count * windows / self.duration_s for count in counts]

    def latencies_s(self, begin_s: float | None = None, end_s: float | None = None) -> list[float]:
        """Return the latencies of good responses to requests sent in this time, by default while measuring."""
        begin_s, end_s = self.begun_s if begin_s is None else begin_s, self.ended_s if end_s is None else end_s
        return [
            received_s - sent_s
            for status, sent_s, received_s in zip(self.statuses, self.sent_s, self.received_s, strict=True)
            if is_good(status) and begin_s <= sent_s < end_s
        ]

    def bad_between(self, begin_s: float, end_s: float) -> int:
        """Return how many requests sent in this time got a response that was not good."""
        sent = zip(self.statuses, self.sent_s, strict=True)
        return sum(1 for status, sent_s in sent if begin_s <= sent_s < end_s and not is_good(status))

    def faults(self) -> dict[str, int]:
        """Count what must never happen, whatever the load."""
        others = sum(1 for status in self.statuses if not is_good(status) and status != 503)
        counts = {
            "neither good nor 503": others,
            "malformed 503": self.malformed,
            "connection refused": self.refused,
            "cut off": self.cut_off,
            "unanswered": self.unanswered,
        }
        return {name: count for name, count in counts.items() if count}

    def _measured(self) -> Iterator[tuple[int, float]]:
        for status, received_s in zip(self.statuses, self.received_s, strict=True):
            if self.begun_s <= received_s < self.ended_s:
                yield status, received_s


def is_good(status: int) -> bool:
    """Tell whether a request was served."""
    return 200 <= status < 300


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that *percent* per cent of the *values* do not exceed; infinity if there are none."""
    if not values:
        return float("inf")
    return sorted(values)[min(int(len(values) * percent / 100), len(values) - 1)]


def raise_file_limit() -> None:
    """Let this process and its children have as many connections as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@attrs.frozen
class Running:
    """A load that is being generated."""

    process: subprocess.Popen[bytes]

    def stop(self) -> Result:
        """End the load early, and return the result."""
        self.process.send_signal(signal.SIGTERM)
        return self.result()

    def result(self) -> Result:
        """Wait for the load to end, and return the result."""
        written, _ = self.process.communicate(timeout=MAX_DURATION_S + PATIENCE_S)
        if self.process.returncode:
            raise RuntimeError(f"the load generator ended with {self.process.returncode}")
        return msgspec.json.decode(written, type=Result)


@contextlib.contextmanager
def running(plan: Plan) -> Iterator[Running]:
    """Generate load in a separate process; the block begins when measuring begins."""
    command = [sys.executable, "-P", str(Path(__file__))]
    # Unbuffered, because `communicate` does not see what `readline` would have read into a buffer.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(msgspec.json.encode(plan) + b"\n")
            process.stdin.flush()
            if process.stdout.readline() != b"begun\n":
                raise RuntimeError("the load generator did not start")
            yield Running(process)
        finally:
            process.kill()


def run(plan: Plan) -> Result:
    """Generate load in a separate process, and wait for it to end."""
    with running(plan) as load:
        return load.result()


@attrs.define(eq=False)
class _Client(asyncio.Protocol):
    """One client and, if it has one, its connection."""

    load: _Load
    request: bytes
    next_s: float
    is_waiting: bool = False
    _transport: asyncio.Transport | None = None
    _timer: asyncio.TimerHandle | None = None
    _sent_s: float = 0.0
    _received: bytearray = attrs.field(factory=bytearray)
    _length: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the next request when it is due."""
        self._transport = cast("asyncio.Transport", transport)
        self._schedule()

    def connection_lost(self, _: Exception | None) -> None:
        """Connect again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.load.cut_off += self.is_waiting
        self.is_waiting, self._transport, self._length = False, None, 0
        self._received.clear()
        self.load.connect(self)

    def data_received(self, data: bytes) -> None:
        """Read until the response is complete."""
        received = self._received
        received += data
        if not self._length:
            self._length = _length_of(received)
        if self._length and len(received) >= self._length:
            response = bytes(received)
            received.clear()
            self._length = 0
            self._on_response(response)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _schedule(self) -> None:
        pause_s = self.next_s - time.monotonic()
        if pause_s > 0:
            self._timer = asyncio.get_running_loop().call_later(pause_s, self._send)
        else:
            # If the last response came after this request was due, that delay counts for this request, too.
            self._send(self.next_s if self.load.plan.interval_s else None)

    def _send(self, sent_s: float | None = None) -> None:
        self._timer = None
        assert self._transport is not None
        if not self.load.is_over and not self._transport.is_closing():
            self.is_waiting = True
            self._sent_s = time.monotonic() if sent_s is None else sent_s
            self._transport.write(self.request)

    def _on_response(self, response: bytes) -> None:
        self.is_waiting = False
        status = int(response[9:12])
        self.load.record(status, self._sent_s)
        pause_s = self.load.plan.interval_s
        if status == 503:
            retry_after_s = self.load.on_rejection(response)
            if self.load.plan.retry is Retry.AFTER_PAUSE:
                pause_s = retry_after_s * random.uniform(1, 1 + JITTER)
        self.next_s = (self._sent_s if self.load.plan.interval_s else time.monotonic()) + pause_s
        if _CLOSE.search(response):
            self.close()
        else:
            self._schedule()


def _length_of(received: bytearray) -> int:
    """Return the length of a response, including its head, or 0 if it is not known yet."""
    end = received.find(_END_OF_HEAD)
    if end < 0:
        return 0
    if found := _LENGTH.search(received, 0, end + 2):
        return end + len(_END_OF_HEAD) + int(found[1])
    if _CHUNKED.search(received, 0, end + 2):
        # Only one request is outstanding at a time, so nothing follows the last chunk.
        return len(received) if received.endswith(_LAST_CHUNK) else 0
    return end + len(_END_OF_HEAD)


@attrs.define(eq=False)
class _Load:
    """All clients, and what they saw."""

    plan: Plan
    is_over: bool = False
    refused: int = 0
    cut_off: int = 0
    malformed: int = 0
    statuses: array.array[int] = attrs.field(factory=lambda: array.array("H"))
    sent_s: array.array[float] = attrs.field(factory=lambda: array.array("d"))
    received_s: array.array[float] = attrs.field(factory=lambda: array.array("d"))
    bodies: set[str] = attrs.field(factory=set)
    _opening: asyncio.Semaphore = attrs.field(factory=lambda: asyncio.Semaphore(OPENING_AT_ONCE))
    _connecting: set[asyncio.Task[None]] = attrs.field(factory=set)

    def record(self, status: int, sent_s: float) -> None:
        """Record a response that has just been received."""
        self.statuses.append(status)
        self.sent_s.append(sent_s)
        self.received_s.append(time.monotonic())

    def on_rejection(self, response: bytes) -> int:
        """Record what a 503 looks like, and return its Retry-After."""
        head, _, body = response.partition(_END_OF_HEAD)
        found = _RETRY_AFTER.search(head + b"\r\n")
        if not found or not _JSON.search(head + b"\r\n"):
            self.malformed += 1
        if len(self.bodies) < MAX_KEPT_BODIES:
            self.bodies.add(body.decode())
        return int(found[1]) if found else DEFAULT_RETRY_AFTER_S

    def connect(self, client: _Client) -> None:
        """Open a connection for *client*, in the background."""
        if not self.is_over:
            task = asyncio.create_task(self._connect(client))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, client: _Client) -> None:
        loop = asyncio.get_running_loop()
        while not self.is_over:
            with contextlib.suppress(OSError):
                async with self._opening, asyncio.timeout(CONNECT_TIMEOUT_S):
                    await loop.create_connection(lambda: client, HOST, self.plan.port)
                return
            self.refused += 1
            await asyncio.sleep(RECONNECT_PAUSE_S)

    async def run(self) -> Result:
        """Generate the load, and return the result."""
        is_stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, is_stopped.set)
        clients = self._clients()
        for client in clients:
            self.connect(client)
        await asyncio.wait(self._connecting, timeout=OPEN_TIMEOUT_S)
        await asyncio.sleep(self.plan.settle_s)
        print("begun", flush=True)
        begun_s, begun = time.monotonic(), _Usage.of(self.plan.pid)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(is_stopped.wait(), self.plan.duration_s)
        ended_s, ended = time.monotonic(), _Usage.of(self.plan.pid)
        self.is_over = True
        await _until_answered(clients)
        unanswered = sum(client.is_waiting for client in clients)
        return self._result(begun_s, ended_s, ended.since(begun), unanswered)

    def _clients(self) -> list[_Client]:
        """Return the clients; those that send at intervals do not all begin at once."""
        requests, now_s = self.plan.requests, time.monotonic()
        return [
            _Client(self, requests[number % len(requests)], now_s + random.random() * self.plan.interval_s)
            for number in range(self.plan.connections)
        ]

    def _result(self, begun_s: float, ended_s: float, usage: _Usage, unanswered: int) -> Result:
        return Result(
            begun_s=begun_s,
            ended_s=ended_s,
            cpu_s=usage.cpu_s,
            starved_s=usage.starved_s,
            statuses=self.statuses.tolist(),
            sent_s=self.sent_s.tolist(),
            received_s=self.received_s.tolist(),
            refused=self.refused,
            cut_off=self.cut_off,
            unanswered=unanswered,
            malformed=self.malformed,
            bodies=sorted(self.bodies),
        )


@attrs.frozen
class _Usage:
    """How much CPU time a process has used, and how long it was ready to run but had no processor."""

    cpu_s: float = 0.0
    starved_s: float = 0.0

    @classmethod
    def of(cls, pid: int | None) -> _Usage:
        """Read the usage of a process, if there is one."""
        if pid is None:
            return cls()
        # The id, a name in parentheses that may contain anything, the state, …; see proc_pid_stat(5).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        _, starved_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
        return cls((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(starved_ns) / 1e9)

    def since(self, earlier: _Usage) -> _Usage:
        """Return what was added since *earlier*."""
        return _Usage(self.cpu_s - earlier.cpu_s, self.starved_s - earlier.starved_s)


async def _until_answered(clients: Sequence[_Client]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while any(client.is_waiting for client in clients):  # noqa: ASYNC110  not worth an event for each client
                await asyncio.sleep(0.01)


def main() -> None:
    """Read a plan, generate its load, and write the result; both are in JSON."""
    raise_file_limit()
    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=Plan)
    result = msgspec.json.encode(uvloop.run(_Load(plan).run()))
    # If PYTHONUNBUFFERED is set, `sys.stdout.buffer` writes no more than the pipe accepts at once.
    with open(sys.stdout.fileno(), "wb", closefd=False) as output:
        output.write(result)


if __name__ == "__main__":
    main()
