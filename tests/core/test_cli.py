"""The `taskd` command, mostly run as people do: in its own process and folder."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import re
import runpy
import shlex
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pkgutil import resolve_name
from urllib.parse import quote

import attrs
import click
import httpx
import jwt
import pytest

import taskd
from taskd import build_app
from taskd.cli.main import OWN
from taskd.testing import RunningServer, running_server
from tests.conftest import ORIGIN, SECRET
from tests.support.commands import invoke, run_python
from tests.support.processes import DEV, PLAIN_UVICORN, SERVE, SERVE_WITH_WORKERS, child_environ, make_distribution

ROUTES_PLUGIN = """
from starlette.routing import Route
import taskd

@taskd.hookimpl
def taskd_routes():
    return []
"""


AUTH_PLUGIN = """
import taskd
from starlette.authentication import AuthenticationBackend

@taskd.hookimpl
def taskd_auth():
    return AuthenticationBackend()
"""


REMOTE_STORE_PLUGIN = """
import taskd

class Store(taskd.storage.TaskStore):
    list = seq = create = get = update = toggle = delete = ping = None
    location = taskd.storage.Location(description="the moon", is_local=False)

@taskd.hookimpl
def taskd_storage():
    return Store()
"""
# Prints when it is imported and when it is called, which would confuse programs that read stdout.
CHATTY_PLUGIN = """
import taskd

print("imported")

@taskd.hookimpl
def taskd_routes():
    print("asked")
    return []
