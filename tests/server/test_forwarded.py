"""Whom proxies may speak for: the client's address, as trusted proxies report it and nobody else can."""

from __future__ import annotations

from typing import Any

import pytest

from taskd.server.forwarded import THIS_MACHINE, TrustedProxies
from tests.support.commands import invoke

PROXIES = "10.0.0.0/8,2001:db8::1,127.0.0.1"


def origin(*lists: str, proxies: str = PROXIES) -> Any:
    """Return the client's address after a trusted proxy has sent these `X-Forwarded-For` headers."""
    found = TrustedProxies.parse(proxies).origin([(b"x-forwarded-for", each.encode("latin-1")) for each in lists])
    return found["client"][0] if found else None


class TestClient:
    @pytest.mark.parametrize(
        ("lists", "client"),
        [
            (["203.0.113.7"], "203.0.113.7"),
            (["203.0.113.7:4711"], "203.0.113.7"),
            (["[2001:db8::7]:4711"], "2001:db8::7"),
            (["[2001:db8::7]"], "2001:db8::7"),
            (["2001:DB8:0::7"], "2001:db8::7"),
            (["::ffff:203.0.113.7"], "203.0.113.7"),
            (["203.0.113.7, 10.1.1.1, 2001:db8::1"], "203.0.113.7"),
            (["203.0.113.7, 10.1.1.1", "10.2.2.2"], "203.0.113.7"),
            (["10.3.3.3, 10.1.1.1"], "10.3.3.3"),
        ],
        ids=str,
    )
    def test_it_is_the_last_address_that_is_no_proxy_s(self, lists: list[str], client: str) -> None:
        """Trusted proxies in between are skipped; if there is nobody else, the first of them is the client."""
        assert client == origin(*lists)

    @pytest.mark.parametrize("claimed", ["127.0.0.1", "192.0.2.66", "10.9.9.9", "unknown", "x" * 60_000, "," * 60_000])
    def test_it_cannot_be_forged(self, claimed: str) -> None:
        """What a client writes in front of the address that the proxy adds does not count."""
        assert "203.0.113.7" == origin(f"{claimed}, 203.0.113.7")
        assert "203.0.113.7" == origin(claimed, "203.0.113.7")
        assert "203.0.113.7" == origin(f"{claimed}, 203.0.113.7", proxies="*")

    @pytest.mark.parametrize(
        "text", ["", "unknown", "_hidden", "203.0.113.7, unknown", "203.0.113.7,", "1.2.3.4.5", "x" * 99]
    )
    def test_it_may_be_unclear(self, text: str) -> None:
        """Then it stays the address of the last proxy that is known."""
        assert None is origin(text)
        assert "10.0.0.1" == origin(f"{text}, 10.0.0.1" if text else ", 10.0.0.1")

    def test_few_addresses_are_read(self) -> None:
        """A list of proxies that somebody has made up is not followed for long."""
        assert "10.0.0.1" == origin(", ".join(["203.0.113.7"] + ["10.0.0.1"] * 100))


class TestScheme:
    @pytest.mark.parametrize(
        ("values", "found"),
        [(["https"], {"scheme": "https"}), (["HTTP"], {"scheme": "http"}), (["ftp"], {}), (["https", "http"], {})],
        ids=str,
    )
    def test_it_is_http_or_https(self, values: list[str], found: dict[str, str]) -> None:
        """Anything else is ignored, and so are two."""
        headers = [(b"x-forwarded-proto", each.encode()) for each in values]

        assert found == TrustedProxies.parse(PROXIES).origin(headers)


class TestTrust:
    @pytest.mark.parametrize(
        ("text", "trusted"),
        [
            (THIS_MACHINE, {"127.0.0.1", "::1", "::ffff:127.0.0.1", "unix"}),
            ("", set()),
            ("10.0.0.0/8", {"10.1.2.3"}),
            ("unix", {"unix"}),
            ("*", {"127.0.0.1", "::1", "::ffff:127.0.0.1", "unix", "10.1.2.3", "203.0.113.7", "nobody"}),
        ],
    )
    def test_only_those_that_are_named_are_trusted(self, text: str, trusted: set[str]) -> None:
        """A connection without an address is not taken for a Unix socket."""
        proxies = TrustedProxies.parse(text)
        peers = ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3", "203.0.113.7")
        found = {peer for peer in peers if proxies.include((peer, 1), is_unix=False)}
        found |= {"unix"} if proxies.include(None, is_unix=True) else set()
        found |= {"nobody"} if proxies.include(None, is_unix=False) else set()

        assert trusted == found

    @pytest.mark.parametrize("text", ["localhost", "10.0.0.1/8", "10.0.0.1;10.0.0.2", "proxy"])
    def test_a_wrong_list_stops_the_start(self, text: str) -> None:
        """A name could stand for any address, and a network must not have an address of its own."""
        result = invoke("serve", "--forwarded-allow-ips", text, settings={})

        assert 2 == result.exit_code
        assert "must be addresses, networks, unix or *, with commas between them" in result.output
