"""
Print a Markdown table of what slow and hostile clients do to taskd and to other servers of ASGI applications.

Each client gets a freshly started server, except for clients that wait, which use all servers at the same time.
Servers that are not installed (granian, h11, nginx) are left out.  `--short` leaves out the clients that wait for
time-outs.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import multiprocessing
import multiprocessing.connection
import re
import select
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import attrs

from benchmarks.hostile_servers import MIB, NAMES, Server, allow_descriptors, available, fill, running
from benchmarks.load import percentile

WAIT_S = 45
# A server that sends nothing for this long is assumed to have no more to send.
PATIENCE_S = 3
# How long to run a client that may slow others down.
ATTACK_S = 2.0
PIPELINED = 1000
JSON = b'{"title": "t"}'
NEWLINE = b"\n"
CHUNKED = "Transfer-Encoding: chunked"
SLOW_CLIENTS = 200
WINDOWS, WINDOW_S = 8, 1.2


# What a client sees


@attrs.frozen
class Outcome:
    """The statuses of the responses, and how the connection ended: closed, reset or not at all."""

    statuses: list[int]
    end: str

    def __str__(self) -> str:
        said = ", ".join(map(str, self.statuses)) or "no response"
        return said if self.end == "open" and self.statuses else f"{said}, {self.end}"


def outcome(connection: socket.socket, patience_s: float = PATIENCE_S) -> Outcome:
    """Read responses until the connection ends, or nothing arrives for a while."""
    data, end = bytearray(), "closed"
    connection.settimeout(patience_s)
    try:
        while received := connection.recv(MIB):
            data += received
    except TimeoutError:
        end = "open"
    except ConnectionError:
        end = "reset"
    return Outcome([int(each) for each in re.findall(rb"HTTP/1\.[01] (\d{3}) ", data)], end)


def sent(connection: socket.socket, *pieces: bytes) -> None:
    """Send as much of *pieces* as the server accepts."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        for piece in pieces:
            connection.sendall(piece)


def tried(server: Server, *pieces: bytes) -> Outcome:
    """Send *pieces* on a separate connection, and return the outcome."""
    with server.connect() as connection:
        sent(connection, *pieces)
        return outcome(connection)