"""


def subject(token: str, secret: str) -> str:
    """Return the user of a token, which must be signed with *secret*."""
    claims: dict[str, str] = jwt.decode(token, secret, ["HS256"])
    return claims["sub"]


def columns(output: str) -> list[list[str]]:
    """Return the rows of `taskd plugins`, each split at white space."""
    return [line.split() for line in output.splitlines()]


@attrs.frozen
class Announced:
    """What `taskd dev` announces."""

    tasks: str
    user: str
    token: str
    signer: str
    curl: list[str]

    @classmethod
    def read(cls, server: RunningServer) -> Announced:
        """Read the announcement of *server*, which has just started."""
        lines = server.read_until("Ctrl+C").splitlines()
        words = dict(line.split(maxsplit=1) for line in lines if line.startswith("  ") and line.strip())
        [signer] = re.findall(r"^ +\(valid for 24 hours, signed with (.*)\)$", "\n".join(lines), re.MULTILINE)
        [curl] = [line for line in lines if line.strip().startswith("curl ")]
        return cls(words["tasks"], words["user"], words["token"], signer, shlex.split(curl))

    def send(self) -> httpx.Response:
        """Run the curl command."""
        program, url, *options = self.curl
        given = list(zip(options[::2], options[1::2], strict=True))
        headers = dict(value.split(": ") for option, value in given if option == "-H")
        [data] = [value for option, value in given if option == "-d"]
        assert "curl" == program
        return httpx.post(url, headers=headers, content=data)


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class TestDev:
    def test_the_curl_command_creates_a_task(self) -> None:
        """The command that the first start prints creates a task for the user that it names."""
        with running_server(child_environ({}), DEV) as server:
            announced = Announced.read(server)
            response = announced.send()

        assert (201, "Try taskd", announced.user) == (
            response.status_code,
            response.json()["title"],
            response.json()["user_id"],
        )
        assert f"Bearer {announced.token}" in " ".join(announced.curl)

    @pytest.mark.parametrize("disabled", ["", "docs"])
    def test_the_announcement_links_to_the_page_if_there_is_one(self, disabled: str) -> None:
        """The link leads to the page, and is missing without the plugin that serves it."""
        with running_server(child_environ({"TASKD_DISABLED_PLUGINS": disabled}), DEV) as server:
            told = server.read_until("Ctrl+C")
            response = httpx.get(f"{server.url}/docs", trust_env=False)
            server.stop()

        assert (404 if disabled else 200) == response.status_code
        assert (f"  docs   {server.url}/docs" in told) == (not disabled)

    @pytest.mark.parametrize(
        ("command", "frontend_url", "is_allowed"), [(DEV, "", True), (DEV, ORIGIN, False), (SERVE, "", False)]
    )
    def test_pages_on_this_machine_may_call_it(
        self, command: tuple[str, ...], frontend_url: str, is_allowed: bool
    ) -> None:
        """A frontend in development needs no setting; under `taskd serve`, only FRONTEND_URL counts."""
        origin = "http://localhost:5173"
        settings = {"BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": frontend_url}
        with running_server(child_environ(settings), command) as server:
            response = httpx.get(f"{server.url}/livez", headers={"Origin": origin}, trust_env=False)
            server.stop()

        assert (origin if is_allowed else None) == response.headers.get("Access-Control-Allow-Origin")

    def test_its_files_are_private(self, tmp_path: Path) -> None:
        """Only the owner can read the secret, and only the owner and the group can read the tasks."""
        with running_server(child_environ({}), DEV) as server:
            Announced.read(server).send()

        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        assert 0o600 == modes.pop("taskd.db.secret")
        assert "taskd.db" in modes
        assert [0] * len(modes) == [mode & ~0o640 for mode in modes.values()]

    def test_a_second_start_reuses_the_secret_and_the_tasks(self) -> None:
        """The secret and the tasks outlive the process."""
        with running_server(child_environ({}), DEV) as server:
            first = Announced.read(server)
            task = first.send().json()
            server.stop(signal.SIGINT)
        with running_server(child_environ({}), DEV) as server:
            response = httpx.get(
                f"{server.url}/api/{first.user}/tasks", headers={"Authorization": f"Bearer {first.token}"}
            )
            server.stop(signal.SIGINT)

        assert (200, [task]) == (response.status_code, response.json())

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    @pytest.mark.parametrize("source", ["environment", ".env"])
    def test_a_configured_secret_and_database_are_used(
        self, tmp_path: Path, environ: dict[str, str], source: str
    ) -> None:
        """Settings in the environment or in `.env` are used, and no defaults are created."""
        if source == ".env":
            (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in environ.items()))
            environ = {}
        with running_server(child_environ(environ), DEV) as server:
            announced = Announced.read(server)
            response = announced.send()
            server.stop(signal.SIGINT)

        where = ".env" if source == ".env" else "the environment"
        assert 201 == response.status_code
        assert announced.tasks.endswith(f"(DATABASE_URL in {where})")
        assert announced.signer == f"BETTER_AUTH_SECRET in {where}"
        assert announced.user == subject(announced.token, SECRET)
        assert not {"taskd.db", "taskd.db.secret", "taskd.secret", "tasks.db.secret"} & {
            file.name for file in tmp_path.iterdir()
        }

    def test_a_secret_is_kept_beside_the_configured_database(self, tmp_path: Path, database_url: str) -> None:
        """If only the database is configured, the secret is beside its file, or in the working directory."""
        with running_server(child_environ({"DATABASE_URL": database_url}), DEV) as server:
            announced = Announced.read(server)

        [file] = tmp_path.glob("*.secret")
        assert announced.signer.startswith("the secret in ")
        assert announced.signer.endswith(file.name)
        assert announced.user == subject(announced.token, file.read_text())

    def test_two_concurrent_starts_agree_on_one_secret(self, tmp_path: Path) -> None:
        """Whichever start wins, the tokens of both are valid."""

        def start(_: int) -> str:
            with running_server(child_environ({}), DEV) as server:
                return Announced.read(server).token

        with ThreadPoolExecutor() as threads:
            tokens = list(threads.map(start, range(2)))

        kept = (tmp_path / "taskd.db.secret").read_text()
        assert ["dev", "dev"] == [subject(token, kept) for token in tokens]
        assert ["taskd.db.secret"] == [file.name for file in tmp_path.glob("*.secret*")]

    @pytest.mark.parametrize("name", ["missing/tasks.db", "a_file/tasks.db"])
    def test_an_impossible_database_stops_the_start(self, tmp_path: Path, name: str) -> None:
        """One line names the variable, and no secret is created."""
        (tmp_path / "a_file").touch()

        result = invoke("dev", settings={"DATABASE_URL": f"sqlite:///{name}"})

        assert 1 == result.exit_code
        assert result.output.startswith(f"taskd: DATABASE_URL: '{name}' must be a file in a directory that exists")
        assert ["a_file"] == [file.name for file in tmp_path.iterdir()]

    def test_a_device_is_not_a_database(self) -> None:
        """Anything written to it would be lost."""
        result = invoke("migrate", settings={"DATABASE_URL": "sqlite:////dev/null"})

        assert 1 == result.exit_code
        assert "it is not a regular file: set DATABASE_URL" in result.output

    def test_a_secret_that_cannot_be_saved_stops_the_start(self, tmp_path: Path) -> None:
        """One line says which file cannot be written."""
        (tmp_path / "taskd.db.secret").mkdir()

        result = invoke("dev", settings={})

        assert 1 == result.exit_code
        assert result.output.startswith(
            "taskd: BETTER_AUTH_SECRET: cannot be kept in taskd.db.secret: Is a directory ("
        )

    def test_a_secret_that_is_not_text_stops_the_start(self, tmp_path: Path) -> None:
        """A file with other contents is not taken for a secret."""
        (tmp_path / "taskd.db.secret").write_bytes(b"\xff" * 40)

        result = invoke("dev", settings={})

        assert 1 == result.exit_code
        assert result.output.startswith(
            "taskd: BETTER_AUTH_SECRET: cannot be kept in taskd.db.secret: it is not text ("
        )

    def test_an_empty_secret_stops_the_start(self, tmp_path: Path) -> None:
        """One line names the file and says what to do with it."""
        (tmp_path / "taskd.db.secret").touch()

        result = invoke("dev", settings={})

        assert 1 == result.exit_code
        assert result.output.startswith("taskd: BETTER_AUTH_SECRET: taskd.db.secret is empty: delete it,")

    @pytest.mark.parametrize("source", ["environment", ".env"])
    def test_a_remote_database_is_refused(self, tmp_path: Path, source: str) -> None:
        """The message names the database and where it is configured, without the password; it may be in production."""
        environ = {"DATABASE_URL": "postgresql://alice:hunter2@db.example.com/tasks"}
        if source == ".env":
            (tmp_path / ".env").write_text(f"DATABASE_URL={environ.pop('DATABASE_URL')}\n")

        result = invoke("dev", settings=environ)

        where = "the environment" if source == "environment" else ".env"
        place = "PostgreSQL at db.example.com:5432, database tasks, as alice"
        assert 1 == result.exit_code
        assert result.output == (
            f"taskd: DATABASE_URL: in {where}, points to another machine ({place}), which may hold production"
            " tasks: remove it, or run taskd dev --allow-remote\n"
        )
        assert [] == list(tmp_path.glob("*.secret"))

    def test_a_remote_database_is_served_if_that_is_allowed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The announcement says where the tasks are and how the token is signed, without showing a secret."""
        announced: list[str] = []
        monkeypatch.setattr("taskd.cli.dev.serve_here", lambda _, port, say, __: say(f"http://127.0.0.1:{port}"))
        monkeypatch.setattr("taskd.cli.dev._announce", announced.append)
        Path(".env").write_text(f"BETTER_AUTH_SECRET='{SECRET}'\n")

        result = invoke(
            "dev", "--allow-remote", settings={"DATABASE_URL": "postgresql://alice:hunter2@db.example.com/tasks"}
        )

        [text] = announced
        place = "PostgreSQL at db.example.com:5432, database tasks, as alice"
        assert 0 == result.exit_code
        assert f"  tasks  {place} (DATABASE_URL in the environment)\n" in text
        assert "(valid for 24 hours, signed with BETTER_AUTH_SECRET in .env)\n" in text
        assert not {"hunter2", SECRET} & set(re.split(r"[\s'():@/]+", text))
        assert SECRET not in text

    def test_another_plugin_s_remote_store_is_refused(self, installed: Path) -> None:
        """The store itself says where it keeps the tasks; the setting to change is the one that selects the plugin."""
        make_distribution(installed, "afar", REMOTE_STORE_PLUGIN)

        result = invoke("dev", settings={"TASKD_STORAGE": "afar", "DATABASE_URL": "sqlite:///unused.db"})

        assert 1 == result.exit_code
        assert result.output.startswith("taskd: TASKD_STORAGE: afar keeps tasks on another machine (the moon), which ")

    def test_ctrl_c_stops_it(self) -> None:
        """Ctrl+C is the usual way to stop it: no traceback, and no failure."""
        with running_server(child_environ({}), DEV) as server:
            Announced.read(server)
            output = server.stop(signal.SIGINT)

        assert 0 == server.process.returncode
        assert "Traceback" not in output


