"""Write a file of which a command leaves nothing behind unless it is complete."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from taskd.new_files import new_file

__all__ = ["exiting_at_signals", "output_file"]

# Signals that end a process without running its `finally` clauses, unless they are handled.
_ENDING = [getattr(signal, name) for name in ("SIGHUP", "SIGTERM") if hasattr(signal, name)]


@contextlib.contextmanager
def output_file(file: Path) -> Iterator[Path]:
    """Yield a file that becomes *file* after the block, as `new_file` does; if *file* exists, exit."""
    try:
        with exiting_at_signals(), new_file(file) as part:
            yield part
    except FileExistsError:
        sys.exit(f"taskd: {file} exists, and nothing is overwritten: choose another name, or remove it")


@contextlib.contextmanager
def exiting_at_signals() -> Iterator[None]:
    """Let signals that end the process end the block first, so that it removes what is not complete."""
    # A signal that is ignored, as nohup does, stays so.
    before = {number: signal.getsignal(number) for number in _ENDING}
    handled = [number for number, action in before.items() if action is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


def _exit(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
