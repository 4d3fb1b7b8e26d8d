"""Handle the signals that stop a server."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from uvicorn.config import STARTUP_FAILURE
from uvicorn.server import HANDLED_SIGNALS

__all__ = [
    "STOP_SIGNALS",
    "blocked",
    "end_by",
    "exit_after",
    "ignore_hangup",
    "ignore_terminal",
    "restore_default_action",
]

STOP_SIGNALS = HANDLED_SIGNALS


def ignore_hangup() -> None:
    """Until another handler is set, ignore SIGHUP, so that the server outlives the terminal it was started from."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def restore_default_action() -> None:
    """
    Restore the default action of the signals that stop a server: the kernel ends the process.

    It does not do that to the first process of a container, so that one ends itself.
    """
    action = _end if os.getpid() == 1 else signal.SIG_DFL
    for number in STOP_SIGNALS:
        signal.signal(number, action)


def _end(number: int, _: FrameType | None) -> NoReturn:
    """End this process with the exit status that shells give to one that was ended by the signal *number*."""
    os._exit(128 + number)


def end_by(number: int) -> NoReturn:
    """End this process at once with *number*, one of the signals that stop a server."""
    restore_default_action()
    signal.raise_signal(number)
    raise AssertionError("the signal has ended the process")  # pragma: no cover


def exit_after(stopped_by: int | None) -> None:
    """
    Exit after a server has stopped gracefully.

    Args:
        stopped_by: The signal that stopped it; None if it could not start.
    """
    if stopped_by is None:
        sys.exit(STARTUP_FAILURE)
    # Ctrl+C is the usual way to end a server in a terminal.  After SIGTERM, supervisors expect a process to be ended by
    # that signal.
    if stopped_by != signal.SIGINT:
        end_by(stopped_by)


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Block all signals that are handled here; a process that is started in the block inherits this."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, *STOP_SIGNALS})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_terminal() -> None:
    """Ignore the signals that a terminal sends to all its processes, and unblock those that `blocked` blocks."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP, *STOP_SIGNALS})
