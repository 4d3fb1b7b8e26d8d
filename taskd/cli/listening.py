"""Read the options of `taskd serve` about where to listen, and about proxies."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import attrs
import click
from click.core import ParameterSource
from starlette.routing import Route

from taskd.server.forwarded import TrustedProxies
from taskd.server.inherited import listen_on, take_passed
from taskd.server.sockets import Listener
from taskd.server.unix_sockets import listen_at

__all__ = ["Place", "check_prefix", "file_mode", "prefix", "proxies"]

# Segments of characters that are the same with and without percent-encoding (RFC 3986, section 2.3).
_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[a-z0-9._~-]+)*/?", re.ASCII | re.IGNORECASE)
_MODE = re.compile("0?[0-7]{3}", re.ASCII)


def file_mode(_: click.Context, __: click.Parameter, text: str) -> int:
    """Return the permissions that *text* stands for."""
    if not _MODE.fullmatch(text):
        raise click.BadParameter("must be three octal digits, such as 660")
    return int(text, 8)


def prefix(_: click.Context, __: click.Parameter, text: str) -> str:
    """Return *text*, the prefix of all paths, without a slash at its end."""
    if not _PREFIX.fullmatch(text):
        raise click.BadParameter("must be a path such as /tasks, of letters, digits and any of -._~")
    return text.rstrip("/")


def check_prefix(prefix: str, routes: Iterable[Route]) -> None:
    """
    Refuse a prefix with which one of the *routes* begins, too.

    It would not be clear whether the proxy has removed the prefix from the path of a request.
    """
    for route in routes:
        if prefix and f"{route.path}/".startswith(f"{prefix}/"):
            raise click.BadParameter(f"{prefix} is where {route.path} is already", param_hint="--root-path")


def proxies(_: click.Context, __: click.Parameter, text: str) -> str:
    """Return *text*, which must be a list of proxies."""
    try:
        TrustedProxies.parse(text)
    except ValueError:
        raise click.BadParameter("must be addresses, networks, unix or *, with commas between them") from None
    return text


@attrs.frozen
class Place:
    """The options about where to listen."""

    host: str
    port: int
    uds: Path | None
    uds_mode: int
    descriptors: Sequence[int]

    def chosen(self) -> Callable[[], Listener]:
        """Return a function that listens where the options say, or where systemd already does."""
        ways = {"--host and --port": _is_given("host", "port"), "--uds": self.uds, "--fd": self.descriptors}
        names = [name for name, is_given in ways.items() if is_given]
        if len(names) > 1:
            raise click.UsageError(f"Choose one way to listen: {', or '.join(names)}.")
        passed = take_passed(os.environ)
        if passed and names and not self.descriptors:
            # Whoever connects to these sockets would wait forever.
            raise click.UsageError(f"systemd has passed sockets to listen on: leave out {names[0]}.")
        if passed or self.descriptors:
            return partial(listen_on, self.descriptors or passed)
        if self.uds is not None:
            return partial(listen_at, self.uds, self.uds_mode)
        return partial(Listener.open, self.host, self.port)


def _is_given(*names: str) -> bool:
    context = click.get_current_context()
    return any(context.get_parameter_source(name) is not ParameterSource.DEFAULT for name in names)
