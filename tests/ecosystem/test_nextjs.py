"""The frontend in examples/nextjs, in a real browser, beside a real taskd."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Locator, Page, Request, Route, expect

from tests.support.browser import DEVICES, Device, chromium
from tests.support.nextjs import PASSWORD, Frontend, Visitor, build, demonstrating, serving
from tests.support.serving import until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built frontend."""
    return build(tmp_path_factory.mktemp("frontend"))


@pytest.fixture(scope="module")
def embedded(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frontend]:
    """The frontend beside a taskd over SQLite, for tests that do not depend on the store."""
    with serving(built, f"sqlite:///{tmp_path_factory.mktemp('tasks')}/tasks.db") as running:
        yield running


@pytest.fixture(scope="module")
def networked(built: Path, postgres_url: str) -> Iterator[Frontend]:
    """The frontend beside a taskd over PostgreSQL."""
    with serving(built, postgres_url) as running:
        yield running


@pytest.fixture(
    params=[pytest.param("embedded", marks=pytest.mark.thorough), "networked"], ids=["sqlite", "postgresql"]
)
def frontend(request: pytest.FixtureRequest) -> Frontend:
    """The frontend: every test that uses it runs on PostgreSQL, and in thorough runs on SQLite, too."""
    running: Frontend = request.getfixturevalue(request.param)
    return running


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as launched:
        yield launched


@pytest.fixture
async def visitor(frontend: Frontend, browser: Browser) -> AsyncIterator[Visitor]:
    """Somebody who is signed in, with a browser that shows nothing yet."""
    async with frontend.visitor(browser) as signed_in:
        yield signed_in


@pytest.fixture
async def other(embedded: Frontend, browser: Browser) -> AsyncIterator[Visitor]:
    """The same, where it does not matter which database there is."""
    async with embedded.visitor(browser) as signed_in:
        yield signed_in


def titles(page: Page) -> Locator:
    return page.locator(".task .title")


def field(page: Page, label: str) -> Locator:
    """A field of the dialog, if there is one, or of the form for new tasks."""
    return page.locator("dialog, .new-task").last.get_by_label(label, exact=True)


def chooser(page: Page, label: str) -> Locator:
    """A field by which the list is filtered or sorted."""
    return page.get_by_role("search").get_by_role("combobox", name=label, exact=True)


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def open_task(page: Page, title: str) -> None:
    await page.get_by_role("link", name=title, exact=True).click()
    await expect(page.get_by_role("heading", name="Edit task")).to_be_focused()


async def save(page: Page) -> None:
    await press(page, "Save")
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def come_back(page: Page) -> None:
    """Do what the browser does when somebody comes back to the tab."""
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))")


class TestAccounts:
    """Signing up, in and out."""

    async def test_a_user_signs_up_and_in(self, frontend: Frontend, browser: Browser) -> None:
        """Who signs up sees an empty list; who signs out and in again with the password sees the tasks again."""
        page = await browser.new_page()
        await page.goto(frontend.url)
        await page.get_by_role("link", name="Sign up").click()
        await page.get_by_label("Name").fill("Ada Lovelace")
        await page.get_by_label("E-mail address").fill(email := f"{uuid.uuid4().hex}@example.com")
        await page.get_by_label("Password").fill(PASSWORD)
        await press(page, "Sign up")
        await expect(page.get_by_text("Nothing to do yet.")).to_be_visible()
        await field(page, "New task").fill("Milk")
        await field(page, "New task").press("Enter")
        await expect(titles(page)).to_have_text(["Milk"])
        await press(page, "Sign out")

        await page.get_by_label("E-mail address").fill(email)
        await page.get_by_label("Password").fill("another password")
        await press(page, "Sign in")
        await expect(page.get_by_role("alert").filter(has_text="Invalid email or password")).to_be_visible()
        await page.get_by_label("Password").fill(PASSWORD)
        await press(page, "Sign in")
        await expect(titles(page)).to_have_text(["Milk"])

    async def test_an_expired_token_is_replaced(self, other: Visitor) -> None:
        """When taskd says that the token has expired, one new token is requested, and nobody notices."""
        requested: list[str] = []

        def note(request: Request) -> None:
            requested.append(request.url)

        other.add("Milk")
        other.page.on("request", note)
        await expire_token(other)
        page = await other.open()
        await expect(titles(page)).to_have_text(["Milk"])

        assert 2 == requested.count(f"{other.frontend.url}/api/auth/token")
        assert [401] == other.complaints

    async def test_a_session_that_ended(self, other: Visitor) -> None:
        """When there is no new token, because the session has ended, the page to sign in is shown."""
        other.add("Milk")
        page = await other.open()
        await expect(titles(page)).to_have_text(["Milk"])
        await other.context.clear_cookies()
        await expire_token(other)
        await come_back(page)
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await other.open()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

    async def test_another_user_in_the_same_browser(self, other: Visitor) -> None:
        """When the new token is another user's, who signed in in another tab, the page becomes that user's."""
        other.add("Milk")
        page = await other.open()
        await expect(titles(page)).to_have_text(["Milk"])
        await other.frontend.sign_up(other.context, "Grace Hopper")
        await expire_token(other)
        await come_back(page)
        await expect(page.get_by_text("Grace Hopper")).to_be_visible()
        await expect(page.get_by_text("Nothing to do yet.")).to_be_visible()


