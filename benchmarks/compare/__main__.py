"""
Compare taskd with what a person would write instead, and print medians and ratios as tables in Markdown.

The command sets up its own PostgreSQL, installs the other servers in `.cache/compare`, and checks that all servers give
the same answers.  Then each server runs alone, in turns and in random order, with one worker and under the same load.
The ratios in parentheses are to Fastify, or to the first server if Fastify is not measured.

Other processes on the machine disturb throughput and latency more than the CPU time of a request.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.compare import bars, documentation, machine, tables
from benchmarks.compare.databases import Databases
from benchmarks.compare.keys import published
from benchmarks.compare.measuring import Extent, Measuring
from benchmarks.compare.operations import OPERATIONS, tokens_for
from benchmarks.compare.population import Population
from benchmarks.compare.results import Results
from benchmarks.compare.servers import ALL
from benchmarks.processes import installed
from tests.support.postgres import postgres_server

T = TypeVar("T")


def named(table: Mapping[str, T]) -> Callable[[str], list[T]]:
    """Return a parser for an option that names several entries of *table*."""

    def parse(text: str) -> list[T]:
        names = text.split(",")
        for name in names:
            if name not in table:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(table)}")
        return [table[name] for name in names]

    return parse


def numbers(kind: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Return a parser for an option with several numbers."""
    return lambda text: [kind(each) for each in text.split(",")]


def options() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=(__doc__ or "").split("\n\n")[0])
    add = parser.add_argument
    add("--servers", type=named(ALL), default=list(ALL.values()), help=f"comma-separated: {', '.join(ALL)}")
    add("--operations", type=named(OPERATIONS), default=list(OPERATIONS.values()), help=", ".join(OPERATIONS))
    add("--connections", type=numbers(int), default=[1, 16, 64], help="by default 1,16,64")
    add(
        "--delay-ms", type=numbers(float), default=[0.0, 20.0], help="round-trip times to the database, by default 0,20"
    )
    add("--rounds", type=int, default=5, help="by default 5")
    add("--duration", type=int, default=5, metavar="SECONDS", help="how long to measure each, by default 5")
    add("--quick", action="store_true", help="one short round of GET and create on this machine; other options win")
    add("--tasks", type=int, default=Population().tasks, help="how many tasks there are at the start")
    add("--users", type=int, default=Population().users, help="how many users they belong to, more than 400")
    add("--json", type=Path, metavar="FILE", help="where to write everything that is measured, after each turn")
    add("--from", type=Path, nargs="+", metavar="FILE", dest="earlier", help="show JSON files, and measure nothing")
    add("--larger", type=Path, metavar="FILE", help="compare with this JSON file of a run with more tasks")
    add("--write-docs", action="store_true", help="write the figures into docs/explanation/performance.md")
    return parser


QUICK = ["--operations", "get,create", "--connections", "16", "--delay-ms", "0", "--rounds", "1", "--duration", "2"]


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    return options().parse_args([*QUICK, *arguments] if "--quick" in arguments else arguments)


def measure(given: argparse.Namespace, arguments: Sequence[str]) -> Results:
    """Measure what the options say, and write the results to the JSON file after each turn."""
    installed("wrk", "wrk")
    extent = Extent(given.servers, given.operations, given.connections, given.delay_ms, given.rounds, given.duration)
    kinds = {server.kind for server in given.servers}
    with postgres_server() as postgres, published() as origin, tempfile.TemporaryDirectory() as folder:
        databases = Databases.filled(postgres, Path(folder), Population(given.tasks, given.users), kinds)
        tokens = {False: tokens_for(None), True: tokens_for(origin)}
        measuring = Measuring(databases, tokens, origin, Path(folder))
        version = postgres.psql("postgres", "-c", "SHOW server_version").strip()
        results = Results(
            about=machine.described(arguments, f"PostgreSQL {version}"),
            servers={server.name: server.title for server in given.servers},
            operations={operation.name: operation.title for operation in given.operations},
            connections=given.connections,
            delays_ms=given.delay_ms,
            samples=measuring.samples,
            turns=measuring.turns,
        )
        measuring.check(given.servers)
        for _ in measuring.take(extent):
            if given.json:
                results.write(given.json)
    return results


def main(arguments: Sequence[str]) -> None:
    """Measure, and print the tables."""
    given = parsed(arguments)
    earlier = [Results.read(file) for file in given.earlier or ()]
    results = Results.joined(earlier) if earlier else measure(given, arguments)
    larger = Results.read(given.larger) if given.larger else None
    if given.write_docs:
        documentation.write(results, larger)
    shown = [*tables.sections(results), "\n".join(bars.table(results))]
    if larger:
        shown.append("\n".join(tables.of_growth(results, larger)))
    print("\n\n".join(shown))


if __name__ == "__main__":
    main(sys.argv[1:])
