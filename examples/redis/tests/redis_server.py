"""Run a Redis server for the tests."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

DURABLE = {"appendonly": "yes", "appendfsync": "always"}


@attrs.define
class RedisServer:
    """
    A server whose files are in *folder*.

    Attributes:
        port: Where it listens.
        settings: Its configuration, beyond what tests need.
    """

    folder: Path
    port: int
    settings: dict[str, str]
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server, and wait until it is ready."""
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": '""', **self.settings}
        file = self.folder / "redis.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        self._process = subprocess.Popen(["redis-server", file], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                return
        raise RuntimeError("redis-server did not start")

    def stop(self) -> None:
        """Kill the server, as in a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def cli(self, *arguments: str) -> str:
        """Run a command on the server."""
        command = ["redis-cli", "-p", str(self.port), *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    def make_cluster(self) -> None:
        """Let the server be the only node of a cluster, and wait until it serves."""
        self.cli("cluster", "addslotsrange", "0", "16383")
        while "cluster_state:ok" not in self.cli("cluster", "info"):
            pass

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Kill the server, and start it again after the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()


@contextlib.contextmanager
def redis_server(folder: Path, **settings: str) -> Iterator[RedisServer]:
    """Run a server during the block; skip the test if there is none, but not in CI."""
    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is missing: install it")
        pytest.skip("redis-server is missing")
    server = RedisServer(folder, _free_port(), DURABLE | settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    """Return a port that is free, also 10,000 above it, where a cluster needs another one."""
    while True:
        # Below those that the system gives to clients: one of them could take the port while the server is down.
        port = 10_000 + secrets.randbelow(10_000)
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port
