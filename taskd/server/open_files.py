"""Raise a process's limit on open files and connections."""

from __future__ import annotations

import contextlib
import logging

__all__ = ["RAISE_LIMIT", "raise_limit"]

# So few clients can open as many connections by accident.
LOW_LIMIT = 1024
RAISE_LIMIT = "raise the limit, with LimitNOFILE= in systemd or ulimit -n in a shell"

logger = logging.getLogger(__name__)


def raise_limit() -> None:
    """
    Raise the limit on open files as far as possible, for this process and its children.

    Each client takes a file descriptor, and the usual limit, 1024, is meant for programs that call `select`.  If even
    the highest limit is low, this is logged.
    """
    try:
        import resource  # noqa: PLC0415  Windows has no such limit
    except ModuleNotFoundError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # On macOS, even if the hard limit is unlimited, there is another limit below it.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Without a limit, it is -1.
    if 0 <= limit < LOW_LIMIT:
        logger.warning("Only %d files may be open, and each client takes one: %s", limit, RAISE_LIMIT)
