"""Other people's clients: what they make of the API document and of its page, and that it is true."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from playwright.async_api import Browser, Locator, Page, Route, expect

from taskd.tasks import Priority
from taskd.testing import running_server
from tests.conftest import SECRET, token_for
from tests.support.browser import DEVICES, Device, chromium, complaints
from tests.support.fuzzing import schemathesis
from tests.support.processes import DEV, PLAIN_UVICORN, child_environ


@attrs.frozen
class Extent:
    """
    How much schemathesis tries.

    Attributes:
        examples: For each operation that takes any input.
        workflows_s: For how long workflows are tried.  Schemathesis ends a series of them when it was surprised by an
            answer, and starts the next one as long as there is time: how many there are in all cannot be asked for.
    """

    examples: int
    workflows_s: int


BRIEF = Extent(examples=100, workflows_s=20)
THOROUGH = Extent(examples=2000, workflows_s=60)

# Devices whose size and colour scheme others have, too.
REPEATING = {"desktop-dark", "phone-light"}
TASKS, TASK = "/api/{user_id}/tasks", "/api/{user_id}/tasks/{id}"
SUCCESS = {
    f"GET {TASKS}": 200,
    f"POST {TASKS}": 201,
    f"GET {TASK}": 200,
    f"PUT {TASK}": 200,
    f"DELETE {TASK}": 204,
    f"PATCH {TASK}/complete": 200,
}
# Everything in their queries and bodies may be wrong.
WITH_FAULTS = [f"GET {TASKS}", f"POST {TASKS}", f"PUT {TASK}", f"PATCH {TASK}/complete"]
# What only requests with the headers for it are answered with.
CONDITIONAL = [
    (f"GET {TASKS}", 304),
    (f"GET {TASK}", 304),
    (f"PUT {TASK}", 201),
    (f"PUT {TASK}", 412),
    (f"DELETE {TASK}", 412),
    (f"PATCH {TASK}/complete", 412),
]
CHECKS = {
    "allow_header_conformance",
    "content_type_conformance",
    "ensure_resource_availability",
    "ignored_auth",
    "missing_required_header",
    "negative_data_rejection",
    "not_a_server_error",
    "object_level_authorization",
    "positive_data_acceptance",
    "response_headers_conformance",
    "response_schema_conformance",
    "status_code_conformance",
    "unsupported_method",
    "use_after_free",
}

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def extent(is_thorough: bool) -> Extent:
    return THOROUGH if is_thorough else BRIEF


@contextlib.contextmanager
def client_at(url: str, user_id: str) -> Iterator[httpx.Client]:
    """A client of the server at *url*, with a good token of *user_id*."""
    headers = {"Authorization": f"Bearer {token_for(user_id)}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        yield client


def test_the_document_is_valid(small_environ: dict[str, str], small_server_url: str) -> None:
    """The document is OpenAPI 3.1, and the one that is printed is the one that is served."""
    command = [sys.executable, "-m", "taskd", "openapi"]
    printed = subprocess.run(command, env=child_environ(small_environ), stdout=subprocess.PIPE, check=True).stdout
    served = httpx.get(f"{small_server_url}/openapi.json", trust_env=False).content

    assert printed == served
    assert [] == [error.message for error in OpenAPIV31SpecValidator(json.loads(served)).iter_errors()]


class TestSchemathesis:
    """All that schemathesis checks holds: what the document says is what the server does."""

    def test_operations(
        self,
        extent: Extent,
        server_url: str,
        user_id: str,
        tasks_url: str,
        tmp_path: Path,
        pytestconfig: pytest.Config,
    ) -> None:
        """Each operation answers as the document says, to good requests and to bad ones."""
        reader_id = f"{user_id}-reader"
        with client_at(server_url, user_id) as client, client_at(server_url, reader_id) as reader:
            # As many as there are deletions: most of them should find something.
            for name, count in {"kept.txt": 20, "doomed.txt": extent.examples}.items():
                made = [client.post(tasks_url, json={"title": "t"}).json()["id"] for _ in range(count)]
                (tmp_path / name).write_text("".join(f'"{task_id}"\n' for task_id in made))
            for priority in Priority:
                reader.post(f"/api/{reader_id}/tasks", json={"title": "t", "priority": priority.value})
        report = schemathesis(
            tmp_path,
            "operations.toml",
            server_url,
            {
                "TOKEN": token_for(user_id),
                "USER_ID": user_id,
                "READER_TOKEN": token_for(reader_id),
                "READER_ID": reader_id,
            },
            "--phases=examples,coverage,fuzzing",
            f"--max-examples={extent.examples}",
            f"--seed={pytestconfig.getoption('--schemathesis-seed')}",
        )
        fuzzed = report.count(phase="fuzzing", is_repeated=False)
        repeated = report.count(is_repeated=True)
        all_calls = report.count()

        assert 0 == report.exit_code, report.output
        assert {(name, "success") for name in CHECKS} <= set(report.checks)
        assert {"success"} == {status for _, status in report.checks}
        # Then it was nothing that kept it from more.
        assert dict.fromkeys(SUCCESS, extent.examples) == {
            operation: sum(count for (called, _), count in fuzzed.items() if called == operation)
            for operation in SUCCESS
        }
        assert [] == [call for call in SUCCESS.items() if fuzzed[call] < extent.examples // 10]
        assert [] == [call for call in CONDITIONAL if fuzzed[call] < extent.examples // 50]
        # Without a token, and with a wrong one.
        assert [] == [operation for operation in SUCCESS if repeated[operation, 401] < 2]
        assert [] == [operation for operation in SUCCESS if TASK in operation and all_calls[operation, 404] < 10]
        assert [] == [operation for operation in WITH_FAULTS if all_calls[operation, 422] < 10]

    def test_workflows(
        self, extent: Extent, server_url: str, user_id: str, tmp_path: Path, pytestconfig: pytest.Config
    ) -> None:
        """What one operation makes another one finds, changes and deletes, and nobody finds it then."""
        report = schemathesis(
            tmp_path,
            "workflows.toml",
            server_url,
            {"TOKEN": token_for(user_id), "USER_ID": user_id},
            "--phases=stateful",
            f"--max-examples={extent.examples}",
            f"--max-time={extent.workflows_s}",
            f"--seed={pytestconfig.getoption('--schemathesis-seed')}",
        )
        responses = report.count(phase="stateful", is_repeated=False)
        on_new_tasks = report.count(origin=f"POST {TASKS}")

        assert 0 == report.exit_code, report.output
        assert {(name, "success") for name in CHECKS} <= set(report.checks)
        assert [] == [call for call in SUCCESS.items() if responses[call] < 10]
        assert [] == [call for call in SUCCESS.items() if TASK in call[0] and on_new_tasks[call] < 3]
        # By an id of a task that was deleted on the way.
        assert [] == [operation for operation in SUCCESS if TASK in operation and not responses[operation, 404]]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as launched:
        yield launched


@pytest.fixture
def screenshots(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """The folder for pictures of the pages."""
    folder: Path = pytestconfig.invocation_params.dir / (pytestconfig.getoption("--screenshots") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.asynccontextmanager
async def page_on(device: Device, browser: Browser, url: str) -> AsyncIterator[tuple[Page, list[str]]]:
    """Give a page to which there is nothing but the server at *url*, and the list of all that goes wrong on it."""
    async with device.context(browser) as context:
        # The console tells of them, too, but of the first of a kind only.
        await context.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " (event) => console.error('CSP', event.violatedDirective, event.blockedURI, event.sourceFile))"
        )
        page = await context.new_page()
        heard = complaints(page)

        async def keep_to_server(route: Route) -> None:
            if route.request.url.startswith(f"{url}/"):
                await route.continue_()
            else:
                await route.abort()

        await context.route("**/*", keep_to_server)
        yield page, heard


async def overhang(page: Page, device: Device) -> int:
    """Return by how many pixels *page* is too wide.  A phone would zoom out: its own width is what counts."""
    width: int = await page.evaluate("document.documentElement.scrollWidth")
    return max(0, width - device.width)


async def photograph(page: Page, file: Path) -> None:
    """Keep a picture of the whole *page*."""
    # What sticks to the top of the window would be somewhere in the middle.
    await page.evaluate("scrollTo(0, 0)")
    await page.screenshot(path=file, full_page=True)


async def authorise(page: Page, device: Device, token: str) -> None:
    """Type *token* into the page's dialog."""
    await device.press(page.get_by_role("button", name="Authorize").first)
    dialog = page.locator(".dialog-ux")
    await dialog.get_by_role("textbox").fill(token)
    await device.press(dialog.get_by_role("button", name="Apply credentials"))
    await expect(dialog.get_by_role("button", name="Remove authorization")).to_be_visible()
    await device.press(dialog.locator(".btn-done"))
    await expect(dialog).to_have_count(0)


