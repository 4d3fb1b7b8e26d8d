"""Raise a process's limit on open files and connections."""

from __future__ import annotations

import contextlib

__all__ = ["raise_limit"]


def raise_limit() -> None:
    """
    Raise the limit on open files as far as possible, for this process and its children.

    Each client takes a file descriptor, and the usual limit, 1024, is meant for programs that call `select`.
    """
    try:
        import resource  # noqa: PLC0415  Windows has no such limit
    except ModuleNotFoundError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # On macOS, even if the hard limit is unlimited, there is another limit below it.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
