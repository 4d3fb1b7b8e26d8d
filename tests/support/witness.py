"""Record taskd's responses during the tests, and compare them with what the API document declares."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote

import attrs
import httpx
import pytest

__all__ = ["Witness"]

# The error if the router finds no operation, because the application has other plugins or is served elsewhere.
NOTHING_HERE = "There is nothing at this path."

Template = tuple[str, ...]


@attrs.frozen
class Seen:
    """The *status* of the response to a request with *method* and *path*, as the path was sent."""

    method: str
    path: str
    status: int


@attrs.frozen
class Witness:
    """Records taskd's responses to all httpx clients, and knows what the API document declares about them."""

    _declared: Mapping[tuple[str, Template], Collection[str]]
    _seen: set[Seen] = attrs.field(init=False, factory=set)

    @classmethod
    def of(cls, document: bytes) -> Witness:
        """Read the operations of an API document, and the statuses that are declared for each."""
        paths = json.loads(document)["paths"]
        return cls(
            {
                (method.upper(), tuple(path.split("/"))): operation["responses"].keys()
                for path, operations in paths.items()
                for method, operation in operations.items()
            }
        )

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Start to record the responses that clients get, over the network or in this process."""
        send, send_async = httpx.Client.send, httpx.AsyncClient.send

        @functools.wraps(send)
        def watched(*args: Any, **options: Any) -> httpx.Response:
            return self._see(send(*args, **options))

        @functools.wraps(send_async)
        async def watched_async(*args: Any, **options: Any) -> httpx.Response:
            return self._see(await send_async(*args, **options))

        monkeypatch.setattr(httpx.Client, "send", watched)
        monkeypatch.setattr(httpx.AsyncClient, "send", watched_async)

    def _see(self, response: httpx.Response) -> httpx.Response:
        if "X-Request-ID" in response.headers and not _is_nothing_here(response):
            path = response.request.url.raw_path.partition(b"?")[0].decode()
            self._seen.add(Seen(response.request.method, path, response.status_code))
        return response

    def undeclared(self) -> list[str]:
        """Return recorded responses that the document should declare but does not, and clear the record."""
        sentences = [
            f"{seen.method} {seen.path} returned {seen.status}, which the API document does not declare."
            for seen in self._seen
            if not self._is_declared(seen)
        ]
        self._seen.clear()
        return sorted(sentences)

    def _is_declared(self, seen: Seen) -> bool:
        method = "GET" if seen.method == "HEAD" else seen.method
        path = tuple(unquote(segment) for segment in seen.path.removesuffix("/").split("/"))
        return all(
            str(seen.status) in statuses
            for (declared_method, template), statuses in self._declared.items()
            if declared_method == method and _matches(path, template)
        )


def _is_nothing_here(response: httpx.Response) -> bool:
    # A streamed response is not read here; the test does that.
    return response.status_code == 404 and response.is_stream_consumed and NOTHING_HERE in response.text


def _matches(path: Template, template: Template) -> bool:
    return len(path) == len(template) and all(
        segment == wanted or (segment != "" and wanted.startswith("{"))
        for segment, wanted in zip(path, template, strict=True)
    )