class TestServe:
    @pytest.mark.parametrize(
        ("command", "variable", "value", "hidden"),
        [
            (SERVE, "BETTER_AUTH_SECRET", None, SECRET),
            (SERVE_WITH_WORKERS, "BETTER_AUTH_SECRET", "too-short-a-secret", "too-short-a-secret"),
            (PLAIN_UVICORN, "DATABASE_URL", "mysql://somebody:hunter2@127.0.0.1/tasks", "hunter2"),
        ],
        ids=["one, no secret", "workers, short secret", "uvicorn, another database"],
    )
    def test_a_wrong_setting_stops_the_start(
        self, command: tuple[str, ...], variable: str, value: str | None, hidden: str
    ) -> None:
        """One line names the variable without quoting a secret, even with several processes."""
        settings = {"BETTER_AUTH_SECRET": SECRET, variable: value}

        ended = run_python(*command, settings={name: text for name, text in settings.items() if text is not None})

        assert (1, "") == (ended.returncode, ended.stdout)
        [line] = ended.stderr.splitlines()
        assert line.startswith(f"taskd: {variable}: ")
        assert hidden not in line

    @pytest.mark.parametrize(
        ("options", "host"), [((), "127.0.0.1"), (("--host", "localhost"), "localhost")], ids=["default", "told"]
    )
    def test_it_listens_on_this_machine_only_by_default(self, options: tuple[str, ...], host: str) -> None:
        """Other machines can reach it only if --host says so."""
        with running_server(child_environ({"BETTER_AUTH_SECRET": SECRET}), (*SERVE, *options)) as server:
            response = httpx.get(f"{server.url}/livez")

        assert (host, 200) == (httpx.URL(server.url).host, response.status_code)

    def test_tasks_are_kept_in_the_working_directory_by_default(self, tmp_path: Path) -> None:
        """Without DATABASE_URL, the tasks are in taskd.db."""
        with running_server(child_environ({"BETTER_AUTH_SECRET": SECRET}), SERVE) as server:
            server.stop(signal.SIGINT)

        assert (tmp_path / "taskd.db").is_file()

    @pytest.mark.parametrize(
        "command",
        [("dev",), ("serve",), ("serve", "--workers", "2")],
        ids=" ".join,
    )
    @pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells who listens on a port")
    def test_a_port_in_use_stops_the_start(self, command: tuple[str, ...], busy_port: int) -> None:
        """One line says what is wrong, which process it is, and what to do."""
        settings = {"BETTER_AUTH_SECRET": SECRET}

        ended = run_python("-m", "taskd", *command, "--port", str(busy_port), settings=settings)

        name = Path("/proc/self/comm").read_text().strip()
        reason = f"Address already in use by process {os.getpid()} ({name})"
        remedy = "stop it, or choose another port with --port"
        assert (1, f"taskd: cannot listen on 127.0.0.1:{busy_port}: {reason}: {remedy}\n") == (
            ended.returncode,
            ended.stderr,
        )

    @pytest.mark.parametrize(
        "options", [("--port", "65536"), ("--workers", "0"), ("--grace", "-1"), ("--port", "http")], ids=" ".join
    )
    def test_an_option_out_of_range_is_refused(self, options: tuple[str, str]) -> None:
        """The message names the option."""
        result = invoke("serve", *options, settings={"BETTER_AUTH_SECRET": SECRET})

        assert 2 == result.exit_code
        assert f"'{options[0]}'" in result.stderr


