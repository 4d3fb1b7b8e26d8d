"""A real Better Auth: its tokens are accepted, all else that it hands out is refused, and its outages are survived."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import attrs
import httpx
import jwt
import pytest
from playwright.async_api import Browser, Page, Request, Route, expect

from taskd.testing import lifespan, running_server
from taskd_jwt.jwks.timing import Timing
from tests.conftest import ORIGIN, SECRET, client_of
from tests.support.applications import build_verifying
from tests.support.attacks import EAGER
from tests.support.better_auth_server import DOCUMENTATION, PASSWORD, SOURCES, BetterAuth, SignedIn, better_auth, build
from tests.support.browser import chromium, complaints
from tests.support.postgres import free_port
from tests.support.processes import child_environ
from tests.support.serving import outcome

ALGORITHMS = ["EdDSA", "ES256", "ES512", "RS256", "PS256"]
LIES = ["html", "redirect", "large", "truncated", "keyless", "broken"]
CLIENTS = 5
ROTATIONS = 3
# taskd finds that the keys it has are too old to be used without asking again, and may ask at any time.
OLD = attrs.evolve(EAGER, refresh_age_s=0, max_age_s=0)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frontend's server, with what it needs."""
    return build(tmp_path_factory.mktemp("frontend") / "built")


@pytest.fixture(scope="session")
def oldest_program(program: Path) -> Path:
    """The same with the oldest Better Auth that the documentation names."""
    return program.parent.with_name("built-oldest") / program.name


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/tasks.db"


@contextlib.asynccontextmanager
async def serving(
    database_url: str, timing: Timing | None = None, /, **settings: str
) -> AsyncIterator[httpx.AsyncClient]:
    """Start taskd and give a client of it, which has no token."""
    app = build_verifying({"DATABASE_URL": database_url, **settings}, timing)
    async with lifespan(app), client_of(app) as client:
        yield client


async def read(taskd: httpx.AsyncClient, user: SignedIn, token: str) -> httpx.Response:
    """Ask for the tasks of *user*."""
    response = await taskd.get(f"/api/{quote(user.user_id)}/tasks", headers={"Authorization": f"Bearer {token}"})
    outcome(response)
    return response


async def create(taskd: httpx.AsyncClient, user: SignedIn, token: str, title: str = "Milk") -> httpx.Response:
    """Create a task of *user*."""
    path, headers = f"/api/{quote(user.user_id)}/tasks", {"Authorization": f"Bearer {token}"}
    response = await taskd.post(path, json={"title": title}, headers=headers)
    outcome(response)
    return response


def titles(response: httpx.Response) -> list[str]:
    assert 200 == response.status_code, response.text
    return [task["title"] for task in response.json()]


def key_id(token: str) -> str:
    named: str = jwt.get_unverified_header(token)["kid"]
    return named


