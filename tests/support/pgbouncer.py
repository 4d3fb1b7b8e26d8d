"""PgBouncer from the system's packages: the pooler that providers of PostgreSQL put in front of their servers."""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.support.postgres import USER, PostgresServer, free_port, owned_by, unprivileged
from tests.support.requirements import required

START_TIMEOUT_S = 10


@attrs.frozen
class PgBouncer:
    """A running pooler: its port and its log."""

    port: int
    log: Path

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"


# A PgBouncer that supports prepared statements: 1.21 or later, which Debian 12 does not have.
PREPARING = "pgbouncer-prepared"


@contextlib.contextmanager
def pgbouncer(server: PostgresServer, name: str = "pgbouncer", **settings: str | int) -> Iterator[PgBouncer]:
    """
    Run a pooler in front of *server*, in transaction mode with few connections unless *settings* say otherwise.

    Args:
        server: The server.
        name: The program, `pgbouncer` or `PREPARING`.
        settings: Settings of the pooler.
    """
    program = _program(name)
    with _folder() as folder:
        pooler = PgBouncer(free_port(), folder / "log")
        configuration = folder / "pgbouncer.ini"
        _write_configuration(configuration, server, {"listen_port": pooler.port, **_plain(program), **settings})
        with _running(program, configuration, pooler):
            yield pooler


@contextlib.contextmanager
def deployed_pgbouncer(server: PostgresServer, text: str, users: str, name: str = PREPARING) -> Iterator[PgBouncer]:
    """
    Run a pooler in front of *server* that is configured by *text*, except for ports and paths.

    Args:
        server: The server.
        text: The configuration.
        users: The content of its `auth_file`.
        name: The program.
    """
    with _folder() as folder:
        shutil.chown(folder, unprivileged() or os.geteuid())
        pooler = PgBouncer(free_port(), folder / "log")
        (folder / "userlist.txt").write_text(users)
        replacements = {
            r"host=127\.0\.0\.1 ": f"host=127.0.0.1 port={server.port} ",
            r"(?m)^listen_port = .*": f"listen_port = {pooler.port}",
            r"/etc/pgbouncer(?=/)|/var/log/postgresql(?=/)|/run/postgresql(?=/)": str(folder),
        }
        for pattern, instead in replacements.items():
            text = re.sub(pattern, instead, text)
        configuration = folder / "pgbouncer.ini"
        # The tests' PostgreSQL accepts this user's password only over TLS.
        configuration.write_text(f"{text}server_tls_sslmode = require\n")
        with _running(_program(name), configuration, pooler):
            yield pooler


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="taskd-pgbouncer-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        yield folder


@contextlib.contextmanager
def _running(program: str, configuration: Path, pooler: PgBouncer) -> Iterator[None]:
    with (
        pooler.log.open("w") as log,
        subprocess.Popen(
            [program, str(configuration)],
            **owned_by(unprivileged()),
            cwd=configuration.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            _wait_until_up(pooler, process)
            yield
        finally:
            # It has nothing to save, and on SIGTERM newer versions would wait for their clients.
            process.kill()


def _program(name: str) -> str:
    """Return the path of the program called *name*."""
    # Debian installs it in a folder that is only on root's PATH.
    return required(name, f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def _plain(program: str) -> dict[str, str | int]:
    """Return settings that turn off newer versions' prepared statements, which older ones and other poolers lack."""
    said = subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    major, minor = said.split()[1].split(".")[:2]
    return {"max_prepared_statements": 0} if (int(major), int(minor)) >= (1, 21) else {}


def _write_configuration(file: Path, server: PostgresServer, settings: dict[str, str | int]) -> None:
    # PgBouncer does not interpolate percent signs.
    configuration = configparser.ConfigParser(interpolation=None)
    # Every client connects as this user, and needs no password.
    configuration["databases"] = {"*": f"host=127.0.0.1 port={server.port} user={USER}"}
    defaults = {
        "listen_addr": "127.0.0.1",
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": 4,
        # The default is 15 s, too long for a test.
        "server_login_retry": "0.2",
    }
    configuration["pgbouncer"] = {name: str(value) for name, value in {**defaults, **settings}.items()}
    with file.open("w") as opened:
        configuration.write(opened)


def _wait_until_up(pooler: PgBouncer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _is_listening(pooler.port):
        assert process.poll() is None, pooler.log.read_text()
        assert time.monotonic() < deadline, pooler.log.read_text()
        time.sleep(0.01)


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
