"""Settings: where they come from, how they are read, and that no secret is ever shown."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import environ as environ_config
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd import build_app
from taskd.environment import Environ
from taskd.settings import Secret, Settings, SettingsError, load_settings, read_environ, seconds
from taskd.testing import lifespan
from taskd_jwt.plugin import taskd_auth
from taskd_jwt.settings import JWTSettings
from taskd_sql.settings import SQLSettings
from tests.conftest import SECRET
from tests.support.applications import build
from tests.support.commands import invoke, run_python
from tests.support.doctor import Report, examined
from tests.support.passwords import AWKWARD_PASSWORDS, PASSWORDS, SENTINEL
from tests.support.processes import PLAIN_UVICORN, SERVE
from tests.support.third_parties import Site, hook_source


def origins(frontend_url: str) -> tuple[str, ...]:
    """Return the origins that a `FRONTEND_URL` allows."""
    return load_settings(Settings, {"FRONTEND_URL": frontend_url}).frontend_origins


def complaint(**environ: str) -> str:
    """Return the message with which *environ* stops the start."""
    with pytest.raises(SettingsError) as caught:
        build_app(environ)
    message, *owner = re.split(r" (?=\(plugin '(?:jwt|sql)' of taskd-server [\d.]+\)$)", str(caught.value))
    # The core's own settings have no owner.
    assert bool(owner) == (message.split(":")[0] not in declared_by(Settings))
    return message


def declared_by(*classes: type) -> list[str]:
    """Return the variables that settings classes declare."""
    return [line.split(" ")[0] for cls in classes for line in environ_config.generate_help(cls).splitlines()]


class TestEnvironment:
    def test_the_file_in_the_working_directory_is_read(self) -> None:
        """A `.env` file sets variables that the environment does not."""
        Path(".env").write_text("# taskd\nTASKD_TEST_A=1\nexport TASKD_TEST_B='2 # 3'\nTASKD_TEST_C=\u00e9 # note\n")

        environ = read_environ()

        assert ["1", "2 # 3", "\u00e9"] == [environ[f"TASKD_TEST_{name}"] for name in "ABC"]

    def test_the_real_environment_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable in the environment overrides the file; if its value is empty, the variable is not set at all."""
        Path(".env").write_text("TASKD_TEST_A=file\nTASKD_TEST_B=file\n")
        monkeypatch.setenv("TASKD_TEST_A", "real")
        monkeypatch.setenv("TASKD_TEST_B", "")

        environ = read_environ()

        assert ("real", None) == (environ["TASKD_TEST_A"], environ.get("TASKD_TEST_B"))

    def test_a_folder_called_env_is_refused(self) -> None:
        """If a container mounts a missing file, it creates a folder, which must not go unnoticed."""
        Path(".env").mkdir()

        with pytest.raises(SettingsError, match="is a folder"):
            read_environ()

    def test_only_regular_files_are_read(self) -> None:
        """Reading from a pipe would wait for a writer."""
        os.mkfifo(".env")

        with pytest.raises(SettingsError, match="is not a regular file"):
            read_environ()

    def test_the_file_is_optional(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a file, only the environment counts."""
        monkeypatch.setenv("TASKD_TEST_A", "real")

        assert "real" == read_environ()["TASKD_TEST_A"]

    def test_another_directory_can_be_named(self, tmp_path: Path) -> None:
        """The file in the given directory is read instead."""
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / ".env").write_text("TASKD_TEST_A=other\n")

        assert "other" == read_environ(tmp_path / "other")["TASKD_TEST_A"]

    @pytest.mark.parametrize("text", ["pa$HOME", "pa${HOME}word", "pa$$word", "'pa$HOME'", '"pa${TASKD_TEST_B:-x}"'])
    def test_a_dollar_is_a_dollar(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        """Nothing is substituted for text that looks like a variable."""
        monkeypatch.setenv("TASKD_TEST_B", "b")
        Path(".env").write_text(f"TASKD_TEST_A={text}\n")

        assert text.strip("'\"") == read_environ()["TASKD_TEST_A"]

    def test_a_name_without_a_value_is_not_set(self) -> None:
        """A name with nothing after the `=` sets nothing."""
        Path(".env").write_text("TASKD_TEST_A=\n")

        assert "TASKD_TEST_A" not in read_environ()

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("DATABASE_URL: postgresql://u:hunter2@h/d\n", 1),
            ("A=1\n\n# a note\n\n  DATABASE_URL:postgresql://u:hunter2@h/d?sslmode=require\nB=2\n", 5),
            ("A=1\r\n\r\nset DATABASE_URL=hunter2\r\n", 3),
            ("A='1\n2'\nDATABASE_URL='hunter2\n", 3),
            ("DATABASE_URL='p' hunter2\n", 1),
            ("\u200bDATABASE_URL=hunter2\n", 1),
            ("D\0A\0=\0h\0", 1),
            ("A=1\nDATABASE_URL\n", 2),
            ("export DATABASE_URL\n", 1),
        ],
        ids=[
            "colon",
            "colon that hides",
            "another shell's",
            "quote",
            "two words",
            "invisible",
            "UTF-16",
            "no value",
            "no value to export",
        ],
    )
    def test_a_malformed_line_is_refused(self, text: str, line: int) -> None:
        """The server does not start; the message has the number of the line, but not its contents."""
        Path(".env").write_bytes(text.encode())

        with pytest.raises(SettingsError) as caught:
            read_environ()

        assert f".env: line {line} is not of the form NAME=VALUE" == str(caught.value)

    @pytest.mark.parametrize("name", ["lower_case", "with-dash", "with.dot", "'quoted'", "export EXPORTED"])
    def test_names_for_other_programs_are_ignored(self, name: str) -> None:
        """Other programs may read the same file."""
        Path(".env").write_text(f"{name}=1\nTASKD_TEST_A=2\n")

        assert "2" == read_environ()["TASKD_TEST_A"]

    @pytest.mark.parametrize("command", ["token", "migrate", "doctor", "openapi", "plugins", "dev"])
    def test_a_malformed_line_stops_every_command(self, command: str) -> None:
        """No command falls back to SQLite instead of the intended database."""
        Path(".env").write_text("DATABASE_URL: postgresql://u:hunter2@h/d\n")

        result = invoke(command, *(["alice"] if command == "token" else []), settings={"BETTER_AUTH_SECRET": SECRET})

        assert (1, "taskd: .env: line 1 is not of the form NAME=VALUE\n") == (result.exit_code, result.output)
        assert [Path(".env")] == list(Path().iterdir())

    @pytest.mark.parametrize("command", [SERVE, PLAIN_UVICORN], ids=["serve", "uvicorn"])
    def test_a_malformed_line_stops_the_server(self, command: tuple[str, ...]) -> None:
        """Neither taskd's own server nor any other starts."""
        Path(".env").write_text("DATABASE_URL: postgresql://u:hunter2@h/d\n")

        ended = run_python(*command, settings={"BETTER_AUTH_SECRET": SECRET})

        assert (1, "taskd: .env: line 1 is not of the form NAME=VALUE\n") == (ended.returncode, ended.stderr)

    def test_a_byte_order_mark_is_not_part_of_the_name(self) -> None:
        """A file saved as "UTF-8 with BOM" is read like any other."""
        Path(".env").write_bytes(b"\xef\xbb\xbfTASKD_TEST_A=1\n")

        assert "1" == read_environ()["TASKD_TEST_A"]

    def test_a_broken_link_is_refused(self) -> None:
        """A secret that is not mounted must not go unnoticed."""
        Path(".env").symlink_to("/nowhere/.env")

        with pytest.raises(SettingsError, match=r"^\.env: is a link to a file that is not there$"):
            read_environ()

    def test_a_file_that_is_not_utf8_is_refused(self) -> None:
        """The server does not start, and the message quotes nothing from the file."""
        Path(".env").write_bytes(b"BETTER_AUTH_SECRET=hunter2\xff\n")

        with pytest.raises(SettingsError, match=r"^\.env: cannot be read: UnicodeDecodeError$"):
            read_environ()

    def test_a_file_that_cannot_be_read_is_refused(self) -> None:
        """The server does not start if the file exists but cannot be read."""
        # This file can be opened but not read, even by root.
        Path(".env").symlink_to("/proc/self/mem")

        with pytest.raises(SettingsError, match=r"^\.env: cannot be read: Input/output error$"):
            read_environ()

    def test_an_application_starts_with_the_file_alone(self) -> None:
        """The file may contain all settings."""
        Path(".env").write_text(f"BETTER_AUTH_SECRET='{SECRET}'\n")
        build_app()
        Path(".env").write_text(f"BETTER_AUTH_SECRET='{SECRET}'\nTASKD_AUTH=nobody\n")

        with pytest.raises(SettingsError, match=r"^TASKD_AUTH: "):
            build_app()


class TestFiles:
    @pytest.mark.parametrize("content", [b"hunter2", b"hunter2\n", b"hunter2\r\n", b"\xef\xbb\xbfhunter2\n"])
    @pytest.mark.parametrize("is_in_env_file", [True, False], ids=[".env", "environment"])
    def test_any_value_may_be_in_a_file(
        self, monkeypatch: pytest.MonkeyPatch, content: bytes, *, is_in_env_file: bool
    ) -> None:
        """`NAME_FILE` names it; one newline at its end does not count, nor does a byte order mark."""
        Path("secret").write_bytes(content)
        if is_in_env_file:
            Path(".env").write_text("ACME_KEY_FILE=./secret\n")
        else:
            monkeypatch.setenv("ACME_KEY_FILE", "./secret")
        environ = read_environ()

        assert ("hunter2", "hunter2", True) == (environ["ACME_KEY"], environ.get("ACME_KEY"), "ACME_KEY" in environ)
        assert "hunter2" not in {*environ.values()}

    def test_only_one_newline_does_not_count(self) -> None:
        """The rest of the text is kept exactly."""
        Path("secret").write_bytes(b" a\r\nb \n\n")

        assert " a\r\nb \n" == Environ.of({"ACME_KEY_FILE": "secret"})["ACME_KEY"]

    def test_a_file_is_read_once(self) -> None:
        """All parts see the same value, even if somebody replaces the file meanwhile; also with a trial's defaults."""
        Path("secret").write_text("old")
        environ = Environ.of({"ACME_KEY_FILE": "secret"})
        first = environ["ACME_KEY"]
        Path("secret").write_text("new")

        assert ("old", "old") == (first, environ.completed({"ACME_KEY": "default"})["ACME_KEY"])

    def test_files_of_other_programs_are_not_read(self) -> None:
        """A name counts only if a part asks for the setting; then, the name of the file is not reported as unknown."""
        Path("key").write_text("hunter2")
        environ = Environ.of(
            {"SSL_CERT_FILE": "/nowhere", "TASKD_X_FILE": "key", "TASKD_KEY": "1", "TASKD_KEY_FILE": "/no"}
        )
        found = dict(environ)

        assert ("/nowhere", "hunter2", "1") == (found["SSL_CERT_FILE"], environ["TASKD_X"], found["TASKD_KEY"])
        assert ["TASKD_KEY is set, and nothing reads it: did you mean TASKD_X?"] != environ.mistakes()
        assert not [line for line in environ.unknown() if line.startswith("TASKD_X_FILE")]

    @pytest.mark.parametrize(
        ("name", "meant"),
        [("BETTER_AUTH_SECRT_FILE", "BETTER_AUTH_SECRET_FILE"), ("TASKD_MIGRAT_URL_FILE", "TASKD_MIGRATE_URL_FILE")],
    )
    def test_a_misspelt_name_is_reported(self, name: str, meant: str) -> None:
        """The name that was probably meant ends in _FILE, too."""
        environ = Environ.of({name: "/run/secrets/x"})
        for setting in ("BETTER_AUTH_SECRET", "TASKD_MIGRATE_URL"):
            environ.get(setting)

        assert [f"{name} is set, and nothing reads it: did you mean {meant}?"] == environ.mistakes()

    @pytest.mark.parametrize(
        ("file", "reason"),
        [
            ("/nowhere/secret", "/nowhere/secret cannot be read: No such file or directory"),
            ("./missing", "./missing cannot be read: No such file or directory"),
            (".", ". is a folder, not a file"),
            ("/dev/zero", "/dev/zero is not a regular file"),
            ("/proc/self/mem", "/proc/self/mem cannot be read: Input/output error"),
            ("./empty", "./empty is empty"),
            ("./large", "./large has more than 65536 bytes"),
            ("./binary", "./binary is not a text in UTF-8"),
            ("./nul", "./nul is not a text"),
            ("./line\nbreak", r"'./line\nbreak' cannot be read: No such file or directory"),
            (
                "hunter2",
                "the file (not named here: it may be a secret) cannot be read: No such file or directory",
            ),
        ],
    )
    def test_a_file_that_cannot_be_used_stops_the_start(self, file: str, reason: str) -> None:
        """One line names the variable and the file, but quotes neither its text nor what may be a secret itself."""
        Path("empty").write_text("\n")
        Path("large").write_text("x" * 65537)
        Path("binary").write_bytes(b"hunter2\xff")
        Path("nul").write_bytes(b"hunter2\0")

        assert f"BETTER_AUTH_SECRET_FILE: {reason}" == complaint(BETTER_AUTH_SECRET_FILE=file)

    def test_two_values_stop_the_start(self) -> None:
        """It would be unclear which one is meant."""
        urls = {"DATABASE_URL": "sqlite:///tasks.db", "DATABASE_URL_FILE": "/run/secrets/url"}
        message = complaint(BETTER_AUTH_SECRET=SECRET, **urls)

        assert "DATABASE_URL_FILE: is set, and so is DATABASE_URL: remove one of them" == message

    def test_the_settings_of_all_parts_may_be_files(self, tmp_path: Path, site: Site) -> None:
        """That includes third parties' plugins, which need not know about it."""
        values = {"BETTER_AUTH_SECRET": SECRET, "DATABASE_URL": f"sqlite:///{tmp_path}/kept.db", "ACME_KEY": "hunter2"}
        files = {f"{name}_FILE": f"{tmp_path}/{name}" for name in values}
        for name, value in values.items():
            (tmp_path / name).write_text(f"{value}\n")
        source = "@hookimpl\ndef taskd_routes(environ):\n    assert 'hunter2' == environ['ACME_KEY']\n    return []\n"
        site.install("acme", source)
        app = build_app(files)

        assert f"sqlite file {tmp_path}/kept.db" == str(app.plugins.location().description).lower()  # type: ignore[union-attr]
        assert ["ACME_KEY"] == sorted(*[each.settings for each in app.plugins.loaded if each.plugin.name == "acme"])


class TestCore:
    def test_the_defaults(self) -> None:
        """By default, the default plugins serve, all installed plugins may, and no page may read responses."""
        core = load_settings(Settings, {})

        assert ("jwt", "sql", None, frozenset(), ()) == (
            core.auth,
            core.storage,
            core.plugins,
            core.disabled_plugins,
            core.frontend_origins,
        )

    @pytest.mark.parametrize(("text", "names"), [(",", set()), ("a", {"a"}), (" a,b , ,a,", {"a", "b"})])
    def test_lists_of_plugins_are_separated_by_commas(self, text: str, names: set[str]) -> None:
        """White space and empty items are ignored; an empty list allows nothing."""
        core = load_settings(Settings, {"TASKD_PLUGINS": text, "TASKD_DISABLED_PLUGINS": text})

        assert frozenset(names) == core.plugins
        assert frozenset(names) == core.disabled_plugins

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (",", ()),
            ("https://app.example.com", ("https://app.example.com",)),
            ("https://app.example.com/", ("https://app.example.com",)),
            ("https://b.example , http://a.example,,", ("http://a.example", "https://b.example")),
            ("https://a.example,https://A.example:443/", ("https://a.example", "https://a.example")),
            ("http://localhost:3000", ("http://localhost:3000",)),
            ("http://app.example.com:80", ("http://app.example.com",)),
            ("https://app.example.com:443", ("https://app.example.com",)),
            ("https://app.example.com:80", ("https://app.example.com:80",)),
            ("HTTPS://App.Example.COM", ("https://app.example.com",)),
            ("http://127.0.0.1:3000", ("http://127.0.0.1:3000",)),
            ("http://[::1]:3000", ("http://[::1]:3000",)),
            ("http://[2001:DB8::1]", ("http://[2001:db8::1]",)),
            ("https://xn--bcher-kva.example", ("https://xn--bcher-kva.example",)),
            ("capacitor://localhost", ("capacitor://localhost",)),
            ("Tauri://localhost/,http://tauri.localhost", ("http://tauri.localhost", "tauri://localhost")),
            ("ionic://localhost,app://localhost", ("app://localhost", "ionic://localhost")),
            ("app://-,app://bundle.main:8080", ("app://-", "app://bundle.main:8080")),
            ("com.example.app://localhost", ("com.example.app://localhost",)),
            ("safari-web-extension://5E0F-AB", ("safari-web-extension://5E0F-AB",)),
        ],
    )
    def test_origins_are_normalized_as_browsers_do(self, text: str, expected: tuple[str, ...]) -> None:
        """Origins are in lower case, without a default port or a trailing slash (RFC 6454, section 6.2)."""
        assert expected == origins(text)

    @pytest.mark.parametrize(
        "text",
        [
            "*",
            "null",
            "https://*.example.com",
            "https://app.example.com/path",
            "https://app.example.com/?query",
            "https://app.example.com#fragment",
            "https://user@app.example.com",
            "https://user:password@app.example.com",
            "https://@app.example.com",
            "app.example.com",
            "localhost:3000",
            "//app.example.com",
            "ftp://app.example.com",
            "https://",
            "https://:443",
            "https://app.example.com:port",
            "https://app.example.com:99999",
            "https://app.example.com:-1",
            "https://b\u00fccher.example",
            "https://[::1",
            "https://[app]",
            "https://app.example.com,*",
            "https://app.example.com,null",
            "capacitor://",
            "capacitor://*",
            "capacitor://localhost/path",
            "capacitor://user@localhost",
            "capacitor:localhost",
            "*://localhost",
            "htps://app.example.com",
            "htttps://app.example.com",
            "wss://app.example.com",
            "file://localhost",
        ],
    )
    def test_anything_but_an_origin_is_refused(self, text: str) -> None:
        """One line shows an example of an origin."""
        with pytest.raises(SettingsError) as caught:
            origins(text)

        assert str(caught.value).startswith("FRONTEND_URL: ")
        assert "https://app.example.com" in str(caught.value)
        assert "\n" not in str(caught.value)


