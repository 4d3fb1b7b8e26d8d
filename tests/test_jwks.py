"""Fetching the keys of an issuer: when it is asked, who waits, and what happens while it does not answer."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import respx
import trustme

import taskd_jwt.jwks
from taskd import build_app
from taskd.auth import AUTH_TIMEOUT_S
from taskd.testing import lifespan
from tests.conftest import SECRET, client_of, token_for
from tests.issuer import JWKS_URL, KINDS, LIFETIME_S, URL, Clock, Issuer, KeyPair, stopped_clock
from tests.proxy import Handler, listening, silent
from tests.serving import outcome, until

pytestmark = pytest.mark.anyio

MIN_INTERVAL_S, COOLDOWN_S = 5, 31
DAY_S = 24 * 60 * 60
LIMIT = 1024 * 1024
KIND = "ES256"


@attrs.define(eq=False)
class Endpoint:
    """
    Where the keys of an issuer are, or not.

    Attributes:
        document: What is there.
        fault: What is answered or raised in place of that.
        gate: What each answer waits for.
        fetched_s: When it was asked.
    """

    issuer: Issuer
    clock: Clock
    fault: httpx.Response | Exception | None = None
    gate: asyncio.Event = attrs.field(factory=asyncio.Event)
    fetched_s: list[float] = attrs.field(factory=list)
    document: dict[str, Any] | None = None

    async def answer(self, _: httpx.Request) -> httpx.Response:
        self.fetched_s.append(self.clock.now_s)
        await self.gate.wait()
        if isinstance(self.fault, Exception):
            raise self.fault
        return self.fault or httpx.Response(200, json=self.document or self.issuer.document())

    @property
    def fetches(self) -> int:
        return len(self.fetched_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stopped_clock(monkeypatch)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(("EdDSA", KIND))


@pytest.fixture
def endpoint(issuer: Issuer, clock: Clock) -> Iterator[Endpoint]:
    made = Endpoint(issuer, clock)
    made.gate.set()
    with respx.mock(assert_all_called=False) as router:
        router.get(JWKS_URL).mock(side_effect=made.answer)
        yield made


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db",
        "BETTER_AUTH_SECRET": SECRET,
        "BETTER_AUTH_URL": URL,
    }


@pytest.fixture
async def client(environ: dict[str, str], endpoint: Endpoint) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application with both lanes, which has no keys yet."""
    app = build_app(environ)
    async with lifespan(app), client_of(app) as connected:
        yield connected
        endpoint.gate.set()
        await fetched()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a fetch; those that answer at once answer before that."""
    monkeypatch.setattr(taskd_jwt.jwks, "WAIT_S", 0.05)


async def fetched() -> None:
    """Wait for the fetch that is under way."""
    coroutine = taskd_jwt.jwks.RemoteKeySet._load.__qualname__
    names = {task: getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
    await asyncio.gather(*(task for task, name in names.items() if name == coroutine))


async def answer_to(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/api/alice/tasks", headers={"Authorization": f"Bearer {token}"})


async def status(client: httpx.AsyncClient, token: str) -> int:
    """Return the status of the answer, which says when to come again, and what is wrong."""
    answer = await answer_to(client, token)
    assert answer.status_code == 200 or isinstance(answer.json()["detail"], str)
    return outcome(answer)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the plugin said since the last time."""
    messages = [record.getMessage() for record in caplog.records if record.name == "taskd_jwt.jwks"]
    caplog.clear()
    return messages


def unknown(issuer: Issuer, number: int) -> str:
    """Return a token of a key that nobody has heard of."""
    return issuer.sign(kid=f"unknown-{number}")