async def opened(page: Page, device: Device, operation_id: str) -> Locator:
    """Open an operation, if it is not open."""
    block = page.locator(f"#operations-tasks-{operation_id}")
    control = block.locator(".opblock-summary-control")
    if await control.get_attribute("aria-expanded") != "true":
        await device.press(control)
    await expect(block.get_by_role("button", name="Execute")).to_be_visible()
    return block


async def open_all(page: Page, device: Device) -> None:
    """Open all operations, the last one last: its name is in the page's address then."""
    for control in await page.locator(".opblock-summary-control").all():
        if await control.get_attribute("aria-expanded") != "true":
            await device.press(control)
            await expect(control).to_have_attribute("aria-expanded", "true")


async def execute(page: Page, device: Device, operation_id: str, user_id: str, body: object = None) -> tuple[int, Any]:
    """Run an operation by its form, and return status and body as the page shows them."""
    block = await opened(page, device, operation_id)
    clear = block.get_by_role("button", name="Clear")
    if await clear.count():
        # Or else the response to the last request would be taken for the one to this.
        await device.press(clear)
    await block.get_by_placeholder("user_id").fill(user_id)
    if body is not None:
        await block.locator("textarea").fill(json.dumps(body))
    await device.press(block.get_by_role("button", name="Execute"))
    response = block.locator(".live-responses-table .response")
    shown = await response.locator(".response-col_description .highlight-code code").first.inner_text()
    return int(await response.locator(".response-col_status").inner_text()), json.loads(shown)