class TestTokens:
    """Which of the things that Better Auth hands out taskd takes for a token."""

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    async def test_users_create_and_list_tasks(self, program: Path, database_url: str, algorithm: str) -> None:
        """A token of each algorithm that Better Auth signs with is good for the user's own path, and for no other."""
        options = {"jwks": {"keyPairConfig": {"alg": algorithm}}}
        async with (
            better_auth(program, jwt=options) as auth,
            serving(database_url, BETTER_AUTH_URL=auth.url) as taskd,
        ):
            alice, bob = await auth.sign_up("alice"), await auth.sign_up("bob")
            token = await alice.token()

            assert algorithm == jwt.get_unverified_header(token)["alg"]
            assert 201 == (await create(taskd, alice, token)).status_code
            assert ["Milk"] == titles(await read(taskd, alice, token))
            assert 401 == (await read(taskd, bob, token)).status_code
            assert [] == titles(await read(taskd, bob, await bob.token()))

    async def test_the_token_of_the_documentation_s_set_up(self, program: Path, sqlite_url: str) -> None:
        """What docs/guides/better-auth.md shows for a key set issues tokens that taskd accepts, in its header too."""
        async with better_auth(program) as auth, serving(sqlite_url, BETTER_AUTH_URL=auth.url) as taskd:
            alice = await auth.sign_up()

            assert 201 == (await create(taskd, alice, await alice.token())).status_code
            assert ["Milk"] == titles(await read(taskd, alice, await alice.header_token()))

    @pytest.mark.parametrize("path", ["/", "/auth", "/auth/v2/"])
    async def test_an_address_with_a_path(self, program: Path, sqlite_url: str, path: str) -> None:
        """A path in BETTER_AUTH_URL replaces /api/auth on both sides, and is not a part of issuer and audience."""
        async with (
            better_auth(program, path=path) as auth,
            serving(sqlite_url, BETTER_AUTH_URL=f"{auth.url}{path}") as taskd,
        ):
            alice = await auth.sign_up()
            token = await alice.token()
            claims = jwt.decode(token, options={"verify_signature": False})

            assert (auth.url, auth.url) == (claims["iss"], claims["aud"])
            assert [] == titles(await read(taskd, alice, token))

    async def test_deployments_that_share_their_keys(self, program: Path, sqlite_url: str) -> None:
        """A token of another deployment is refused, though its key is known, unless it is named as the issuer."""
        async with better_auth(program) as preview:
            alice = await preview.sign_up()
            token = await alice.token()
            address = {"BETTER_AUTH_URL": ORIGIN, "TASKD_JWKS_URL": f"{preview.url}/api/auth/jwks"}
            audience, issuer = {"TASKD_JWT_AUDIENCE": preview.url}, {"TASKD_JWT_ISSUER": preview.url}
            responses = []
            for settings in (address, address | audience, address | issuer, address | audience | issuer):
                async with serving(sqlite_url, **settings) as taskd:
                    responses.append(await read(taskd, alice, token))

        assert [401, 401, 401, 200] == [response.status_code for response in responses]
        assert all(ORIGIN in response.json()["detail"] for response in responses[:3])

    async def test_deployments_of_one_name(self, program: Path, sqlite_url: str) -> None:
        """Deployments whose plugin puts the same address into all tokens are one issuer."""
        names = {"issuer": ORIGIN, "audience": ORIGIN}
        async with better_auth(program, jwt={"jwt": names}) as preview:
            settings = {"BETTER_AUTH_URL": ORIGIN, "TASKD_JWKS_URL": f"{preview.url}/api/auth/jwks"}
            async with serving(sqlite_url, **settings) as taskd:
                alice = await preview.sign_up()

                assert [] == titles(await read(taskd, alice, await alice.token()))

    async def test_the_shared_secret(self, program: Path, sqlite_url: str) -> None:
        """What docs/guides/better-auth.md shows for a shared secret issues tokens that taskd takes."""
        async with better_auth(program, setUp="shared-secret") as auth:
            settings = {
                "BETTER_AUTH_SECRET": SECRET,
                "TASKD_JWT_AUDIENCE": auth.url,
                "TASKD_JWT_ISSUER": auth.url,
            }
            async with serving(sqlite_url, **settings) as taskd:
                alice = await auth.sign_up()

                assert 201 == (await create(taskd, alice, await alice.token())).status_code
                assert ["Milk"] == titles(await read(taskd, alice, await alice.header_token()))

    async def test_the_oldest_better_auth(self, oldest_program: Path, sqlite_url: str) -> None:
        """Both of the documentation's set-ups work with the oldest release that it names."""
        installed = json.loads((SOURCES / "package.json").read_text())["dependencies"]["oldest-better-auth"]
        async with better_auth(oldest_program) as auth, serving(sqlite_url, BETTER_AUTH_URL=auth.url) as taskd:
            alice = await auth.sign_up()

            assert 201 == (await create(taskd, alice, await alice.token())).status_code
            assert ["Milk"] == titles(await read(taskd, alice, await alice.header_token()))
        async with better_auth(oldest_program, setUp="shared-secret") as auth:
            settings = {"TASKD_JWT_AUDIENCE": auth.url, "TASKD_JWT_ISSUER": auth.url}
            async with serving(sqlite_url, BETTER_AUTH_SECRET=SECRET, **settings) as taskd:
                bob = await auth.sign_up("bob")

                assert 201 == (await create(taskd, bob, await bob.token())).status_code
                assert ["Milk"] == titles(await read(taskd, bob, await bob.header_token()))
        assert f"Better Auth {installed.rpartition('@')[2]} or later" in DOCUMENTATION.read_text()

    async def test_the_shared_secret_must_be_configured(self, program: Path, sqlite_url: str) -> None:
        """A taskd that has only the address of Better Auth refuses a token of the shared secret, and says why."""
        async with (
            better_auth(program, setUp="shared-secret") as auth,
            serving(sqlite_url, BETTER_AUTH_URL=auth.url) as taskd,
        ):
            alice = await auth.sign_up()
            response = await read(taskd, alice, await alice.token())

            assert 401 == response.status_code
            assert "HS256" in response.json()["detail"]
            assert 0 == await auth.asked()

    @pytest.mark.parametrize(
        ("cache", "options", "reason"),
        [
            ("compact", {}, "malformed"),
            ("jwe", {}, "encrypted"),
            ("jwt", {}, "cookie cache"),
            ("jwt", {"sessionCookieCache": True}, "cookie cache"),
        ],
        ids=["compact", "encrypted", "signed with the secret", "signed with a key"],
    )
    async def test_the_cookie_cache_is_no_token(
        self, program: Path, sqlite_url: str, cache: str, options: dict[str, bool], reason: str
    ) -> None:
        """The cookie that caches the session is refused, even if it is signed with what verifies tokens."""
        session = {"cookieCache": {"enabled": True, "strategy": cache}}
        async with better_auth(program, session=session, jwt=options) as auth, both_schemes(auth, sqlite_url) as taskd:
            alice = await auth.sign_up()
            assert alice.session_data is not None
            response = await read(taskd, alice, alice.session_data)

            assert 401 == response.status_code
            assert reason in response.json()["detail"]
            assert [] == titles(await read(taskd, alice, await alice.token()))

    async def test_session_tokens_are_no_tokens(self, program: Path, sqlite_url: str) -> None:
        """The session's token is refused, bare and as the bearer plugin signs it, and the response says what it is."""
        async with better_auth(program, withBearer=True) as auth, both_schemes(auth, sqlite_url) as taskd:
            alice = await auth.sign_up()
            assert alice.bearer_token is not None

            for token in (alice.session_token, alice.bearer_token):
                response = await read(taskd, alice, token)
                assert 401 == response.status_code
                assert "session token" in response.json()["detail"]

    async def test_tokens_in_e_mails_are_no_tokens(self, program: Path, sqlite_url: str) -> None:
        """The token that verifies an e-mail address is signed with the secret, and refused as what it is."""
        async with better_auth(program, verifiesEmail=True) as auth, both_schemes(auth, sqlite_url) as taskd:
            alice = await auth.sign_up()
            response = await read(taskd, alice, await auth.verification_token())

            assert 401 == response.status_code
            assert "e-mail" in response.json()["detail"]


