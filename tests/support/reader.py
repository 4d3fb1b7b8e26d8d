"""A person who follows a tutorial, and checks that everything happens as it says."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from sybil import Example
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser

from taskd.testing import RunningServer, running_server
from tests.support.documentation import ROOT
from tests.support.environments import make_environment
from tests.support.processes import child_environ

__all__ = ["Reader"]

ADDRESS = "http://127.0.0.1:8000"
# Values that differ each time.
VARYING = ("id", "created_at", "updated_at")
# Commands whose effect is already in place.
INSTALLATION = re.compile(r"(?m)^(python3 -m venv|\.venv/bin/pip install|\. \.venv/bin/activate).*$")
# A command that starts a server, with its settings.
SERVER = re.compile(r"((?:\w+=\S+ )*)taskd (dev|serve)")


@attrs.define
class Reader:
    """
    A person who follows a tutorial.

    Attributes:
        folder: The folder that their terminal is in.
        environ: The environment of their terminal.
        python: The interpreter of their virtual environment.
        stack: What to clean up at the end of the tutorial.
        server: The server in their second terminal, once they have started one.
        output: What the last command printed; None if it is a server.
        has_failed: Whether the last command failed, and the tutorial has not said so yet.
    """

    folder: Path
    environ: dict[str, str]
    python: Path
    stack: contextlib.ExitStack
    server: RunningServer | None = None
    output: str | None = ""
    has_failed: bool = False

    def follow(self, page: str) -> None:
        """Go through the blocks of a *page* in order.  What a server prints at first is not compared."""
        files = {"toml": self.write, "python": self.write}
        evaluators = {"sh": self.type, "json": self.compare, "text": self.look_for, "log": self.wait_for, **files}
        parsers = [CodeBlockParser(language, evaluator) for language, evaluator in evaluators.items()]
        for example in Document.parse(str(ROOT / "docs" / "tutorials" / page), *parsers).examples():
            example.evaluate()
        self.check_success()

    def check_success(self) -> None:
        """Check that the last command succeeded, or that the tutorial shows how it fails."""
        assert not self.has_failed, self.output

    def type(self, example: Example) -> None:
        """Run a block of commands."""
        self.check_success()
        block = INSTALLATION.sub("", str(example.parsed)).strip()
        if started := SERVER.fullmatch(block):
            settings = dict(each.split("=", 1) for each in shlex.split(started[1]))
            self.server = self.stack.enter_context(self.serving(settings, started[2]))
            self.output = None
        elif exported := re.fullmatch(r"export (\w+)='\1'", block):
            self.environ[exported[1]] = self.look_up(exported[1])
        else:
            self.run(block.replace(ADDRESS, self.server.url) if self.server else block)

    @contextlib.contextmanager
    def serving(self, settings: Mapping[str, str], command: str = "serve") -> Iterator[RunningServer]:
        """Run a server in their folder."""
        arguments = ("-m", "taskd", command, "--port", "0")
        with running_server({**self.environ, **settings}, arguments, self.folder, python=str(self.python)) as server:
            yield server

    def look_up(self, name: str) -> str:
        """Return the output that is to be put into the variable *name*."""
        if name == "ID":
            return str(json.loads(self.output or "")["id"])
        assert self.server is not None
        [token] = re.findall(r"token  (\S+)", self.server.read_until("hours"))
        return str(token)

    def run(self, block: str) -> None:
        """Run a block in a shell, and stay in the folder in which it ends."""
        noted = self.folder / ".folder"
        done = subprocess.run(
            ["bash", "-ec", f"trap 'pwd > {shlex.quote(str(noted))}' EXIT\n{block}"],
            cwd=self.folder, env=self.environ, stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        self.output, self.has_failed = done.stdout, done.returncode != 0
        self.folder = Path(noted.read_text().strip())
        noted.unlink()

    def compare(self, example: Example) -> None:
        """Compare JSON with the output of the last command."""
        assert alike(json.loads(str(example.parsed))) == alike(json.loads(self.output or ""))

    def look_for(self, example: Example) -> None:
        """Look for each line of a block in the output of the last command."""
        if self.output is not None:
            printed = without_numbers(self.output)
            missing = [line for line in str(example.parsed).splitlines() if without_numbers(line) not in printed]
            assert [] == missing, self.output
            self.has_failed = False

    def wait_for(self, example: Example) -> None:
        """Wait until the server has logged a line, from behind its time up to the next part that differs."""
        assert self.server is not None
        _, line = str(example.parsed).split(" ", 1)
        self.server.read_until(line.split("…")[0].strip())

    def write(self, example: Example) -> None:
        """Write a file whose name is in its first line."""
        name, content = str(example.parsed).split("\n", 1)
        (self.folder / name.removeprefix("# ")).write_text(content)


def alike(value: Any) -> Any:
    """Return *value* without the parts that differ each time."""
    if isinstance(value, list):
        return [alike(each) for each in value]
    return {name: name in VARYING or each for name, each in value.items()} if isinstance(value, dict) else value


def without_numbers(text: str) -> str:
    """Return *text* without versions, durations, and the lines that fill a row of the terminal."""
    return re.sub(r"\d+(\.\d+)+s?|=+", "…", text)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A person in an empty folder, in a terminal in which taskd's environment is active."""
    programs = make_environment(tmp_path / "environment")
    folder = tmp_path / "clone"
    folder.mkdir()
    environ = child_environ({})
    environ["PATH"] = f"{programs}:{environ['PATH']}"
    with contextlib.ExitStack() as stack:
        yield Reader(folder, environ, programs / "python", stack)