class TestEmptyValues:
    """A variable with an empty value counts as not set, whoever reads it."""

    @pytest.mark.parametrize("cls", [Settings, JWTSettings, SQLSettings])
    def test_the_defaults_apply(self, cls: type) -> None:
        """All settings of the core and of the default plugins may be empty."""
        assert load_settings(cls, {}) == load_settings(cls, dict.fromkeys(declared_by(cls), ""))

    def test_a_server_starts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A container's environment file may name all variables and set only one of them."""
        for name in declared_by(Settings, JWTSettings, SQLSettings):
            monkeypatch.setenv(name, "")
        monkeypatch.setenv("BETTER_AUTH_SECRET", SECRET)

        build_app()

    def test_a_third_party_plugin_does_not_see_them(self, site: Site) -> None:
        """A plugin need not know the rule: however it looks for the name, there is none."""
        site.install(
            "curious",
            """
@hookimpl
def taskd_routes(environ):
    found = ["ACME_URL" in environ, environ.get("ACME_URL"), dict(environ).get("ACME_URL"), "ACME_URL" in list(environ)]
    raise taskd.settings.SettingsError("ACME_URL", str(found))
""",
        )

        with pytest.raises(SettingsError, match=r"^ACME_URL: \[False, None, None, False\]"):
            build(ACME_URL="")