async def expire_token(visitor: Visitor) -> None:
    """Let taskd find that the next request's token has expired."""
    refused: list[str] = []

    async def refuse_first(route: Route) -> None:
        if refused or route.request.method == "OPTIONS":
            await route.continue_()
        else:
            refused.append(route.request.url)
            await refuse(route, visitor.frontend, 401, code="expired_token", detail="The token expired 5 s ago.")

    await visitor.page.route(f"{visitor.frontend.taskd_url}/**", refuse_first)


async def refuse(route: Route, frontend: Frontend, status: int, retry_after: int = 0, **body: str) -> None:
    """Answer in taskd's place with an error."""
    headers = {
        "Access-Control-Allow-Origin": frontend.url,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "Retry-After",
        "Retry-After": str(retry_after),
    }
    await route.fulfill(status=status, headers=headers, json=body)


class TestTasks:
    """Creating, changing, completing and deleting tasks."""

    async def test_a_task_with_everything(self, visitor: Visitor) -> None:
        """A task is created with all of its fields, shown with them, changed, and completed."""
        page = await visitor.open()
        await field(page, "New task").fill("Pack")
        await page.get_by_text("Details").click()
        await field(page, "Description").fill("Not too much")
        await field(page, "Status").select_option("In progress")
        await field(page, "Priority").select_option("High")
        await field(page, "Due").fill("2099-12-24T18:30")
        for tag in ("travel", "one, two"):
            await field(page, "Tags").fill(tag)
            await field(page, "Tags").press("Enter")
        await field(page, "Tags").fill("home")
        await press(page, "Add")
        await expect(page.locator(".task .fact, .task .tag")).to_have_text(
            ["In progress", "Due 24 Dec 2099, 18:30", "High priority"]
            + [f"Only tasks with the tag {tag}" for tag in ("travel", "one, two", "home")]
        )
        await expect(field(page, "New task")).to_be_focused()
        [created] = visitor.stored()
        due_at = await page.evaluate("new Date('2099-12-24T18:30').toISOString().replace('.000', '')")

        await open_task(page, "Pack")
        await field(page, "Title").fill("Pack the bags")
        await field(page, "Description").fill("")
        await page.get_by_role("button", name="Remove the tag one, two").click()
        await save(page)
        await page.get_by_role("checkbox", name="Done: Pack the bags").click()
        await expect(page.locator(".task.completed")).to_have_count(1)
        await expect(page.get_by_text("Saved “Pack the bags”.")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("checkbox", name="Done: Pack the bags")).to_be_checked()
        [changed] = visitor.stored()

        assert ("in_progress", "high", due_at) == (created["status"], created["priority"], created["due_at"])
        assert ["travel", "one, two", "home"] == created["tags"]
        assert "Not too much" == created["description"]
        assert ("Pack the bags", None, "completed") == (changed["title"], changed["description"], changed["status"])
        assert ["travel", "home"] == changed["tags"]
        assert (created["due_at"], created["id"]) == (changed["due_at"], changed["id"])
        assert [] == visitor.complaints

    async def test_a_deletion_is_undone(self, visitor: Visitor) -> None:
        """A deleted task is gone at once, and comes back to its place, with everything, if that is undone."""
        before = visitor.add("Milk", "Bread", "Eggs", tags=["shop"], description="Fresh", priority="low")
        page = await visitor.open()
        await page.get_by_role("button", name="Delete Bread").press("Enter")
        await expect(titles(page)).to_have_text(["Eggs", "Milk"])
        await expect(page.get_by_role("button", name="Undo")).to_be_focused()
        await expect(page.get_by_text("2 tasks")).to_be_visible()
        deleted = visitor.stored()
        await page.keyboard.press("Enter")
        await expect(titles(page)).to_have_text(["Eggs", "Bread", "Milk"])
        await expect(page.get_by_text("“Bread” is back.")).to_be_visible()
        after = visitor.stored()

        assert ["Eggs", "Milk"] == [task["title"] for task in deleted]
        ours = ("id", "title", "description", "status", "priority", "due_at", "tags")
        assert [[task[name] for name in ours] for task in reversed(before)] == [
            [task[name] for name in ours] for task in after
        ]
        assert [] == visitor.complaints

    async def test_faults_are_shown_at_their_fields(self, visitor: Visitor) -> None:
        """A field that taskd refuses says why, and has the focus; nothing that was typed is lost."""
        page = await visitor.open()
        await field(page, "New task").fill("  ")
        await press(page, "Add")
        await expect(field(page, "New task")).to_be_focused()
        await expect(field(page, "New task")).to_have_attribute("aria-invalid", "true")
        await expect(page.locator(".new-task .field.title .error")).to_contain_text("Title must be")
        await field(page, "New task").fill("Milk")
        await expect(page.locator(".new-task .error:visible")).to_have_count(0)
        await page.get_by_text("Details").click()
        await field(page, "Tags").fill("x" * 51)
        await page.get_by_text("Details").click()
        await press(page, "Add")
        await expect(field(page, "Tags")).to_be_focused()
        await expect(page.locator(".new-task .field.tags .error")).to_contain_text("Tags")
        await field(page, "Tags").fill("shop")
        await press(page, "Add")
        await expect(titles(page)).to_have_text(["Milk"])

        assert [["shop"]] == [task["tags"] for task in visitor.stored()]
        assert [422, 422] == visitor.complaints


