"""The units of systemd in examples/deploy are valid, keep taskd in, and run it on the socket that they open."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import SECRET, token_for
from tests.support.processes import child_environ, until_seen
from tests.support.recipes import DEPLOY, PROGRAM, arguments_of_unit, assert_parses, stop_time_s, unit
from tests.support.requirements import required

UNITS = DEPLOY / "systemd"
# Of 100; systemd itself calls less than 20 "OK".
MOST_EXPOSURE = 15


def analyze(*arguments: str) -> str:
    """Run `systemd-analyze`, and return what it prints."""
    done = subprocess.run(
        [required("systemd-analyze"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout
    return done.stdout


@pytest.fixture
def installed(tmp_path: Path) -> list[str]:
    """Copies of the units in which the program exists."""
    program = tmp_path / "taskd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copies = []
    for file in sorted([*UNITS.glob("*.service"), *UNITS.glob("*.socket"), *UNITS.glob("*.timer")]):
        copy = tmp_path / file.name
        copy.write_text(re.sub(r"/opt/taskd/bin/taskd", str(program), file.read_text()))
        copies.append(str(copy))
    shutil.copytree(UNITS / "taskd.service.d", tmp_path / "taskd.service.d")
    return copies


def test_the_units_are_valid(installed: list[str]) -> None:
    """systemd knows all their settings, and they fit each other."""
    # It reads the user's units and the system's; only these are checked.
    printed = analyze("verify", "--recursive-errors=one", *installed)

    assert "" == printed


def test_the_service_is_confined(installed: list[str]) -> None:
    """What taskd can do to the rest of the machine stays below a bound."""
    [service] = [each for each in installed if each.endswith("/taskd.service")]
    printed = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", service)

    assert "Overall exposure level" in printed


def test_the_service_starts_taskd_on_its_socket(tmp_path: Path) -> None:
    """The command of the unit serves on the socket that systemd passes on."""
    path = tmp_path / "taskd.sock"
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", "BETTER_AUTH_SECRET": SECRET}
    activate = required("systemd-socket-activate")
    # It passes few variables on.
    passed = [f"--setenv={name}={value}" for name, value in settings.items()]
    command = [activate, f"--listen={path}", *passed, sys.executable, "-m", "taskd", *arguments_of_unit()]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=child_environ({}), stdout=log, stderr=log, start_new_session=True)
    try:
        until_seen(path.exists)
        headers = {"Authorization": f"Bearer {token_for('alice')}"}
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)), base_url="http://taskd", headers=headers
        ) as client:
            created = client.post("/api/alice/tasks", json={"title": "over a socket"}, timeout=60)
    finally:
        process.terminate()
        process.wait(60)

    assert 201 == created.status_code, (tmp_path / "log").read_text()


def test_the_service_is_not_killed_before_it_has_stopped() -> None:
    """systemd waits for longer than taskd may take, and has the program that the guide installs."""
    service = unit("taskd.service")["Service"]
    options = assert_parses(arguments_of_unit())

    assert stop_time_s(options) < float(service["TimeoutStopSec"])
    assert PROGRAM in (UNITS / "taskd.sh").read_text()
    assert service["WorkingDirectory"] in (UNITS / "taskd.sh").read_text()
