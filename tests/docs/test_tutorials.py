"""The tutorials work: their commands are run in order, and print what the tutorials show."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from sybil import Example
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser

from taskd.testing import RunningServer, running_server
from tests.support.documentation import ROOT
from tests.support.processes import DEV, child_environ

ADDRESS = "http://127.0.0.1:8000"
# Values that differ each time.
VARYING = ("id", "created_at", "updated_at")
# Commands whose effect is already in place.
INSTALLATION = re.compile(r"(?m)^(python3 -m venv|(\.venv/bin/)?pip install|\. \.venv/bin/activate).*$")


@attrs.define
class Reader:
    """
    A person who follows a tutorial in *folder*.

    Attributes:
        environ: The environment of their terminal.
        stack: What to clean up at the end of the tutorial.
        server: The server in their second terminal, once they have started `taskd dev`.
        output: What the last command printed.
    """

    folder: Path
    environ: dict[str, str]
    stack: contextlib.ExitStack
    server: RunningServer | None = None
    output: str = ""

    def follow(self, page: str) -> None:
        """Go through the blocks of a *page* in order.  The server's own output is not compared."""
        files = {"toml": self.write, "python": self.write}
        evaluators = {"sh": self.type, "json": self.compare, "text": self.compare_rows, **files}
        parsers = [CodeBlockParser(language, evaluator) for language, evaluator in evaluators.items()]
        for example in Document.parse(str(ROOT / "docs" / "tutorials" / page), *parsers).examples():
            example.evaluate()

    def type(self, example: Example) -> None:
        """Run a block of commands."""
        block = INSTALLATION.sub("", str(example.parsed)).strip()
        if block == "taskd dev":
            self.server = self.stack.enter_context(running_server(self.environ, DEV, self.folder))
        elif exported := re.fullmatch(r"export (\w+)='\1'", block):
            self.environ[exported[1]] = self.look_up(exported[1])
        else:
            self.output = self.run(block.replace(ADDRESS, self.server.url) if self.server else block)

    def look_up(self, name: str) -> str:
        """Return the output that is to be put into the variable *name*."""
        if name == "ID":
            return str(json.loads(self.output)["id"])
        assert self.server is not None
        [token] = re.findall(r"token  (\S+)", self.server.read_until("hours"))
        return str(token)

    def run(self, block: str) -> str:
        """Run a block in a shell, and return its output."""
        return subprocess.run(
            ["bash", "-ec", block], cwd=self.folder, env=self.environ, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    def compare(self, example: Example) -> None:
        """Compare JSON with the output of the last command."""
        assert alike(json.loads(str(example.parsed))) == alike(json.loads(self.output))

    def compare_rows(self, example: Example) -> None:
        """Compare a list of plugins with the output of the last command, except for versions."""
        if self.server is None:
            shown, printed = [text.splitlines() for text in (str(example.parsed), self.output)]
            assert [row.rsplit(" ", 1)[0] for row in shown] == [row.rsplit(" ", 1)[0] for row in printed]

    def write(self, example: Example) -> None:
        """Write a file whose name is in its first line; install the package if it is one."""
        name, content = str(example.parsed).split("\n", 1)
        (self.folder / name.removeprefix("# ")).write_text(content)
        if name == "# pyproject.toml":
            install(self.folder, tomllib.loads(content)["project"])


def install(folder: Path, project: dict[str, Any]) -> None:
    """Let Python find the entry points of a *project* as if pip had installed it."""
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {module}" for name, module in project["entry-points"]["taskd"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[taskd]", *lines, ""]))


def alike(value: Any) -> Any:
    """Return *value* without the parts that differ each time."""
    return {name: name in VARYING or each for name, each in value.items()} if isinstance(value, dict) else value


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A person in an empty folder, in a terminal in which taskd's environment is active."""
    environ = child_environ({"PYTHONPATH": str(tmp_path)})
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    with contextlib.ExitStack() as stack:
        yield Reader(tmp_path, environ, stack)


def test_the_first_ten_minutes(reader: Reader) -> None:
    """Each request gets the response that is shown, and the last request deletes the task."""
    reader.follow("first-ten-minutes.md")

    assert "" == reader.output


def test_the_first_plugin(reader: Reader) -> None:
    """The plugin is found, serves as shown, and passes its test, however often it runs."""
    reader.follow("first-plugin.md")

    assert "1 passed" in reader.output
    assert "1 passed" in reader.run("pytest")
