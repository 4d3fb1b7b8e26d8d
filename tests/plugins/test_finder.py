"""Folders of metadata as found in the wild: leftovers of pip, duplicates, and unreadable files."""

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

# The default plugins under their own names, as in a folder that pip left behind.
DEFAULTS = "[taskd]\njwt = taskd_jwt.plugin\nsql = taskd_sql.plugin\n"


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on `sys.path`."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def put(folder: Path, entry_points: str | bytes, metadata: str | bytes | None) -> Path:
    """Create a *folder* of metadata."""
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
    async def test_a_folder_that_is_no_distribution_is_logged_once(
        self,
        site_packages: Path,
        caplog: pytest.LogCaptureFixture,
        name: str,
        metadata: str | bytes | None,
        reason: str,
    ) -> None:
        """It does not replace another distribution, and the log names it, so that somebody can look at it."""
        folder = put(site_packages / name, DEFAULTS, metadata)

        async with lifespan(build()):
            pass

        [message] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert message.startswith(f"{folder} {reason}")
        assert "ignored" in message

    @pytest.mark.parametrize(
        ("name", "entry_points"),
        [
            ("~umpy-1.0.dist-info", "[console_scripts]\nf2py = numpy\n"),
            ("~umpy-1.0.dist-info", b"\xff"),
            ("numpy-1.0.dist-info", "[console_scripts]\nf2py = numpy\n"),
        ],
    )
    async def test_a_folder_without_plugins_is_not_logged(
        self, site_packages: Path, caplog: pytest.LogCaptureFixture, name: str, entry_points: str | bytes
    ) -> None:
        """A server does not care what else was left behind."""
        put(site_packages / name, entry_points, None)

        async with lifespan(build()):
            pass

        assert [] == caplog.records

    @pytest.mark.parametrize("entry_points", ["[x]\nno entry\n", b"\xff"])
    async def test_another_package_with_broken_entry_points_is_logged(
        self, site_packages: Path, caplog: pytest.LogCaptureFixture, entry_points: str | bytes
    ) -> None:
        """The server starts without it, and the log names the folder."""
        folder = put(site_packages / "numpy-1.0.dist-info", entry_points, None)

        async with lifespan(build()):
            pass

        [message] = [record.getMessage() for record in caplog.records]
        assert message == f"{folder} has a broken entry_points.txt, and is ignored: reinstall what it belongs to"

    async def test_if_a_distribution_is_found_twice_the_first_one_counts(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is also the one that imports find, for example if sources lie beside their installed version."""
        site.install("hello", routes_source("Route('/old', open_endpoint)"), distribution="acme-tasks")
        module = site.install("hello", routes_source("Route('/new', open_endpoint)"), distribution="Acme_Tasks")

        app = build()
        async with lifespan(app):
            assert f"{module}: anyone" == (await get(app, "/new")).text
            assert 404 == (await get(app, "/old")).status_code

        assert "is another acme-tasks than the one found first, and is ignored: uninstall one" in caplog.text

    def test_identical_duplicates_are_not_logged(
        self, site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A folder that is on `sys.path` twice, or a copy of it, makes no difference."""
        module = site.install("hello", routes_source())
        monkeypatch.setattr(sys, "path", [*sys.path, f"{site.directory / module}/."])

        build()

        assert [] == caplog.records

    def test_a_distribution_need_not_have_a_version(self, site_packages: Path) -> None:
        """The message does not say "None" instead."""
        put(site_packages / "acme-1.0.dist-info", "[taskd]\nhello = no_such_module\n", "Name: acme\n")

        assert "plugin 'hello' of acme of an unknown version cannot be loaded" in refusal()

    def test_the_doctor_lists_them(self, site_packages: Path) -> None:
        """They are not a failure, but somebody should look at them."""
        folder = put(site_packages / "~askd-0.1.0.dist-info", DEFAULTS, "Name: taskd\nVersion: 0.1.0\n")

        output = " ".join(invoke("doctor", settings={}).output.split())

        assert f"note plugins {folder} was left behind by pip when it was interrupted" in output


class TestBroken:
    @pytest.mark.parametrize(
        "entry_points",
        [
            "[taskd]\nno entry\n",
            "[taskd.on_demand]\nno entry\n",
            b"[taskd]\nx = \xff\n",
            "[other]\nno entry\n\n  [taskd]\nx = y\n",
        ],
    )
    def test_unreadable_entry_points_stop_the_start(self, site_packages: Path, entry_points: str | bytes) -> None:
        """Nobody can tell which plugins they would replace, so the message names the file and says what to do."""
        folder = put(site_packages / "acme-1.0.dist-info", entry_points, "Name: acme\nVersion: 1.0\n")

        message = refusal()

        assert message.startswith(f"{folder}/entry_points.txt is broken: reinstall what it belongs to, or uninstall it")
        assert "\n" not in message

    @pytest.mark.parametrize("command", ["plugins", "openapi", "doctor", "migrate"])
    def test_every_command_reports_this_in_one_line(self, site_packages: Path, command: str) -> None:
        """No command ends with a traceback."""
        put(site_packages / "acme-1.0.dist-info", "[taskd]\nno entry\n", "Name: acme\nVersion: 1.0\n")

        result = invoke(command, settings={})

        assert 1 == result.exit_code
        assert "entry_points.txt is broken" in result.output
        assert isinstance(result.exception, SystemExit)
