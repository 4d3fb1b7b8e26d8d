"""The documentation over HTTP: `/`, the page, its files, and the API document."""

from __future__ import annotations

import asyncio
import hashlib
import re
from html.parser import HTMLParser
from urllib.parse import urljoin

import attrs
import httpx
import pytest
from starlette.types import ASGIApp

from taskd_docs.files import PATHS
from tests.conftest import ORIGIN, client_of
from tests.support.applications import build, get
from tests.support.commands import invoke

pytestmark = pytest.mark.anyio

MEDIA_TYPES = {
    "/docs": "text/html; charset=utf-8",
    "/docs/icon.svg": "image/svg+xml",
    "/docs/page.css": "text/css; charset=utf-8",
    "/docs/page.js": "text/javascript; charset=utf-8",
    "/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "/docs/swagger-ui.css": "text/css; charset=utf-8",
    "/openapi.json": "application/json",
}
FILES = [path for path in MEDIA_TYPES if path != "/docs"]
ALL = ["/", *MEDIA_TYPES]
PAGES = ["/", "/docs"]
HTML = {"Accept": "text/html"}
# The Accept header of a browser when a user types a URL.
CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture(scope="module")
def app() -> ASGIApp:
    """Return an application that is never started: these tests need no database."""
    return build(FRONTEND_URL=ORIGIN)


@attrs.define
class Page(HTMLParser):
    """The contents of a page."""

    links: list[str] = attrs.field(factory=list)
    forbidden: list[str] = attrs.field(factory=list)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    @classmethod
    def read(cls, text: str) -> Page:
        page = cls()
        page.feed(text)
        page.close()
        return page

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Record what the page refers to, and what its policy forbids."""
        given = dict(attributes)
        self.links += [given[name] or "" for name in ("href", "src", "data-openapi") if name in given]
        self.forbidden += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.forbidden.append(tag)

    def handle_data(self, data: str) -> None:
        """Record the text of a script."""
        if self.cdata_elem is not None:
            self.forbidden.append(data)


def test_the_parser_finds_what_is_forbidden() -> None:
    """It tells inline scripts, styles and handlers from what a page may contain."""
    page = Page.read('<a href="/x" onclick="y()" style="z"><script>run()</script><style>a{}</style><p>text</p>')

    assert ["/x"] == page.links
    assert ["onclick", "style", "script", "run()", "style", "a{}"] == page.forbidden


class TestHome:
    @pytest.mark.parametrize(
        "accept",
        [
            None,
            "",
            "*/*",
            "application/json",
            "application/json, text/plain, */*",
            "application/*",
            "application/json, text/html;q=0.9",
            "text/html;q=0.5, application/json;q=0.6",
            "text/html, application/json",
            "text/html;q=0",
            "text/html;q=0.000, */*",
            "text/html;q=0.5, */*",
            "text/plain",
            "image/png",
            ";;,,q=",
        ],
    )
    async def test_programs_get_json(self, stranger: httpx.AsyncClient, accept: str | None) -> None:
        """A client that does not prefer HTML gets the server's name and links to the documentation."""
        del stranger.headers["Accept"]
        response = await stranger.get("/", headers={} if accept is None else {"Accept": accept})

        assert (200, "application/json") == (response.status_code, response.headers["Content-Type"])
        body = response.json()
        assert ("taskd", "/docs", "/openapi.json") == (body["name"], body["docs"], body["openapi"])
        assert body["description"]

    @pytest.mark.parametrize(
        "accept",
        [
            CHROMIUM,
            FIREFOX,
            "text/html",
            "TEXT/HTML",
            "text/html, application/xhtml+xml, */*",
            "text/html;q=0.9, application/json;q=0.8",
            "text/html ; q=0.1",
            "application/json;q=0, text/html",
            "application/json;q=0.5,text/html;level=1;q=0.6",
        ],
    )
    async def test_browsers_get_a_page(self, stranger: httpx.AsyncClient, accept: str) -> None:
        """A client that prefers HTML gets a page with the same links."""
        response = await stranger.get("/", headers={"Accept": accept})

        assert (200, MEDIA_TYPES["/docs"]) == (response.status_code, response.headers["Content-Type"])
        assert {"/docs", "/openapi.json"} <= set(Page.read(response.text).links)

    @pytest.mark.parametrize("accept", ["*/*", "text/html"])
    async def test_caches_tell_both_forms_apart(self, stranger: httpx.AsyncClient, accept: str) -> None:
        """Each response says which header it depends on."""
        response = await stranger.get("/", headers={"Accept": accept, "Origin": ORIGIN})

        assert {"Accept", "Origin"} == set(response.headers["Vary"].split(", "))


