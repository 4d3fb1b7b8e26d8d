"""The files in examples/deploy, and servers that are started as they say."""

from __future__ import annotations

import configparser
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import click

from taskd.cli.main import main
from taskd.server.uvicorn import END_TIMEOUT_S, LAST_REQUESTS_S
from tests.support.documentation import ROOT

__all__ = ["DEPLOY", "Activated", "activated", "arguments_of_unit", "assert_parses", "stop_time_s", "unit"]

DEPLOY = ROOT / "examples" / "deploy"
PROGRAM = "/opt/taskd/bin/taskd"
STOP_TIMEOUT_S = 60
# Passes a socket on as systemd does: as the first descriptor after the three usual ones, with variables that say so.
PASS_ON = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def unit(name: str) -> configparser.RawConfigParser:
    """Return a unit of systemd."""
    # A key may be repeated; the last value is enough here.
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read(DEPLOY / "systemd" / name)
    return parser


def arguments_of_unit() -> list[str]:
    """Return the arguments with which the service of systemd starts taskd."""
    program, *arguments = shlex.split(unit("taskd.service")["Service"]["ExecStart"])
    assert program == PROGRAM
    return arguments


@attrs.define
class Activated:
    """
    taskd on a Unix socket that stays open while taskd restarts, as under systemd.

    Attributes:
        path: The path of the socket.
        log: The file that taskd's output is appended to.
        arguments: Those of taskd.
        environ: The environment of taskd.
    """

    path: Path
    log: Path
    arguments: Sequence[str]
    environ: Mapping[str, str]
    _listening: socket.socket
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start taskd."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PASS_ON, str(self._listening.fileno()), "-m", "taskd", *self.arguments],
                env=dict(self.environ),
                pass_fds=[self._listening.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.log.parent,
            )

    def stop(self) -> int:
        """Stop taskd gracefully, and return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_TIMEOUT_S)

    def restart(self) -> None:
        """Replace taskd, as `systemctl restart` does."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End all processes of taskd."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextlib.contextmanager
def activated(folder: Path, environ: Mapping[str, str], arguments: Sequence[str]) -> Iterator[Activated]:
    """Run taskd during the block on a socket in *folder*, which must be open to the proxies."""
    path = folder / "taskd.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o666)
        listening.listen(4096)
        taskd = Activated(path, folder / "taskd.log", arguments, environ, listening)
        taskd.start()
        try:
            yield taskd
        finally:
            taskd.kill()


def assert_parses(arguments: Sequence[str]) -> dict[str, Any]:
    """Check that taskd has the command and the options in *arguments*, and return the values of its options."""
    name, *rest = arguments
    command = main.get_command(click.Context(main), name)
    assert command is not None, name
    with command.make_context(name, [str(each) for each in rest]) as context:
        return dict(context.params)


def stop_time_s(options: Mapping[str, Any]) -> float:
    """Return how long `taskd serve` may take to stop with these options."""
    return float(options["drain_s"] + LAST_REQUESTS_S + options["grace"] + END_TIMEOUT_S)
