"""Run a server, in this process or in a new one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from starlette.types import ASGIApp

__all__ = ["RunningServer", "lifespan", "running_server"]

STOP_TIMEOUT_S = 60

_LISTENING = re.compile(r"running on ((?:http://|unix:)[^\s,]+)")


@contextlib.asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """
    Start *app* as a server does, and stop it after the block (see "Lifespan Protocol" in the ASGI specification).

    If *app* fails to start, its exception is raised.
    """
    to_app: asyncio.Queue[Any] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    running = asyncio.create_task(_run(app, to_app, from_app))
    await to_app.put({"type": "lifespan.startup"})
    if "lifespan.startup.complete" != (await from_app.get())["type"]:
        await running
        raise AssertionError("the application failed to start, and raised no exception")
    try:
        yield
    finally:
        await to_app.put({"type": "lifespan.shutdown"})
        assert "lifespan.shutdown.complete" == (await from_app.get())["type"]
        await running


async def _run(app: ASGIApp, to_app: asyncio.Queue[Any], from_app: asyncio.Queue[Any]) -> None:
    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, to_app.get, from_app.put)


@attrs.define
class RunningServer:
    """
    A `taskd` process.

    Attributes:
        process: The process itself.
        url: Where it is listening: a URL, or `unix:` and the path of a Unix socket.
        output: What it printed up to the line that says so.
    """

    process: subprocess.Popen[str]
    url: str
    output: str
    _lines: queue.SimpleQueue[str | None] = attrs.field(repr=False)

    def read_until(self, text: str) -> str:
        """Wait for a line that contains *text*; return the output since the last call, including that line."""
        said = []
        while (line := self._lines.get(timeout=STOP_TIMEOUT_S)) is not None:
            said.append(line)
            if text in line:
                return "".join(said)
        raise EOFError(f"the server never said {text!r}: {''.join(said)}")

    def stop(self, signal_number: int = signal.SIGTERM) -> str:
        """
        Stop the server gracefully, with all processes that it has started, and return the rest of its output.

        Raises:
            subprocess.TimeoutExpired: It is still running after `STOP_TIMEOUT_S`.
            queue.Empty: It has ended, but a process that it had started has not.
        """
        self.process.send_signal(signal_number)
        self.process.wait(STOP_TIMEOUT_S)
        return self._rest()

    def kill(self) -> str:
        """Kill the server and all processes that it has started, as in a crash; return the rest of its output."""
        _kill(self.process)
        return self._rest()

    def _rest(self) -> str:
        said = []
        while (line := self._lines.get(timeout=STOP_TIMEOUT_S)) is not None:
            said.append(line)
        return "".join(said)


@contextlib.contextmanager
def running_server(
    environ: Mapping[str, str],
    arguments: Sequence[str] = ("-m", "taskd", "serve", "--port", "0"),
    cwd: Path | None = None,
    *,
    python: str = sys.executable,
) -> Iterator[RunningServer]:
    """
    Run a server in a new process during the block.

    Args:
        environ: The whole environment of the process.
        arguments: Arguments to Python that start uvicorn and let it choose the port.
        cwd: The working directory.
        python: The interpreter, by default this one.
    """
    process = subprocess.Popen(
        [python, *arguments],
        env=dict(environ),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # In a process group of its own, so that it can be killed together with its workers.
        start_new_session=True,
    )
    # The server would block if the pipe were full, so its output must be read.
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, lines))
    reader.start()
    try:
        said = []
        while (line := lines.get(timeout=STOP_TIMEOUT_S)) is not None:
            said.append(line)
            if listening := _LISTENING.search(line):
                yield RunningServer(process, listening[1], "".join(said), lines)
                return
        raise RuntimeError(f"the server did not start: {''.join(said)}")
    finally:
        _kill(process)
        reader.join()


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    """Put the output of *process* and its children into *lines*, and None at the end."""
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            lines.put(line)
    lines.put(None)


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