class TestPages:
    @pytest.mark.parametrize("path", PAGES)
    async def test_only_this_server_s_files_may_be_loaded(self, stranger: httpx.AsyncClient, path: str) -> None:
        """The policy covers each kind of source, forbids inline scripts, and does not allow frames."""
        headers = (await stranger.get(path, headers=HTML)).headers

        assert (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ) == headers["Content-Security-Policy"]
        assert "no-referrer" == headers["Referrer-Policy"]
        # A user who returns after an update gets the new page.
        assert "no-cache" == headers["Cache-Control"]

    @pytest.mark.parametrize("path", PAGES)
    async def test_pages_follow_their_own_policy(self, stranger: httpx.AsyncClient, path: str) -> None:
        """They contain no inline scripts, styles or handlers."""
        page = Page.read((await stranger.get(path, headers=HTML)).text)

        assert [] == page.forbidden
        assert page.links

    @pytest.mark.parametrize("path", PAGES)
    async def test_everything_that_a_page_refers_to_exists(self, stranger: httpx.AsyncClient, path: str) -> None:
        """All links and files are on this server, and have the right type."""
        links = Page.read((await stranger.get(path, headers=HTML)).text).links
        found = {link: (await stranger.get(link)).headers["Content-Type"] for link in links}

        assert {link: MEDIA_TYPES.get(link) for link in links} == found

    async def test_each_file_is_used(self, stranger: httpx.AsyncClient) -> None:
        """There are no files that no page refers to."""
        pages = [Page.read((await stranger.get(path, headers=HTML)).text) for path in PAGES]

        assert set(MEDIA_TYPES) == {link for page in pages for link in page.links}

    @pytest.mark.parametrize("path", ["/docs/page.css", "/docs/page.js"])
    async def test_our_files_load_nothing_from_elsewhere(self, stranger: httpx.AsyncClient, path: str) -> None:
        """They name no other hosts."""
        assert [] == re.findall(r"""https?:|["'(]//""", (await stranger.get(path)).text)

    @pytest.mark.parametrize("prefix", ["/tasks", "/tasks/", "/a b", '/"><script>&amp;', "/\u00e9%", "/it's"])
    async def test_links_stay_below_the_prefix(self, prefix: str) -> None:
        """Behind a proxy with a path prefix, everything is found below it; nothing in the path is taken for HTML."""
        transport = httpx.ASGITransport(build(), root_path=prefix.rstrip("/"))
        base = httpx.URL("http://taskd", path=prefix.rstrip("/"))
        async with httpx.AsyncClient(transport=transport) as client:
            for path in PAGES:
                page = Page.read((await client.get(f"{base}{path}", headers=HTML)).text)
                statuses = [(await client.get(urljoin("http://taskd", link))).status_code for link in page.links]

                assert [] == page.forbidden
                assert page.links
                assert [200] * len(page.links) == statuses
            home = (await client.get(f"{base}")).json()
            document = (await client.get(urljoin("http://taskd", home["openapi"]))).json()

        # The document's URL is relative.
        assert "." == document["servers"][0]["url"]