def both_schemes(auth: BetterAuth, database_url: str) -> contextlib.AbstractAsyncContextManager[httpx.AsyncClient]:
    """Start a taskd that takes tokens signed with the secret, and such that are signed with a key."""
    return serving(database_url, BETTER_AUTH_URL=auth.url, BETTER_AUTH_SECRET=SECRET)


class TestKeys:
    """New keys are found, and old ones kept for as long as they are needed."""

    async def test_rotation_under_load(self, program: Path, sqlite_url: str) -> None:
        """While keys rotate every fresh token is accepted, older ones still are, and each key is fetched once."""
        async with (
            better_auth(program, jwt={"jwks": {"rotationInterval": 1}}) as auth,
            serving(sqlite_url, EAGER, BETTER_AUTH_URL=auth.url) as taskd,
        ):
            users = [await auth.sign_up(f"user{number}") for number in range(CLIENTS)]
            used = await asyncio.gather(*(work_through_rotations(taskd, user) for user in users))
            first_responses = [await read(taskd, user, tokens[0]) for user, tokens in zip(users, used, strict=True)]
            key_ids = {key_id(token) for tokens in used for token in tokens}

            assert [200] * CLIENTS == [response.status_code for response in first_responses]
            assert await auth.asked() <= len(key_ids) + 1

    async def test_restart_with_new_keys(self, program: Path, sqlite_url: str) -> None:
        """After Better Auth lost its keys its new tokens are accepted, and from then on those of old keys refused."""
        port = free_port()
        async with serving(sqlite_url, EAGER, BETTER_AUTH_URL=f"http://127.0.0.1:{port}") as taskd:
            async with better_auth(program, port=port) as auth:
                old_user = await auth.sign_up()
                old_token = await old_user.token()
                assert [] == titles(await read(taskd, old_user, old_token))
            async with better_auth(program, port=port) as auth:
                new_user = await auth.sign_up()
                assert [] == titles(await read(taskd, new_user, await new_user.token()))
                response = await read(taskd, old_user, old_token)

        assert 401 == response.status_code
        assert "key set" in response.json()["detail"]


