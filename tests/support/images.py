"""The container image, built by buildah, and containers of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from tests.support.documentation import ROOT
from tests.support.machine import AUTHORITIES, MIRROR
from tests.support.recipes import DEPLOY
from tests.support.requirements import permitted, required

__all__ = ["Image", "build"]

# The image that the container file begins with; here, it is made from Debian's packages.
BASE = "docker.io/library/debian:trixie-slim"
NAME = "localhost/taskd"


@attrs.frozen
class Image:
    """
    The image, and its files.

    Attributes:
        root: Its file system.
        config: How it is to be run.
    """

    root: Path
    config: dict[str, Any]

    def command(self, *arguments: str, settings: Mapping[str, str], folders: Sequence[Path] = ()) -> list[str]:
        """Return the command that runs a container as the configuration says, with files that are read-only."""
        user, _, _ = self.config["User"].partition(":")
        variables = [*self.config["Env"], *(f"{name}={value}" for name, value in settings.items())]
        return [
            required("systemd-nspawn"), "--quiet", "--register=no", "--keep-unit", "--timezone=off",
            "--resolv-conf=off", "--kill-signal=SIGTERM", "--read-only", f"--directory={self.root}",
            f"--user={self.user_name(int(user))}", f"--chdir={self.config['WorkingDir']}",
            *(f"--setenv={variable}" for variable in variables), *(f"--bind={folder}" for folder in folders),
            *self.config["Entrypoint"], *(arguments or self.config["Cmd"]),
        ]  # fmt: skip

    def user_name(self, number: int) -> str:
        lines = [line.split(":") for line in (self.root / "etc" / "passwd").read_text().splitlines()]
        [name] = [fields[0] for fields in lines if int(fields[2]) == number]
        return name


def build(folder: Path) -> Image:
    """Build the image in *folder*."""
    archive = folder / "base.tar"
    source = f"deb {MIRROR} trixie main"
    permitted(
        "Debian cannot be installed",
        *(required("mmdebstrap"), "--variant=minbase", "--quiet", "trixie", str(archive), source),
    )
    base = _buildah(folder, "from", "scratch")
    _buildah(folder, "add", "--quiet", base, str(archive), "/")
    _buildah(folder, "commit", "--quiet", base, BASE)
    # The packages come from where this machine gets them.
    (folder / "pip.conf").write_text("[global]\ncert = /authorities\n")
    _buildah(
        folder,
        *("bud", "--isolation=chroot", "--format=docker", "--pull=never", f"--tag={NAME}"),
        *("--volume", f"{AUTHORITIES}:/authorities:ro", "--volume", f"{folder}/pip.conf:/etc/pip.conf:ro"),
        *("--file", str(DEPLOY / "container" / "Containerfile"), str(ROOT)),
    )
    container = _buildah(folder, "from", "--pull=never", NAME)
    described = json.loads(_buildah(folder, "inspect", "--type=image", NAME))
    return Image(Path(_buildah(folder, "mount", container)), described["Docker"]["config"])


def _buildah(folder: Path, command: str, *arguments: str) -> str:
    """Run a command of buildah, and return the last line that it prints, or all of it if it is JSON."""
    store = [f"--root={folder}/store", f"--runroot={folder}/run", "--storage-driver=vfs"]
    done = subprocess.run(
        [required("buildah"), *store, command, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout if command == "inspect" else (done.stdout.splitlines() or [""])[-1].strip()
