"""Check what is public: the documentation and the endpoints for supervisors."""

from __future__ import annotations

from taskd.conformance.client import ANONYMOUS, Client
from taskd.conformance.expect import expect, expect_status, object_of
from taskd.conformance.registry import Checks
from taskd.conformance.section import Section

__all__ = ["checks"]

checks = Checks(Section.ENDPOINTS)

OPERATIONS = {
    ("tasks",): {"get", "post"},
    ("tasks", "{}"): {"get", "put", "delete"},
    ("tasks", "{}", "complete"): {"patch"},
}


@checks.add
async def health(client: Client) -> None:
    """/livez and /readyz get a 200 without credentials."""
    for path in ("/livez", "/readyz"):
        expect_status(await client.send("GET", path, credentials=ANONYMOUS), 200)


@checks.add
async def docs(client: Client) -> None:
    """/docs is a public page."""
    response = expect_status(await client.send("GET", "/docs", credentials=ANONYMOUS), 200)

    expect(response.headers.get("Content-Type", "").startswith("text/html"), "a page in HTML", response)


@checks.add
async def document(client: Client) -> None:
    """/openapi.json is public, and describes all six operations."""
    response = expect_status(await client.send("GET", "/openapi.json", credentials=ANONYMOUS), 200)
    described = object_of(response)

    expect(str(described.get("openapi", "")).startswith("3."), "an OpenAPI document", response)
    found = {_template(path): set(methods) for path, methods in described.get("paths", {}).items()}
    for path, methods in OPERATIONS.items():
        expect(methods <= found.get(path, set()), f"{', '.join(methods)} for /{'/'.join(path)}", response)


def _template(path: str) -> tuple[str, ...]:
    """Return the segments of *path* after the user's, with a single name for all parameters."""
    segments = path.removeprefix("/api/").split("/")[1:]
    return tuple("{}" if segment.startswith("{") else segment for segment in segments)