def shown(names: Iterable[str], outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes as text, each with its name."""
    return "; ".join(f"{name}: {each}" for name, each in zip(names, outcomes, strict=True))


def left(server: Server, before: int) -> str:
    """Return text that says how many descriptors of disconnected clients are still open, if any are."""
    until_s = time.monotonic() + PATIENCE_S
    while (more := server.descriptors() - before) > 0 and time.monotonic() < until_s:
        time.sleep(0.05)
    return f"; {more} descriptors left" if more > 0 else ""


# What a well-behaved client sees meanwhile


@attrs.frozen
class Latencies:
    """Which server each request was sent to, when, and how long its response took."""

    taken: list[tuple[int, float, float]]

    def p99_s(self, begin_s: float, end_s: float, server: int = 0) -> float:
        """Return the 99th percentile of the latencies of requests to *server* that were in flight in that time."""
        values = [took for which, at, took in self.taken if which == server and at < end_s and at + took > begin_s]
        return percentile(values, 99)


@attrs.define
class GoodClient:
    """A process that sends requests to the servers in turns, and is not slowed down by what this process does."""

    latencies: Latencies = attrs.field(factory=lambda: Latencies([]))

    @contextlib.contextmanager
    def at_work(self, *servers: Server) -> Iterator[None]:
        """Send requests for the duration of the block."""
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        asked = [(server.port, server.body.path, server.body.headers) for server in servers]
        process = context.Process(target=ask, args=(there, asked))
        process.start()
        here.recv()
        try:
            yield
        finally:
            here.send(None)
            self.latencies.taken.extend(here.recv())
            process.join()


def ask(pipe: multiprocessing.connection.Connection, asked: list[tuple[int, str, tuple[str, ...]]]) -> None:
    """Send a request to each server in turn, over and over."""
    clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for port, _, _ in asked]
    taken: list[tuple[int, float, float]] = []
    while not pipe.poll(0.001):
        for which, (client, (_, path, lines)) in enumerate(zip(clients, asked, strict=True)):
            begun_s = time.monotonic()
            client.request("GET", path, headers=dict(line.split(": ", 1) for line in lines))
            client.getresponse().read()
            taken.append((which, begun_s, time.monotonic() - begun_s))
        if len(taken) == 100 * len(asked):
            pipe.send(None)
    pipe.recv()
    pipe.send(taken)


def slowdown(quiet: Server, server: Server, attack: Callable[[], None]) -> str:
    """
    Attack *server* over and over, and return how much longer a good client has to wait there than at *quiet*.

    Whatever else the machine is doing meanwhile affects both servers.
    """
    good = GoodClient()
    with good.at_work(server, quiet):
        begun_s = time.monotonic()
        while time.monotonic() < begun_s + ATTACK_S:
            attack()
        ended_s = time.monotonic()
    ratio = good.latencies.p99_s(begun_s, ended_s, 0) / good.latencies.p99_s(begun_s, ended_s, 1)
    return f"others {ratio:.1f}" if ratio < 10 else f"others {ratio:.0f}"


def in_mib(size: float) -> str:
    """Return a size in MiB, to one decimal place."""
    return f"{max(0.0, size / MIB):.1f} MiB"


# The clients


def pipelined_unread(quiet: Server, server: Server) -> str:
    """Send requests for as long as the server accepts them, and read nothing."""
    return flooded(quiet, server, reads=False)


def pipelined_read(quiet: Server, server: Server) -> str:
    """Send requests for as long as the server accepts them, and read the responses."""
    return flooded(quiet, server, reads=True)


def flooded(quiet: Server, server: Server, *, reads: bool) -> str:
    """Flood two connections, and return how much memory each of them costs the server."""
    connections = [server.connect(), server.connect()]
    many = server.small.request("GET") * PIPELINED
    before = server.resident_bytes()
    todo = iter(connections)

    def attack() -> None:
        if (connection := next(todo, None)) is not None:
            flood(connection, many, reads=reads)
        else:
            time.sleep(0.1)

    slower = slowdown(quiet, server, attack)
    held = (server.resident_bytes() - before) / len(connections)
    for connection in connections:
        connection.close()
    return f"{in_mib(held)}; {slower}"


def flood(connection: socket.socket, many: bytes, *, reads: bool) -> None:
    """Send *many* over and over, for at most three seconds, or until the connection stalls for half a second."""
    connection.setblocking(False)
    until_s = time.monotonic() + 3
    rest = memoryview(many)
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < until_s:
            readable, writable, _ = select.select([connection] if reads else [], [connection], [], 0.5)
            if not readable and not writable:
                return
            if readable and not connection.recv(MIB):
                return
            if writable:
                rest = rest[connection.send(rest) :] or memoryview(many)


def endless(quiet: Server, server: Server, start: bytes, piece: bytes) -> str:
    """Send *start*, then *piece* until there is a response, for at most 16 MiB and two seconds."""
    found: list[str] = []
    before = server.resident_bytes()

    def attack() -> None:
        with server.connect() as connection:
            count = len(start)
            until_s = time.monotonic() + ATTACK_S
            with contextlib.suppress(ConnectionError, TimeoutError):
                connection.sendall(start)
                while count < 16 * MIB and time.monotonic() < until_s and not select.select([connection], [], [], 0)[0]:
                    connection.sendall(piece)
                    count += len(piece)
            seen = outcome(connection, 0.5)
            is_open = not seen.statuses and seen.end == "open"
            held = server.resident_bytes() - before
            found.append(f"no refusal in {in_mib(count)}, holds {in_mib(held)}" if is_open else str(seen))

    slower = slowdown(quiet, server, attack)
    return f"{found[0]}; {slower}"


def endless_trailer(quiet: Server, server: Server) -> str:
    """Send an endless trailer."""
    return endless(quiet, server, server.body.request("POST", CHUNKED) + b"2\r\n{}\r\n0\r\nX: ", b"a" * 1000)


def endless_extension(quiet: Server, server: Server) -> str:
    """Send an endless chunk extension."""
    return endless(quiet, server, server.body.request("POST", CHUNKED) + b"2;a=", b"a" * 1000)


def endless_head(quiet: Server, server: Server) -> str:
    """Send an endless header."""
    return endless(quiet, server, server.small.request("GET")[:-2] + b"A: ", b"a" * 1000)


def tiny_headers(quiet: Server, server: Server) -> str:
    """Send heads of almost 64 KiB with as many headers as fit."""
    return heavy(quiet, server, server.small.request("GET", "Connection: close")[:-2] + b"a:\r\n" * 16_000 + b"\r\n")


def tiny_chunks(quiet: Server, server: Server) -> str:
    """Send a body in chunks of one byte each."""
    chunks = b"1\r\n \r\n" * 40_000 + b"2\r\n{}\r\n0\r\n\r\n"
    return heavy(quiet, server, server.body.request("POST", CHUNKED, "Connection: close") + chunks)


def heavy(quiet: Server, server: Server, request: bytes) -> str:
    """Send *request* over and over, each time on a new connection."""
    found: list[Outcome] = []

    def attack() -> None:
        with server.connect() as connection:
            sent(connection, request)
            found.append(outcome(connection))

    slower = slowdown(quiet, server, attack)
    return f"{found[0]}; {slower}"


def broken_chunk(server: Server) -> str:
    """Send a valid chunk, and then something that is not a chunk."""
    before = server.descriptors()
    with server.connect() as connection:
        sent(connection, server.body.request("POST", CHUNKED) + b"1\r\n{\r\n")
        time.sleep(0.2)
        sent(connection, b"zz\r\n")
        seen = outcome(connection)
    return f"{seen}{left(server, before)}"


def gzip_alone(server: Server) -> str:
    """Send a body whose coding does not tell where it ends (RFC 9112, section 6.3, requires a 400)."""
    return str(tried(server, server.body.request("POST", "Transfer-Encoding: gzip") + JSON))


def many_pipelined(server: Server) -> str:
    """Send 3,000 requests at once, and read the responses."""
    with server.connect() as connection:
        sender = threading.Thread(target=sent, args=(connection, server.small.request("GET") * 3000))
        sender.start()
        seen = outcome(connection)
        sender.join()
    return f"{len(seen.statuses):,d} answered"


def large_heads(server: Server) -> str:
    """Send a head of 80,000 bytes in pieces, and one of 100,000 at once."""
    heads = [server.small.request("GET", "A: " + "a" * size) for size in (80_000, 100_000)]
    pieces = [heads[0][at : at + 1000] for at in range(0, len(heads[0]), 1000)]
    return shown(("80,000", "100,000"), [tried(server, *pieces), tried(server, heads[1])])


def refused_early(server: Server) -> str:
    """Send 16 MiB that the server does not want, and then try to read its response; do so twenty times."""
    lost = 0
    body = b"x" * 16 * MIB
    for _ in range(20):
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        headers = dict(line.split(": ", 1) for line in (*server.refused.headers, "Connection: close"))
        try:
            client.request("POST", server.refused.path, body, headers)
            client.getresponse()
        except OSError:
            lost += 1
        client.close()
    return f"{lost} of 20 lost"


def expected_early(server: Server) -> str:
    """Wait to be asked for a body and, when refused, send another request instead."""
    asking = server.refused.request("POST", "Expect: 100-continue", "Content-Length: 100")
    with server.connect() as connection:
        sent(connection, asking)
        first = outcome(connection, 0.5)
        if first.end != "open":
            return str(first)
        sent(connection, server.small.request("GET"))
        second = outcome(connection, 1)
    return f"{first}, next request {'answered' if second.statuses else 'swallowed'}"


def upgraded_post(server: Server) -> str:
    """Send a POST that has a body and asks for HTTP/2."""
    headers = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
    return str(tried(server, server.body.request("POST", *headers, body=JSON)))


def upgraded_pair(server: Server) -> str:
    """Send a GET that asks for a WebSocket, immediately followed by another GET."""
    asking = server.small.request("GET", "Connection: Upgrade", "Upgrade: websocket")
    return str(tried(server, asking + server.small.request("GET")))


def half_closed(server: Server) -> str:
    """Send a request, and close the client's half of the connection."""
    with server.connect() as connection:
        sent(connection, server.body.request("POST", body=JSON))
        connection.shutdown(socket.SHUT_WR)
        return str(outcome(connection))


def upgrade_log(server: Server) -> str:
    """Count the lines that 1,000 requests for a WebSocket cause in the log."""
    before = server.log.read_bytes().count(NEWLINE)
    asking = server.small.request("GET", "Connection: Upgrade", "Upgrade: websocket")
    for _ in range(1000):
        with server.connect() as connection:
            sent(connection, asking)
            connection.recv(MIB)
    lines = server.log.read_bytes().count(NEWLINE) - before
    return f"{lines:,d} line" + "s" * (lines != 1)


def methods(server: Server) -> str:
    """Send methods that no parser knows."""
    names = ("FOO", "get")
    return shown(names, [tried(server, server.small.request(name, "Connection: close")) for name in names])


def hosts(server: Server) -> str:
    """Send no host, an empty one, and two (RFC 9112, section 3.2, requires a 400 for the first and the last)."""
    heads = [
        server.small.request("GET", "Connection: close", host=None),
        server.small.request("GET", "Connection: close", host=""),
        server.small.request("GET", "Connection: close", "Host: y"),
    ]
    return shown(("none", "empty", "two"), [tried(server, head) for head in heads])


# Clients that wait


def waited(connection: socket.socket, meanwhile: Callable[[], None] = lambda: None) -> str:
    """Call *meanwhile* every second until the server responds or disconnects; return what happened, and when."""
    begun_s = time.monotonic()
    while (took_s := time.monotonic() - begun_s) < WAIT_S:
        if select.select([connection], [], [], 1)[0]:
            took_s = time.monotonic() - begun_s
            return f"{outcome(connection)} after {took_s:.0f} s"
        with contextlib.suppress(ConnectionError):
            meanwhile()
    return f"still open after {WAIT_S} s"


def silent(server: Server) -> str:
    """Connect, and send nothing."""
    with server.connect() as connection:
        return waited(connection)


def half_head(server: Server) -> str:
    """Send half a head."""
    with server.connect() as connection:
        sent(connection, server.small.request("GET")[:-2])
        return waited(connection)


def stalled_body(server: Server) -> str:
    """Send the beginning of a body."""
    with server.connect() as connection:
        sent(connection, server.body.request("POST", "Content-Length: 1000") + b"{")
        return waited(connection)


def dripping_body(server: Server) -> str:
    """Send a body at one byte per second."""
    with server.connect() as connection:
        sent(connection, server.body.request("POST", "Content-Length: 1000") + b"{")
        return waited(connection, lambda: connection.sendall(b" "))


def never_reads(server: Server) -> str:
    """Request 9 MiB and read nothing."""
    before = server.resident_bytes()
    with server.connect(4096) as connection:
        sent(connection, server.large.request("GET"))
        time.sleep(2)
        held = server.resident_bytes() - before
        begun_s = time.monotonic()
        events = select.poll()
        events.register(connection, select.POLLRDHUP)
        is_over = bool(events.poll(WAIT_S * 1000))
        took_s = time.monotonic() - begun_s + 2
    said = f"cut off after {took_s:.0f} s" if is_over else f"still open after {WAIT_S} s"
    return f"{said}; {in_mib(held)}"


# Many at once


def crowd(quiet: Server, server: Server) -> str:
    """
    Connect 200 slow clients of each kind, and compare how long a good client has to wait there and at *quiet*.

    Whatever else the machine is doing meanwhile affects both servers.
    """
    before, memory = server.descriptors(), server.resident_bytes()
    good = GoodClient()
    with good.at_work(server, quiet):
        with contextlib.ExitStack() as stack:
            dripping = connect_slow(server, stack)
            connected_s = time.monotonic()
            until_s = connected_s + WINDOWS * WINDOW_S
            while time.monotonic() < until_s:
                for client in dripping:
                    with contextlib.suppress(ConnectionError):
                        client.sendall(b" ")
                    time.sleep(1 / SLOW_CLIENTS)
            held = server.resident_bytes() - memory
        remains = left(server, before + 1)
    begins = [connected_s + window * WINDOW_S for window in range(WINDOWS)]
    p99 = [[good.latencies.p99_s(at, at + WINDOW_S, which) for at in begins] for which in (0, 1)]
    ratio = statistics.median(busy / free for busy, free in zip(*p99, strict=True))
    busy_ms, free_ms = (1000 * statistics.median(each) for each in p99)
    return f"others {ratio:.1f} ({busy_ms:.0f} and {free_ms:.0f} ms); {in_mib(held)} in all{remains}"


def connect_slow(server: Server, stack: contextlib.ExitStack) -> list[socket.socket]:
    """Connect all slow clients; return the ones that must keep sending."""
    post = server.body.request("POST", "Content-Length: 1000") + b"{"
    silent_kinds = [b"", server.small.request("GET")[:-2], post, server.medium.request("GET")]
    dripping = []
    for _ in range(SLOW_CLIENTS):
        for start in silent_kinds:
            sent(stack.enter_context(server.connect(4096)), start)
        dripping.append(stack.enter_context(server.connect(4096)))
        sent(dripping[-1], post)
    return dripping


# These compare the server with an idle one of the same kind.
SLOWING: dict[str, Callable[[Server, Server], str]] = {
    "pipelines GETs, reads nothing: memory per connection": pipelined_unread,
    "pipelines GETs, reads the responses: memory per connection": pipelined_read,
    "a head without an end": endless_head,
    "a trailer without an end": endless_trailer,
    "a chunk extension without an end": endless_extension,
    "heads of 64 KiB with 16,000 headers": tiny_headers,
    "a body in 40,000 chunks of one byte": tiny_chunks,
}
SHORT = {
    "3,000 pipelined GETs": many_pipelined,
    "heads of 80,000 bytes in pieces, of 100,000 at once": large_heads,
    "a broken chunk behind a good one": broken_chunk,
    "`Transfer-Encoding: gzip` alone": gzip_alone,
    "a refused POST of 16 MiB": refused_early,
    "`Expect: 100-continue`, refused": expected_early,
    "a POST with `Upgrade: h2c`": upgraded_post,
    "a GET with `Upgrade`, and a GET behind it": upgraded_pair,
    "1,000 GETs with `Upgrade: websocket`: log": upgrade_log,
    "a POST, then a closed half": half_closed,
    "unknown methods": methods,
    "`Host`": hosts,
}
WAITING = {
    "silence": silent,
    "half a head": half_head,
    "a body that stalls": stalled_body,
    "a body at a byte per second": dripping_body,
    "never reads 9 MiB": never_reads,
}
CROWD = "200 each of these five at once"
LEGEND = """\
*Others* is how long a good client has to wait, 99th percentile, as a multiple of its wait at a server of the same kind
that is left alone meanwhile."""


def run(names: Sequence[str], database: Path, *, is_short: bool, only: str) -> Iterator[list[str]]:
    """Yield a row for each client."""
    yield from compared(SLOWING, names, database, only)
    for client, case in SHORT.items():
        if only in client:
            row = [client]
            for name in names:
                with running(name, database) as server:
                    row.append(guarded(case, server))
            yield row
    if not is_short:
        yield from waited_for(names, database, only)
        yield from compared({CROWD: crowd}, names, database, only)


def compared(
    cases: Mapping[str, Callable[[Server, Server], str]], names: Sequence[str], database: Path, only: str
) -> Iterator[list[str]]:
    """Yield a row for each client in *cases*, whose functions take a quiet server and one to attack."""
    for client, case in cases.items():
        if only in client:
            row = [client]
            for name in names:
                with running(name, database) as quiet, running(name, database) as server:
                    row.append(guarded(partial(case, quiet), server))
            yield row


def waited_for(names: Sequence[str], database: Path, only: str) -> Iterator[list[str]]:
    """Yield a row for each client that waits; they all run at the same time."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(names) * len(WAITING)) as pool:
        rows = {}
        for client, case in WAITING.items():
            if only in client:
                servers = [stack.enter_context(running(name, database)) for name in names]
                rows[client] = [pool.submit(guarded, case, server) for server in servers]
        for client, cells in rows.items():
            yield [client, *(cell.result() for cell in cells)]


def guarded(case: Callable[[Server], str], server: Server) -> str:
    """Return the finding, or the error if there is one, so that the other clients still run."""
    try:
        return case(server)
    except Exception as error:  # noqa: BLE001  the table shows it
        return f"({type(error).__name__}: {error})"


def main() -> None:
    """Print the table, each row as soon as it is complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="leave out the clients that wait for time-outs")
    parser.add_argument("--only", default="", help="only run the clients whose names contain this")
    parser.add_argument("--servers", default=None, help="only run these servers, separated by semicolons")
    options = parser.parse_args()
    allow_descriptors(8192)
    versions = available()
    names = [
        name for name in NAMES if name in versions and (options.servers is None or name in options.servers.split(";"))
    ]
    print(f"| client | {' | '.join(names)} |")
    print(f"| --- {'| --- ' * len(names)}|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        database = fill(Path(folder))
        for row in run(names, database, is_short=options.short, only=options.only):
            print(f"| {' | '.join(row)} |", flush=True)
    print(
        f"\n{LEGEND} Measured with {', '.join(versions[name] for name in names)}, and CPython {sys.version.split()[0]}."
    )


if __name__ == "__main__":
    main()