class TestWhoIsAccepted:
    async def test_each_algorithm(self, environ: dict[str, str], clock: Clock) -> None:
        """A token of each kind of key is accepted, with one fetch for all."""
        endpoint = Endpoint(Issuer(), clock)
        endpoint.gate.set()
        app = build_app(environ)
        with respx.mock() as router:
            router.get(JWKS_URL).mock(side_effect=endpoint.answer)
            async with lifespan(app), client_of(app) as client:
                assert [200] * 5 == [await status(client, endpoint.issuer.sign(kind=kind)) for kind in KINDS]
        assert 1 == endpoint.fetches

    @pytest.mark.parametrize(
        ("auth_url", "keys_url", "origin"),
        [
            ("https://auth.example.com/", JWKS_URL, URL),
            ("HTTPS://Auth.Example.COM", JWKS_URL, URL),
            ("https://auth.example.com:443", JWKS_URL, URL),
            ("https://auth.example.com:8443/", "https://auth.example.com:8443/api/auth/jwks", f"{URL}:8443"),
            ("https://auth.example.com/auth", "https://auth.example.com/auth/jwks", URL),
            ("https://auth.example.com/api/auth/", JWKS_URL, URL),
            ("http://localhost:3000", "http://localhost:3000/api/auth/jwks", "http://localhost:3000"),
            ("http://[::1]:3000/v1/auth", "http://[::1]:3000/v1/auth/jwks", "http://[::1]:3000"),
        ],
    )
    async def test_the_base_url_is_read_as_better_auth_reads_it(
        self, environ: dict[str, str], issuer: Issuer, auth_url: str, keys_url: str, origin: str
    ) -> None:
        """The keys are below its path, and its origin is `iss` and `aud`."""
        app = build_app({**environ, "BETTER_AUTH_URL": auth_url})
        with respx.mock() as router:
            router.get(keys_url).respond(json=issuer.document())
            async with lifespan(app), client_of(app) as client:
                assert 200 == await status(client, issuer.sign({"iss": origin, "aud": origin}))
                assert 401 == await status(client, issuer.sign({"iss": f"{origin}/", "aud": origin}))

    @pytest.mark.parametrize(
        ("settings", "claims", "is_good"),
        [
            ({"TASKD_JWT_AUDIENCE": "api"}, {"aud": "api"}, True),
            ({"TASKD_JWT_AUDIENCE": "api"}, {"aud": URL}, False),
            ({"TASKD_JWT_ISSUER": "us"}, {"iss": "us"}, True),
            ({"TASKD_JWT_ISSUER": "us"}, {"iss": URL}, False),
            ({"TASKD_JWT_AUDIENCE": "", "TASKD_JWT_ISSUER": ""}, {}, True),
            ({}, {"aud": [URL, "other"]}, True),
            ({}, {"aud": "other"}, False),
            ({}, {"aud": None}, False),
            ({}, {"iss": "other"}, False),
            ({}, {"iss": None}, False),
        ],
    )
    async def test_audience_and_issuer(
        self,
        environ: dict[str, str],
        issuer: Issuer,
        settings: dict[str, str],
        claims: dict[str, Any],
        is_good: bool,
    ) -> None:
        """They are the base URL's origin unless they are set, and must be there."""
        app = build_app({**environ, **settings})
        with respx.mock(assert_all_called=False) as router:
            router.get(JWKS_URL).respond(json=issuer.document())
            async with lifespan(app), client_of(app) as client:
                assert (200 if is_good else 401) == await status(client, issuer.sign(claims))

    async def test_the_keys_may_be_elsewhere(self, environ: dict[str, str], issuer: Issuer) -> None:
        """`TASKD_JWKS_URL` says where; issuer and audience remain."""
        app = build_app({**environ, "TASKD_JWKS_URL": "https://cdn.example.com/keys.json"})
        with respx.mock() as router:
            router.get("https://cdn.example.com/keys.json").respond(json=issuer.document())
            async with lifespan(app), client_of(app) as client:
                assert 200 == await status(client, issuer.sign())

    async def test_what_is_asked(self, environ: dict[str, str], issuer: Issuer) -> None:
        """No compression is asked for, and nothing is told."""
        app = build_app(environ)
        with respx.mock() as router:
            route = router.get(JWKS_URL).respond(json=issuer.document())
            async with lifespan(app), client_of(app) as client:
                assert 200 == await status(client, issuer.sign())
            headers = route.calls.last.request.headers

        assert ("identity", "application/json") == (headers["Accept-Encoding"], headers["Accept"])
        assert not {"Authorization", "Cookie"} & set(headers)


