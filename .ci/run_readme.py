"""
Do what the README tells a newcomer to do: run its commands, as they stand, in a fresh clone.

Each `sh` block is a command.  Commands that start a server are left running until the server has been tried: the first
one by the request in the next block.  All others run until they end.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def commands() -> list[str]:
    """Return the README's blocks of shell commands."""
    return re.findall(r"^```sh\n(.*?)^```$", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def check_production(deploy: str, folder: str) -> None:
    """Run what the README says about production, with the shortest possible `.env` file."""
    (Path(folder) / ".env").write_text(f"BETTER_AUTH_SECRET={secrets.token_hex(32)}\n")
    print(f"$ {deploy}", flush=True)
    server = subprocess.Popen(["bash", "-ec", deploy], cwd=folder, start_new_session=True)
    try:
        probe = "curl --silent --fail --retry 60 --retry-delay 1 --retry-connrefused 127.0.0.1:8000/readyz"
        subprocess.run(probe.split(), check=True)
        assert server.poll() is None, "a command failed"
    finally:
        # Ctrl+C in a terminal signals the whole process group.
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait() == 0, "taskd did not stop gracefully"


def main() -> None:
    """Run the blocks: serve, request, test; and then, for production, migrate, check and serve."""
    serve, request, test, deploy = commands()
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
            # Wait until the port is free: taskd keeps this pipe open for as long as it runs.
            server.communicate()
        print(f"$ {test}", flush=True)
        subprocess.run(["bash", "-ec", test], cwd=folder, check=True)
        check_production(deploy, folder)


if __name__ == "__main__":
    sys.exit(main())