SETTINGS_OF_ANOTHER_KIND = """
@hookimpl
def taskd_routes(environ):
    {statement}
    return []
"""


class TestNames:
    """Names that nothing reads and that resemble a known name are reported."""

    @pytest.mark.anyio
    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("TASKD_STORE", "TASKD_STORAGE"),
            ("TASKD_SQL_POOLSIZE", "TASKD_SQL_POOL_SIZE"),
            ("TASKD_POOL_SIZE", "TASKD_SQL_POOL_SIZE"),
            ("TASKD_DISABLE_PLUGINS", "TASKD_DISABLED_PLUGINS"),
            ("TASKD_JWT_AUDIENCES", "TASKD_JWT_AUDIENCE"),
            ("TASKD_FRONTEND_URL", "FRONTEND_URL"),
            ("FRONTEND_URLS", "FRONTEND_URL"),
            ("BETTER_AUTH_URI", "BETTER_AUTH_URL"),
        ],
    )
    async def test_a_typo_is_logged(self, caplog: pytest.LogCaptureFixture, name: str, meant: str) -> None:
        """The server starts, and one line says which name may have been meant, without the value."""
        async with lifespan(build(**{name: "hunter2"})):
            pass

        assert [(logging.WARNING, f"{name} is set, and nothing reads it: did you mean {meant}?")] == [
            (record.levelno, record.getMessage()) for record in caplog.records if record.name == "taskd.application"
        ]

    @pytest.mark.anyio
    async def test_an_unknown_name_with_the_prefix_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """It resembles no known name, but whoever set it expects something of it."""
        async with lifespan(build(TASKD_ACME_KEYS="hunter2")):
            pass

        assert ["TASKD_ACME_KEYS is set, and nothing reads it"] == [
            record.getMessage() for record in caplog.records if record.name == "taskd.application"
        ]

    @pytest.mark.anyio
    @pytest.mark.parametrize(
        "name",
        [
            "TASKD_PORT",
            "TASKD_PORT_8000_TCP",
            "TASKD_PORT_8000_TCP_ADDR",
            "TASKD_SERVICE_HOST",
            "TASKD_API_SERVICE_PORT_HTTP",
            "DATABASE_USER",
        ],
    )
    async def test_names_that_others_set_are_not_reported(self, caplog: pytest.LogCaptureFixture, name: str) -> None:
        """Kubernetes sets some for a service called taskd, and other programs have names of their own."""
        async with lifespan(build(**{name: "x"})):
            pass

        assert [] == [record for record in caplog.records if record.name == "taskd.application"]

    @pytest.mark.anyio
    @pytest.mark.parametrize(
        "statement",
        ["environ.get('TASKD_STORES')", "taskd.settings.load_settings(Settings, environ)"],
        ids=["name", "class"],
    )
    async def test_a_setting_that_a_plugin_reads_is_known(
        self, site: Site, caplog: pytest.LogCaptureFixture, statement: str
    ) -> None:
        """A third-party setting may resemble one of ours, and need not be declared anywhere."""
        source = """
import environ as environ_config

@environ_config.config(prefix="TASKD")
class Settings:
    stores = environ_config.var("")
"""
        site.install("stores", source + SETTINGS_OF_ANOTHER_KIND.format(statement=statement))
        async with lifespan(build(TASKD_STORES="x", TASKD_STORESS="x")):
            pass

        assert ["TASKD_STORESS is set, and nothing reads it: did you mean TASKD_STORES?"] == [
            record.getMessage() for record in caplog.records if record.name == "taskd.application"
        ]

    @pytest.mark.anyio
    @pytest.mark.parametrize("statement", ["dict(environ)", "{**environ}", "list(environ.items())"])
    async def test_a_plugin_that_copies_the_environment_hides_no_typo(
        self, site: Site, caplog: pytest.LogCaptureFixture, statement: str
    ) -> None:
        """Copying the environment does not count as reading each name."""
        site.install("greedy", SETTINGS_OF_ANOTHER_KIND.format(statement=statement))
        async with lifespan(build(TASKD_STORE="memory")):
            pass

        assert 1 == len([record for record in caplog.records if record.name == "taskd.application"])

    def test_the_doctor_reports_typos(self) -> None:
        """It also notes all other names that begin with TASKD_ and are not read."""
        report = examined("sqlite:///tasks.db", TASKD_STORE="memory", TASKD_WORKERS="2")

        assert ("note", 0) == (report.outcomes["names"], report.exit_code)
        assert (
            "TASKD_STORE is set, and nothing reads it: did you mean TASKD_STORAGE?;"
            " TASKD_WORKERS is set, and nothing reads it"
        ) == report.findings["names"]

    def test_the_doctor_reports_typos_even_if_the_server_cannot_start(self) -> None:
        """It says nothing about other unknown names, because a part that was not created might read them."""
        given = {"TASKD_STORE": "memory", "TASKD_STORAGE": "nobody", "TASKD_SQL_POOL_SIZE": "2"}
        report = Report.read(invoke("doctor", settings={"BETTER_AUTH_SECRET": SECRET, **given}))

        assert 1 == report.exit_code
        assert "TASKD_STORE is set, and nothing reads it: did you mean TASKD_STORAGE?" == report.findings["names"]

    @given(environ=st.dictionaries(st.text(max_size=3), st.text(max_size=2)))
    def test_it_is_a_mapping_like_any_other(self, environ: dict[str, str]) -> None:
        """However it is read, it has all variables except empty ones, in the same order."""
        expected = {name: value for name, value in environ.items() if value}
        made = Environ.of(environ)

        assert expected == dict(made) == dict(made.items()) == {name: made[name] for name in made}
        assert (list(expected), len(expected)) == (list(made), len(made))
        assert (made, True) == (Environ.of(made), all(name in made for name in expected))


