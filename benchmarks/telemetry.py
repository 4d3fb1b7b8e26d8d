"""
Measure what it costs to observe requests: the CPU time of a request with and without metrics, log lines and traces.

The applications run in this process, over SQLite and without a network, which makes the cost of observing look larger
than it is.  The results are ratios, because machines differ; all applications are measured in turns, and so under the
same conditions.

The exit status is 1 if metrics cost more than taskd promises, which is 5 % of a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator

import attrs
import jwt
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from starlette.types import ASGIApp, Message

from taskd.application import Application
from taskd.testing import lifespan

SECRET = "a secret for the benchmark, of more than 32 bytes"
ROUNDS = 3000
# Machines are so noisy that a single measurement proves nothing.
ATTEMPTS = 3
METRICS = {"TASKD_PLUGINS": "docs,jwt,metrics,sql,tasks", "TASKD_METRICS_TOKEN": "a-token-for-the-benchmark"}
TRACES = {"TASKD_MIDDLEWARE": "otel", "TASKD_STORE_WRAPPERS": "otel", "OTEL_TRACES_EXPORTER": "none"}
SAMPLED = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}


@attrs.define
class Observed:
    """
    An application that observes its requests in one way.

    Attributes:
        name: What it does.
        settings: The settings that make it do so.
        at_most: The most that a request may cost, as a multiple of one that nobody observes.
        app: The application.
        costs_us: What each request has cost.
    """

    name: str
    settings: dict[str, str]
    at_most: float = float("inf")
    app: Application = attrs.field(init=False)
    costs_us: list[float] = attrs.field(init=False, factory=list)

    def build(self, folder: str) -> Application:
        """Make the application, over a file in *folder*."""
        given = {"DATABASE_URL": f"sqlite:///{folder}/{self.name}.db", "BETTER_AUTH_SECRET": SECRET, **self.settings}
        with _environment(given):
            self.app = Application.assemble(given)
        for loaded in self.app.plugins.loaded:
            plugin = loaded._manager.get_plugin("otel")  # noqa: SLF001  the spans must go somewhere
            if plugin is not None:
                plugin.tracing.provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
        return self.app

    @property
    def cost_us(self) -> float:
        """The cost of one request: that of the cheapest tenth, since whatever else runs makes requests cost more."""
        return statistics.quantiles(self.costs_us, n=10)[0]


class _Nowhere(SpanExporter):
    """Drops all spans."""

    def export(self, _: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class _NoLines(logging.Handler):
    """Formats a line, and drops it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set those of *variables* that OpenTelemetry itself reads."""
    kept = dict(os.environ)
    os.environ.update({name: value for name, value in variables.items() if name.startswith("OTEL_")})
    yield
    os.environ.clear()
    os.environ.update(kept)


def ways() -> list[Observed]:
    """Return what to measure; everything is compared with the first."""
    return [
        Observed("nothing", {}),
        Observed("nothing, again", {}),
        Observed("metrics", METRICS, at_most=1.05),
        Observed("log lines", {"TASKD_ACCESS_LOG": "1"}),
        Observed("traces of 1 in 100", TRACES | SAMPLED),
        Observed("traces of all", TRACES),
    ]


async def measure() -> list[Observed]:
    """Send requests to all applications in turns, one to each in a round."""
    table = ways()
    order = table.copy()
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        paths = {}
        for each in table:
            await stack.enter_async_context(lifespan(each.build(folder)))
            created = json.loads(await respond(each.app, "POST", "/api/bench/tasks", b'{"title": "T"}'))
            paths[each.name] = f"/api/bench/tasks/{created['id']}"
        for _ in range(ROUNDS):
            random.shuffle(order)
            for each in order:
                begun_s = time.process_time()
                await respond(each.app, "GET", paths[each.name])
                each.costs_us.append((time.process_time() - begun_s) * 1e6)
    return table


TOKEN = jwt.encode({"sub": "bench", "exp": int(time.time()) + 3600}, SECRET, "HS256")


async def respond(app: ASGIApp, method: str, path: str, body: bytes = b"") -> bytes:
    """Return the body of the response to a request, which must succeed."""
    content = bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        assert message.get("status", 200) < 300
        content.extend(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"taskd"),
            (b"authorization", f"Bearer {TOKEN}".encode()),
            (b"content-type", b"application/json"),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    return bytes(content)


def show(measured: list[Observed]) -> None:
    """Print a table."""
    print(f"| a GET of one task, {ROUNDS} times, with | CPU, to the first |")
    print("| --- | --- |")
    for each in measured:
        print(f"| {each.name} | {each.cost_us / measured[0].cost_us:.3f} |")
    print(f"\nThe first took {measured[0].cost_us:.0f} us.")


def main() -> None:
    """Print what was measured, and exit with status 1 if it exceeds what is promised in every attempt."""
    logger = logging.getLogger("taskd.access")
    logger.addHandler(_NoLines())
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for _ in range(ATTEMPTS):
        measured = asyncio.run(measure())
        show(measured)
        excesses = [each.name for each in measured if each.cost_us > each.at_most * measured[0].cost_us]
        if not excesses:
            return
    sys.exit(f"These cost more than is promised: {', '.join(excesses)}.")


if __name__ == "__main__":
    main()
