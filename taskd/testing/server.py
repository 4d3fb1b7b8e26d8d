"""The whole server, in this process or in one of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from starlette.types import ASGIApp

__all__ = ["RunningServer", "lifespan", "running_server"]

_LISTENING = re.compile(r"running on (http://\S+)")


@contextlib.asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """Start *app* as a server does, and stop it at the end (ASGI specification, "Lifespan Protocol")."""
    to_app: asyncio.Queue[Any] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    running = asyncio.create_task(_run(app, to_app, from_app))
    await to_app.put({"type": "lifespan.startup"})
    assert "lifespan.startup.complete" == (await from_app.get())["type"]
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
    """A `taskd` process that listens at *url*; *output* is what it said until then."""

    process: subprocess.Popen[str]
    url: str
    output: str

    def stop(self) -> str:
        """Stop the server gracefully and return what it said since it listens."""
        self.process.terminate()
        return self.process.communicate()[0]

    def kill(self) -> None:
        """Kill the server as a crash would."""
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def running_server(
    environ: Mapping[str, str],
    arguments: Sequence[str] = ("-m", "taskd", "serve", "--port", "0"),
    cwd: Path | None = None,
) -> Iterator[RunningServer]:
    """
    Run a server in a process of its own for as long as the block lasts.

    Args:
        environ: The whole environment of the process.
        arguments: What Python is to run; it must end in uvicorn, on a port that it takes for itself.
        cwd: The working directory.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=dict(environ),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if listening := _LISTENING.search(line):
                yield RunningServer(process, listening[1], "".join(said))
                return
        raise RuntimeError(f"the server did not start: {''.join(said)}")
    finally:
        process.kill()
        process.communicate()