class TestSeconds:
    """All settings that are times are read in the same way."""

    @pytest.mark.parametrize(
        ("cls", "variable"),
        [
            (Settings, "TASKD_QUEUE_TIMEOUT"),
            (SQLSettings, "TASKD_SQL_CONNECT_TIMEOUT"),
            (SQLSettings, "TASKD_SQL_IDLE_TIMEOUT"),
        ],
    )
    @pytest.mark.parametrize(
        "text", ["0", "0.09", "600.1", "-1", "+1", "1e1", ".5", "1.", "1,5", " 1", "\u0661", "nan", "inf", "1_0", "1 s"]
    )
    def test_an_invalid_number_is_refused(self, cls: type, variable: str, text: str) -> None:
        """One line names the variable and its limits."""
        with pytest.raises(SettingsError) as caught:
            load_settings(cls, {variable: text})

        assert f"{variable}: must be a number of seconds from 0.1 to 600" == str(caught.value)

    @pytest.mark.parametrize(
        ("text", "expected"), [("0.1", 0.1), ("600", 600), ("0600", 600), ("1.5", 1.5), ("2.0625", 2.0625)]
    )
    def test_decimal_numbers_are_read(self, text: str, expected: float) -> None:
        """Plugins may use the same converter for their own settings, with other limits."""
        assert expected == load_settings(Settings, {"TASKD_QUEUE_TIMEOUT": text}).queue_timeout_s
        assert expected == load_settings(SQLSettings, {"TASKD_SQL_CONNECT_TIMEOUT": text}).connect_timeout_s
        assert expected == seconds("ACME_PERIOD", 0, 1000)(text)


