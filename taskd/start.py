"""Exit with one line that says why the process cannot start."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator

from taskd.environment import Environ
from taskd.plugins import PluginError
from taskd.server.sockets import ListenError
from taskd.settings import SettingsError, read_environ
from taskd.storage import StoreError

__all__ = ["print_warnings", "starting"]


@contextlib.contextmanager
def starting() -> Iterator[Environ]:
    """
    Read the environment and yield it.

    An error that a user can correct, here or in the block, is printed, and the process exits with status 1.
    """
    environ = Environ.of({})
    try:
        environ = read_environ()
        yield environ
    except (ListenError, PluginError, SettingsError, StoreError) as error:
        if isinstance(error, SettingsError):
            print_warnings(environ.mistakes())
        sys.exit(f"taskd: {error}")


def print_warnings(warnings: Iterable[str]) -> None:
    """Print *warnings* to stderr, for when logging is not set up."""
    for warning in warnings:
        print(f"taskd: {warning}", file=sys.stderr)  # noqa: T201
