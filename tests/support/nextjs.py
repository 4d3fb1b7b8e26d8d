"""The frontend in examples/nextjs: built, served beside taskd, and open in somebody's browser."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import httpx
from playwright.async_api import Browser, BrowserContext, Page

from taskd.testing import running_server
from tests.conftest import PATIENT, SECRET
from tests.support.browser import DEVICES, Device, complaints
from tests.support.documentation import ROOT, blocks
from tests.support.node import install, npm
from tests.support.postgres import free_port
from tests.support.requirements import required

__all__ = ["PASSWORD", "Frontend", "Visitor", "build", "demonstrating", "serving"]

EXAMPLE = Path("examples", "nextjs")
DOCUMENT = Path("docs", "reference", "openapi.json")
# Nothing is photographed, or checked for its contrast, while it is fading in.
STEADY = {"locale": "en-GB", "reduced_motion": "reduce"}
PASSWORD = "a password for the tests"
# What Next.js and its users' tools leave in the folder.
LEFT_BEHIND = ("node_modules", ".next", "*.d.ts", "*.tsbuildinfo")
# Better Auth lets few people sign up from one address in a short time.
ADDRESSES = (f"192.0.2.{number}" for number in itertools.count(1))


def build(folder: Path) -> Path:
    """Build the frontend in a copy below *folder*, and return where that is."""
    copy = folder / EXAMPLE
    shutil.copytree(ROOT / EXAMPLE, copy, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    (folder / DOCUMENT).parent.mkdir(parents=True)
    shutil.copy(ROOT / DOCUMENT, folder / DOCUMENT)
    install(copy)
    npm(copy, "run", "build", NEXT_TELEMETRY_DISABLED="1", BETTER_AUTH_SECRET=SECRET)
    return copy


@attrs.frozen
class Frontend:
    """
    The frontend and its taskd, while both are running.

    Attributes:
        folder: Where the frontend was built.
    """

    folder: Path
    url: str
    taskd_url: str

    @contextlib.asynccontextmanager
    async def visitor(self, browser: Browser, device: Device | None = None) -> AsyncIterator[Visitor]:
        """Give a new user, signed in, whose browser shows nothing yet."""
        async with (device or DEVICES[0]).context(browser, **STEADY) as context:
            user_id = await self.sign_up(context)
            token = (await (await context.request.get(f"{self.url}/api/auth/token")).json())["token"]
            page = await context.new_page()
            with httpx.Client(
                base_url=self.taskd_url,
                headers={"Authorization": f"Bearer {token}"},
                trust_env=False,
            ) as client:
                yield Visitor(self, context, page, f"/api/{user_id}/tasks", client, complaints(page))

    async def sign_up(self, context: BrowserContext, name: str = "Ada Lovelace") -> str:
        """Make a new user the one that is signed in in a browser, and return the user's id."""
        person = {"name": name, "email": f"{os.urandom(8).hex()}@example.com", "password": PASSWORD}
        headers = {"Origin": self.url, "X-Forwarded-For": next(ADDRESSES)}
        response = await context.request.post(
            f"{self.url}/api/auth/sign-up/email", data=person, headers=headers, fail_on_status_code=True
        )
        user_id: str = (await response.json())["user"]["id"]
        return user_id

    @property
    def axe(self) -> str:
        """The program that finds what people with disabilities cannot use."""
        return (self.folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@contextlib.contextmanager
def serving(folder: Path, database_url: str) -> Iterator[Frontend]:
    """Serve what was built in *folder*, beside a taskd whose tasks are in a database."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    path = {"PATH": os.environ["PATH"]}
    settings = {"DATABASE_URL": database_url, "BETTER_AUTH_URL": url, "FRONTEND_URL": url, **PATIENT}
    with running_server({**path, **settings}, cwd=folder) as server:
        of_frontend = {"BETTER_AUTH_URL": url, "BETTER_AUTH_SECRET": SECRET, "TASKD_URL": server.url}
        with _next_start(folder, port, {**path, **of_frontend}):
            yield Frontend(folder, url, server.url)
        server.stop()


@contextlib.contextmanager
def demonstrating(folder: Path) -> Iterator[Frontend]:
    """Type the command in the example's README, in the environment in which taskd is installed."""
    [command, *_] = blocks(f"{EXAMPLE}/README.md", "sh")
    port, api_port = free_port(), free_port()
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "NEXT_TELEMETRY_DISABLED": "1",
        "PORT": str(port),
        "API_PORT": str(api_port),
    }
    with _program(["sh", "-c", command], folder, environ):
        yield Frontend(folder, f"http://localhost:{port}", f"http://127.0.0.1:{api_port}")


@contextlib.contextmanager
def _next_start(folder: Path, port: int, environ: Mapping[str, str]) -> Iterator[None]:
    program = "node_modules/next/dist/bin/next"
    command = [required("node"), program, "start", "--hostname", "127.0.0.1", "--port", str(port)]
    with _program(command, folder, {**environ, "NEXT_TELEMETRY_DISABLED": "1", "BETTER_AUTH_TELEMETRY": "0"}):
        yield


@contextlib.contextmanager
def _program(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> Iterator[None]:
    """Run Next.js, once it is ready, until the end of the block; then do as Ctrl+C does."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        said = list(itertools.takewhile(lambda line: "Ready" not in line, process.stdout))
        assert process.poll() is None, "".join(said)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        # Until all of its processes have closed their output.
        process.communicate()


@attrs.frozen
class Visitor:
    """
    Somebody who is signed in.

    Attributes:
        tasks_url: The path of the visitor's tasks.
        client: A client of taskd with the visitor's token.
    """

    frontend: Frontend
    context: BrowserContext
    page: Page
    tasks_url: str
    client: httpx.Client
    heard: list[str]

    @property
    def complaints(self) -> list[int | str]:
        """What the browser has complained about: of a response, its status; nothing of what the frontend cancelled."""
        statuses = [re.search(r"responded with a status of (\d+)", text) or text for text in self.heard]
        return [
            complaint if isinstance(complaint, str) else int(complaint[1])
            for complaint in statuses
            if not str(complaint).endswith("net::ERR_ABORTED")
        ]

    async def open(self, path: str = "/") -> Page:
        """Open a page of the frontend."""
        await self.page.goto(f"{self.frontend.url}{path}")
        return self.page

    def add(self, *titles: str, **values: Any) -> list[dict[str, Any]]:
        """Create tasks without the frontend; the first title will be the last in the list."""
        bodies = [{"title": title, **values} for title in titles]
        return [self.client.post(self.tasks_url, json=body).raise_for_status().json() for body in bodies]

    def change(self, task: Mapping[str, Any], **values: Any) -> None:
        """Change a task without the frontend."""
        self.client.put(f"{self.tasks_url}/{task['id']}", json=values).raise_for_status()

    def delete(self, task: Mapping[str, Any]) -> None:
        """Delete a task without the frontend."""
        self.client.delete(f"{self.tasks_url}/{task['id']}").raise_for_status()

    def stored(self) -> list[dict[str, Any]]:
        """Return what taskd has."""
        listed: list[dict[str, Any]] = self.client.get(self.tasks_url).raise_for_status().json()
        return listed
