"""What came of the checks: results that show requests and responses, but never a token."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import attrs
import httpx

from taskd.conformance.client import Exchange
from taskd.conformance.registry import Check
from taskd.conformance.section import Section

__all__ = ["Outcome", "Report", "Result", "Shown", "shown"]

MAX_SHOWN = 300
# Shorter texts may be part of anything by chance.
MIN_SECRET_LENGTH = 16
HIDDEN = "[hidden]"
# Headers that the client adds to every request.
USUAL = {"host", "accept", "accept-encoding", "connection", "user-agent", "content-length"}
# Headers that tell something about a failure.
TELLING = (
    *("content-type", "location", "etag", "link", "allow", "www-authenticate", "cache-control", "vary", "retry-after"),
    *("server", "x-request-id", "x-total-count", "content-encoding", "access-control-allow-origin"),
)


class Outcome(enum.Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@attrs.frozen
class Shown:
    """
    A request or a response for display.

    Attributes:
        start: The method and the path, or the status.
        headers: The headers that tell something, without credentials.
        body: The beginning of the body.
    """

    start: str
    headers: dict[str, str]
    body: str


@attrs.frozen
class Result:
    """
    How a check ended.

    Attributes:
        reason: Why it failed or was skipped.
        request: The request that failed.
        response: What came back, if anything did.
    """

    check: Check
    outcome: Outcome
    reason: str = ""
    request: Shown | None = None
    response: Shown | None = None


@attrs.frozen
class Report:
    """
    The results of all checks.

    Attributes:
        leftovers: How many tasks could not be deleted.
        mark: What the titles of all tasks that were created begin with.
    """

    results: Sequence[Result]
    leftovers: int
    mark: str

    @property
    def failures(self) -> list[Result]:
        """The checks that failed."""
        return [result for result in self.results if result.outcome is Outcome.FAILED]

    def counts(self) -> dict[Section, Counter[Outcome]]:
        """Return how many checks of each section ended how."""
        counts: dict[Section, Counter[Outcome]] = {}
        for result in self.results:
            counts.setdefault(result.check.section, Counter())[result.outcome] += 1
        return counts

    def skipped(self) -> dict[tuple[Section, str], int]:
        """Return how many checks of each section were skipped for each reason."""
        found = [(each.check.section, each.reason) for each in self.results if each.outcome is Outcome.SKIPPED]
        return dict(Counter(found))

    def as_json(self) -> dict[str, Any]:
        """Return the report for machines."""
        return {
            "sections": [
                {"section": section.value, **{outcome.value: count[outcome] for outcome in Outcome}}
                for section, count in self.counts().items()
            ],
            "checks": [_result_as_json(result) for result in self.results],
            "leftovers": self.leftovers,
        }


def _result_as_json(result: Result) -> dict[str, Any]:
    return {
        "section": result.check.section.value,
        "promise": result.check.promise,
        "outcome": result.outcome.value,
        "reason": result.reason,
        "request": result.request and attrs.asdict(result.request),
        "response": result.response and attrs.asdict(result.response),
    }


def shown(exchange: Exchange, secrets: Iterable[str]) -> tuple[Shown, Shown | None]:
    """Return the request and the response of *exchange* for display, without *secrets*."""
    hide = _Hiding.of(secrets)
    request, response = exchange.request, exchange.response
    headers = {name: value for name, value in request.headers.items() if name not in USUAL}
    path = request.url.raw_path.decode()
    sent = Shown(hide(f"{request.method} {path}"), _headers(headers, hide), _body(request.content, hide))
    if response is None:
        return sent, None
    told = {name: response.headers[name] for name in TELLING if name in response.headers}
    return sent, Shown(str(response.status_code), _headers(told, hide), _body(_content(response), hide))


def _content(response: httpx.Response) -> bytes:
    # A response that broke off has none.
    return response.content if response.is_stream_consumed or response.is_closed else b""


def _headers(headers: dict[str, str], hide: _Hiding) -> dict[str, str]:
    return {name: hide(value)[:MAX_SHOWN] for name, value in headers.items()}


def _body(content: bytes, hide: _Hiding) -> str:
    # Hidden first: half a token could not be found.
    text = hide(content.decode("utf-8", "backslashreplace"))
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN].rstrip()}… ({len(content)} bytes)"


@attrs.frozen
class _Hiding:
    """Replaces secrets in a text."""

    _secrets: Sequence[str]

    @classmethod
    def of(cls, secrets: Iterable[str]) -> _Hiding:
        found = {form for secret in secrets for form in _forms(secret)}
        # The longest first, so that no rest is left of it.
        return cls(sorted(found, key=lambda text: (-len(text), text)))

    def __call__(self, text: str) -> str:
        """Return *text* without the secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


def _forms(secret: str) -> Iterator[str]:
    """Yield what must not be shown of *secret*: it, as it is in URLs, and its parts."""
    yield secret
    yield quote(secret, safe="")
    yield from (part for part in secret.split(".") if len(part) >= MIN_SECRET_LENGTH)