class TestToken:
    @pytest.mark.anyio
    @pytest.mark.parametrize("user", ["alice", "a b/%\u00e9\U0001f389", "x" * 255], ids=["plain", "odd", "long"])
    async def test_the_server_accepts_it(self, user: str) -> None:
        """The tasks of a user can be read with the token that was printed for that user."""
        settings = {"BETTER_AUTH_SECRET": SECRET}
        # A command has its own event loop.
        result = await asyncio.to_thread(invoke, "token", user, settings=settings)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(build_app(settings))) as client:
            headers = {"Authorization": f"Bearer {result.stdout.strip()}"}
            response = await client.get(f"http://taskd/api/{quote(user, safe='')}/tasks", headers=headers)

        assert (0, 200) == (result.exit_code, response.status_code)

    @pytest.mark.parametrize(("options", "lifetime_s"), [((), 3600), (("--lifetime", "5"), 5)], ids=["default", "told"])
    def test_it_is_valid_for_its_lifetime(self, options: tuple[str, ...], lifetime_s: int) -> None:
        """The token expires after an hour, or when --lifetime says."""
        result = invoke("token", "alice", *options, settings={"BETTER_AUTH_SECRET": SECRET})

        claims = jwt.decode(result.stdout.strip(), options={"verify_signature": False})
        assert lifetime_s == claims["exp"] - claims["iat"]

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (("",), "USER"),
            (("x" * 256,), "USER"),
            (("a\udcff",), "USER"),
            ((), "USER"),
            (("alice", "--lifetime", "0"), "--lifetime"),
            (("alice", "--lifetime", "1.5"), "--lifetime"),
        ],
        ids=["empty", "too long", "not UTF-8", "none", "no lifetime", "half seconds"],
    )
    def test_a_bad_argument_is_refused(self, arguments: tuple[str, ...], named: str) -> None:
        """No token is printed, and the message names the argument."""
        result = invoke("token", *arguments, settings={"BETTER_AUTH_SECRET": SECRET})

        assert (2, "") == (result.exit_code, result.stdout)
        assert named in result.stderr

    @pytest.mark.parametrize("user", ["", ".", "..", "x" * 256], ids=["empty", "dot", "dots", "long"])
    def test_an_invalid_user_id_is_refused(self, user: str) -> None:
        """The message says which user ids are valid."""
        result = invoke("token", user, settings={"BETTER_AUTH_SECRET": SECRET})

        assert (2, "") == (result.exit_code, result.stdout)
        assert "a text of 1 to 255 characters other than . and .., without NUL" in result.stderr

    def test_no_token_is_issued_without_a_secret(self) -> None:
        """One line names the variable and the plugin that it belongs to."""
        result = invoke("token", "alice", settings={})

        owner = f"plugin 'jwt' of taskd-server {importlib.metadata.version('taskd-server')}"
        assert (
            f"taskd: BETTER_AUTH_SECRET: is not set, and neither is BETTER_AUTH_URL: set one of them ({owner})\n"
        ) == result.output
        assert 1 == result.exit_code

    def test_no_token_is_issued_with_only_a_key_set(self) -> None:
        """Only the issuer that publishes the keys can sign tokens."""
        result = invoke("token", "alice", settings={"BETTER_AUTH_URL": "https://auth.example.com"})

        assert 1 == result.exit_code
        [line] = result.output.splitlines()
        assert line.startswith("taskd: BETTER_AUTH_SECRET: is not set, and only Better Auth has the private keys")

    def test_with_a_secret_and_a_key_set_the_secret_is_used(self) -> None:
        """The token has the audience and the issuer that the server requires."""
        result = invoke(
            "token", "alice", settings={"BETTER_AUTH_SECRET": SECRET, "BETTER_AUTH_URL": "https://auth.example.com"}
        )
        claims = jwt.decode(result.stdout.strip(), SECRET, ["HS256"], audience="https://auth.example.com")

        assert ("alice", "https://auth.example.com") == (claims["sub"], claims["iss"])

    def test_a_plugin_that_cannot_issue_tokens_is_named(self, installed: Path) -> None:
        """If tokens come from elsewhere, the message says which plugin is selected."""
        make_distribution(installed, "elsewhere", AUTH_PLUGIN)

        result = invoke("token", "alice", settings={"TASKD_AUTH": "elsewhere"})

        assert 1 == result.exit_code
        [line] = result.output.splitlines()
        assert line.startswith("taskd: TASKD_AUTH: the plugin 'elsewhere' cannot issue tokens")


