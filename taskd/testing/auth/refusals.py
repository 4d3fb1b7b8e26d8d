"""Test which requests are refused."""

from __future__ import annotations

import httpx
from starlette.authentication import AuthenticationBackend

from taskd.testing.auth.requests import Credentials, Header, assert_admitted, assert_refused, declared, sent
from taskd.testing.promises import promises

__all__ = ["RefusalTests"]

# Where credentials do not belong: queries appear in logs, and browsers send cookies on their own.
QUERY = ("access_token", "token", "key", "api_key", "apikey", "api-key", "jwt", "auth", "authorization")
COOKIES = ("token", "access_token", "session", "jwt", "auth", "authorization", "key", "api_key")
OTHER_HEADERS = ("Proxy-Authorization", "X-API-Key", "X-Auth-Token", "X-Access-Token", "X-Authorization", "X-Token")


@promises
class RefusalTests:
    """Requests without credentials, or with something that only resembles them."""

    async def test_missing_credentials_are_not_invalid(self, client: httpx.AsyncClient) -> None:
        """A request without credentials gets the code for missing ones, and a challenge without an error."""
        response = await sent(client)

        assert (401, "missing_credentials") == (response.status_code, response.json()["code"])
        assert "error" not in response.headers["WWW-Authenticate"]

    async def test_altered_credentials_are_refused(self, client: httpx.AsyncClient, credentials: Credentials) -> None:
        """Credentials that are shortened, lengthened or changed, and patterns that match them, are refused."""
        headers = credentials("alice")
        for header in Header.all_in(headers):
            # A backend may remember which credentials are valid.
            assert_admitted(await sent(client, headers))
            for secret in header.altered():
                response = await sent(client, {**headers, header.name: header.prefix + secret})
                assert_refused(response, f"{header.name}: {header.prefix}{secret}")

    async def test_wrong_credentials_are_invalid(self, client: httpx.AsyncClient, credentials: Credentials) -> None:
        """Wrong credentials get the code for invalid ones, not the one for missing or expired ones."""
        for name, value in credentials("alice").items():
            wrong = f"{value}x"
            response = await sent(client, {name: wrong})

            assert_refused(response, f"{name}: {wrong}")
            assert "invalid_token" == response.json()["code"]

    async def test_malformed_credentials_are_refused(self, client: httpx.AsyncClient, credentials: Credentials) -> None:
        """Whatever bytes a header contains, even none or thousands, the response is a 401, not a server error."""
        for header in Header.all_in(credentials("alice")):
            for value in header.malformed():
                assert_refused(await sent(client, [(header.name, value)]), f"{header.name}: {value[:60]!r}")

    async def test_refusals_do_not_affect_valid_credentials(
        self, client: httpx.AsyncClient, credentials: Credentials
    ) -> None:
        """Valid credentials are accepted, no matter how many wrong ones were sent before."""
        headers = credentials("alice")
        for header in Header.all_in(headers):
            for secret in header.altered():
                await sent(client, {**headers, header.name: header.prefix + secret})
        assert_admitted(await sent(client, headers))

    async def test_a_second_authorization_header_is_refused(
        self, client: httpx.AsyncClient, credentials: Credentials
    ) -> None:
        """Two `Authorization` headers are refused: a proxy may have checked the other one."""
        for name, value in credentials("alice").items():
            if name.lower() == "authorization":
                for values in ((value, f"{value}x"), (f"{value}x", value)):
                    response = await sent(client, [(name, each) for each in values])
                    assert_refused(response, "the second header, or the first one,")

    async def test_the_scheme_is_part_of_the_credentials(
        self, client: httpx.AsyncClient, credentials: Credentials
    ) -> None:
        """A scheme in `Authorization` may be in any case (RFC 9110, section 11.1), but no other one is accepted."""
        headers = credentials("alice")
        for header in Header.all_in(headers):
            if header.name.lower() == "authorization" and header.prefix:
                for prefix in (header.prefix.lower(), header.prefix.upper()):
                    assert_admitted(await sent(client, {**headers, header.name: prefix + header.secret}))
                for prefix in (f"X{header.prefix}", "Nonsense "):
                    response = await sent(client, {**headers, header.name: prefix + header.secret})
                    assert_refused(response, f"the scheme {prefix}")

    async def test_credentials_are_read_from_declared_headers_only(
        self, client: httpx.AsyncClient, backend: AuthenticationBackend, credentials: Credentials
    ) -> None:
        """Credentials are accepted in the headers that `request_headers` names: not in queries, cookies or others."""
        names = declared(backend)
        headers = credentials("alice")
        used = {name.lower() for name in headers}
        # If the list is empty, no response is cached.
        assert not names or used <= names, f"request_headers are {sorted(names)}"
        names |= used
        for header in Header.all_in(headers):
            for secret in (header.secret, header.value):
                response = await sent(client, params=dict.fromkeys((*QUERY, header.name), secret))
                assert_refused(response, "a query with credentials")
                others = dict.fromkeys([name for name in OTHER_HEADERS if name.lower() not in names], secret)
                assert_refused(await sent(client, others), "another header with credentials")
            if "cookie" not in names:
                cookies = "; ".join(f"{name}={header.secret}" for name in COOKIES)
                assert_refused(await sent(client, {"Cookie": cookies}), "a cookie with credentials")
