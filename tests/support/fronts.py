"""nginx and Caddy from the system's packages, with the configuration in examples/deploy."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import httpx
import trustme

from tests.support.postgres import free_port
from tests.support.recipes import DEPLOY
from tests.support.requirements import required

__all__ = ["FRONTS", "Front", "front", "until_line"]

START_TIMEOUT_S = 30
SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"


@attrs.frozen
class Front:
    """
    A running proxy.

    Attributes:
        name: `nginx` or `caddy`.
        port: Where it speaks TLS.
        plain_port: Where it redirects to TLS.
        log: Its access log.
        authority: The certificate of the authority that issued its certificate.
    """

    name: str
    port: int
    plain_port: int
    log: Path
    authority: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self, user_token: str | None = None, source: str | None = None) -> httpx.Client:
        """Return a client that connects from the address *source*."""
        context = ssl.create_default_context(cafile=self.authority)
        transport = httpx.HTTPTransport(verify=context, local_address=source, limits=httpx.Limits(max_connections=20))
        headers = {"Authorization": f"Bearer {user_token}"} if user_token else {}
        return httpx.Client(base_url=self.url, transport=transport, headers=headers, timeout=60)

    def logged(self, request_id: str) -> str:
        """Return the line of the request with this id in the access log, once it is there."""
        return until_line(self.log, request_id)


def until_line(file: Path, text: str, count: int = 1) -> str:
    """Wait for *count* lines that contain *text* in *file*, and return the last one."""
    until_s = time.monotonic() + START_TIMEOUT_S
    while True:
        lines = file.read_text().splitlines() if file.exists() else []
        found = [line for line in lines if text in line]
        if len(found) >= count:
            return found[-1]
        assert time.monotonic() < until_s, "\n".join(lines)
        time.sleep(0.01)


def _deployed(name: str, folder: Path, upstream: Path, ports: tuple[int, int]) -> str:
    """Return the text of a file in examples/deploy, with *folder*, *upstream* and *ports* in place of the real ones."""
    text = (DEPLOY / name).read_text()
    https, http = ports
    replacements = {
        r"/run/taskd/taskd\.sock": str(upstream),
        r"/etc/ssl/taskd|/var/log/nginx|/var/log/caddy|/etc/nginx(?=/taskd_proxy)": str(folder),
        r"(?m)^ *listen \[::\].*\n": "",
        r"listen 443": f"listen 127.0.0.1:{https}",
        r"listen 80;": f"listen 127.0.0.1:{http};",
        r"tasks\.example\.com": "localhost",
    }
    for pattern, text_instead in replacements.items():
        text = re.sub(pattern, text_instead, text)
    return text


def _certify(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(folder / "privkey.pem")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(folder / "fullchain.pem", append=True)
    (folder / "privkey.pem").chmod(0o644)


def _nginx(folder: Path, upstream: Path, ports: tuple[int, int], *, is_below: bool) -> list[str]:
    """Write nginx's files, and return the command that runs it with Debian's own `nginx.conf`."""
    program = required("nginx", SBIN)
    sites = _deployed("nginx/taskd.conf", folder, upstream, ports)
    if is_below:
        below = _deployed("nginx/below_tasks.conf", folder, upstream, ports)
        sites = re.sub(r"(?s)    location / \{.*?\n    \}\n", lambda _: below, sites)
    (folder / "site.conf").write_text(sites)
    (folder / "taskd_proxy.conf").write_text(_deployed("nginx/taskd_proxy.conf", folder, upstream, ports))
    main = Path("/etc/nginx/nginx.conf").read_text()
    main = re.sub(r"/etc/nginx/conf\.d/\*\.conf", str(folder / "site.conf"), main)
    main = re.sub(r".*(sites-enabled|modules-enabled).*\n", "", main)
    main = re.sub(r"/var/log/nginx", str(folder), main)
    main = re.sub(r"/run/nginx\.pid", str(folder / "nginx.pid"), main)
    (folder / "nginx.conf").write_text(main)
    return [program, "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]


def _caddy(folder: Path, upstream: Path, ports: tuple[int, int], *, is_below: bool) -> list[str]:
    program = required("caddy", SBIN)
    https, http = ports
    site = _deployed("caddy/Caddyfile", folder, upstream, ports)
    if is_below:
        below = _deployed("caddy/below_tasks.Caddyfile", folder, upstream, ports)
        site = site.replace("\n\timport taskd\n", f"\n{below}")
    options = f"{{\n\tadmin off\n\thttp_port {http}\n\thttps_port {https}\n\tdefault_bind 127.0.0.1\n"
    (folder / "Caddyfile").write_text(site.replace("{\n", options, 1))
    return [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


FRONTS: dict[str, Callable[..., list[str]]] = {"nginx": _nginx, "caddy": _caddy}


@contextlib.contextmanager
def front(name: str, folder: Path, upstream: Path, *, is_below: bool = False) -> Iterator[Front]:
    """
    Run a proxy in front of taskd during the block.

    Args:
        name: `nginx` or `caddy`.
        folder: An empty folder that everyone can read.
        upstream: taskd's socket.
        is_below: Whether taskd is below the path `/tasks`.
    """
    ports = free_port(), free_port()
    _certify(folder)
    command = FRONTS[name](folder, upstream, ports, is_below=is_below)
    environ = {"PATH": SBIN, "HOME": str(folder)}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    running = Front(name, *ports, folder / "taskd.log", folder / "ca.pem")
    try:
        _wait_until_up(running, process, folder / "output")
        yield running
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)


def _wait_until_up(running: Front, process: subprocess.Popen[bytes], output: Path) -> None:
    until_s = time.monotonic() + START_TIMEOUT_S
    while not _is_listening(running.port):
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < until_s, output.read_text()
        time.sleep(0.01)


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