class TestLists:
    """Which tasks are shown."""

    async def test_filters_are_in_the_address(self, visitor: Visitor) -> None:
        """Each filter narrows the list, and the page's address leads to the same list again."""
        visitor.add("Straße fegen", status="in_progress", priority="high", tags=["out", "home"])
        visitor.add("Milk", priority="high", tags=["out"], due_at="2020-01-01T00:00:00Z")
        visitor.add("Bread", status="completed", tags=["home"])
        page = await visitor.open()
        await expect(titles(page)).to_have_text(["Bread", "Milk", "Straße fegen"])
        await chooser(page, "Sort by").select_option("Title")
        await expect(titles(page)).to_have_text(["Bread", "Milk", "Straße fegen"])
        await chooser(page, "Priority").select_option("High")
        await expect(titles(page)).to_have_text(["Milk", "Straße fegen"])
        await page.get_by_role("link", name="Only tasks with the tag home").click()
        await expect(titles(page)).to_have_text(["Straße fegen"])
        await page.get_by_role("link", name="In progress").click()
        await page.get_by_label("Search").fill("STRASSE")
        query = "sort=title&priority=high&tag=home&status=in_progress&search=STRASSE"
        await expect(page).to_have_url(f"{visitor.frontend.url}/?{query}")
        await expect(titles(page)).to_have_text(["Straße fegen"])
        await page.reload()
        await expect(page.get_by_label("Search")).to_have_value("STRASSE")
        await expect(page.get_by_role("link", name="In progress")).to_have_attribute("aria-current", "true")
        await expect(page.get_by_text("1 task", exact=True)).to_be_visible()
        await page.get_by_label("Search").fill("milk")
        await expect(page.get_by_text("No task matches.")).to_be_visible()
        await page.get_by_text("Clear all filters").click()
        await expect(titles(page)).to_have_text(["Bread", "Milk", "Straße fegen"])
        await expect(page.get_by_label("Search")).to_have_value("")
        await chooser(page, "Due").select_option("By today")
        await expect(titles(page)).to_have_text(["Milk"])
        await page.go_back()
        await expect(page.get_by_text("No task matches.")).to_be_visible()

        assert [] == visitor.complaints

    async def test_pages(self, visitor: Visitor) -> None:
        """The next page comes on request, and the focus moves on to its first task."""
        visitor.add(*[f"Task {number}" for number in range(1, 61)])
        page = await visitor.open()
        await expect(page.get_by_text("50 of 60 tasks")).to_be_visible()
        await press(page, "Show more")
        await expect(page.get_by_text("60 tasks", exact=True)).to_be_visible()
        await expect(titles(page)).to_have_text([f"Task {number}" for number in range(60, 0, -1)])
        await expect(page.get_by_role("link", name="Task 10", exact=True)).to_be_focused()
        await expect(page.get_by_role("button", name="Show more")).to_have_count(0)

        assert [] == visitor.complaints