class TestOwner:
    def test_the_owner_of_a_setting_is_named(self) -> None:
        """The core's settings have none; a plugin's are named with its distribution."""
        with pytest.raises(SettingsError) as core:
            build(TASKD_QUEUE_TIMEOUT="x")
        with pytest.raises(SettingsError) as plugin:
            build(TASKD_SQL_POOL_SIZE="x")

        assert "TASKD_QUEUE_TIMEOUT: must be a number of seconds from 0.1 to 600" == str(core.value)
        assert re.fullmatch(
            r"TASKD_SQL_POOL_SIZE: must be a number from 1 to 1000 \(plugin 'sql' of taskd-server .+\)",
            str(plugin.value),
        )

    def test_a_setting_that_is_missing_has_an_owner(self, site: Site) -> None:
        """Nobody has to know which plugin needs it."""
        source = """
import environ as environ_config

@environ_config.config(prefix="ACME")
class Settings:
    keys = environ_config.var()
"""
        site.install(
            "keys",
            source
            + hook_source("taskd_storage", "pass")
            .replace("():", "(environ):")
            .replace("pass", "taskd.settings.load_settings(Settings, environ)"),
        )

        with pytest.raises(SettingsError, match=r"^ACME_KEYS: is not set \(plugin 'keys' of acme 1\.0\)$"):
            build(TASKD_STORAGE="keys")