class TestFiles:
    @pytest.mark.parametrize("path", MEDIA_TYPES)
    async def test_each_file_has_its_type(self, stranger: httpx.AsyncClient, path: str) -> None:
        """Browsers do not sniff, so it must be right."""
        response = await stranger.get(path)

        assert (200, MEDIA_TYPES[path]) == (response.status_code, response.headers["Content-Type"])
        assert "nosniff" == response.headers["X-Content-Type-Options"]
        assert response.content

    @pytest.mark.parametrize("path", FILES)
    async def test_a_client_that_has_a_file_gets_a_304(self, stranger: httpx.AsyncClient, path: str) -> None:
        """It does so for any form of the file's tag, and for `*`, with the same headers (RFC 9110, section 13.1.2)."""
        first = await stranger.get(path)
        tag = first.headers["ETag"]

        for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
            again = await stranger.get(path, headers={"If-None-Match": known})

            assert (304, b"") == (again.status_code, again.content), known
            for name in ("ETag", "Vary", "Cache-Control"):
                assert first.headers[name] == again.headers[name]
        for other in ('"other"', tag[:-2] + '"', tag.strip('W/"'), ""):
            again = await stranger.get(path, headers={"If-None-Match": other})

            assert (200, first.content) == (again.status_code, again.content), other

    async def test_each_file_has_its_own_tag(self) -> None:
        """The tag depends only on the content, so all processes of a server agree."""
        tags = [[(await get(app, path)).headers["ETag"] for path in FILES] for app in (build(), build())]

        assert tags[0] == tags[1]
        assert len(FILES) == len(set(tags[0]))

    @pytest.mark.parametrize("path", FILES)
    @pytest.mark.parametrize(
        ("accepted", "encoding"),
        [
            ("gzip", "gzip"),
            ("gzip, deflate, br, zstd", "gzip"),
            ("br;q=1.0, GZIP;q=0.8", "gzip"),
            ("deflate , gzip ; q=0.001", "gzip"),
            ("identity", None),
            ("", None),
            ("br, zstd", None),
            ("gzip;q=0", None),
            ("br, gzip;q=0.000, deflate", None),
            ("notgzip", None),
            ("*", "gzip"),
            ("*;q=0", None),
            ("identity, gzip;q=0.5", None),
        ],
    )
    async def test_files_are_compressed_if_the_client_accepts_it(
        self, stranger: httpx.AsyncClient, path: str, accepted: str, encoding: str | None
    ) -> None:
        """Both forms have the same content, and caches are told that there are two."""
        plain = await stranger.get(path, headers={"Accept-Encoding": "identity"})
        response = await stranger.get(path, headers={"Accept-Encoding": accepted})

        assert encoding == response.headers.get("Content-Encoding")
        assert plain.content == response.content
        assert "Accept-Encoding" in response.headers["Vary"].split(", ")
        assert (encoding is None) == (plain.headers["Content-Length"] == response.headers["Content-Length"])

    async def test_swagger_ui_is_compressed(self, stranger: httpx.AsyncClient) -> None:
        """The largest file shrinks to a third or less."""
        name = "/docs/swagger-ui-bundle.js"
        plain, packed = [
            int((await stranger.head(name, headers={"Accept-Encoding": accepted})).headers["Content-Length"])
            for accepted in ("identity", "gzip")
        ]

        assert 3 * packed <= plain

    @pytest.mark.parametrize(
        "name",
        [
            "nothing",
            "docs.html",
            "index.html",
            "Page.css",
            "page.css.map",
            "page.css%00",
            "page.css%0A",
            "%2e%2e",
            "..%2f..%2fsetup.cfg",
            "%2e%2e%2fplugin.py",
            "..%5cplugin.py",
            "%2fetc%2fpasswd",
            "static%2fpage.css",
            "page.css%2f",
            "a/b",
            "../docs/nothing",
        ],
    )
    async def test_there_is_nothing_else(self, stranger: httpx.AsyncClient, name: str) -> None:
        """Only a few names exist, and a name is never taken for a path."""
        response = await stranger.get(f"/docs/{name}")

        assert (404, {"detail": "There is nothing at this path.", "code": "not_found"}) == (
            response.status_code,
            response.json(),
        )


