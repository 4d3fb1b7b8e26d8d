"""Publish the keys of `benchmarks.tokens` where Better Auth publishes its own."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator

from benchmarks.tokens import key_set

__all__ = ["published"]


class Handler(http.server.BaseHTTPRequestHandler):
    """Responds to every GET with the keys."""

    def do_GET(self) -> None:
        """Send the keys."""
        document = key_set()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(document)))
        self.end_headers()
        self.wfile.write(document)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def published() -> Iterator[str]:
    """Yield the origin that publishes the keys."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
