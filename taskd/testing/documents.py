"""Check that an API document is complete."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["resolved", "undescribed"]

Node = Mapping[str, Any]


def undescribed(document: bytes) -> list[str]:
    """
    Return what an API document leaves undescribed, as one sentence for each problem.

    Every operation must have a summary and a description: the first paragraph of its endpoint's docstring, and the rest
    of it.  It must describe its parameters, declare its responses, and have an example of each JSON body that it reads
    or returns.

    Args:
        document: The body of the response to `GET /openapi.json`, or the output of `taskd openapi`.
    """
    whole = json.loads(document)
    return [
        f"{method.upper()} {path} {omission}."
        for path, operations in whole["paths"].items()
        for method, operation in operations.items()
        for omission in _omissions(operation, f"{method.upper()} {path}", whole)
    ]


def _omissions(operation: Node, name: str, whole: Node) -> Iterator[str]:
    # Without a docstring, taskd generates a summary from the method and the path.
    if operation.get("summary") in (None, "", name):
        yield "has no summary"
    if not operation.get("description"):
        yield "has no description"
    for parameter in operation.get("parameters", ()):
        if not parameter.get("description"):
            yield f"has no description of its parameter {parameter['name']}"
    if "requestBody" in operation and _lacks_example(operation["requestBody"]):
        yield "has no example of the body that it reads"
    for status, response in operation["responses"].items():
        if status == "default":
            yield "does not declare its responses"
        elif _lacks_example(resolved(response, whole)):
            yield f"has no example of its {status} response"


def _lacks_example(message: Node) -> bool:
    media_types = message.get("content", {}).values()
    return any(content.get("example") is None and not content.get("examples") for content in media_types)


def resolved(node: Node, whole: Node) -> Any:
    """Return *node*, or the part of *whole* that it refers to."""
    while "$ref" in node:
        target: Any = whole
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        node = target
    return node
