"""Users and addresses may send as many requests as their quotas allow."""

import re
import time
from collections.abc import Callable

import httpx
import jwt
import pytest
from taskd_ratelimit.known_users import KnownUsers

from taskd import build_app
from taskd.settings import SettingsError

SECRET = "0123456789abcdef0123456789abcdef"
# So long a window that no request is forgotten during a test.
ENVIRON = {
    "TASKD_MIDDLEWARE": "ratelimit",
    "TASKD_STORAGE": "memory",
    "BETTER_AUTH_SECRET": SECRET,
    "RATELIMIT_USER": "3",
    "RATELIMIT_ADDRESS": "4",
    "RATELIMIT_WINDOW": "3600",
    "FRONTEND_URL": "https://app.example.com",
}
POLICY = '"user";q=3;w=3600, "address";q=4;w=3600'

pytestmark = pytest.mark.anyio
# Makes a client of the same application at another address.
At = Callable[[str], httpx.AsyncClient]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def at() -> At:
    app = build_app(ENVIRON)

    def client(address: str | None) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, client=(address, 50000))
        return httpx.AsyncClient(transport=transport, base_url="http://taskd")

    return client


@pytest.fixture
def client(at: At) -> httpx.AsyncClient:
    return at("192.0.2.1")


def token_of(user: str, lifetime_s: int = 600) -> dict[str, str]:
    claims = {"sub": user, "exp": int(time.time()) + lifetime_s}
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}"}


async def list_tasks(client: httpx.AsyncClient, headers: dict[str, str], times: int = 1) -> list[httpx.Response]:
    return [await client.get("/api/alice/tasks", headers=headers) for _ in range(times)]


def left(response: httpx.Response) -> tuple[str, int]:
    """Return which quota a request was counted for, and how much of it is left."""
    found = re.fullmatch(r'"(\w+)";r=(\d+);t=([1-9]\d*)', response.headers["RateLimit"])
    assert found is not None
    return found[1], int(found[2])


class TestUsers:
    async def test_a_user_may_not_exceed_the_quota(self, client: httpx.AsyncClient) -> None:
        """The request that is one too many gets a 429, which says when to try again."""
        *admitted, refused = await list_tasks(client, token_of("alice"), 4)

        assert [200, 200, 200] == [response.status_code for response in admitted]
        assert [("user", 2), ("user", 1), ("user", 0)] == [left(response) for response in admitted]
        assert (429, ("user", 0)) == (refused.status_code, left(refused))
        # A third of the window, of which hardly any time has passed.
        assert 1100 < int(refused.headers["Retry-After"]) <= 1200
        assert refused.headers["RateLimit"].endswith(f"t={refused.headers['Retry-After']}")

    async def test_the_error_is_like_any_other(self, client: httpx.AsyncClient) -> None:
        """Its body is taskd's, and it has the headers of all responses."""
        *_, refused = await list_tasks(client, token_of("alice"), 4)

        detail = "Too many requests: wait as many seconds as Retry-After says, then try again."
        assert {"detail": detail, "code": "bad_request"} == refused.json()
        assert "no-store" == refused.headers["Cache-Control"]
        assert "X-Request-ID" in refused.headers

    async def test_each_user_has_a_quota(self, client: httpx.AsyncClient) -> None:
        """Users at the same address do not affect each other, once they are known."""
        await list_tasks(client, token_of("alice"), 4)

        response = await client.get("/api/bob/tasks", headers=token_of("bob"))

        assert (200, ("user", 2)) == (response.status_code, left(response))

    async def test_a_user_has_one_quota_at_all_addresses(self, at: At) -> None:
        """Moving to another address does not help."""
        await list_tasks(at("192.0.2.1"), token_of("alice"), 3)

        [response] = await list_tasks(at("192.0.2.2"), token_of("alice"))

        assert 429 == response.status_code

    async def test_a_user_has_one_quota_with_all_credentials(self, client: httpx.AsyncClient) -> None:
        """The first request with new credentials counts, too, and is refused before it changes anything."""
        await list_tasks(client, token_of("alice"), 2)

        responses = [
            await client.post("/api/alice/tasks", json={"title": "t"}, headers=token_of("alice", lifetime_s))
            for lifetime_s in (700, 800)
        ]

        assert [(201, ("user", 0)), (429, ("user", 0))] == [(each.status_code, left(each)) for each in responses]
        assert 1 == len(responses[1].headers.get_list("RateLimit"))
        assert 1100 < int(responses[1].headers["Retry-After"]) <= 1200

    @pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer ", "bEARER   "])
    async def test_another_spelling_of_the_header_does_not_help(self, client: httpx.AsyncClient, scheme: str) -> None:
        """The quota is the user's, and not that of a header."""
        token = token_of("alice")
        await list_tasks(client, token, 3)

        [response] = await list_tasks(client, {"Authorization": token["Authorization"].replace("Bearer", scheme)})

        assert (429, ("user", 0)) == (response.status_code, left(response))

    async def test_credentials_in_other_headers_are_noticed(self, caplog: pytest.LogCaptureFixture) -> None:
        """The log says, once, that such requests count for addresses, too."""
        app = build_app({**ENVIRON, "RATELIMIT_HEADERS": "X-API-Key"})
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://taskd") as client:
            responses = await list_tasks(client, token_of("alice"), 2)

            other = await client.get("/nothing")

        assert [("user", 2), ("user", 1), ("address", 1)] == [left(response) for response in [*responses, other]]
        assert 1 == caplog.text.count("RATELIMIT_HEADERS")


