"""URLs in settings."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.urls import HTTPAddress, is_loopback

HOSTS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,5}){0,2}", fullmatch=True)
PATHS = st.from_regex(r"(/[a-zA-Z0-9._~%-]{1,5}){0,3}", fullmatch=True)


@pytest.mark.parametrize(
    ("url", "origin", "host", "path"),
    [
        ("https://app.example.com", "https://app.example.com", "app.example.com", ""),
        ("https://app.example.com/", "https://app.example.com", "app.example.com", "/"),
        ("https://app.example.com///", "https://app.example.com", "app.example.com", "///"),
        ("HTTPS://App.Example.COM/Api/", "https://app.example.com", "app.example.com", "/Api/"),
        ("https://app.example.com:443/a/b", "https://app.example.com", "app.example.com", "/a/b"),
        ("https://app.example.com:0443", "https://app.example.com", "app.example.com", ""),
        ("https://app.example.com:80", "https://app.example.com:80", "app.example.com", ""),
        ("http://app.example.com:80", "http://app.example.com", "app.example.com", ""),
        ("http://app.example.com:08080", "http://app.example.com:8080", "app.example.com", ""),
        ("http://localhost:3000", "http://localhost:3000", "localhost", ""),
        ("http://[::1]:3000/x", "http://[::1]:3000", "::1", "/x"),
        ("http://[2001:DB8::1]", "http://[2001:db8::1]", "2001:db8::1", ""),
        ("https://app.example.com:65535", "https://app.example.com:65535", "app.example.com", ""),
    ],
)
def test_a_url_is_normalized_as_browsers_do(url: str, origin: str, host: str, path: str) -> None:
    """Scheme and host are in lower case, a default port is dropped, and the path is kept."""
    address = HTTPAddress.parse(url)

    assert HTTPAddress(origin, host, path) == address
    assert origin + path == str(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app.example.com",
        "//app.example.com",
        "ftp://app.example.com",
        "https://",
        "https:///path",
        "https://:443",
        "https://app.example.com:",
        "https://app.example.com:port",
        "https://app.example.com:65536",
        "https://app.example.com:-1",
        "https://app.example.com:\u0664\u0664\u0663",
        "https://user@app.example.com",
        "https://user:password@app.example.com",
        "https://user:1/password@app.example.com",
        "https://app.example.com/?query",
        "https://app.example.com?query",
        "https://app.example.com/#fragment",
        "https://app.example.com/a b",
        "https://app.example.com\\@evil.example",
        "https://app.example.com/\\evil",
        "https://app.example.com\n",
        " https://app.example.com",
        "https://b\u00fccher.example",
        "https://[::1",
        "https://[1.2]",
        "https://[::1::]",
        "https://[]",
        "https://[app]",
        "https://::1",
        "https://a,https://b",
    ],
)
def test_an_invalid_url_is_refused(url: str) -> None:
    """It must not have a user, a query or a fragment, or anything around it."""
    assert HTTPAddress.parse(url) is None


@given(scheme=st.sampled_from(["http", "https"]), host=HOSTS, port=st.none() | st.integers(1, 65535), path=PATHS)
def test_a_url_survives_a_round_trip(scheme: str, host: str, port: int | None, path: str) -> None:
    """Parsing it again changes nothing."""
    address = HTTPAddress.parse(f"{scheme}://{host}" + ("" if port is None else f":{port}") + path)

    assert address is not None
    assert (host, path) == (address.host, address.path)
    assert address == HTTPAddress.parse(str(address))


@given(text=st.text(max_size=40) | st.text("htps:/.[]@?#a0 \\", max_size=20).map("https://".__add__))
def test_random_text_is_parsed_or_refused(text: str) -> None:
    """Nothing is raised, and no user or query is accepted."""
    address = HTTPAddress.parse(text)

    assert address is None or not set("@?#\\ \n") & set(str(address.origin))


@pytest.mark.parametrize(
    ("url", "is_confidential"),
    [
        ("https://app.example.com", True),
        ("http://app.example.com", False),
        ("http://localhost:3000", True),
        ("http://LOCALHOST", True),
        ("http://127.0.0.1:3000", True),
        ("http://127.8.9.10", True),
        ("http://[::1]:3000", True),
        ("http://[0:0:0:0:0:0:0:1]", True),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0", False),
        ("http://[::]", False),
        ("http://[fe80::1]", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://2130706433", False),
        ("http://0x7f000001", False),
    ],
)
def test_which_urls_are_safe_from_changes_in_transit(url: str, is_confidential: bool) -> None:
    """They are encrypted, or never leave this machine; names that only look local do not count."""
    address = HTTPAddress.parse(url)

    assert address is not None
    assert is_confidential == address.is_confidential


@given(address=st.ip_addresses())
def test_loopback_addresses_are_this_machine(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """They are the ones that the standard library considers loopback addresses."""
    assert address.is_loopback == is_loopback(str(address))


@given(host=st.text(max_size=20))
def test_random_hosts_raise_no_error(host: str) -> None:
    """Each host is this machine, or is not."""
    assert is_loopback(host) in (True, False)