class TestPlugins:
    def test_installed_plugins_are_listed(self, installed: Path) -> None:
        """Each plugin is listed with its hooks, its status and its distribution."""
        make_distribution(installed, "extra", ROUTES_PLUGIN)
        version = importlib.metadata.version("taskd-server")

        result = invoke("plugins", settings={})

        assert (0, "") == (result.exit_code, result.stderr)
        assert ["extra", "routes", "selected", "extra", "1.0"] in columns(result.stdout)
        provided = ["auth,", "security_scheme,", "trial_settings"]
        assert ["jwt", *provided, "selected", "taskd-server", version] in columns(result.stdout)

    @pytest.mark.parametrize(
        ("settings", "name", "status"),
        [
            ({"TASKD_STORAGE": "other"}, "sql", "installed"),
            ({"TASKD_DISABLED_PLUGINS": "sql"}, "sql", "disabled"),
            ({"TASKD_PLUGINS": "jwt, tasks"}, "sql", "disabled"),
            ({"TASKD_PLUGINS": "jwt, tasks"}, "jwt", "selected"),
        ],
        ids=str,
    )
    def test_the_status_follows_from_the_settings(self, settings: dict[str, str], name: str, status: str) -> None:
        """A plugin is selected, only installed, or disabled."""
        result = invoke("plugins", settings=settings)

        assert 0 == result.exit_code
        assert [status] == [row[-3] for row in columns(result.stdout) if row[0] == name]

    def test_a_broken_plugin_is_named(self, tmp_path: Path) -> None:
        """The exit status is 1, the message names the plugin and the problem, and other plugins are listed."""
        plugin = make_distribution(tmp_path / "site", "broken", "import no_such_module")

        ended = run_python("-m", "taskd", "plugins", settings=plugin)

        assert 1 == ended.returncode
        assert ["broken", "?", "broken", "broken", "1.0"] in columns(ended.stdout)
        assert "tasks" in [row[0] for row in columns(ended.stdout)]
        [line] = ended.stderr.splitlines()
        assert line.startswith("taskd: plugin 'broken' of broken 1.0 cannot be loaded: ModuleNotFoundError: ")

    def test_a_disabled_plugin_is_not_imported(self, installed: Path) -> None:
        """A broken plugin does no harm while it is disabled."""
        make_distribution(installed, "broken", "import no_such_module")

        result = invoke("plugins", settings={"TASKD_DISABLED_PLUGINS": "broken"})

        assert (0, "") == (result.exit_code, result.stderr)
        assert ["broken", "?", "disabled", "broken", "1.0"] in columns(result.stdout)

    def test_two_plugins_with_the_same_name_are_refused(self, installed: Path) -> None:
        """One line names both distributions."""
        make_distribution(installed, "first", ROUTES_PLUGIN)
        make_distribution(installed, "second", ROUTES_PLUGIN)
        (installed / "second-1.0.dist-info" / "entry_points.txt").write_text("[taskd]\nfirst = second_plugin\n")

        result = invoke("plugins", settings={})

        assert 1 == result.exit_code
        [line] = result.output.splitlines()
        assert "plugin 'first' is claimed by first 1.0, second 1.0" in line

    def test_a_plugin_that_is_not_installed_is_refused(self) -> None:
        """A misspelt name in TASKD_PLUGINS is an error, and does not lead to an empty server."""
        result = invoke("plugins", settings={"TASKD_PLUGINS": "jwt, taks"})

        assert 1 == result.exit_code
        assert "TASKD_PLUGINS: no plugin 'taks' is installed" in result.output