class TestAddresses:
    async def test_wrong_credentials_are_counted_by_address(self, client: httpx.AsyncClient) -> None:
        """Guessing credentials does not help: each guess counts."""
        responses = [response for n in range(5) for response in await list_tasks(client, token_of("alice", -n - 1))]

        assert [401, 401, 401, 401, 429] == [response.status_code for response in responses]
        assert [("address", n) for n in (3, 2, 1, 0, 0)] == [left(response) for response in responses]

    async def test_an_address_does_not_affect_known_users(self, client: httpx.AsyncClient) -> None:
        """Users behind the same address as an attacker are served, but new ones are not."""
        await list_tasks(client, token_of("alice"))
        await list_tasks(client, {}, 4)

        [known] = await list_tasks(client, token_of("alice"))
        [unknown] = await list_tasks(client, token_of("bob"))

        assert [200, 429] == [known.status_code, unknown.status_code]

    @pytest.mark.parametrize(
        ("one", "other", "is_same"),
        [
            ("192.0.2.1", "192.0.2.2", False),
            ("192.0.2.1", "::ffff:192.0.2.1", True),
            ("2001:db8::1", "2001:db8::ffff:1", True),
            ("2001:db8::1", "2001:db8:0:1::1", False),
            ("fe80::1%eth0", "fe80::1%eth1", True),
            ("here", "there", False),
        ],
    )
    async def test_addresses_of_one_network_share_a_quota(self, at: At, one: str, other: str, is_same: bool) -> None:
        """An IPv6 client can use any address of its network, so the network counts."""
        await list_tasks(at(one), {})

        [response] = await list_tasks(at(other), {})

        assert ("address", 2 if is_same else 3) == left(response)

    async def test_without_an_address_only_users_have_quotas(self) -> None:
        """Behind a UNIX domain socket, all clients would share one."""
        app = build_app(ENVIRON)

        async def without_client(scope, receive, send) -> None:
            await app({**scope, "client": None}, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(without_client), base_url="http://taskd") as client:
            responses = await list_tasks(client, {}, 5)

        assert {(401, POLICY, None)} == {
            (response.status_code, response.headers["RateLimit-Policy"], response.headers.get("RateLimit"))
            for response in responses
        }


class TestFields:
    @pytest.mark.parametrize(
        ("path", "status"), [("/api/alice/tasks", 200), ("/api/alice/tasks/1", 404), ("/nothing", 404), ("/docs", 200)]
    )
    async def test_every_response_has_the_fields(self, client: httpx.AsyncClient, path: str, status: int) -> None:
        """So do errors, and pages that anyone may see."""
        response = await client.get(path, headers=token_of("alice"))

        assert (status, POLICY) == (response.status_code, response.headers["RateLimit-Policy"])
        assert left(response) in [("user", 2), ("address", 3)]

    @pytest.mark.parametrize("times", [1, 4])
    async def test_pages_of_the_frontend_may_read_them(self, client: httpx.AsyncClient, times: int) -> None:
        """The fields are exposed in addition to those of taskd, in refusals, too."""
        headers = {**token_of("alice"), "Origin": "https://app.example.com"}
        *_, response = await list_tasks(client, headers, times)

        exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"RateLimit", "RateLimit-Policy", "Retry-After", "ETag"} <= set(exposed)

    async def test_health_is_not_limited(self, client: httpx.AsyncClient) -> None:
        """Supervisors may ask as often as they like."""
        responses = [await client.get(path) for path in ("/livez", "/readyz/") * 3]

        assert [200] * 6 == [response.status_code for response in responses]
        assert not any("RateLimit" in response.headers for response in responses)

    async def test_preflights_are_not_counted(self, client: httpx.AsyncClient) -> None:
        """Browsers send them on their own."""
        preflight = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PUT"}
        for _ in range(9):
            await client.options("/api/alice/tasks", headers=preflight)

        assert ("address", 3) == left((await list_tasks(client, {}))[0])


class TestKnownUsers:
    def test_only_digests_are_kept(self) -> None:
        """The memory of the process does not hold credentials that it need not hold."""
        known = KnownUsers.by_headers(["X-Key", "X-Tenant"])
        one = known.digest([(b"x-key", b"a"), (b"x-other", b"b")])

        assert one == known.digest([(b"x-key", b"a")])
        assert one != known.digest([(b"x-key", b"b")])
        assert one != known.digest([(b"x-key", b"a"), (b"x-tenant", b"a")])
        assert one != KnownUsers.by_headers(["X-Key"]).digest([(b"x-key", b"a")])
        assert known.digest([(b"x-other", b"b")]) is None

    def test_the_memory_is_bounded(self) -> None:
        """The credentials that have not been verified for the longest time are forgotten first."""
        known = KnownUsers.by_headers(["X-Key"])
        digests = [known.digest([(b"x-key", b"%d" % number)]) for number in range(10_001)]
        for digest in digests:
            known.learn(digest, "alice")

        assert [None, "alice"] == [known.find(digests[0]), known.find(digests[-1])]


@pytest.mark.parametrize("variable", ["RATELIMIT_USER", "RATELIMIT_ADDRESS", "RATELIMIT_WINDOW"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "\u0663", "9" * 5000])
def test_quotas_are_whole_numbers(variable: str, value: str) -> None:
    """Otherwise, the server does not start."""
    with pytest.raises(SettingsError, match=f"{variable}: must be a whole number from 1 to .*ratelimit"):
        build_app({**ENVIRON, variable: value})