async def kept(page: Page) -> str:
    """Return all that the browser keeps of the page when that is closed."""
    stored: str = await page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    )
    databases = await page.evaluate("indexedDB.databases().then((all) => all.map(({ name }) => name))")
    caches = await page.evaluate("globalThis.caches ? caches.keys() : []")
    return json.dumps([stored, databases, caches, await page.context.cookies()])


class TestPage:
    """The page `/docs` in a real browser."""

    # Brief runs try both sizes and both colour schemes, but not each with each.
    @pytest.mark.parametrize(
        "device",
        [pytest.param(device, marks=[pytest.mark.thorough] * (device.name in REPEATING)) for device in DEVICES],
        ids=lambda device: device.name,
    )
    async def test_operations_are_tried(
        self, browser: Browser, device: Device, small_server_url: str, user_id: str, tasks_url: str, screenshots: Path
    ) -> None:
        """A person authorises, lists and creates tasks and sees every response, without any other host."""
        token = token_for(user_id)
        async with page_on(device, browser, small_server_url) as (page, heard):
            await page.goto(f"{small_server_url}/docs")
            await expect(page.locator(".opblock")).not_to_have_count(0)
            widths = [await overhang(page, device)]
            await photograph(page, screenshots / f"docs-{device.name}.png")
            await authorise(page, device, token)
            empty = await execute(page, device, "listTasks", user_id)
            status, created = await execute(page, device, "createTask", user_id, {"title": "Milk"})
            listed = await execute(page, device, "listTasks", user_id)
            widths.append(await overhang(page, device))
            await photograph(page, screenshots / f"docs-{device.name}-tried.png")
            await open_all(page, device)
            widths.append(await overhang(page, device))
            left = await kept(page)
            await page.reload()
            refused = await execute(page, device, "listTasks", user_id)
        with client_at(small_server_url, user_id) as client:
            stored = client.get(tasks_url).json()

        assert (200, []) == empty
        assert (201, "Milk") == (status, created["title"])
        assert (200, [created]) == listed
        assert [created] == stored
        assert token not in left
        assert 401 == refused[0]
        assert [0, 0, 0] == widths
        # All that was heard is of the request without a token.
        assert ["Failed to load resource: the server responded with a status of 401 (Unauthorized)"] == heard

    @pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
    async def test_home(self, browser: Browser, device: Device, small_server_url: str, screenshots: Path) -> None:
        """A browser that comes to `/` is shown the way to the page, and to the document."""
        async with page_on(device, browser, small_server_url) as (page, heard):
            await page.goto(f"{small_server_url}/")
            width = await overhang(page, device)
            await photograph(page, screenshots / f"home-{device.name}.png")
            links = [await link.get_attribute("href") for link in await page.get_by_role("link").all()]
            responses = [await page.request.get(f"{small_server_url}{link}") for link in links]
            await device.press(page.get_by_role("link").first)
            await expect(page.locator(".opblock")).not_to_have_count(0)
            reached = page.url

        assert 0 == width
        assert {"/docs", "/openapi.json"} <= set(links)
        assert {200} == {response.status for response in responses}
        assert f"{small_server_url}/docs" == reached
        assert [] == heard

    async def test_below_a_prefix(self, browser: Browser, small_environ: dict[str, str], user_id: str) -> None:
        """Behind a proxy that serves taskd below a path, the pages and what they send stay below it."""
        device = DEVICES[0]
        arguments = (*PLAIN_UVICORN, "--root-path", "/prefix")
        with running_server(child_environ(small_environ), arguments) as server:
            async with page_on(device, browser, server.url) as (page, heard):
                asked: list[str] = []

                async def strip(route: Route) -> None:
                    asked.append(httpx.URL(route.request.url).path)
                    response = await route.fetch(url=route.request.url.replace("/prefix", "", 1))
                    await route.fulfill(response=response)

                await page.route(f"{server.url}/prefix/**", strip)
                await page.goto(f"{server.url}/prefix/")
                await device.press(page.get_by_role("link").first)
                await authorise(page, device, token_for(user_id))
                created = await execute(page, device, "createTask", user_id, {"title": "Milk"})
                listed = await execute(page, device, "listTasks", user_id)

        assert 201 == created[0]
        assert (200, [created[1]]) == listed
        assert f"/prefix/api/{user_id}/tasks" in asked
        assert [] == heard


