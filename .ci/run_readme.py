"""
Do what the README tells a newcomer to do: type its commands, as they stand, in a fresh clone.

A block of `sh` is a command.  The one that ends with the server answering goes on while the next, the first request, is
typed; the others run to their end.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def commands() -> list[str]:
    """Return the README's blocks of shell commands."""
    return re.findall(r"^```sh\n(.*?)^```$", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def main() -> None:
    """Type the first three blocks: serve, request, test."""
    serve, request, test = commands()[:3]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), folder], check=True)
        print(f"$ {serve}", flush=True)
        server = subprocess.Popen(["bash", "-ec", f"exec 2>&1; {serve}"], cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            printed = ""
            for line in server.stdout:
                print(line, end="", flush=True)
                printed += line
                if "Ctrl+C" in line:
                    break
            token = re.search(r"token  (\S+)", printed)
            assert token, "the server did not start"
            print(f"$ {request}", flush=True)
            answer = subprocess.run(
                ["bash", "-ec", request.replace("TOKEN", token[1])], cwd=folder, stdout=subprocess.PIPE, check=True
            )
            print(answer.stdout.decode(), flush=True)
            assert b'"title":"Buy milk"' in answer.stdout
        finally:
            subprocess.run(["pkill", "-TERM", "-P", str(server.pid)], check=False)
            server.terminate()
            server.wait()
        print(f"$ {test}", flush=True)
        subprocess.run(["bash", "-ec", test], cwd=folder, check=True)


if __name__ == "__main__":
    sys.exit(main())