async def work_through_rotations(taskd: httpx.AsyncClient, user: SignedIn) -> list[str]:
    """Create tasks, each with a fresh token, until the key changed `ROTATIONS` times; return the tokens."""
    tokens: list[str] = []
    while len({key_id(token) for token in tokens}) <= ROTATIONS:
        tokens.append(await user.token())
        response = await create(taskd, user, tokens[-1])
        assert 201 == response.status_code, response.text
    return tokens


class TestOutages:
    """How taskd responds while the keys cannot be fetched."""

    async def test_down_from_the_start(self, program: Path, sqlite_url: str, tmp_path: Path) -> None:
        """A taskd that has not had keys yet says when to come again, and serves once Better Auth is there."""
        options = {"port": free_port(), "store": str(tmp_path / "better-auth.tables")}
        async with better_auth(program, **options) as auth:
            alice = await auth.sign_up()
            token = await alice.token()
        async with serving(sqlite_url, EAGER, BETTER_AUTH_URL=auth.url) as taskd:
            refused = await read(taskd, alice, token)
            async with better_auth(program, **options):
                served = await read(taskd, alice, token)

        assert 503 == refused.status_code
        assert [] == titles(served)

    async def test_down_later(self, program: Path, sqlite_url: str) -> None:
        """Keys that taskd has are used while Better Auth is down."""
        port = free_port()
        async with serving(sqlite_url, OLD, BETTER_AUTH_URL=f"http://127.0.0.1:{port}") as taskd:
            async with better_auth(program, port=port) as auth:
                alice = await auth.sign_up()
                token = await alice.token()
                assert [] == titles(await read(taskd, alice, token))
                assert 1 == await auth.asked()

            assert [] == titles(await read(taskd, alice, token))

    @pytest.mark.parametrize("lie", LIES)
    async def test_no_keys_at_first(self, program: Path, sqlite_url: str, lie: str) -> None:
        """An endpoint that returns something other than keys is as good as down, and its users are served later."""
        async with better_auth(program) as auth, serving(sqlite_url, EAGER, BETTER_AUTH_URL=auth.url) as taskd:
            alice = await auth.sign_up()
            token = await alice.token()
            await auth.behave(lie)
            refused = await read(taskd, alice, token)
            await auth.behave("honest")

            assert 503 == refused.status_code
            assert [] == titles(await read(taskd, alice, token))

    @pytest.mark.parametrize("lie", LIES)
    async def test_no_keys_later(self, program: Path, sqlite_url: str, lie: str) -> None:
        """An endpoint that returns something other than keys takes none of those away that taskd has."""
        async with better_auth(program) as auth, serving(sqlite_url, OLD, BETTER_AUTH_URL=auth.url) as taskd:
            alice = await auth.sign_up()
            token = await alice.token()
            assert [] == titles(await read(taskd, alice, token))
            await auth.behave(lie)

            assert [] == titles(await read(taskd, alice, token))
            assert 2 == await auth.asked()

    async def test_slow(self, program: Path, sqlite_url: str) -> None:
        """While the keys are being fetched, other requests are served; they are fetched once for all who wait."""
        async with better_auth(program) as auth, serving(sqlite_url, BETTER_AUTH_URL=auth.url) as taskd:
            alice = await auth.sign_up()
            token = await alice.token()
            await auth.behave("hold")
            async with asyncio.TaskGroup() as waiting:
                readers = [waiting.create_task(read(taskd, alice, token)) for _ in range(20)]
                await auth.asked(at_least=1)
                alive = await taskd.get("/livez")
                finished_early = [reader for reader in readers if reader.done()]
                await auth.behave("honest")

            assert 200 == alive.status_code
            assert [] == finished_early
            assert [200] * 20 == [reader.result().status_code for reader in readers]
            assert 1 == await auth.asked()

    async def test_too_slow(self, program: Path, sqlite_url: str) -> None:
        """Nobody waits for ever: all are told to come again, and the keys arrive meanwhile."""
        async with better_auth(program) as auth, serving(sqlite_url, BETTER_AUTH_URL=auth.url) as taskd:
            alice = await auth.sign_up()
            token = await alice.token()
            await auth.behave("hold")
            responses = await asyncio.gather(*(read(taskd, alice, token) for _ in range(20)))
            await auth.behave("honest")

            assert [503] * 20 == [response.status_code for response in responses]
            assert [] == titles(await read(taskd, alice, token))
            assert 1 == await auth.asked()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as launched:
        yield launched


