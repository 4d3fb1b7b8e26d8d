"""
Build the sdist and the wheel, so that the same commit always yields the same bytes.

Usage: python .ci/build.py FOLDER, with the package `build` installed.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def commit_time() -> int:
    """Return when the last commit was made, or `SOURCE_DATE_EPOCH` if that is set."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "log", "-1", "--pretty=%ct"]
    return int(subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout)


def run_build(kind: str, source: Path, folder: str, moment: int) -> Path:
    """Build the *kind* of distribution from *source* in *folder*, and return its path."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--outdir", folder, str(source)]
    subprocess.run(command, env={**os.environ, "SOURCE_DATE_EPOCH": str(moment)}, check=True)
    [made] = Path(folder).iterdir()
    return made


def normalized(archive: Path, moment: int) -> bytes:
    """Return *archive*, a .tar.gz, with the same contents, but in order, and without traces of this machine."""
    packed, target = io.BytesIO(), io.BytesIO()
    with tarfile.open(archive) as found, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as made:
        for member in sorted(found.getmembers(), key=lambda each: each.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = moment, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            made.addfile(member, found.extractfile(member) if member.isfile() else None)
    with gzip.GzipFile(filename="", fileobj=target, mode="wb", mtime=moment) as compressed:
        compressed.write(packed.getvalue())
    return target.getvalue()


def main() -> None:
    """Build the sdist, and the wheel from what is in the sdist."""
    folder, moment = Path(sys.argv[1]), commit_time()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        archive = run_build("sdist", REPOSITORY, first, moment)
        (folder / archive.name).write_bytes(normalized(archive, moment))
        with tarfile.open(folder / archive.name) as opened:
            opened.extractall(second, filter="data")
        [source] = Path(second).iterdir()
        with tempfile.TemporaryDirectory() as third:
            wheel = run_build("wheel", source, third, moment)
            (folder / wheel.name).write_bytes(wheel.read_bytes())
    for each in sorted(folder.iterdir()):
        print(each)


if __name__ == "__main__":
    main()