class TestSecrets:
    @pytest.mark.parametrize(
        "environ", [{}, {"TASKD_JWT_AUDIENCE": "a"}, {"BETTER_AUTH_SECRET": ""}, {"BETTER_AUTH_URL": ""}]
    )
    def test_a_missing_secret_stops_the_start(self, environ: dict[str, str]) -> None:
        """There is no default: without a secret and without keys, no request could be authenticated."""
        expected = "BETTER_AUTH_SECRET: is not set, and neither is BETTER_AUTH_URL: set one of them"

        assert expected == complaint(**environ)

    @pytest.mark.parametrize("secret", ["hunter2", "x" * 31, "\u00e9" * 15])
    def test_a_short_secret_stops_the_start(self, secret: str) -> None:
        """A secret must have at least 32 bytes, like the hash (RFC 7518, section 3.2)."""
        expected = "BETTER_AUTH_SECRET: must have at least 32 bytes: openssl rand -hex 32"

        assert expected == complaint(BETTER_AUTH_SECRET=secret)

    @pytest.mark.parametrize("secret", ["x" * 32, "\u00e9" * 16])
    def test_bytes_are_counted_not_characters(self, secret: str) -> None:
        """A secret of 32 bytes in UTF-8 is long enough."""
        assert Secret(secret) == load_settings(JWTSettings, {"BETTER_AUTH_SECRET": secret}).secret

    @pytest.mark.parametrize("surrogate", [0xD800, 0xDCFF])
    def test_a_secret_that_is_not_utf8_stops_the_start(self, surrogate: int) -> None:
        """A secret that cannot be used for signing is found before the first request."""
        message = complaint(BETTER_AUTH_SECRET="x" * 40 + chr(surrogate))

        assert message.startswith("BETTER_AUTH_SECRET: must ")

    def test_a_secret_is_not_shown(self) -> None:
        """Neither a secret nor an object that contains one shows its value."""
        environ = {"BETTER_AUTH_SECRET": SECRET}
        holders = (Secret(SECRET), load_settings(JWTSettings, environ), taskd_auth(environ))

        shown = [form(holder) for holder in holders for form in (repr, str)]

        assert ["Secret()"] * 2 == shown[:2]
        assert not [text for text in shown if SECRET in text]

    @given(secret=PASSWORDS)
    def test_a_wrong_secret_is_never_quoted(self, secret: str) -> None:
        """Whatever is wrong with a secret, the message does not quote it."""
        with pytest.raises(SettingsError) as caught:
            taskd_auth({"BETTER_AUTH_SECRET": secret})

        assert SENTINEL not in str(caught.value)

    @given(password=PASSWORDS | AWKWARD_PASSWORDS)
    def test_a_password_in_any_url_is_never_quoted(self, password: str) -> None:
        """The password in a wrong URL is not shown, whichever variable it was put into."""
        url = f"https://user:{password}@app.example.com/db"
        for name in ("FRONTEND_URL", "DATABASE_URL", "BETTER_AUTH_URL", "TASKD_JWKS_URL"):
            message = complaint(**{"BETTER_AUTH_SECRET": SECRET, name: url})

            assert message.startswith(f"{name}: ")
            assert SENTINEL not in message
            assert "\n" not in message