@pytest.fixture
async def page(browser: Browser) -> Page:
    return await browser.new_page()


async def sign_up(page: Page, auth: BetterAuth, taskd_url: str) -> str:
    """Open the frontend's page, become its user there, and return the user's id."""
    await page.goto(f"{auth.url}/?taskd={quote(taskd_url)}")
    await become(page, "alice")
    await expect(page.locator("#user")).not_to_be_empty()
    user_id: str = await page.locator("#user").inner_text()
    return user_id


async def become(page: Page, name: str) -> None:
    await page.get_by_label("E-mail").fill(f"{name}@example.com")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign up").click()


async def add(page: Page, title: str) -> None:
    await page.get_by_label("Title").fill(title)
    await page.get_by_role("button", name="Add").click()


async def subject(request: Request) -> str:
    """Return whose token *request* carries."""
    token = (await request.all_headers())["authorization"].removeprefix("Bearer ")
    named: str = jwt.decode(token, options={"verify_signature": False})["sub"]
    return named


class TestBrowser:
    """A page of the frontend, another origin than taskd, with the documentation's `lib/tasks.ts`."""

    @contextlib.contextmanager
    def taskd(self, auth: BetterAuth, sqlite_url: str, frontend_url: str) -> Iterator[str]:
        """Run `taskd serve` and give its URL."""
        settings = {"DATABASE_URL": sqlite_url, "BETTER_AUTH_URL": auth.url, "FRONTEND_URL": frontend_url}
        with running_server(child_environ(settings)) as server:
            yield server.url
            server.stop()

    async def test_a_user_works_with_tasks(self, program: Path, sqlite_url: str, page: Page) -> None:
        """Signing up, creating, listing, completing and deleting show what they should, and no error."""
        heard = complaints(page)
        async with better_auth(program) as auth:
            with self.taskd(auth, sqlite_url, auth.url) as taskd_url:
                user_id = await sign_up(page, auth, taskd_url)
                shown = page.locator("li span")
                await add(page, "Milk")
                await expect(shown).to_have_text(["Milk: pending"])
                await page.get_by_role("button", name="Complete").click()
                await expect(shown).to_have_text(["Milk: completed"])
                await add(page, "Bread")
                await expect(shown).to_have_text(["Bread: pending", "Milk: completed"])
                await page.get_by_role("button", name="Delete").first.click()
                await expect(shown).to_have_text(["Milk: completed"])
                problem = await page.get_by_role("alert").inner_text()
                alice = await auth.sign_in()
                async with httpx.AsyncClient(base_url=taskd_url, trust_env=False) as client:
                    stored = titles(await read(client, alice, await alice.token()))

        assert user_id == alice.user_id
        assert ["Milk"] == stored
        assert "" == problem
        assert [] == heard

    async def test_a_user_of_an_address_with_a_path(self, program: Path, sqlite_url: str, page: Page) -> None:
        """Where Better Auth is at a path, its client finds it by what the documentation adds to lib/tasks.ts."""
        async with better_auth(program, path="/auth", page="page-at-path.mjs") as auth:
            settings = {"BETTER_AUTH_URL": f"{auth.url}/auth", "FRONTEND_URL": auth.url}
            with running_server(child_environ({"DATABASE_URL": sqlite_url, **settings})) as server:
                await sign_up(page, auth, server.url)
                await add(page, "Milk")
                await expect(page.locator("li span")).to_have_text(["Milk: pending"])
                server.stop()

    async def test_a_user_of_the_oldest_better_auth(self, oldest_program: Path, sqlite_url: str, page: Page) -> None:
        """The documentation's lib/tasks.ts works with the oldest release that it names."""
        async with better_auth(oldest_program) as auth:
            with self.taskd(auth, sqlite_url, auth.url) as taskd_url:
                await sign_up(page, auth, taskd_url)
                await add(page, "Milk")
                await expect(page.locator("li span")).to_have_text(["Milk: pending"])

    async def test_the_next_user_has_tasks_of_their_own(self, program: Path, sqlite_url: str, page: Page) -> None:
        """Whoever signs in next on the same page gets nothing by the token of the one before, not even at once."""
        async with better_auth(program) as auth:
            with self.taskd(auth, sqlite_url, auth.url) as taskd_url:
                alice_id = await sign_up(page, auth, taskd_url)
                await add(page, "Milk")
                await expect(page.locator("li span")).to_have_text(["Milk: pending"])
                asked: list[str] = []
                page.on("request", lambda request: asked.append(request.url))
                await become(page, "bob")
                await expect(page.locator("#user")).not_to_have_text(alice_id)
                await add(page, "Bread")
                await expect(page.locator("li span")).to_have_text(["Bread: pending"])

        assert [] == [url for url in asked if alice_id in url]

    async def test_a_token_that_comes_late_is_not_the_next_user_s(
        self, program: Path, sqlite_url: str, page: Page
    ) -> None:
        """A token that is on its way while somebody else signs in is used for nothing."""
        is_held, is_released = asyncio.Event(), asyncio.Event()

        async def hold(route: Route) -> None:
            response = await route.fetch()
            is_held.set()
            await is_released.wait()
            await route.fulfill(response=response)

        async with better_auth(program) as auth:
            with self.taskd(auth, sqlite_url, auth.url) as taskd_url:
                asked: list[Request] = []
                page.on("request", lambda request: asked.append(request) if request.url.startswith(taskd_url) else None)
                await page.route("**/api/auth/token", hold, times=1)
                alice_id = await sign_up(page, auth, taskd_url)
                await is_held.wait()
                await become(page, "bob")
                await expect(page.locator("#user")).not_to_have_text(alice_id)
                bob_id = await page.locator("#user").inner_text()
                await add(page, "Bread")
                await expect(page.locator("li span")).to_have_text(["Bread: pending"])
                # Alice's page still has to list its tasks.
                async with page.expect_response(f"{taskd_url}/**"):
                    is_released.set()
                await add(page, "Milk")
                await expect(page.locator("li span")).to_have_text(["Milk: pending", "Bread: pending"])
                users = {(httpx.URL(request.url).path, await subject(request)) for request in asked}

        assert {(f"/api/{bob_id}/tasks", bob_id)} == users

    async def test_a_refused_token_is_replaced(self, program: Path, sqlite_url: str, page: Page) -> None:
        """A page whose token is refused gets another one, and its user notices nothing."""

        async def refuse(route: Route) -> None:
            headers = {"Access-Control-Allow-Origin": auth.url, "Access-Control-Allow-Credentials": "true"}
            await route.fulfill(status=401, json={"detail": "The token expired 1 s ago."}, headers=headers)

        async with better_auth(program) as auth:
            with self.taskd(auth, sqlite_url, auth.url) as taskd_url:
                await sign_up(page, auth, taskd_url)
                await add(page, "Milk")
                await expect(page.get_by_role("listitem")).to_have_count(1)
                tokens: list[str] = []
                page.on("request", lambda asked: tokens.append(asked.url) if asked.url.endswith("/token") else None)
                await page.route(f"{taskd_url}/**", refuse, times=1)
                await add(page, "Bread")
                await expect(page.get_by_role("listitem")).to_have_count(2)

        assert 1 == len(tokens)

    async def test_pages_of_others_read_nothing(self, program: Path, sqlite_url: str, page: Page) -> None:
        """A page of an origin that is not in FRONTEND_URL can neither create tasks nor read responses."""
        heard = complaints(page)
        async with better_auth(program) as auth:
            with self.taskd(auth, sqlite_url, ORIGIN) as taskd_url:
                await sign_up(page, auth, taskd_url)
                await add(page, "Milk")
                await expect(page.get_by_role("alert")).to_have_text("Failed to fetch")
                alice = await auth.sign_in()
                async with httpx.AsyncClient(base_url=taskd_url, trust_env=False) as client:
                    stored = titles(await read(client, alice, await alice.token()))

        assert [] == stored
        assert any("CORS policy" in text for text in heard)
