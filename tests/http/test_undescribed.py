"""`undescribed` finds the gaps in an API document; taskd's own document has none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from taskd.application import Application
from taskd.routes.router import endpoints_of
from taskd.testing import undescribed
from tests.support.applications import build, get
from tests.support.documents import TASK, Json, operations
from tests.support.third_parties import Site, routes_source

pytestmark = pytest.mark.anyio


def mounted(app: Application) -> Iterator[tuple[str, str, bool]]:
    """Yield the method and the path of everything that *app* serves, and whether it is described."""
    for route in app.routes:
        for method, endpoint in endpoints_of(route).items():
            yield method, route.path, endpoint.is_documented


def test_everything_that_is_mounted_is_described() -> None:
    """Each operation has descriptions and examples; only the documentation itself is left out."""
    answered = list(mounted(build()))

    assert [] == undescribed(Application.assemble({}, verifies_credentials=False).document)
    assert {"/", "/docs", "/docs/{name}", "/openapi.json"} == {
        path for _, path, is_described in answered if not is_described
    }
    assert set(operations()) == {
        (method, path) for method, path, is_described in answered if is_described and method != "HEAD"
    }


# How to break an operation, and the resulting message.
FAULTS: dict[str, tuple[Callable[[Json], object], str]] = {
    "no summary": (lambda operation: operation.pop("summary"), "has no summary."),
    "empty summary": (lambda operation: operation.update(summary=""), "has no summary."),
    "summary of the path": (lambda operation: operation.update(summary=f"PUT {TASK}"), "has no summary."),
    "no description": (lambda operation: operation.pop("description"), "has no description."),
    "no description of a parameter": (
        lambda operation: operation["parameters"][1].pop("description"),
        "has no description of its parameter id.",
    ),
    "no example of the body": (
        lambda operation: operation["requestBody"]["content"]["application/json"].pop("examples"),
        "has no example of the body that it reads.",
    ),
    "empty examples of the body": (
        lambda operation: operation["requestBody"]["content"]["application/json"]["examples"].clear(),
        "has no example of the body that it reads.",
    ),
    "no example of a response": (
        lambda operation: operation["responses"]["200"]["content"]["application/json"].update(example=None),
        "has no example of its 200 response.",
    ),
    "no response": (lambda operation: operation["responses"].update(default={}), "does not declare its responses."),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_gap_is_reported(fault: str) -> None:
    """Each problem of an operation is one sentence, and other operations are not mentioned."""
    document = json.loads(Application.assemble({}, verifies_credentials=False).document)
    spoil, sentence = FAULTS[fault]
    spoil(document["paths"][TASK]["put"])

    assert [f"PUT {TASK} {sentence}"] == undescribed(json.dumps(document).encode())


def test_a_shared_response_needs_an_example_too() -> None:
    """References from operations are followed."""
    document = json.loads(Application.assemble({}, verifies_credentials=False).document)
    del document["components"]["responses"]["NotFound"]["content"]["application/json"]["example"]

    assert 4 == len(undescribed(json.dumps(document).encode()))


async def test_an_undescribed_route_is_reported(site: Site) -> None:
    """An endpoint without a docstring and a declaration is reported with all its gaps."""
    site.install("hello", routes_source("Route('/hello', open_endpoint, methods=['DELETE'])"))

    faults = undescribed((await get(build(), "/openapi.json")).content)

    assert [
        f"DELETE /hello {fault}."
        for fault in ("has no summary", "has no description", "does not declare its responses")
    ] == faults