class TestOthers:
    """What happens when the tasks are changed elsewhere."""

    async def test_lists_follow(self, visitor: Visitor) -> None:
        """A change in another tab shows up after a while, and at once when somebody comes back to the tab."""
        visitor.add("Milk")
        await visitor.page.clock.install()
        page, other = await visitor.open(), await visitor.context.new_page()
        await expect(titles(page)).to_have_text(["Milk"])
        await other.goto(visitor.frontend.url)
        await field(other, "New task").fill("Bread")
        await field(other, "New task").press("Enter")
        await expect(titles(other)).to_have_text(["Bread", "Milk"])
        await page.clock.fast_forward("00:11")
        await expect(titles(page)).to_have_text(["Bread", "Milk"])
        async with other.expect_response(lambda response: response.url.endswith("/complete")):
            await other.get_by_role("checkbox", name="Done: Milk").click()
        await come_back(page)
        await expect(page.get_by_role("checkbox", name="Done: Milk")).to_be_checked()

        assert [] == visitor.complaints

    async def test_looking_costs_little(self, visitor: Visitor) -> None:
        """As long as nothing changes, coming back to the tab costs a 304 without a body."""
        visitor.add("Milk")
        statuses = await statuses_of_lists(visitor)
        page = await visitor.open()
        await expect(titles(page)).to_have_text(["Milk"])
        for number in (2, 3):
            # While a list is being read, the page would not ask again.
            await expect(page.locator("section")).to_have_attribute("aria-busy", "false")
            async with page.expect_response(lambda response: "/tasks?" in response.url) as responding:
                await come_back(page)
            await (await responding.value).finished()
            await until(lambda number=number: number == len(statuses))  # type: ignore[misc]
        await expect(page.locator("section")).to_have_attribute("aria-busy", "false")
        visitor.add("Bread")
        await come_back(page)
        await expect(titles(page)).to_have_text(["Bread", "Milk"])
        await until(lambda: len(statuses) == 4)

        assert [200, 304, 304, 200] == statuses

    @pytest.mark.parametrize("keeps", [True, False], ids=["kept", "discarded"])
    async def test_two_change_one_task(self, visitor: Visitor, keeps: bool) -> None:
        """Who saves after somebody else sees the other's changes, and decides; unchanged fields are the other's."""
        [task] = visitor.add("Milk", description="Two pints")
        page = await visitor.open()
        await open_task(page, "Milk")
        await field(page, "Title").fill("Oat milk")
        visitor.change(task, title="Soy milk", priority="high")
        await press(page, "Save")
        await expect(page.get_by_text("This task has been changed elsewhere.")).to_be_visible()
        await expect(page.locator(".conflict dd")).to_have_text(["Milk Soy milk", "Medium High"])
        await press(page, "Keep my changes" if keeps else "Discard my changes")
        await expect(page.get_by_role("button", name="Save")).to_be_focused()
        title = "Oat milk" if keeps else "Soy milk"
        await expect(field(page, "Title")).to_have_value(title)
        await expect(field(page, "Priority")).to_have_value("high")
        await save(page)
        await expect(titles(page)).to_have_text([title])
        [stored] = visitor.stored()

        assert (title, "high", "Two pints") == (stored["title"], stored["priority"], stored["description"])
        assert [412] == visitor.complaints

    async def test_a_change_is_announced_before_saving(self, other: Visitor) -> None:
        """Who has changed a field learns of another's change before saving; who has not gets the new version."""
        [task] = other.add("Milk")
        page = await other.open()
        await open_task(page, "Milk")
        other.change(task, title="Soy milk")
        await come_back(page)
        await expect(field(page, "Title")).to_have_value("Soy milk")
        await field(page, "Description").fill("Two pints")
        other.change(task, title="Oat milk")
        await come_back(page)
        await expect(page.locator(".conflict dd")).to_have_text(["Soy milk Oat milk"])

        assert [] == other.complaints

    async def test_a_changed_task_is_not_deleted(self, visitor: Visitor) -> None:
        """Who deletes a task that has changed meanwhile is shown what it says now, and nothing is lost."""
        [task] = visitor.add("Milk")
        page = await visitor.open()
        await expect(titles(page)).to_have_text(["Milk"])
        visitor.change(task, title="Oat milk")
        await press(page, "Delete Milk")
        await expect(page.get_by_role("alert").filter(has_text="“Milk” has been changed elsewhere.")).to_be_visible()
        await expect(titles(page)).to_have_text(["Oat milk"])

        assert [412] == visitor.complaints

    async def test_a_task_that_is_gone(self, other: Visitor) -> None:
        """An address with a task that is gone, and a tick at one, say so."""
        [task] = other.add("Milk")
        page = await other.open()
        await expect(titles(page)).to_have_text(["Milk"])
        other.delete(task)
        await page.get_by_role("checkbox", name="Done: Milk").click()
        await expect(page.locator(".toast.error")).to_contain_text("“Milk”: ")
        await expect(page.get_by_text("Nothing to do yet.")).to_be_visible()
        await other.open(f"/?task={task['id']}")
        await expect(page.get_by_role("dialog").get_by_role("alert")).not_to_be_empty()
        await press(page, "Close")
        await expect(page).to_have_url(f"{other.frontend.url}/")

        assert [404, 404] == other.complaints


