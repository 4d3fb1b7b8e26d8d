"""The guide to operations works: its commands are run in order in a fresh Debian, and print what it shows."""

from __future__ import annotations

import json
import re
import ssl
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import httpx
import pytest
from sybil import Example
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser

from tests.support.documentation import ROOT
from tests.support.machine import Machine, booted_machine
from tests.support.reader import alike

GUIDE = ROOT / "docs" / "guides" / "operations"
NAME = "tasks.example.com"
PAUSE_S = 0.1
FILE = re.compile(r"# (\S+)\n(.*)", re.DOTALL)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with (
        tempfile.TemporaryDirectory(prefix="taskd-machine-", ignore_cleanup_errors=True) as name,
        booted_machine(Path(name)) as booted,
    ):
        yield booted


class Operator:
    """Somebody who follows the guide on a machine; *output* is what the last commands printed."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.output = ""

    def follow(self, page: str) -> None:
        """Go through the blocks of a page in order."""
        evaluators = {"sh": self.type, "env": self.write, "json": self.compare, "text": self.look_for}
        parsers = [CodeBlockParser(language, evaluator) for language, evaluator in evaluators.items()]
        for example in Document.parse(str(GUIDE / page), *parsers).examples():
            example.evaluate()

    def type(self, example: Example) -> None:
        """Run commands, unless the block is a file."""
        block = str(example.parsed)
        if not FILE.match(block):
            self.run(block)

    def run(self, block: str) -> str:
        done = self.machine.run(block)
        assert 0 == done.returncode, f"{block}\n{done.stdout}"
        self.output = done.stdout
        return done.stdout

    def titles(self, user: str) -> list[str]:
        """Return the titles of the user's tasks, newest first."""
        listed = self.run(
            f"curl --silent --show-error --fail --unix-socket /run/taskd/taskd.sock http://taskd/api/{user}/tasks"
            f' -H "Authorization: Bearer $(taskd token {user})"'
        )
        return [task["title"] for task in json.loads(listed)]

    def write(self, example: Example) -> None:
        """Write a file whose name is in the first line."""
        file = FILE.match(str(example.parsed))
        assert file is not None
        (self.machine.root / file[1].lstrip("/")).write_text(file[2])

    def compare(self, example: Example) -> None:
        assert alike(json.loads(str(example.parsed))) == alike(json.loads(self.output))

    def look_for(self, example: Example) -> None:
        """Look for each line of a block in what the last commands printed, whatever the width of its columns."""
        printed = [" ".join(line.split()) for line in self.output.splitlines()]
        assert [] == [line for line in str(example.parsed).splitlines() if " ".join(line.split()) not in printed], (
            printed
        )


@attrs.define
class Writer:
    """
    A client that creates tasks through nginx, one after the other, until its token is no longer valid.

    Attributes:
        machine: The machine.
        titles: The titles of the tasks that were acknowledged.
        faults: Every other response.
    """

    machine: Machine
    titles: list[str] = attrs.field(factory=list)
    faults: list[str] = attrs.field(factory=list)
    is_over: threading.Event = attrs.field(factory=threading.Event)

    def run(self, token: str) -> None:
        context = ssl.create_default_context(cafile=self.machine.root / "etc/ssl/taskd/fullchain.pem")
        headers = {"Authorization": f"Bearer {token}", "Host": NAME}
        with httpx.Client(verify=context, headers=headers, timeout=60) as client:
            while not self.is_over.wait(PAUSE_S):
                title = str(len(self.titles))
                response = client.post(
                    "https://127.0.0.1/api/bob/tasks", json={"title": title}, extensions={"sni_hostname": NAME}
                )
                if response.status_code == 401:
                    return
                if response.status_code == 201:
                    self.titles.append(title)
                else:
                    self.faults.append(f"{response.status_code} {response.text}")


def test_a_stranger_deploys_and_maintains_taskd(machine: Machine) -> None:
    """With the guide alone: deploy, back up, restore, upgrade, replace the secret, erase; no task is lost."""
    operator = Operator(machine)
    operator.follow("deploy.md")
    created = operator.titles("alice")
    writer = Writer(machine)
    writing = threading.Thread(target=writer.run, args=[operator.run("taskd token bob").strip()])

    writing.start()
    try:
        operator.follow("routine.md")
    finally:
        writer.is_over.set()
        writing.join()

    assert ["Buy milk"] == created
    assert [] == operator.titles("alice"), "the user is erased"
    assert [] == writer.faults
    assert len(writer.titles) > 100
    assert writer.titles == operator.titles("bob")[::-1]
    exposure = operator.run("systemd-analyze security taskd.service")
    assert re.search(r"Overall exposure level for taskd.service: 1\.\d", exposure), exposure[-300:]
    assert "" == operator.run("systemctl --failed --no-legend")
