"""Test that credentials appear nowhere."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import httpx

from taskd.testing.auth.requests import Credentials, Header, sent
from taskd.testing.promises import promises

__all__ = ["SecrecyTests"]

# Shorter texts may be part of a response or a log by chance.
TELLING_LENGTH = 8
MIN_LOGGED_LENGTH = 12


@promises
class SecrecyTests:
    """Responses and logs."""

    async def test_responses_do_not_repeat_credentials(
        self, client: httpx.AsyncClient, credentials: Credentials
    ) -> None:
        """No response contains any part of the credentials that were sent: they may be almost right."""
        for header in Header.all_in(credentials("alice")):
            told: dict[str, str] = {}
            for secret in header.altered():
                response = await sent(client, {header.name: header.prefix + secret})
                told[secret] = f"{response.text}\n{response.headers.get('WWW-Authenticate', '')}"
            for secret, text in told.items():
                for part in filter(text.__contains__, _parts(secret)):
                    # What is in responses to other credentials, too, is part of the sentence.
                    assert any(part in other_text for other, other_text in told.items() if part not in other), (
                        f"the response repeats {part!r}: {text}"
                    )

    async def test_credentials_are_not_logged(self, client: httpx.AsyncClient, credentials: Credentials) -> None:
        """No log entry of any level contains credentials, neither right nor wrong ones."""
        headers = Header.all_in(credentials("alice"))
        with _logged() as entries:
            await sent(client, {header.name: header.value for header in headers})
            for header in headers:
                await sent(client, {header.name: f"{header.value}x"})
        for header in headers:
            is_telling = len(header.secret) >= MIN_LOGGED_LENGTH
            assert not is_telling or not any(header.secret in entry for entry in entries), "a log entry contains them"


def _parts(secret: str) -> Iterator[str]:
    """Yield the shortest parts of *secret* that a response does not contain by chance."""
    for start in range(len(secret) - TELLING_LENGTH + 1):
        part = secret[start : start + TELLING_LENGTH]
        if part.isalnum():
            yield part


@contextlib.contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect all log entries in a list."""
    entries: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            entries.append(self.format(record))

    root, collector = logging.getLogger(), Collector()
    level = root.level
    root.addHandler(collector)
    root.setLevel(logging.DEBUG)
    try:
        yield entries
    finally:
        root.setLevel(level)
        root.removeHandler(collector)
