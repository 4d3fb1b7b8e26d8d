"""The servers that `hostile_clients.py` compares, each in its own processes on 127.0.0.1."""

from __future__ import annotations

import contextlib
import getpass
import importlib.metadata
import importlib.util
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import httpx
import jwt

from benchmarks.processes import running_process

FOLDER = Path(__file__).parent.parent
SECRET = "a secret for the benchmark, of more than 32 bytes"
NAMES = ("taskd", "uvicorn, httptools", "uvicorn, h11", "granian", "nginx, uvicorn behind")
START_TIMEOUT_S = 30
MIB = 1024 * 1024
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log warn; user {user};
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{behind}; }} }}
}}
"""


@attrs.frozen
class Target:
    """Where to send a request, and with which headers."""

    path: str
    headers: tuple[str, ...] = ()

    def request(self, method: str, *headers: str, body: bytes = b"", host: str | None = "x") -> bytes:
        """Return an HTTP/1.1 request as bytes, with a `Content-Length` if it has a body."""
        lines = [f"{method} {self.path} HTTP/1.1"]
        lines += [f"Host: {host}"] if host is not None else []
        lines += [*self.headers, *headers, *([f"Content-Length: {len(body)}"] if body else [])]
        return "\r\n".join([*lines, "", ""]).encode() + body


@attrs.frozen(eq=False)
class Server:
    """
    A running server.

    Attributes:
        small: Responds at once.
        body: Reads a JSON body.
        refused: Responds to a POST without reading its body.
        medium: Responds to a GET with 320 KiB.
        large: Responds to a GET with 9 MiB.
    """

    name: str
    port: int
    processes: Sequence[subprocess.Popen[bytes]]
    log: Path
    small: Target
    body: Target
    refused: Target
    medium: Target
    large: Target

    def pids(self) -> list[int]:
        """Return the ids of all processes of the server, including its workers."""
        sessions = {process.pid for process in self.processes}
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[3]) in sessions:
                    found.append(int(stat.parent.name))
        return found

    def resident_bytes(self) -> int:
        """Return how much memory its processes use."""
        kib = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                kib += sum(map(int, re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())))
        return kib * 1024

    def descriptors(self) -> int:
        """Return how many files, including sockets, its processes have open."""
        count = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                count += len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return count

    def connect(self, receive_buffer_bytes: int | None = None) -> socket.socket:
        """Connect to the server; with a small receive buffer, the kernel buffers little on either side."""
        connection = socket.socket()
        if receive_buffer_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", self.port))
        return connection


def allow_descriptors(count: int) -> None:
    """Let this process and its children open *count* files, or as many as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count, hard)), hard))


def available() -> dict[str, str]:
    """Return a description, with versions, of each server that can be run; report those that are left out."""
    version = importlib.metadata.version
    uvicorn = f"uvicorn {version('uvicorn')}"
    found = {
        "taskd": f"taskd {version('taskd-server')} on {uvicorn}",
        "uvicorn, httptools": f"{uvicorn} with httptools {version('httptools')}",
    }
    if importlib.util.find_spec("h11"):
        found["uvicorn, h11"] = f"{uvicorn} with h11 {version('h11')}"
    if importlib.util.find_spec("granian"):
        found["granian"] = f"granian {version('granian')}"
    if nginx := _nginx():
        said = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
        found["nginx, uvicorn behind"] = said.strip().rpartition(": ")[2].replace("/", " ")
    for name in NAMES:
        if name not in found:
            print(f"{name} is not installed and left out.", file=sys.stderr)
    return found


def _nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


def free_port() -> int:
    """Return a port that nothing is listening on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(name: str, database: Path) -> Iterator[Server]:
    """Run a server for the duration of the block; taskd uses a copy of *database*."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        log = folder / "log"
        port, behind = free_port(), free_port()
        environ = {**os.environ, "PYTHONPATH": str(FOLDER)}
        uvicorn = ["-m", "uvicorn", "benchmarks.hostile_app:app", "--no-access-log", "--port"]
        python = sys.executable
        if name == "taskd":
            shutil.copy(database, folder / "tasks.db")
            environ |= {"DATABASE_URL": f"sqlite:///{folder}/tasks.db", "BETTER_AUTH_SECRET": SECRET}
            commands = [[python, "-m", "taskd", "serve", "--port", str(port)]]
        elif name == "granian":
            options = ["--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)]
            commands = [[python, "-m", "granian", *options, "benchmarks.hostile_app:app"]]
        elif name == "nginx, uvicorn behind":
            (folder / "nginx.conf").write_text(
                NGINX.format(folder=folder, user=getpass.getuser(), port=port, behind=behind)
            )
            commands = [[python, *uvicorn, str(behind)], [str(_nginx()), "-p", made, "-c", f"{made}/nginx.conf"]]
        else:
            commands = [[python, *uvicorn, str(port), "--http", name.split(", ")[1]]]
        with log.open("wb") as output, contextlib.ExitStack() as stack:
            processes = [stack.enter_context(running_process(command, environ, folder, output)) for command in commands]
            server = _server(name, port, processes, log)
            _await(server)
            yield server


def _server(name: str, port: int, processes: Sequence[subprocess.Popen[bytes]], log: Path) -> Server:
    if name != "taskd":
        targets = [Target("/"), Target("/"), Target("/refused"), Target("/medium"), Target("/large")]
        return Server(name, port, processes, log, *targets)
    return Server(
        name,
        port,
        processes,
        log,
        small=Target("/livez"),
        body=Target("/api/bench/tasks", (*authorization("bench"), "Content-Type: application/json")),
        refused=Target("/api/bench/tasks", ("Authorization: Bearer bad", "Content-Type: application/json")),
        medium=Target("/api/medium/tasks", authorization("medium")),
        large=Target("/api/large/tasks", authorization("large")),
    )


def _await(server: Server) -> None:
    until_s = time.monotonic() + START_TIMEOUT_S
    path = "/readyz" if server.name == "taskd" else "/"
    while time.monotonic() < until_s:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{server.port}{path}").status_code == 200:
                return
        time.sleep(0.05)
    raise TimeoutError(f"{server.name} did not start: {server.log.read_text()}")


def authorization(user: str) -> tuple[str, ...]:
    """Return the header that authenticates *user*."""
    now_s = int(time.time())
    token = jwt.encode({"sub": user, "iat": now_s, "exp": now_s + 3600}, SECRET, "HS256")
    return (f"Authorization: Bearer {token}",)


def fill(folder: Path) -> Path:
    """Create a database in which the tasks of the users `medium` and `large` take up 320 KiB and 9 MiB."""
    made = folder / "tasks.db"
    empty = folder / "empty.db"
    empty.touch()
    with running("taskd", empty) as server:
        for user, size in (("medium", 320 * 1024), ("large", 9 * MIB)):
            [header] = authorization(user)
            name, value = header.split(": ")
            with httpx.Client(headers={name: value}) as client:
                for _ in range(size // 40_000 + 1):
                    task = {"title": "large", "description": "\U0001f389" * 10_000}
                    client.post(f"http://127.0.0.1:{server.port}/api/{user}/tasks", json=task).raise_for_status()
        [running_in] = {Path(f"/proc/{process.pid}/cwd").resolve() for process in server.processes}
        for process in server.processes:
            process.send_signal(signal.SIGINT)
            process.wait()
        shutil.copy(running_in / "tasks.db", made)
    return made
