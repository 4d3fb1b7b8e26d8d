"""Settings: where they come from, how they are read, and that no secret is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from taskd import Secret, SettingsError, build_app, load_settings
from taskd.settings import Settings, read_environ
from taskd_jwt.plugin import taskd_auth
from taskd_jwt.settings import JWTSettings
from tests.conftest import SECRET
from tests.passwords import AWKWARD_PASSWORDS, PASSWORDS, SENTINEL

without_a_clock = settings(deadline=None, database=None)


def origins(frontend_url: str) -> tuple[str, ...]:
    """The origins that a `FRONTEND_URL` allows."""
    return load_settings(Settings, {"FRONTEND_URL": frontend_url}).frontend_origins


def complaint(**environ: str) -> str:
    """What the start says against *environ*."""
    with pytest.raises(SettingsError) as caught:
        build_app(environ)
    return str(caught.value)


class TestEnvironment:
    def test_the_file_in_the_working_directory_is_read(self) -> None:
        """A `.env` file sets what the environment does not."""
        Path(".env").write_text("# taskd\nTASKD_TEST_A=1\nexport TASKD_TEST_B='2 # 3'\nTASKD_TEST_C=\u00e9 # note\n")

        environ = read_environ()

        assert ["1", "2 # 3", "\u00e9"] == [environ[f"TASKD_TEST_{name}"] for name in "ABC"]

    def test_the_real_environment_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable that is set is not taken from the file, even if it is empty."""
        Path(".env").write_text("TASKD_TEST_A=file\nTASKD_TEST_B=file\n")
        monkeypatch.setenv("TASKD_TEST_A", "real")
        monkeypatch.setenv("TASKD_TEST_B", "")

        environ = read_environ()

        assert ("real", "") == (environ["TASKD_TEST_A"], environ["TASKD_TEST_B"])

    def test_a_folder_in_the_file_s_place_is_refused(self) -> None:
        """A container's mount of a file that is not there makes a folder: that must not go unnoticed."""
        Path(".env").mkdir()

        with pytest.raises(SettingsError, match="is a folder"):
            read_environ()

    def test_the_file_is_optional(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a file the environment is all."""
        monkeypatch.setenv("TASKD_TEST_A", "real")

        assert "real" == read_environ()["TASKD_TEST_A"]

    def test_another_directory_can_be_named(self, tmp_path: Path) -> None:
        """The file of the directory that is named is read instead."""
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / ".env").write_text("TASKD_TEST_A=other\n")

        assert "other" == read_environ(tmp_path / "other")["TASKD_TEST_A"]

    @pytest.mark.parametrize("text", ["pa$HOME", "pa${HOME}word", "pa$$word", "'pa$HOME'", '"pa${TASKD_TEST_B:-x}"'])
    def test_a_dollar_is_a_dollar(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        """Nothing is put in the place of what looks like a variable."""
        monkeypatch.setenv("TASKD_TEST_B", "b")
        Path(".env").write_text(f"TASKD_TEST_A={text}\n")

        assert text.strip("'\"") == read_environ()["TASKD_TEST_A"]

    def test_a_name_without_a_value_is_not_set(self) -> None:
        """A name alone in the file sets nothing."""
        Path(".env").write_text("TASKD_TEST_A\nTASKD_TEST_B=\n")

        environ = read_environ()

        assert (None, "") == (environ.get("TASKD_TEST_A"), environ["TASKD_TEST_B"])

    def test_a_file_that_is_not_utf8_is_refused(self) -> None:
        """The start ends, without a word of what is in the file."""
        Path(".env").write_bytes(b"BETTER_AUTH_SECRET=hunter2\xff\n")

        with pytest.raises(SettingsError, match=r"^\.env: cannot be read: UnicodeDecodeError$"):
            read_environ()

    def test_a_file_that_cannot_be_read_is_refused(self) -> None:
        """The start ends when there is a file and the system does not give what is in it."""
        # This one can be opened and not be read, by root neither.
        Path(".env").symlink_to("/proc/self/mem")

        with pytest.raises(SettingsError, match=r"^\.env: cannot be read: OSError$"):
            read_environ()

    def test_an_application_starts_with_the_file_alone(self) -> None:
        """All settings may be in the file, and are asked for there."""
        Path(".env").write_text(f"BETTER_AUTH_SECRET='{SECRET}'\n")
        build_app()
        Path(".env").write_text(f"BETTER_AUTH_SECRET='{SECRET}'\nTASKD_AUTH=nobody\n")

        with pytest.raises(SettingsError, match=r"^TASKD_AUTH: "):
            build_app()


class TestCore:
    def test_the_defaults(self) -> None:
        """Without any setting the default plugins serve, all that are installed may, and no page reads answers."""
        core = load_settings(Settings, {})

        assert ("jwt", "sql", None, frozenset(), ()) == (
            core.auth,
            core.storage,
            core.plugins,
            core.disabled_plugins,
            core.frontend_origins,
        )

    @pytest.mark.parametrize(("text", "names"), [("", set()), ("a", {"a"}), (" a,b , ,a,", {"a", "b"})])
    def test_lists_of_plugins_are_separated_by_commas(self, text: str, names: set[str]) -> None:
        """White space and empty places in a list mean nothing; an empty list allows nothing."""
        core = load_settings(Settings, {"TASKD_PLUGINS": text, "TASKD_DISABLED_PLUGINS": text})

        assert frozenset(names) == core.plugins
        assert frozenset(names) == core.disabled_plugins

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", ()),
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
        ],
    )
    def test_origins_are_written_as_browsers_send_them(self, text: str, expected: tuple[str, ...]) -> None:
        """Origins are in lower case, without a default port or a slash at the end (RFC 6454, section 6.2)."""
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
        ],
    )
    def test_what_is_no_origin_is_refused(self, text: str) -> None:
        """Anything else is refused with one line that shows an origin."""
        with pytest.raises(SettingsError) as caught:
            origins(text)

        assert str(caught.value).startswith("FRONTEND_URL: ")
        assert "https://app.example.com" in str(caught.value)
        assert "\n" not in str(caught.value)


class TestSecrets:
    @pytest.mark.parametrize(
        "environ", [{}, {"TASKD_JWT_AUDIENCE": "a"}, {"BETTER_AUTH_SECRET": ""}, {"BETTER_AUTH_URL": ""}]
    )
    def test_a_missing_secret_stops_the_start(self, environ: dict[str, str]) -> None:
        """There is no default: without a secret and without keys nobody could get in."""
        expected = "BETTER_AUTH_SECRET: is not set, and neither is BETTER_AUTH_URL: set one of them"

        assert expected == complaint(**environ)

    @pytest.mark.parametrize("secret", ["hunter2", "x" * 31, "\u00e9" * 15])
    def test_a_short_secret_stops_the_start(self, secret: str) -> None:
        """A secret has at least the 32 bytes of the hash (RFC 7518, section 3.2)."""
        expected = "BETTER_AUTH_SECRET: must have at least 32 bytes: openssl rand -hex 32"

        assert expected == complaint(BETTER_AUTH_SECRET=secret)

    @pytest.mark.parametrize("secret", ["x" * 32, "\u00e9" * 16])
    def test_bytes_are_counted_not_characters(self, secret: str) -> None:
        """A secret of 32 bytes in UTF-8 is long enough."""
        assert Secret(secret) == load_settings(JWTSettings, {"BETTER_AUTH_SECRET": secret}).secret

    @pytest.mark.parametrize("surrogate", [0xD800, 0xDCFF])
    def test_a_secret_that_is_no_utf8_stops_the_start(self, surrogate: int) -> None:
        """A secret with which nothing can be signed is found before the first request."""
        message = complaint(BETTER_AUTH_SECRET="x" * 40 + chr(surrogate))

        assert message.startswith("BETTER_AUTH_SECRET: must ")

    def test_a_secret_does_not_show(self) -> None:
        """Neither a secret nor what holds one says its value."""
        environ = {"BETTER_AUTH_SECRET": SECRET}
        holders = (Secret(SECRET), load_settings(JWTSettings, environ), taskd_auth(environ))

        shown = [form(holder) for holder in holders for form in (repr, str)]

        assert ["Secret()"] * 2 == shown[:2]
        assert not [text for text in shown if SECRET in text]

    @given(secret=PASSWORDS)
    @without_a_clock
    def test_a_wrong_secret_is_never_quoted(self, secret: str) -> None:
        """Whatever is wrong with a secret, the message does not say what it is."""
        with pytest.raises(SettingsError) as caught:
            taskd_auth({"BETTER_AUTH_SECRET": secret})

        assert SENTINEL not in str(caught.value)

    @given(password=PASSWORDS | AWKWARD_PASSWORDS)
    @without_a_clock
    def test_a_password_in_any_url_is_never_quoted(self, password: str) -> None:
        """A password in a URL that is refused is not shown, whichever variable it was put into."""
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
        """They are where Better Auth has them, unless told; the start needs no secret then."""
        given_environ = {"BETTER_AUTH_URL": "https://auth.example.com", **environ}
        build_app(given_environ)

        assert url == load_settings(JWTSettings, given_environ).key_set_url()

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
            "https://a.example,https://b.example",
            "postgresql://alice:hunter2@db.example.com/tasks",
        ],
    )
    def test_what_is_no_url_stops_the_start(self, name: str, text: str) -> None:
        """One line names the variable and shows a URL, and does not quote what may be a password."""
        message = complaint(**{"BETTER_AUTH_SECRET": SECRET, "BETTER_AUTH_URL": "https://auth.example.com", name: text})

        example = "https://app.example.com" + ("" if name == "BETTER_AUTH_URL" else "/api/auth/jwks")
        assert f"{name}: must be a URL such as {example}, without user, query and fragment" == message

    @pytest.mark.parametrize("name", ["BETTER_AUTH_URL", "TASKD_JWKS_URL"])
    @pytest.mark.parametrize("host", ["app.example.com", "10.0.0.1", "[fe80::1]", "localhost.example.com"])
    def test_keys_do_not_come_over_a_network_in_the_clear(self, name: str, host: str) -> None:
        """Who changes them on their way gets in as anybody: that is for `TASKD_ALLOW_PLAINTEXT` to allow."""
        environ = {"BETTER_AUTH_URL": "https://auth.example.com", name: f"http://{host}/auth"}
        message = complaint(**environ)

        assert message.startswith(f"{name}: must begin with https://")
        assert "TASKD_ALLOW_PLAINTEXT=1" in message
        assert "\n" not in message
        assert message == complaint(**environ, TASKD_ALLOW_PLAINTEXT="0")
        build_app({**environ, "TASKD_ALLOW_PLAINTEXT": "1"})

    def test_keys_are_somebody_s(self) -> None:
        """Where keys are does not say whose tokens they are for."""
        url = "https://cdn.example.com/keys.json"

        assert "TASKD_JWKS_URL: needs BETTER_AUTH_URL: who issues the tokens" == complaint(TASKD_JWKS_URL=url)
        assert complaint(TASKD_JWKS_URL=url) == complaint(TASKD_JWKS_URL=url, BETTER_AUTH_SECRET=SECRET)

    @pytest.mark.parametrize("text", ["", "yes", "true", "2", " 1"])
    def test_plaintext_is_allowed_by_one_word(self, text: str) -> None:
        """Anything else than 0 and 1 may be a mistake."""
        message = complaint(BETTER_AUTH_URL="https://auth.example.com", TASKD_ALLOW_PLAINTEXT=text)

        assert "TASKD_ALLOW_PLAINTEXT: must be 0 or 1" == message