class TestOutput:
    """Output of plugins is kept apart from the command's own output."""

    @pytest.mark.parametrize(
        "command", [("openapi",), ("token", "alice"), ("migrate", "--sql"), ("migrate",), ("doctor",), ("plugins",)]
    )
    def test_the_output_of_plugins_goes_to_stderr(self, installed: Path, command: tuple[str, ...]) -> None:
        """Stdout has only the command's own output, and the plugin's is not lost."""
        name = "chatty_" + "".join(filter(str.isalpha, "".join(command)))
        settings = {"BETTER_AUTH_SECRET": SECRET}
        make_distribution(installed, name, CHATTY_PLUGIN)

        result = invoke(*command, settings=settings)

        assert "imported" in result.stderr
        assert not {"imported", "asked"} & set(result.stdout.split())
        assert result.stdout

    def test_the_api_document_stays_valid_json(self, installed: Path) -> None:
        """A program that reads stdout finds nothing but JSON."""
        make_distribution(installed, "chatty", CHATTY_PLUGIN)

        result = invoke("openapi", settings={})

        assert "3.1" in json.loads(result.stdout)["openapi"]
        assert ["imported", "asked"] == result.stderr.split()


class TestCommand:
    def test_the_version_is_that_of_the_distribution(self) -> None:
        """`python -m taskd` is the same as `taskd`, and prints the version."""
        ended = run_python("-m", "taskd", "--version", settings={})

        assert (0, f"taskd, version {importlib.metadata.version('taskd-server')}\n") == (ended.returncode, ended.stdout)

    def test_an_older_python_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a checkout that was not installed, one line says which Python is needed, before anything is imported."""
        monkeypatch.setattr(sys, "version_info", (3, 10, 13, "final", 0))

        with pytest.raises(SystemExit, match=r"^taskd: needs Python 3\.11 or later, and this is Python 3\.10$"):
            runpy.run_path(str(Path(taskd.__file__)))

    @pytest.mark.parametrize("option", ["--help", "-h"])
    def test_help_lists_every_command(self, option: str) -> None:
        """The help mentions all commands."""
        result = invoke(option, settings={})

        assert 0 == result.exit_code
        assert [] == [name for name in OWN if f"  {name} " not in result.stdout]

    @pytest.mark.parametrize("command", sorted(OWN))
    def test_every_command_has_help(self, command: str) -> None:
        """The help of a command describes it and each of its options."""
        result = invoke(command, "--help", settings={})

        described: click.Command = resolve_name(OWN[command])
        explained = [option for option in described.params if isinstance(option, click.Option)]
        assert 0 == result.exit_code
        assert " ".join(str(described.help).split()) in " ".join(result.stdout.split())
        assert [] == [option.name for option in explained if not option.help]