class TestKeySets:
    @pytest.mark.parametrize(
        ("environ", "url"),
        [
            ({}, "https://auth.example.com/api/auth/jwks"),
            ({"BETTER_AUTH_URL": "https://auth.example.com/"}, "https://auth.example.com/api/auth/jwks"),
            ({"BETTER_AUTH_URL": "https://auth.example.com/auth/v1/"}, "https://auth.example.com/auth/v1/jwks"),
            ({"BETTER_AUTH_URL": "http://localhost:3000"}, "http://localhost:3000/api/auth/jwks"),
            ({"BETTER_AUTH_URL": "http://127.0.0.1:3000"}, "http://127.0.0.1:3000/api/auth/jwks"),
            ({"BETTER_AUTH_URL": "http://[::1]:3000"}, "http://[::1]:3000/api/auth/jwks"),
            ({"BETTER_AUTH_SECRET": SECRET}, "https://auth.example.com/api/auth/jwks"),
            ({"TASKD_JWKS_URL": ""}, "https://auth.example.com/api/auth/jwks"),
            ({"TASKD_JWKS_URL": "https://cdn.example.com/keys.json"}, "https://cdn.example.com/keys.json"),
            ({"TASKD_JWKS_URL": "http://localhost:9/k"}, "http://localhost:9/k"),
            (
                {"BETTER_AUTH_URL": "http://auth.internal:3000", "TASKD_ALLOW_PLAINTEXT": "1"},
                "http://auth.internal:3000/api/auth/jwks",
            ),
            (
                {"BETTER_AUTH_URL": "http://app.example.com", "TASKD_JWKS_URL": "https://cdn.example.com/k"},
                "https://cdn.example.com/k",
            ),
            (
                {"TASKD_JWKS_URL": "http://auth.internal/jwks", "TASKD_ALLOW_PLAINTEXT": "1"},
                "http://auth.internal/jwks",
            ),
        ],
    )
    def test_where_the_keys_are(self, environ: dict[str, str], url: str) -> None:
        """They are where Better Auth publishes them by default; then, no secret is needed."""
        given_environ = {"BETTER_AUTH_URL": "https://auth.example.com", **environ}
        build_app(given_environ)

        assert [url] == [each.key_set_url for each in load_settings(JWTSettings, given_environ).issuers()]

    @pytest.mark.parametrize("name", ["BETTER_AUTH_URL", "TASKD_JWKS_URL"])
    @pytest.mark.parametrize(
        "text",
        [
            "hunter2",
            "app.example.com",
            "localhost:3000",
            "//app.example.com",
            "ftp://app.example.com",
            "https://",
            "https://alice:hunter2@app.example.com",
            "https://hunter2@app.example.com",
            "https://app.example.com/?hunter2",
            "https://app.example.com/#hunter2",
            "https://app.example.com:99999",
            "https://app.example.com:port",
            "https://app.example.com/a b",
            "https://app.example.com\n",
            "https://b\u00fccher.example",
            "https://a.example;https://b.example",
            "https://a.example,hunter2",
            "postgresql://alice:hunter2@db.example.com/tasks",
        ],
    )
    def test_an_invalid_url_stops_the_start(self, name: str, text: str) -> None:
        """One line names the variable and shows an example, without quoting what may be a password."""
        message = complaint(**{"BETTER_AUTH_SECRET": SECRET, "BETTER_AUTH_URL": "https://auth.example.com", name: text})

        example = "https://app.example.com" + ("" if name == "BETTER_AUTH_URL" else "/api/auth/jwks")
        assert f"{name}: must be a URL such as {example}, without a user, a query or a fragment" == message

    @pytest.mark.parametrize("name", ["BETTER_AUTH_URL", "TASKD_JWKS_URL"])
    @pytest.mark.parametrize("host", ["app.example.com", "10.0.0.1", "[fe80::1]", "localhost.example.com"])
    def test_keys_are_not_fetched_in_plain_text(self, name: str, host: str) -> None:
        """Whoever changes them in transit can sign in as anyone, so this needs `TASKD_ALLOW_PLAINTEXT`."""
        environ = {"BETTER_AUTH_URL": "https://auth.example.com", name: f"http://{host}/auth"}
        message = complaint(**environ)

        assert message.startswith(f"{name}: must begin with https://")
        assert "TASKD_ALLOW_PLAINTEXT=1" in message
        assert "\n" not in message
        assert message == complaint(**environ, TASKD_ALLOW_PLAINTEXT="0")
        build_app({**environ, "TASKD_ALLOW_PLAINTEXT": "1"})

    @pytest.mark.parametrize(("name", "claim"), [("TASKD_JWT_ISSUER", "iss"), ("TASKD_JWT_AUDIENCE", "aud")])
    def test_issuer_and_audience_are_single_values(self, name: str, claim: str) -> None:
        """Values that no claim can equal stop the start; a comma may be part of a name."""
        for text in (
            "https://a.example,https://b.example",
            "https://a.example/ HTTP://b.example",
            "a; https://b.example",
        ):
            message = complaint(BETTER_AUTH_SECRET=SECRET, **{name: text})

            assert f"{name}: must be the {claim} of the tokens: one value, not a list" == message
        for text in ('"https://a.example"', "'us'", " us", "us\n"):
            message = complaint(BETTER_AUTH_SECRET=SECRET, **{name: text})

            assert f"{name}: must be the {claim} of the tokens, without quotes or spaces around it" == message
        for text in ("us", "O=Acme, C=US", "https://a.example/?of=https://b.example"):
            build_app({"BETTER_AUTH_SECRET": SECRET, name: text})

    def test_keys_need_an_issuer(self) -> None:
        """The URL of the keys does not say whose tokens they verify."""
        url = "https://cdn.example.com/keys.json"

        assert "TASKD_JWKS_URL: needs BETTER_AUTH_URL, the issuer of the tokens" == complaint(TASKD_JWKS_URL=url)
        assert complaint(TASKD_JWKS_URL=url) == complaint(TASKD_JWKS_URL=url, BETTER_AUTH_SECRET=SECRET)

    @pytest.mark.parametrize("text", ["yes", "true", "2", " 1"])
    def test_plaintext_is_allowed_by_a_single_value(self, text: str) -> None:
        """Anything other than 0 and 1 may be a mistake."""
        message = complaint(BETTER_AUTH_URL="https://auth.example.com", TASKD_ALLOW_PLAINTEXT=text)

        assert "TASKD_ALLOW_PLAINTEXT: must be 0 or 1" == message