async def statuses_of_lists(visitor: Visitor) -> list[int]:
    """Return a list to which the status of each response with a list is added, as it came from the network."""
    session = await visitor.context.new_cdp_session(visitor.page)
    asked: set[str] = set()
    known: dict[str, int] = {}
    statuses: list[int] = []

    # The browser may report a response before its request.
    def note(request_id: str) -> None:
        if request_id in asked and request_id in known:
            statuses.append(known[request_id])

    def note_request(event: dict[str, Any]) -> None:
        if "/tasks?" in event["request"]["url"] and event["request"]["method"] == "GET":
            asked.add(event["requestId"])
            note(event["requestId"])

    def note_response(event: dict[str, Any]) -> None:
        known[event["requestId"]] = event["statusCode"]
        note(event["requestId"])

    session.on("Network.requestWillBeSent", note_request)
    session.on("Network.responseReceivedExtraInfo", note_response)
    await session.send("Network.enable")
    return statuses


class TestOutages:
    """What happens when a response is an error, or does not come."""

    async def test_a_busy_server(self, other: Visitor) -> None:
        """After a 503, the same request is sent again as soon as `Retry-After` says, and the page says so."""
        waited: list[str] = []

        async def refuse_first(route: Route) -> None:
            if waited:
                await route.continue_()
            else:
                waited.append(route.request.url)
                await refuse(route, other.frontend, 503, retry_after=20, code="unavailable", detail="Try again.")

        other.add("Milk")
        await other.page.clock.install()
        await other.page.route(lambda url: "/tasks?" in url, refuse_first)
        page = await other.open()
        await expect(page.get_by_text("The server is busy. Trying again …")).to_be_visible()
        await page.clock.fast_forward("00:21")
        await expect(titles(page)).to_have_text(["Milk"])

        assert 1 == len(waited)

    async def test_lost_responses(self, visitor: Visitor) -> None:
        """A write whose response is lost is sent again, and has no other effect than if it had not been lost."""
        [bread] = visitor.add("Bread")
        written: list[str] = []

        async def lose_first(route: Route) -> None:
            method = route.request.method
            if method in ("GET", "OPTIONS") or method in written:
                await route.continue_()
            else:
                written.append(method)
                await route.fetch()
                await route.abort()

        await visitor.page.clock.install()
        await visitor.page.route(f"{visitor.frontend.taskd_url}/**", lose_first)
        page = await visitor.open()
        await field(page, "New task").fill("Milk")
        await press(page, "Add")
        await expect_after_retry(page, titles(page), ["Milk", "Bread"])
        await open_task(page, "Bread")
        await field(page, "Title").fill("Rye bread")
        await press(page, "Save")
        await expect_after_retry(page, titles(page), ["Milk", "Rye bread"])
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await press(page, "Delete Milk")
        await expect_after_retry(page, titles(page), ["Rye bread"])

        assert ["POST", "PUT", "DELETE"] == written
        assert [("Rye bread", bread["id"])] == [(task["title"], task["id"]) for task in visitor.stored()]

    async def test_a_list_that_cannot_be_loaded(self, other: Visitor) -> None:
        """An error says what the server says, and lets one try again."""
        other.add("Milk")
        await other.page.route(
            lambda url: "/tasks?" in url,
            lambda route: refuse(route, other.frontend, 500, code="internal_error", detail="Internal server error"),
        )
        page = await other.open()
        await expect(page.get_by_role("alert").filter(has_text="Internal server error")).to_be_visible()
        await page.unroute_all()
        await press(page, "Try again")
        await expect(titles(page)).to_have_text(["Milk"])