class TestAll:
    @pytest.mark.parametrize("path", ALL)
    @pytest.mark.parametrize("accepted", ["gzip", "identity"])
    async def test_head_returns_the_headers_of_get(self, stranger: httpx.AsyncClient, path: str, accepted: str) -> None:
        """It returns no body."""
        get, head = [
            await stranger.request(method, path, headers={"Accept-Encoding": accepted, "X-Request-ID": "1"})
            for method in ("GET", "HEAD")
        ]

        assert (get.status_code, get.headers) == (head.status_code, head.headers)
        assert b"" == head.content

    @pytest.mark.parametrize("path", MEDIA_TYPES)
    async def test_a_trailing_slash_names_the_same_resource(self, stranger: httpx.AsyncClient, path: str) -> None:
        """There is no redirect."""
        first, second = await stranger.get(path), await stranger.get(f"{path}/")

        assert (200, first.content) == (second.status_code, second.content)

    @pytest.mark.parametrize("path", ALL)
    @pytest.mark.parametrize("authorization", ["Bearer worn.out.token", "Basic YTpi", ""])
    async def test_tokens_are_ignored(self, stranger: httpx.AsyncClient, path: str, authorization: str) -> None:
        """Clients with an invalid token, or without one, can read everything."""
        response = await stranger.get(path, headers={"Authorization": authorization})

        assert 200 == response.status_code

    @pytest.mark.parametrize("path", ALL)
    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    async def test_everything_is_read_only(self, stranger: httpx.AsyncClient, path: str, method: str) -> None:
        """For other methods, the response lists those that are supported."""
        response = await stranger.request(method, path)

        assert (405, {"GET", "HEAD"}) == (response.status_code, set(response.headers["Allow"].split(", ")))

    @pytest.mark.parametrize("path", ALL)
    async def test_pages_of_the_frontend_may_read_it(self, stranger: httpx.AsyncClient, path: str) -> None:
        """The configured origin is allowed, even for a 304, and no other."""
        for known in ("*", ""):
            own, foreign = [
                await stranger.get(path, headers={"Origin": origin, "If-None-Match": known})
                for origin in (ORIGIN, "https://evil.example.com")
            ]

            assert ORIGIN == own.headers["Access-Control-Allow-Origin"]
            assert "Origin" in own.headers["Vary"].split(", ")
            assert "Access-Control-Allow-Origin" not in foreign.headers


class TestTurnedOff:
    @pytest.mark.parametrize("path", ALL)
    async def test_nothing_is_served(self, path: str) -> None:
        """Without the plugin, neither the page nor the document exists."""
        app = build(TASKD_DISABLED_PLUGINS="docs")

        for accept in ("*/*", "text/html"):
            assert 404 == (await get(app, path, Accept=accept)).status_code

    def test_the_document_is_printed_anyway(self) -> None:
        """It is the same, because it never describes the plugin itself."""
        printed = [invoke("openapi", settings=more) for more in ({}, {"TASKD_DISABLED_PLUGINS": "docs"})]

        assert [0, 0] == [result.exit_code for result in printed]
        assert printed[0].stdout == printed[1].stdout


class TestPackage:
    def test_swagger_ui_is_unmodified(self) -> None:
        """Its files match the checksums that .ci/update_swagger_ui.py recorded."""
        folder = PATHS["swagger-ui.css"].parent
        listed = dict(line.split()[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
        found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

        assert found == {**listed, "SHA256SUMS": found["SHA256SUMS"], "VERSION": found["VERSION"]}

    def test_the_page_runs_the_recorded_version(self) -> None:
        """VERSION names the same release as the bundle itself."""
        version = PATHS["swagger-ui.css"].with_name("VERSION").read_text().strip()

        assert f'PACKAGE_VERSION:"{version}"' in PATHS["swagger-ui-bundle.js"].read_text()

    @pytest.mark.anyio
    async def test_concurrent_first_requests_share_the_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file is read and compressed once, however many requests arrive before that is done."""
        compressed: list[int] = []

        def compress(content: bytes, **options: int) -> bytes:
            assert {"mtime": 0} == options
            compressed.append(len(content))
            return b""

        monkeypatch.setattr("taskd_docs.files.gzip.compress", compress)
        async with client_of(build()) as client:
            responses = await asyncio.gather(
                *[client.get("/docs/page.css", headers={"Accept-Encoding": "identity"}) for _ in range(20)]
            )

        assert [200] * 20 == [response.status_code for response in responses]
        assert 1 == len(compressed)