class TestWhenItIsAsked:
    async def test_keys_are_kept_for_ten_minutes(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """Up to nine minutes nothing is fetched; after ten they are fetched before a token is believed."""
        token = endpoint.issuer.sign()
        for _ in range(9):
            assert 200 == await status(client, token)
            clock.now_s += 59.9
        assert 1 == endpoint.fetches
        clock.now_s += 61
        endpoint.issuer.rotate()

        assert 401 == await status(client, token)
        assert 2 == endpoint.fetches

    async def test_nothing_is_fetched_before_it_is_needed(self, client: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """Neither the start, nor a token of the other lane, nor a bad one makes a fetch."""
        assert 200 == await status(client, token_for("alice", LIFETIME_S))
        assert 401 == await status(client, endpoint.issuer.sign({"exp": 1}))
        assert 401 == await status(client, endpoint.issuer.sign(kid=None))

        assert 0 == endpoint.fetches

    async def test_keys_are_fetched_again_before_anybody_has_to_wait(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """Between nine and ten minutes a request starts the fetch, and is answered by the keys that are there."""
        old, other = endpoint.issuer.sign(), endpoint.issuer.sign(kind=KIND)
        assert 200 == await status(client, old)
        clock.now_s += 541
        endpoint.gate.clear()
        endpoint.issuer.rotate()
        # The gate is only opened when these are answered, by a key that is to be looked for.
        assert [200] * 3 == [await status(client, token) for token in (other, other, old)]
        await until(lambda: endpoint.fetches == 2)
        endpoint.gate.set()
        await fetched()

        assert 200 == await status(client, endpoint.issuer.sign())

    async def test_an_unknown_key_is_looked_for_once(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """An issuer publishes a new key with the first token of it, which is accepted."""
        assert 200 == await status(client, endpoint.issuer.sign())
        endpoint.issuer.rotate()
        # Even if that is soon after the keys were fetched for another reason.
        clock.now_s += MIN_INTERVAL_S

        assert 200 == await status(client, endpoint.issuer.sign())
        assert 2 == endpoint.fetches
        clock.now_s += MIN_INTERVAL_S
        assert [401, 401] == [await status(client, unknown(endpoint.issuer, number)) for number in range(2)]
        assert 2 == endpoint.fetches

    async def test_a_flood_of_unknown_keys_is_not_passed_on(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """A thousand in five minutes make at most three fetches in any minute, and nobody else is refused."""
        draw = random.Random(4)
        good = endpoint.issuer.sign()
        for _ in range(1000):
            assert 401 == await status(client, endpoint.issuer.sign(kid=f"{draw.getrandbits(128):x}"))
            clock.now_s += draw.uniform(0, 0.6)
        assert 200 == await status(client, good)

        busiest = max(sum(begin <= other <= begin + 60 for other in endpoint.fetched_s) for begin in endpoint.fetched_s)
        assert 3 == busiest
        assert 10 <= endpoint.fetches <= 16

    async def test_first_requests_share_one_fetch(self, client: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """A hundred at once wait for the same."""
        endpoint.gate.clear()
        token = endpoint.issuer.sign()
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(status(client, token)) for _ in range(100)]
            await until(lambda: endpoint.fetches == 1)
            endpoint.gate.set()

        assert [200] * 100 == [task.result() for task in waiting]
        assert 1 == endpoint.fetches

    async def test_who_leaves_does_not_stop_the_fetch(self, client: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """A client that goes away takes nothing from the others who wait."""
        endpoint.gate.clear()
        token = endpoint.issuer.sign()
        leaving, staying = (asyncio.create_task(status(client, token)) for _ in range(2))
        await until(lambda: endpoint.fetches == 1)
        leaving.cancel()
        assert 503 == await leaving
        endpoint.gate.set()

        assert 200 == await staying
        assert 1 == endpoint.fetches


FAULTS: dict[str, tuple[httpx.Response | Exception, str]] = {
    "500": (httpx.Response(500), "it answers 500"),
    "404": (httpx.Response(404, json={"keys": []}), "it answers 404"),
    "204": (httpx.Response(204), "it answers 204"),
    "a redirect": (httpx.Response(302, headers={"Location": f"{URL}/elsewhere"}), "it answers 302"),
    "no connection": (httpx.ConnectError("All connection attempts failed"), "All connection attempts failed"),
    "a fault without words": (httpx.ReadError(""), "ReadError"),
    "a time-out": (httpx.ReadTimeout("slow"), "no answer in time"),
    "nonsense": (httpx.RemoteProtocolError("illegal status line"), "illegal status line"),
    "HTML": (httpx.Response(200, html="<h1>Welcome</h1>"), "not a JSON Web Key Set"),
    "half a document": (httpx.Response(200, content=b'{"keys": [{"kty":'), "not a JSON Web Key Set"),
    "nothing": (httpx.Response(200), "not a JSON Web Key Set"),
    "too many keys": (httpx.Response(200, json={"keys": [0] * 5001}), "more than 5000 keys"),
    "too much": (httpx.Response(200, content=b" " * LIMIT + b'{"keys": []}'), "more than 1048576 bytes"),
    "gzip": (
        httpx.Response(200, content=gzip.compress(b'{"keys": []}'), headers={"Content-Encoding": "gzip"}),
        "in an encoding that was not asked for",
    ),
}


class TestWhileItFails:
    @pytest.mark.parametrize(("fault", "reason"), FAULTS.values(), ids=FAULTS)
    async def test_keys_are_used_for_a_day(
        self,
        client: httpx.AsyncClient,
        endpoint: Endpoint,
        clock: Clock,
        fault: httpx.Response | Exception,
        reason: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Whatever is wrong, old keys serve for 24 hours, and then none do; it is said once, and the end of it, too."""
        token = endpoint.issuer.sign()
        assert 200 == await status(client, token)
        endpoint.fault = fault
        told(caplog)
        for hour in range(24):
            clock.now_s = 1000 + (hour + 0.99) * 3600
            assert 200 == await status(client, token)
            await fetched()
        [line] = told(caplog)
        assert line.startswith(f"The key set at {JWKS_URL} does not serve: ")
        assert reason in line
        clock.now_s = 1000 + DAY_S
        assert [503, 503] == [await status(client, token), await status(client, endpoint.issuer.sign(kind=KIND))]
        assert 200 == await status(client, token_for("alice", LIFETIME_S))
        assert [f"The keys from {JWKS_URL} are a day old, and not used until they are fetched again"] == told(caplog)
        endpoint.fault = None
        clock.now_s += COOLDOWN_S
        assert 200 == await status(client, token)
        assert f"The key set at {JWKS_URL} serves again, after " in " ".join(told(caplog))

    async def test_a_token_that_expires_meanwhile_is_refused(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """RFC 7519, section 4.1.4: what was good when it came may have ended when the keys have come."""
        endpoint.gate.clear()
        waiting = asyncio.create_task(status(client, endpoint.issuer.sign({"exp": clock.time() + 1})))
        await until(lambda: endpoint.fetches == 1)
        clock.now_s += 1
        endpoint.gate.set()

        assert 401 == await waiting

    async def test_an_unknown_key_may_be_a_new_one(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """While the keys cannot be fetched nobody can tell, and its user is not signed out for that."""
        assert 200 == await status(client, endpoint.issuer.sign())
        endpoint.fault = httpx.Response(500)
        clock.now_s += MIN_INTERVAL_S
        token = unknown(endpoint.issuer, 1)
        assert [503, 503] == [await status(client, token) for _ in range(2)]
        endpoint.fault = None
        clock.now_s += COOLDOWN_S

        assert 401 == await status(client, token)
        assert 3 == endpoint.fetches

    async def test_what_an_endpoint_says_does_not_fill_the_log(
        self, client: httpx.AsyncClient, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its words, which may be in the library's error, are cut."""
        endpoint.fault = httpx.RemoteProtocolError("x" * 60_000)
        assert 503 == await status(client, endpoint.issuer.sign())

        [line] = told(caplog)
        assert line.endswith(f": {'x' * 200}")

    async def test_a_redirect_is_not_followed(self, client: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """Not even to good keys: where they are is for the settings to say."""
        endpoint.fault = httpx.Response(302, headers={"Location": JWKS_URL})

        assert 503 == await status(client, endpoint.issuer.sign())
        assert 1 == endpoint.fetches

    async def test_as_much_as_may_be_is_read(self, client: httpx.AsyncClient, endpoint: Endpoint) -> None:
        """A mebibyte is not too much."""
        content = json.dumps(endpoint.issuer.document()).encode()
        endpoint.fault = httpx.Response(200, content=content.ljust(LIMIT))

        assert 200 == await status(client, endpoint.issuer.sign())

    @pytest.mark.parametrize(("fault", "reason"), FAULTS.values(), ids=FAULTS)
    async def test_without_keys_it_is_no_fault_of_the_token(
        self,
        client: httpx.AsyncClient,
        endpoint: Endpoint,
        clock: Clock,
        fault: httpx.Response | Exception,
        reason: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Clients are told to come again, the other lane serves, and when the keys are back the first token is good."""
        endpoint.fault = fault
        token = endpoint.issuer.sign()
        answer = await answer_to(client, token)
        assert 503 == answer.status_code
        assert {"detail": "The credentials cannot be verified now; try again later."} == answer.json()
        assert str(MIN_INTERVAL_S) == answer.headers["Retry-After"]
        assert 503 == await status(client, token)
        assert 200 == await status(client, token_for("alice", LIFETIME_S))
        assert 401 == await status(client, token_for("bob"))
        assert 1 == endpoint.fetches
        [line] = told(caplog)
        assert reason in line
        endpoint.fault = None
        clock.now_s += COOLDOWN_S

        assert 200 == await status(client, token)
        assert 2 == endpoint.fetches

    async def test_nobody_waits_for_what_fails(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """Once it failed, a fetch that hangs holds up no request that old keys can answer."""
        token = endpoint.issuer.sign()
        assert 200 == await status(client, token)
        endpoint.fault = httpx.Response(500)
        clock.now_s += 601
        assert 200 == await status(client, token)
        endpoint.fault = None
        endpoint.gate.clear()
        clock.now_s += COOLDOWN_S
        # The gate is only opened when these are answered.
        assert [200] * 3 == [await status(client, token) for _ in range(3)]
        await until(lambda: endpoint.fetches == 3)
        endpoint.gate.set()
        await fetched()

        assert 200 == await status(client, token)
        assert 3 == endpoint.fetches

    @pytest.mark.usefixtures("impatient")
    async def test_a_fetch_that_takes_long_goes_on_without_the_request(
        self, client: httpx.AsyncClient, endpoint: Endpoint
    ) -> None:
        """The request is answered in time, and what it began serves the next."""
        endpoint.gate.clear()
        token = endpoint.issuer.sign()
        assert [503, 503] == [await status(client, token) for _ in range(2)]
        assert 1 == endpoint.fetches
        endpoint.gate.set()
        await fetched()

        assert 200 == await status(client, token)
        assert 1 == endpoint.fetches

    @pytest.mark.usefixtures("impatient")
    async def test_a_new_key_that_is_on_its_way_is_no_unknown_one(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """While the fetch takes long, its token may yet turn out good."""
        old = endpoint.issuer.sign()
        assert 200 == await status(client, old)
        endpoint.issuer.rotate()
        endpoint.gate.clear()
        clock.now_s += COOLDOWN_S

        assert [503, 200] == [await status(client, token) for token in (endpoint.issuer.sign(), old)]

    @pytest.mark.usefixtures("impatient")
    async def test_old_keys_serve_when_the_fetch_takes_long(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """The first that finds them too old waits for a moment, and is then answered by them."""
        token = endpoint.issuer.sign()
        assert 200 == await status(client, token)
        endpoint.gate.clear()
        clock.now_s += 3600

        assert 200 == await status(client, token)
        assert 2 == endpoint.fetches

    @pytest.mark.parametrize(
        "url", ["https://a..b", f"https://{'a' * 64}.example", "https://[::::]", "https://xn--a/keys"]
    )
    async def test_an_address_that_nobody_can_have(
        self, environ: dict[str, str], issuer: Issuer, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is like one where nobody answers."""
        app = build_app({**environ, "TASKD_JWKS_URL": url})
        async with lifespan(app), client_of(app) as client:
            assert 503 == await status(client, issuer.sign())
            [line] = told(caplog)
            assert line.startswith(f"The key set at {url} does not serve: ")


class TestRotation:
    async def test_tokens_of_a_key_that_is_gone_are_refused(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """After the next fetch they are, even those that were accepted before."""
        old = endpoint.issuer.sign()
        assert [200, 200] == [await status(client, old) for _ in range(2)]
        endpoint.issuer.rotate()
        clock.now_s += COOLDOWN_S
        assert 200 == await status(client, endpoint.issuer.sign())

        assert "not, or no longer, in the key set" in (await answer_to(client, old)).json()["detail"]

    async def test_a_key_of_the_same_name_is_another_key(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock
    ) -> None:
        """Tokens of the key that had its name before are refused."""
        old = endpoint.issuer.sign()
        assert 200 == await status(client, old)
        endpoint.issuer.keys["EdDSA"] = KeyPair.generate("EdDSA", endpoint.issuer.keys["EdDSA"].key_id)
        clock.now_s += 601

        assert [401, 200] == [await status(client, token) for token in (old, endpoint.issuer.sign())]

    @pytest.mark.parametrize("keys", [[], [{"kty": "oct", "k": "AAAA", "kid": "a"}]], ids=["no key", "unusable keys"])
    async def test_without_usable_keys_nobody_gets_in(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, keys: list[object]
    ) -> None:
        """An issuer that takes its keys back is believed, and tokens that were accepted before are not."""
        token = endpoint.issuer.sign()
        assert [200, 200] == [await status(client, token) for _ in range(2)]
        endpoint.document = {"keys": keys}
        clock.now_s += 601
        assert [503, 503] == [await status(client, token) for _ in range(2)]
        assert 200 == await status(client, token_for("alice", LIFETIME_S))
        endpoint.document = None
        clock.now_s += COOLDOWN_S

        assert 200 == await status(client, token)

    async def test_the_order_of_keys_is_no_change(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The same keys in another order are the same."""
        caplog.set_level("INFO")
        assert 200 == await status(client, endpoint.issuer.sign())
        told(caplog)
        endpoint.document = {"keys": endpoint.issuer.document()["keys"][::-1]}
        clock.now_s += 601
        assert 200 == await status(client, endpoint.issuer.sign())

        assert (2, []) == (endpoint.fetches, told(caplog))


class TestLog:
    async def test_a_key_that_is_not_used_is_told_once(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One line for each, again only when the key set is another one."""
        caplog.set_level("DEBUG")
        weak = {"kty": "oct", "k": "AAAA", "kid": "weak"}
        endpoint.document = {"keys": [*endpoint.issuer.document()["keys"], weak, {"kty": "EC"}]}
        dropped = [
            f"A key from {JWKS_URL} is not used: weak: it is a secret, and published",
            f"A key from {JWKS_URL} is not used: one without a good kid: no token can name it",
        ]
        token = endpoint.issuer.sign()
        assert 200 == await status(client, token)
        assert [*dropped, f"2 keys from {JWKS_URL} are used"] == told(caplog)
        clock.now_s += 601
        assert 200 == await status(client, token)
        assert (2, []) == (endpoint.fetches, told(caplog))
        endpoint.document["keys"].pop()
        clock.now_s += 601
        assert 200 == await status(client, token)

        assert [dropped[0], f"2 keys from {JWKS_URL} are used"] == told(caplog)

    async def test_of_many_keys_that_are_not_used_some_are_told(
        self, client: httpx.AsyncClient, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Twenty have a line of their own, and one says how many they are."""
        endpoint.document = {"keys": [*endpoint.issuer.document()["keys"], *[{"kty": "oct"}] * 21]}
        assert 200 == await status(client, endpoint.issuer.sign())

        lines = told(caplog)
        assert 20 == sum(line.startswith("A key from ") for line in lines)
        assert f"21 keys from {JWKS_URL} are not used" == lines[20]

    async def test_an_outage_is_told_by_two_lines(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One when it begins and one when it ends, however many requests there are, and no token in any."""
        caplog.set_level("DEBUG", "taskd_jwt")
        token = endpoint.issuer.sign()
        endpoint.fault = httpx.Response(503)
        for _ in range(50):
            assert 503 == await status(client, token)
            clock.now_s += 5
        endpoint.fault = None
        clock.now_s += COOLDOWN_S
        assert [200] * 10 == [await status(client, token) for _ in range(10)]

        assert not [piece for piece in token.split(".") if piece in caplog.text]
        assert [
            f"The key set at {JWKS_URL} does not serve: it answers 503",
            f"2 keys from {JWKS_URL} are used",
            f"The key set at {JWKS_URL} serves again, after 281.0 s",
        ] == told(caplog)

    async def test_a_day_without_requests_is_no_outage(
        self, client: httpx.AsyncClient, endpoint: Endpoint, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Keys that have become too old meanwhile are fetched again, and the endpoint is not said to be down."""
        token = endpoint.issuer.sign()
        assert 200 == await status(client, token)
        told(caplog)
        clock.now_s += DAY_S + 1

        assert 200 == await status(client, token)
        assert "does not serve" not in " ".join(told(caplog))


def answering(content: bytes) -> Handler:
    """Return the handler of a server that sends *content*, whatever it is asked for."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + content)

    return answer


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send byte after byte, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" ")
        await asyncio.sleep(0.01)


class TestOverTheNetwork:
    async def test_waiting_for_keys_does_not_stop_the_process(self, environ: dict[str, str], issuer: Issuer) -> None:
        """While an endpoint does not answer, others are served."""
        asked, is_over = asyncio.Event(), asyncio.Event()

        async def hold(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
            asked.set()
            await is_over.wait()

        async with listening(hold) as port:
            origin = f"http://127.0.0.1:{port}"
            app = build_app({**environ, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client:
                waiting = asyncio.create_task(status(client, issuer.sign({"iss": origin, "aud": origin})))
                await asked.wait()
                assert 200 == (await client.get("/livez")).status_code
                assert 200 == await status(client, token_for("alice", LIFETIME_S))
                is_over.set()

                assert 503 == await waiting

    @pytest.mark.parametrize("handle", [silent, drip])
    async def test_an_endpoint_has_so_much_time(
        self,
        environ: dict[str, str],
        issuer: Issuer,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        handle: Handler,
    ) -> None:
        """For all of its answer: one that sends a little now and then does not hold up a fetch for ever."""
        monkeypatch.setattr(taskd_jwt.jwks, "FETCH_TIMEOUT_S", 0.2)
        async with listening(handle) as port:
            origin = f"http://127.0.0.1:{port}"
            app = build_app({**environ, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client:
                assert 503 == await status(client, issuer.sign({"iss": origin, "aud": origin}))
                await fetched()

        assert [f"The key set at {origin}/api/auth/jwks does not serve: no answer in time"] == told(caplog)

    async def test_a_handshake_without_an_end_leaves_no_connection(
        self, environ: dict[str, str], issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An endpoint that is silent where it should speak TLS is hung up on."""
        monkeypatch.setattr(taskd_jwt.jwks, "FETCH_TIMEOUT_S", 0.2)
        is_hung_up = asyncio.Event()

        async def watch(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()
            is_hung_up.set()

        async with listening(watch) as port:
            origin = f"https://127.0.0.1:{port}"
            app = build_app({**environ, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client, asyncio.timeout(10):
                assert 503 == await status(client, issuer.sign({"iss": origin, "aud": origin}))
                await is_hung_up.wait()

    async def test_no_proxy_is_asked(
        self, environ: dict[str, str], issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who answers decides who gets in: a proxy of the environment's is not for that."""
        asked: list[bytes] = []

        async def proxy(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            asked.append(await reader.read(1024))

        async with listening(proxy) as proxy_port, listening(answering(json.dumps(issuer.document()).encode())) as port:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy_port}")
            origin = f"http://127.0.0.1:{port}"
            # That there is something to be ignored.
            async with httpx.AsyncClient() as trusting:
                with pytest.raises(httpx.RemoteProtocolError):
                    await trusting.get(origin)
            app = build_app({**environ, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client:
                assert 200 == await status(client, issuer.sign({"iss": origin, "aud": origin}))

        assert 1 == len(asked)

    @pytest.mark.parametrize("is_trusted", [True, False])
    async def test_the_certificate_is_verified(
        self,
        environ: dict[str, str],
        issuer: Issuer,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        is_trusted: bool,
    ) -> None:
        """Keys from whom no authority knows are refused; `SSL_CERT_FILE` names authorities."""
        authority = trustme.CA()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authorities = authority if is_trusted else trustme.CA()
        authorities.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with listening(answering(json.dumps(issuer.document()).encode()), tls) as port:
            origin = f"https://127.0.0.1:{port}"
            app = build_app({**environ, "BETTER_AUTH_URL": origin})
            async with lifespan(app), client_of(app) as client:
                token = issuer.sign({"iss": origin, "aud": origin})

                assert (200 if is_trusted else 503) == await status(client, token)
        assert is_trusted == ("CERTIFICATE_VERIFY_FAILED" not in caplog.text)


def test_a_loop_for_each_call_is_no_obstacle(
    environ: dict[str, str], endpoint: Endpoint, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As serverless adapters have it: a fetch that ended with its loop is begun again in another."""
    monkeypatch.setattr(taskd_jwt.jwks, "WAIT_S", 0.05)
    app, token = build_app(environ), endpoint.issuer.sign()

    async def ask(is_open: bool) -> int:
        endpoint.gate = asyncio.Event()
        if is_open:
            endpoint.gate.set()
        async with client_of(app) as client:
            return await status(client, token)

    assert 503 == asyncio.run(ask(is_open=False))
    clock.now_s += COOLDOWN_S

    assert [200, 200] == [asyncio.run(ask(is_open=True)) for _ in range(2)]
    assert 2 == endpoint.fetches


def test_a_request_waits_for_keys_for_less_than_the_core_waits_for_it() -> None:
    """What is answered then says when to come again."""
    assert taskd_jwt.jwks.WAIT_S < AUTH_TIMEOUT_S