async def expect_after_retry(page: Page, shown: Locator, texts: list[str]) -> None:
    """Let time pass until the request that got no response is sent again."""
    await page.wait_for_timeout(0)
    await page.clock.fast_forward("00:05")
    await expect(shown).to_have_text(texts)


def test_the_demonstration(built: Path) -> None:
    """The command in the README starts the frontend and `taskd dev`, and each knows where the other one is."""
    with demonstrating(built) as running:
        page = httpx.get(running.url, timeout=60, trust_env=False)
        headers = {"Origin": running.url}
        tasks = httpx.get(f"{running.taskd_url}/api/dev/tasks", headers=headers, timeout=60, trust_env=False)

    assert (307, "/sign-in") == (page.status_code, page.headers["Location"])
    assert (401, running.url) == (tasks.status_code, tasks.headers["Access-Control-Allow-Origin"])


TASKS: dict[str, dict[str, Any]] = {
    "Pay the electricity bill": {"status": "completed", "priority": "high"},
    "A task with a very long title, because somebody pasted a sentence of an e-mail into the field, and sent it": {},
    "Book train tickets to Edinburgh": {"status": "completed", "tags": ["travel", "personal"]},
    "Read “The Design of Everyday Things”": {"priority": "low", "tags": ["reading"]},
    "Renew the passport": {"priority": "urgent", "due_at": "2020-01-31T12:00:00Z", "tags": ["personal"]},
    "Prepare the slides for Thursday's planning meeting": {
        "description": "Ask Priya for the figures of the third quarter, and leave out the roadmap.",
        "status": "in_progress",
        "priority": "high",
        "due_at": "2099-12-24T18:30:00Z",
        "tags": ["work", "planning"],
    },
}


@pytest.fixture
def screenshots(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """The folder for pictures of the pages."""
    folder: Path = pytestconfig.invocation_params.dir / (pytestconfig.getoption("--screenshots") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class TestLooks:
    """What the pages look like, and for whom they work."""

    @pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
    async def test_every_view(self, embedded: Frontend, browser: Browser, device: Device, screenshots: Path) -> None:
        """On telephones and desktops, light and dark, axe finds nothing in any view, and none is too wide."""
        found: list[Any] = []

        async def look(name: str) -> None:
            await page.screenshot(path=screenshots / f"nextjs-{device.name}-{name}.png")
            await page.evaluate(embedded.axe)
            violations = (await page.evaluate("axe.run({ resultTypes: ['violations'] })"))["violations"]
            found.extend((name, each["id"], [node["html"] for node in each["nodes"]]) for each in violations)
            width = await page.evaluate("document.documentElement.scrollWidth")
            found.extend([(name, f"{width} pixels")] if width > device.width else [])

        async with embedded.visitor(browser, device) as visitor:
            page = visitor.page
            await visitor.open("/sign-up")
            await expect(page.get_by_role("heading", name="Sign up")).to_be_visible()
            await look("sign-up")
            await visitor.open("/sign-in")
            await page.get_by_label("E-mail address").fill("ada@example.com")
            await page.get_by_label("Password").fill("a wrong password")
            await press(page, "Sign in")
            await expect(page.locator(".error")).not_to_be_empty()
            await look("sign-in")
            await visitor.open()
            await expect(page.get_by_text("Nothing to do yet.")).to_be_visible()
            await look("empty")
            *_, last = [visitor.add(title, **values)[0] for title, values in TASKS.items()]
            await visitor.open("/?search=nothing")
            await expect(page.get_by_text("No task matches.")).to_be_visible()
            await look("no-match")
            await visitor.open("/?tag=personal")
            await expect(titles(page)).to_have_count(2)
            await look("filtered")
            await visitor.open()
            await expect(titles(page)).to_have_count(len(TASKS))
            await look("list")
            await page.get_by_text("Details").click()
            await press(page, "Add")
            await expect(page.locator(".new-task .field .error")).to_be_visible()
            await look("field-error")
            await page.reload()
            await open_task(page, last["title"])
            await look("edit")
            await field(page, "Title").fill("Something else")
            visitor.change(last, title="Prepare the slides", priority="urgent")
            await come_back(page)
            await page.get_by_role("button", name="Keep my changes").scroll_into_view_if_needed()
            await look("conflict")
            await press(page, "Close")
            await press(page, "Delete Renew the passport")
            await expect(page.get_by_role("button", name="Undo")).to_be_focused()
            await look("undo")

        assert [] == found
