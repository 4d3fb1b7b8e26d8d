"""Check what pages of other origins may do."""

from __future__ import annotations

from taskd.conformance.client import ANONYMOUS, Client
from taskd.conformance.expect import Skipped, expect, expect_equal, token_list
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section
from taskd.conformance.sections.headers import responses

__all__ = ["checks"]

checks = Checks(Section.HEADERS)

FOREIGN = "https://foreign.example"
ALLOW_ORIGIN = "Access-Control-Allow-Origin"
ALLOW_CREDENTIALS = "Access-Control-Allow-Credentials"
EXPOSED = {"location", "x-request-id", "retry-after", "www-authenticate", "etag", "link", "x-total-count"}


def _origin(client: Client) -> str:
    if client.origin is None:
        raise Skipped("needs an origin that the server allows")
    return client.origin


@checks.add
async def foreign(client: Client) -> None:
    """A foreign origin gets no Access-Control-Allow-Origin, on any response or preflight."""
    async for response in responses(client, {"Origin": FOREIGN}):
        expect_equal(None, response.headers.get(ALLOW_ORIGIN), ALLOW_ORIGIN, response)
    preflight = {"Origin": FOREIGN, "Access-Control-Request-Method": "GET"}
    for origin in (FOREIGN, "null"):
        headers = {**preflight, "Origin": origin}
        response = await client.send("OPTIONS", client.tasks, headers=headers, credentials=ANONYMOUS)
        expect_equal(None, response.headers.get(ALLOW_ORIGIN), ALLOW_ORIGIN, response)


@checks.add
async def similar(client: Client) -> None:
    """An origin that only resembles an allowed one is foreign."""
    origin = _origin(client)
    for other in (f"{origin}.evil.example", f"{origin}0", f"x{origin}"):
        response = await client.get("/livez", {"Origin": other})
        expect_equal(None, response.headers.get(ALLOW_ORIGIN), ALLOW_ORIGIN, response)


@checks.add
async def allowed(client: Client) -> None:
    """Pages of the frontend may read every response, errors too, with credentials and the exposed headers."""
    origin = _origin(client)
    async for response in responses(client, {"Origin": origin}):
        expect_equal(origin, response.headers.get(ALLOW_ORIGIN), ALLOW_ORIGIN, response)
        expect_equal("true", response.headers.get(ALLOW_CREDENTIALS), ALLOW_CREDENTIALS, response)
        missing = EXPOSED - token_list(response, "Access-Control-Expose-Headers")
        expect(not missing, f"Access-Control-Expose-Headers with {', '.join(sorted(missing))}", response)


@checks.add
async def preflights(client: Client) -> None:
    """A preflight of the frontend allows each method, and the headers that it asks for, without credentials."""
    origin = _origin(client)
    asked = ["authorization", "content-type", "if-match", "idempotency-key", "traceparent", "x-made-up"]
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": ",".join(asked),
        }
        response = await client.send("OPTIONS", client.tasks, headers=headers, credentials=ANONYMOUS)
        expect(response.is_success, "a success", response)
        expect_equal(origin, response.headers.get(ALLOW_ORIGIN), ALLOW_ORIGIN, response)
        expect_equal("true", response.headers.get(ALLOW_CREDENTIALS), ALLOW_CREDENTIALS, response)
        methods = token_list(response, "Access-Control-Allow-Methods")
        expect(method.lower() in methods, f"Access-Control-Allow-Methods with {method}", response)
        missing = set(asked) - token_list(response, "Access-Control-Allow-Headers")
        expect(not missing, f"Access-Control-Allow-Headers with {', '.join(sorted(missing))}", response)
