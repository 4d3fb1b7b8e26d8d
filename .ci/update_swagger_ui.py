"""
Replace the files of Swagger UI with those of a release: `python .ci/update_swagger_ui.py 5.35.0`.

npm checks the integrity of what it downloads.  The checksums written here let a test detect files that were changed by
hand, and let anyone compare the files with the release.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "plugins" / "taskd_docs" / "swagger_ui"
NAMES = ("LICENSE", "NOTICE", "swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css")


def update(version: str) -> None:
    """Write the files of *version*, their checksums, and the version number."""
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(
            ["npm", "pack", "--silent", f"swagger-ui-dist@{version}"],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        with tarfile.open(Path(folder) / packed.stdout.strip()) as archive:
            members = {name: archive.extractfile(f"package/{name}") for name in NAMES}
            contents = {name: member.read() for name, member in members.items() if member is not None}
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()]
    for name, content in contents.items():
        (FOLDER / name).write_bytes(content)
    (FOLDER / "SHA256SUMS").write_text("".join(sums))
    (FOLDER / "VERSION").write_text(f"{version}\n")


if __name__ == "__main__":
    update(*sys.argv[1:])
