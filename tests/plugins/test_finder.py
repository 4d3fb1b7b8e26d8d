"""Folders of metadata as they are found in the wild: leftovers of pip, duplicates, and files that cannot be read."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from taskd.testing import lifespan
from tests.support.applications import build, get, refusal
from tests.support.commands import invoke
from tests.support.third_parties import Site, routes_source

pytestmark = pytest.mark.anyio

# The default plugins under their own names, as in a folder that pip has left behind.
DEFAULTS = "[taskd]\njwt = taskd_jwt.plugin\nsql = taskd_sql.plugin\n"


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on `sys.path`."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def put(folder: Path, entry_points: str | bytes, metadata: str | bytes | None) -> Path:
    """Make a *folder* of metadata."""
    folder.mkdir()
    for name, content in (("entry_points.txt", entry_points), ("METADATA", metadata)):
        if content is not None:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


class TestIgnored:
    @pytest.mark.parametrize(
        ("name", "metadata", "reason"),
        [
            ("~askd-0.1.0.dist-info", "Name: taskd\nVersion: 0.1.0\n", "was left behind by pip"),
            ("~askd-0.1.0.dist-info", None, "was left behind by pip"),
            ("taskd-0.0.9.dist-info", None, "has no METADATA with a name"),
            ("acme-1.0.dist-info", "", "has no METADATA with a name"),
            ("acme-1.0.dist-info", "Version: 1.0\n", "has no METADATA with a name"),
            ("acme-1.0.dist-info", b"Name: \xff\n", "has no METADATA with a name"),
        ],
    )
    async def test_what_is_no_distribution_is_told_of_once(
        self,
        site_packages: Path,
        caplog: pytest.LogCaptureFixture,
        name: str,
        metadata: str | bytes | None,
        reason: str,
    ) -> None:
        """It takes nobody's place, and the log names the folder, for somebody to look at."""
        folder = put(site_packages / name, DEFAULTS, metadata)

        async with lifespan(build()):
            pass

        [message] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert message.startswith(f"{folder} {reason}")
        assert "ignored" in message

    @pytest.mark.parametrize("name", ["~umpy-1.0.dist-info", "numpy-1.0.dist-info"])
    @pytest.mark.parametrize("entry_points", ["[console_scripts]\nf2py = numpy\n", "[x]\nno entry\n", b"\xff"])
    def test_what_is_nothing_to_taskd_is_not_told_of(
        self, site_packages: Path, caplog: pytest.LogCaptureFixture, name: str, entry_points: str | bytes
    ) -> None:
        """Whatever is wrong with other people's packages is no business of a server."""
        put(site_packages / name, entry_points, None)

        build()

        assert [] == caplog.records

    async def test_of_a_distribution_that_is_found_twice_the_first_counts(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is what an import finds, too; as where sources lie beside what was installed from them."""
        site.install("hello", routes_source("Route('/old', open_endpoint)"), distribution="acme-tasks")
        module = site.install("hello", routes_source("Route('/new', open_endpoint)"), distribution="Acme_Tasks")

        app = build()
        async with lifespan(app):
            assert f"{module}: anyone" == (await get(app, "/new")).text
            assert 404 == (await get(app, "/old")).status_code

        assert "is another acme-tasks than the one found first, and is ignored: uninstall one" in caplog.text

    def test_the_same_one_on_two_ways_is_not_told_of(
        self, site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A folder that is on `sys.path` twice, or a copy, changes nothing."""
        module = site.install("hello", routes_source())
        monkeypatch.setattr(sys, "path", [*sys.path, f"{site.directory / module}/."])

        build()

        assert [] == caplog.records

    def test_a_distribution_need_not_say_its_version(self, site_packages: Path) -> None:
        """Nor is "None" said in its place."""
        put(site_packages / "acme-1.0.dist-info", "[taskd]\nhello = no_such_module\n", "Name: acme\n")

        assert "plugin 'hello' of acme of an unknown version cannot be loaded" in refusal()

    def test_doctor_names_them(self, site_packages: Path) -> None:
        """They are no failure, but somebody should look."""
        folder = put(site_packages / "~askd-0.1.0.dist-info", DEFAULTS, "Name: taskd\nVersion: 0.1.0\n")

        output = invoke("doctor", settings={}).output

        assert f"note    plugins   {folder} was left behind by pip when it was interrupted" in output


class TestBroken:
    @pytest.mark.parametrize(
        "entry_points", ["[taskd]\nno entry\n", b"[taskd]\nx = \xff\n", "[other]\nno entry\n\n  [taskd]\nx = y\n"]
    )
    def test_entry_points_that_cannot_be_read_stop_the_start(
        self, site_packages: Path, entry_points: str | bytes
    ) -> None:
        """Nobody can say whose place they would take: the file is named, and what to do."""
        folder = put(site_packages / "acme-1.0.dist-info", entry_points, "Name: acme\nVersion: 1.0\n")

        message = refusal()

        assert message.startswith(f"{folder}/entry_points.txt is broken: reinstall what it belongs to, or uninstall it")
        assert "\n" not in message

    @pytest.mark.parametrize("command", ["plugins", "openapi", "doctor", "migrate"])
    def test_every_command_says_so_in_one_line(self, site_packages: Path, command: str) -> None:
        """No command ends with a traceback."""
        put(site_packages / "acme-1.0.dist-info", "[taskd]\nno entry\n", "Name: acme\nVersion: 1.0\n")

        result = invoke(command, settings={})

        assert 1 == result.exit_code
        assert "entry_points.txt is broken" in result.output
        assert isinstance(result.exception, SystemExit)
