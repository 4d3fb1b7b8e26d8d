"""
Count the machine instructions that the server runs for a request: a figure that other programs do not disturb.

On a machine that others use, too, times vary by half, and these counts by less than a percent, so they show what a
change is worth.  They leave out what the kernel and PostgreSQL do, and how long an instruction takes.

It needs Debian's package `valgrind`, and takes about a minute for each server.

Run it as a module: `python -m benchmarks.instructions`.
"""

from __future__ import annotations

import argparse
import itertools
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from http.client import HTTPResponse
from pathlib import Path

import attrs

from benchmarks.compare.databases import Databases
from benchmarks.compare.operations import DELETE, OPERATIONS, Operation, tokens_for
from benchmarks.compare.population import Population
from benchmarks.compare.servers import ALL, Running, Server, started
from benchmarks.processes import installed
from tests.support.postgres import postgres_server

__all__ = ["parsed"]

NAMES = [name for name, operation in OPERATIONS.items() if operation is not DELETE]
# After this many requests, Python has specialised its bytecode, and all statements have been prepared.
WARM_UP = 500


@attrs.frozen
class Counter:
    """
    Counts the instructions of a server that runs in Valgrind.

    Attributes:
        folder: Where Valgrind writes what it has counted.
        valgrind: The path of Valgrind.
        control: The path of `callgrind_control`, which tells Valgrind when to count.
    """

    folder: Path
    valgrind: str = attrs.field(factory=partial(installed, "valgrind", "valgrind"))
    control: str = attrs.field(factory=partial(installed, "callgrind_control", "valgrind"))

    def observed(self, server: Server) -> Server:
        """Return *server*, to be started in Valgrind; nothing is counted yet."""

        def command(port: int) -> Sequence[str | Path]:
            options = ["--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self.folder}/counts.%p"]
            return [self.valgrind, *options, *server.command(port)]

        return attrs.evolve(server, command=command)

    def count(self, running: Running, requests: Iterator[bytes], number: int) -> float:
        """Return how many instructions each of this *number* of requests costs."""
        send(running.port, itertools.islice(requests, WARM_UP))
        self._control(running, "--instr=on")
        self._control(running, "--zero")
        send(running.port, itertools.islice(requests, number))
        self._control(running, "--dump")
        self._control(running, "--instr=off")
        [file] = self.folder.glob(f"counts.{running.pid}.*")
        totals = re.search(r"(?m)^totals: (\d+)$", file.read_text())
        file.unlink()
        assert totals is not None
        return int(totals[1]) / number

    def _control(self, running: Running, option: str) -> None:
        subprocess.run([self.control, option, str(running.pid)], check=True, capture_output=True)


def send(port: int, requests: Iterator[bytes]) -> None:
    """Send *requests*, one after the other, on one connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for request in requests:
            connection.sendall(request)
            response = HTTPResponse(connection)
            response.begin()
            response.read()
            if response.status >= 400:
                raise RuntimeError(f"a request got a {response.status}")


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--servers", default="taskd,floor", help="servers of benchmarks.compare, those in Python")
    parser.add_argument("--operations", default=",".join(NAMES), help=", ".join(NAMES))
    parser.add_argument("--requests", type=int, default=300, help="how many to count, by default 300")
    return parser.parse_args(arguments)


def main() -> None:
    """Count, and print a table."""
    given = parsed(sys.argv[1:])
    servers = [ALL[name] for name in given.servers.split(",")]
    operations: list[Operation] = [OPERATIONS[name] for name in given.operations.split(",")]
    tokens = tokens_for(None)
    probe = next(OPERATIONS["get"].requests(tokens, None))
    print(f"| server | {' | '.join(operation.title for operation in operations)} |")
    print(f"| --- |{' ---: |' * len(operations)}")
    with postgres_server() as postgres, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counter = Counter(folder)
        databases = Databases.filled(postgres, folder, Population(), {server.kind for server in servers})
        for server in servers:
            with (
                databases.fresh(server.kind) as database,
                started(counter.observed(server), database.url, "", probe, folder) as running,
            ):
                streams = [itertools.cycle(operation.requests(tokens, None)) for operation in operations]
                counts = [counter.count(running, stream, given.requests) for stream in streams]
            print(f"| {server.title} | {' | '.join(f'{count:,.0f}' for count in counts)} |", flush=True)


if __name__ == "__main__":
    main()