# As libraries for tracing do.
CREATE = """
async ({ url, token }) => {
  const headers = {
    Authorization: `Bearer ${token}`,
    "Content-Type": "application/json",
    "X-Requested-With": "fetch",
    "sentry-trace": "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
    baggage: "sentry-environment=development",
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  };
  const response = await fetch(url, {
    method: "POST", headers, body: JSON.stringify({ title: "Milk" }), credentials: "include",
  });
  return [response.status, response.headers.get("Location"), response.headers.get("X-Request-ID")];
}
"""


class TestOtherOrigins:
    """Pages of other origins in a real browser, under `taskd dev`."""

    @pytest.mark.parametrize("host", ["localhost", "app.localhost"])
    async def test_a_page_on_this_machine(self, browser: Browser, host: str) -> None:
        """It may send the headers of tracing libraries, and read those of the response, without any setting."""
        page = await browser.new_page()
        with running_server(child_environ({"BETTER_AUTH_SECRET": SECRET}), DEV) as server:
            # Where the server is reached by another name, its own resources are pages of another origin.
            await page.goto(f"{server.url}/livez".replace("127.0.0.1", host))
            tasks_url = f"{server.url}/api/dev/tasks"
            status, location, request_id = await page.evaluate(CREATE, {"url": tasks_url, "token": token_for("dev")})
            server.stop()

        assert 201 == status
        assert location.startswith("/api/dev/tasks/")
        assert request_id
