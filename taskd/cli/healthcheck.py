"""`taskd healthcheck`, which imports as little as possible: supervisors run it every few seconds."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import click

__all__ = ["OF_ALL", "healthcheck"]

# More than any response to a health check has.
MAX_BODY_BYTES = 64 * 1024
WANTED_URL = "must be like http://127.0.0.1:8000, without a user or a query"
# Where to reach a server that listens on all addresses.
OF_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open the connection."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@click.command()
@click.argument("url", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address that the server listens on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="The port of the server.")
@click.option("--uds", metavar="PATH", help="The Unix socket that the server listens on, instead of a port.")
@click.option("--live", is_flag=True, help="Ask only whether the process is running, not whether it can serve.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.1, 600), default=3, show_default=True, metavar="SECONDS",
    help="How long the server may take to respond.",
)  # fmt: skip
def healthcheck(url: str | None, host: str, port: int, uds: str | None, live: bool, timeout_s: float) -> None:
    """
    Ask a running server whether it is healthy; the exit status is 0 if it is, and 1 if not.

    It asks the server at URL, such as http://127.0.0.1:8000, or the one that `taskd serve` starts with the same
    options.
    """
    path = "/livez" if live else "/readyz"
    if uds is not None:
        connection: http.client.HTTPConnection = _UnixConnection(uds, timeout_s)
        where = f"{uds}: {path}"
    else:
        address = url or _url(host, port)
        connection, prefix = _connection_to(address, timeout_s)
        path = prefix + path
        where = address.rstrip("/") + path.removeprefix(prefix)
    with _limited(timeout_s):
        fault = _fault(connection, path)
    if fault:
        click.echo(f"taskd: {where}: {fault}", err=True)
        sys.exit(1)


@contextlib.contextmanager
def _limited(timeout_s: float) -> Iterator[None]:
    """Raise `TimeoutError` in the block after *timeout_s*: a connection only limits how long it waits for each part."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _url(host: str, port: int) -> str:
    name = OF_ALL.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _connection_to(url: str, timeout_s: float) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection to the server at *url*, and the path at which it is served."""
    try:
        parts = urlsplit(url)
        kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}[parts.scheme]
        connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    except (KeyError, ValueError, http.client.InvalidURL):
        raise click.BadParameter(WANTED_URL, param_hint="URL") from None
    if parts.username is not None or parts.query or parts.fragment:
        # Messages quote the URL, so it must not contain a secret.
        raise click.BadParameter(WANTED_URL, param_hint="URL")
    return connection, parts.path.rstrip("/")


def _fault(connection: http.client.HTTPConnection, path: str) -> str | None:
    """Return what is wrong with the server, in one line; None if it is healthy."""
    try:
        connection.request("GET", path, headers={"User-Agent": "taskd-healthcheck"})
        response = connection.getresponse()
        body = response.read(MAX_BODY_BYTES)
    except TimeoutError:
        return f"no response in {connection.timeout:g} s"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    except http.client.HTTPException as error:
        return f"not a response in HTTP ({type(error).__name__})"
    finally:
        connection.close()
    return None if response.status == http.client.OK else f"{response.status}: {_detail(body) or response.reason}"


def _detail(body: bytes) -> str | None:
    """Return the detail of an error, if *body* has one."""
    try:
        content: Any = json.loads(body)
    except ValueError:
        return None
    detail = content.get("detail") if isinstance(content, dict) else None
    return detail if isinstance(detail, str) and detail.isprintable() else None
