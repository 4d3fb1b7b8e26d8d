"""The container image of examples/deploy can be built, and runs taskd without root and with read-only files."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import SECRET, token_for
from tests.support.images import Image, build
from tests.support.postgres import USER, PostgresServer, children_of, free_port
from tests.support.processes import until_seen

OTHERS_MAY_NOT = 0o002
SET_ID = 0o6000


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with tempfile.TemporaryDirectory(prefix="taskd-image-", ignore_cleanup_errors=True) as name:
        yield build(Path(name))


@pytest.fixture
def settings(postgres: PostgresServer) -> dict[str, str]:
    """Settings with which taskd reaches a database without tables through a socket."""
    postgres.psql("postgres", "-c", "DROP DATABASE IF EXISTS contained", "-c", "CREATE DATABASE contained")
    url = f"postgresql://{USER}@:{postgres.port}/contained?host={postgres.data.parent}"
    return {"DATABASE_URL": url, "BETTER_AUTH_SECRET": SECRET}


def test_taskd_serves_in_a_container(image: Image, settings: dict[str, str], postgres: PostgresServer) -> None:
    """It migrates, serves, is healthy, and stops at SIGTERM as a container should, without a traceback."""
    port, folders = str(free_port()), [postgres.data.parent]
    serve = image.command("serve", "--port", port, "--drain", "1", settings=settings, folders=folders)
    migrate = image.command("migrate", settings=settings, folders=folders)
    check = image.command("healthcheck", "--port", port, settings={})
    url = f"http://127.0.0.1:{port}"
    migrated = subprocess.run(migrate, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert 0 == migrated.returncode, migrated.stdout
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        try:
            until_seen(lambda: is_ready(url))
            [first] = children_of(running.pid)
            headers = {"Authorization": f"Bearer {token_for('alice')}"}
            created = httpx.post(f"{url}/api/alice/tasks", json={"title": "contained"}, headers=headers, timeout=30)
            healthy = subprocess.run(check, check=False).returncode
            user = Path(f"/proc/{first}").stat().st_uid
        finally:
            running.send_signal(signal.SIGTERM)
        printed = running.communicate(timeout=60)[0]

    assert 201 == created.status_code
    assert 0 == healthy
    assert 10001 == user
    assert "Application shutdown complete" in printed
    assert "Traceback" not in printed
    assert 128 + signal.SIGTERM == running.returncode, printed


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def test_the_image_lists_what_is_in_it(image: Image) -> None:
    """The bill of materials has taskd and what it depends on, and nothing else is installed."""
    bill = json.loads((image.root / "opt" / "taskd" / "sbom.cdx.json").read_text())
    folders = image.root.glob("opt/taskd/lib/python*/site-packages/*.dist-info")
    installed = {folder.name.split("-")[0].lower().replace("_", "-") for folder in folders}
    listed = {each["name"].lower().replace("_", "-") for each in bill["components"]}

    assert "CycloneDX" == bill["bomFormat"]
    assert {"starlette", "asyncpg", "cryptography"} <= listed
    assert installed <= listed | {bill["metadata"]["component"]["name"]}


def test_nothing_in_the_image_can_be_changed(image: Image) -> None:
    """The user of the container owns only the folder for data, and no program makes a user another one."""
    modes = {path: path.lstat() for path in image.root.rglob("*") if not path.is_symlink()}
    owned = [path.relative_to(image.root) for path, status in modes.items() if status.st_uid == 10001]

    assert [Path("var/lib/taskd")] == owned
    assert [] == [path for path, status in modes.items() if path.is_file() and status.st_mode & SET_ID]
    assert [] == [path for path, status in modes.items() if path.is_file() and status.st_mode & OTHERS_MAY_NOT]
