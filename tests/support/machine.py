"""A fresh Debian that boots with systemd in a container, to follow a guide on."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.support.documentation import ROOT
from tests.support.postgres import children_of
from tests.support.requirements import permitted, required

__all__ = ["Machine", "booted_machine"]

MIRROR = "http://deb.debian.org/debian"
RELEASE = "bookworm"
PACKAGES = "systemd-sysv,dbus,ca-certificates"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
SOURCE = "usr/local/src/taskd"
START_TIMEOUT_S = 120
COMMAND_TIMEOUT_S = 600
_ENVIRONMENT = (
    "env", "-i", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)  # fmt: skip


@attrs.frozen
class Machine:
    """
    A running machine.

    Attributes:
        root: Its file system.
        leader: The process id of its systemd.
    """

    root: Path
    leader: int

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script in bash, as root, and return what it prints."""
        enter = ("nsenter", f"--target={self.leader}", "--all")
        return subprocess.run(
            [*enter, *_ENVIRONMENT, "bash", "-ec", f"exec 2>&1\n{script}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )  # fmt: skip


@contextlib.contextmanager
def booted_machine(folder: Path) -> Iterator[Machine]:
    """Install Debian in *folder*, with a copy of the repository, and boot it."""
    root = folder / "root"
    permitted(
        "Debian cannot be installed", required("mmdebstrap"), "--variant=apt", f"--include={PACKAGES}", "--quiet",
        RELEASE, str(root), f"deb {MIRROR} {RELEASE} main",
    )  # fmt: skip
    _copy_repository(root / SOURCE)
    # It trusts whom this machine trusts.
    shutil.copy(AUTHORITIES, root / AUTHORITIES.relative_to("/"))
    (root / "etc" / "pip.conf").write_text(f"[global]\ncert = {AUTHORITIES}\ndisable-pip-version-check = true\n")
    command = [
        required("systemd-nspawn"),
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--timezone=off",
        f"--directory={root}",
        "--boot",
    ]
    with (folder / "console").open("w") as console:
        nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        machine = Machine(root, _leader(nspawn, folder / "console"))
        _wait_until_up(machine)
        yield machine
    finally:
        # It powers the machine off.
        nspawn.terminate()
        nspawn.wait(START_TIMEOUT_S)


def _copy_repository(target: Path) -> None:
    ignored = shutil.ignore_patterns(".*", "build", "site", "node_modules", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, target, ignore=ignored)


def _leader(nspawn: subprocess.Popen[bytes], console: Path) -> int:
    """Return the id of the child that is the first process of the machine; others prepare the machine, and end."""
    until_s = time.monotonic() + START_TIMEOUT_S
    while not (leaders := [child for child in children_of(nspawn.pid) if _is_first_process(child)]):
        assert nspawn.poll() is None, console.read_text()
        assert time.monotonic() < until_s, console.read_text()
        time.sleep(0.01)
    return leaders[0]


def _is_first_process(pid: int) -> bool:
    """Tell whether a process is the first one in a namespace of its own."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        _here, *inside = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
        return inside == ["1"]
    return False


def _wait_until_up(machine: Machine) -> None:
    until_s = time.monotonic() + START_TIMEOUT_S
    while machine.run("systemctl is-system-running --wait").stdout.strip() not in ("running", "degraded"):
        assert time.monotonic() < until_s
        time.sleep(0.1)
