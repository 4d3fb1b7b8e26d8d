"""
Measure the cost of parsing the head of a request with each parser that a server in Python can use.

Each parser gets the same head in one piece, which is how most heads arrive.  Its name says whether its objects are
created anew for each head or kept for the connection.  Parsers that are not installed are left out.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import timeit
from collections.abc import Callable
from typing import Any

import httptools

from taskd.server.head import Head

# As a web page sends it, with a token from Better Auth.
HEAD = "\r\n".join(
    [
        "GET /api/alice/tasks?status=open&limit=50 HTTP/1.1",
        "Host: tasks.example.com",
        "Connection: keep-alive",
        f"Authorization: Bearer {'a' * 400}",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Accept: application/json",
        "Accept-Language: en-US,en;q=0.5",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "Origin: https://app.example.com",
        "Referer: https://app.example.com/",
        "Sec-Fetch-Dest: empty",
        "Sec-Fetch-Mode: cors",
        "Sec-Fetch-Site: same-site",
        "",
        "",
    ]
).encode()
REPEATS, COUNT = 7, 2000


class Callbacks:
    """Collects headers, as uvicorn does."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        """Keep the target."""
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self.headers.append((name.lower(), value))

    def on_message_complete(self) -> None:
        """Forget the headers."""
        self.headers = []


def validated() -> None:
    """Only validate the head."""
    httptools.HttpRequestParser(NOTHING).feed_data(HEAD)


def collected() -> None:
    """Collect the headers."""
    httptools.HttpRequestParser(Callbacks()).feed_data(HEAD)


def kept() -> None:
    """Collect the headers with a parser that is kept for the connection, as uvicorn does."""
    KEPT.feed_data(HEAD)


def taskd() -> None:
    """Validate the head, split it, and find out how the body is framed."""
    Head.parse(HEAD, 100)


NOTHING = object()
KEPT = httptools.HttpRequestParser(Callbacks())
PARSERS: dict[str, Callable[[], object]] = {
    "httptools, a new parser for the head, no callbacks": validated,
    "httptools, a new parser for the head, headers collected": collected,
    "httptools, one parser for the connection, headers collected": kept,
    "taskd: httptools without callbacks, headers split and framing read": taskd,
}


def others() -> dict[str, Callable[[], object]]:
    """Return the other parsers that are installed."""
    found: dict[str, Callable[[], object]] = {}
    if importlib.util.find_spec("h11"):
        h11: Any = importlib.import_module("h11")

        def parse_with_h11() -> None:
            connection = h11.Connection(h11.SERVER)
            connection.receive_data(HEAD)
            connection.next_event()

        found["h11, a new connection"] = parse_with_h11
    if importlib.util.find_spec("zttp"):
        zttp: Any = importlib.import_module("zttp")

        def parse_with_zttp() -> None:
            connection = zttp.Connection(zttp.SERVER)
            connection.receive_event(HEAD).headers.to_list(lowercase_names=True)

        found["zttp, a new connection"] = parse_with_zttp
    return found


def main() -> None:
    """Print the table."""
    print("| parser | microseconds |")
    print("| --- | ---: |")
    for name, parse in (PARSERS | others()).items():
        cost_us = min(timeit.repeat(parse, number=COUNT, repeat=REPEATS)) / COUNT * 1e6
        print(f"| {name} | {cost_us:.1f} |")
    installed = [name for name in ("httptools", "h11", "zttp") if importlib.util.find_spec(name)]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in installed)
    print(f"\nA head of {len(HEAD)} bytes, with {versions}, and CPython {sys.version.split()[0]}.")


if __name__ == "__main__":
    main()
