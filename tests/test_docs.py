"""The documentation is true: its snippets run, and its tables list what there is."""

from __future__ import annotations

import configparser
import re
import secrets
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import environ as environ_config
import pytest
from click.testing import CliRunner

import taskd
from taskd import cli
from taskd.app import api_document
from taskd.settings import Settings, load_settings, read_environ
from taskd.testing import StoreContract
from taskd_jwt.settings import JWTSettings
from taskd_sql.dsn import PostgresAddress
from taskd_sql.settings import SQLSettings
from tests.applications import answer_to
from tests.attacks import ATTACKS, ISSUER
from tests.conftest import SECRET
from tests.issuer import URL, published

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "acme"


def blocks(file: str, language: str) -> list[str]:
    """Return the code blocks of *language* in a file of the documentation."""
    text = (ROOT / file).read_text()
    return [textwrap.dedent(each) for each in re.findall(rf"(?ms)^ *```{language}\n(.*?)^ *```$", text)]


def table(file: str, heading: str, column: int = 0) -> list[str]:
    """Return the cells in a *column* of the table below *heading*, less its head."""
    section = (ROOT / file).read_text().split(f"{heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [row[column] for row in rows[2:]]


@pytest.fixture
def _example(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the example's package importable."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield
    for name in [name for name in sys.modules if name.startswith("acme_taskd")]:
        del sys.modules[name]


# Without what a shell does with their output.
COMMANDS = [
    re.split(" [>|] ", command)[0]
    for file in ("README.md", "docs/clients.md", "docs/configuration.md", "docs/neon.md", "docs/plugins.md")
    for block in blocks(file, "sh")
    for command in block.splitlines()
    if command.startswith("taskd ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_documentation_runs(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options that are shown exist, and the command ends well."""
    served = []
    monkeypatch.setenv("BETTER_AUTH_SECRET", secrets.token_hex(32))
    monkeypatch.setattr("uvicorn.run", lambda app, **_: served.append(app))
    monkeypatch.setattr("uvicorn.Server.run", lambda server: served.append(server.config))

    result = CliRunner().invoke(cli.main, shlex.split(command)[1:])

    assert 0 == result.exit_code, result.output
    assert bool(served) == (command.split()[1] in ("dev", "serve"))


def test_the_documentation_shows_commands() -> None:
    """There is something to run."""
    shown = {command.split()[1] for command in COMMANDS}
    assert {"dev", "serve", "token", "plugins", "migrate", "doctor", "openapi"} == shown


def test_the_api_document_that_is_kept_is_the_one_that_is_served() -> None:
    """A change of the API is seen in docs/openapi.json."""
    kept = (ROOT / "docs" / "openapi.json").read_bytes()

    assert kept == api_document({"TASKD_PLUGINS": "docs,jwt,sql,tasks"}), "run: taskd openapi > docs/openapi.json"


def test_neons_settings_are_read_as_they_stand() -> None:
    """The file `.env` of docs/neon.md, once a secret is put into it, is one with which taskd starts."""
    [shown] = blocks("docs/neon.md", "env")
    Path(".env").write_text(shown.replace("BETTER_AUTH_SECRET=", f"BETTER_AUTH_SECRET={secrets.token_hex(32)}"))
    environ = read_environ()

    taskd.build_app(environ)

    address = load_settings(SQLSettings, environ).address()
    assert isinstance(address, PostgresAddress)
    assert address.is_neon_pooler


def test_better_auth_s_settings_are_read_as_they_stand() -> None:
    """Each file `.env` of docs/better-auth.md, once a secret is put into it, is one with which taskd starts."""
    settings = []
    for shown in blocks("docs/better-auth.md", "env"):
        filled_in = shown.replace("BETTER_AUTH_SECRET=\n", f"BETTER_AUTH_SECRET={secrets.token_hex(32)}\n")
        Path(".env").write_text(filled_in)
        environ = read_environ()
        taskd.build_app(environ)
        settings.append({name for name in ("BETTER_AUTH_URL", "BETTER_AUTH_SECRET") if environ.get(name)})

    assert [{"BETTER_AUTH_URL"}, {"BETTER_AUTH_SECRET"}] == settings


def test_the_command_of_the_figures_is_an_environment_of_tox() -> None:
    """docs/reliability.md names a command that there is, and its table has a row for each fault."""
    [command] = blocks("docs/reliability.md", "sh")
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")

    assert f"testenv:{command.split()[-1]}" in tox.sections()
    assert 14 == len(table("docs/reliability.md", "## Figures"))


def test_every_variable_is_documented() -> None:
    """The table of variables has all that any part declares, and no other."""
    declared = {
        line.split(" ")[0]
        for settings in (Settings, JWTSettings, SQLSettings)
        for line in environ_config.generate_help(settings).splitlines()
    }

    assert declared == {cell.strip("`") for cell in table("docs/configuration.md", "## Variables")}


def test_every_default_is_documented() -> None:
    """The table of variables has the default of each as it is set; where that is none, it may say what is derived."""
    # A set of pairs: two parts may declare the same variable.
    defaults = {
        (line.split(" ")[0], (re.findall(r"\bDefault=(.*)\)$", line) or [None])[0])
        for settings in (Settings, JWTSettings, SQLSettings)
        for line in environ_config.generate_help(settings, display_defaults=True).splitlines()
    }
    cells = zip(*[table("docs/configuration.md", "## Variables", column) for column in (0, 2)], strict=True)
    documented = {(name.strip("`"), said.strip("`") if re.fullmatch("`[^`]*`", said) else None) for name, said in cells}

    assert defaults == documented


def test_an_idle_connection_does_not_keep_neon_awake() -> None:
    """Neon suspends a compute that nobody has been connected to for 300 s: idle connections end long before that."""
    assert load_settings(SQLSettings, {}).idle_timeout_s < 120


def test_the_readme_s_variables_are_among_those() -> None:
    """The README's short table and the example of a .env file name variables that exist."""
    known = {cell.strip("`") for cell in table("docs/configuration.md", "## Variables")}
    short = {name for cell in table("README.md", "## Serve in production") for name in re.findall("[A-Z_]+", cell)}
    example = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert short | example <= known


def test_the_readme_s_blocks_are_the_two_commands_and_a_request() -> None:
    """CI types the README's first three blocks in a fresh clone: serve, request, test."""
    serve, request, test = blocks("README.md", "sh")[:3]

    assert serve.rstrip().endswith("taskd dev")
    assert request.startswith("curl ")
    assert "TOKEN" in request
    assert test.rstrip().endswith("pytest -n auto")


@pytest.mark.parametrize("name", ["memory", "apikey", "summary"])
def test_the_examples_in_the_documentation_are_those_that_are_tested(name: str) -> None:
    """docs/plugins.md shows the files of examples/acme as they are."""
    shown = dict(block.split("\n", 1) for block in blocks("docs/plugins.md", "python"))

    assert (EXAMPLE / "acme_taskd" / f"{name}.py").read_text() == shown[f"# acme_taskd/{name}.py"]


def test_the_example_s_entry_points_are_as_shown() -> None:
    """docs/plugins.md shows the entry points of examples/acme as they are."""
    [shown] = blocks("docs/plugins.md", "toml")

    assert shown in (EXAMPLE / "pyproject.toml").read_text()


@pytest.mark.usefixtures("_example")
def test_the_test_in_the_documentation_is_a_test() -> None:
    """The four lines of a plugin's test define a class of tests that pytest runs."""
    module: dict[str, Any] = {}
    exec(blocks("docs/plugins.md", "python")[-1], module)  # noqa: S102  it is our own documentation

    assert issubclass(module["TestMemoryStore"], StoreContract)


@pytest.mark.usefixtures("_example")
class TestExampleStore(StoreContract):
    """The example's store keeps the contract."""

    @pytest.fixture
    def store(self) -> taskd.TaskStore:
        from acme_taskd.memory import MemoryStore  # noqa: PLC0415  importable only here

        return MemoryStore()


@pytest.mark.anyio
async def test_every_reason_for_a_401_is_documented() -> None:
    """docs/better-auth.md has each sentence that a bad token earns, with one lane open or both, and no other."""
    documented = {in_general(cell) for cell in table("docs/better-auth.md", "## What a 401 says")}
    said = set()
    with published(ISSUER):
        for more in ({}, {"BETTER_AUTH_URL": URL}):
            app = taskd.build_app({"BETTER_AUTH_SECRET": SECRET, **more})
            said |= {in_general((await answer_to(app, token)).json()["detail"]) for token, _ in ATTACKS.values()}

    # The others are about the header and the path.
    assert said <= documented
    assert 4 == len(documented - said), documented - said


VARYING = (
    r"\b(exp|nbf|iat|sub|aud|iss)\b(?= claim(?:\.| must be a number))"
    r"|(?<=its )(nbf|iat)"
    r"|\d+ s\b"
    r"|(?<=must not have )\w+"
    r"|(?<=The token's )(header|payload|signature)(?= is malformed)"
    r"|(?<=malformed: )(?!it is not a signed JWT).*"
    r"|(?<=The token is signed with )\w+(?=: set )"
    r"|(?<=The token's audience ).*"
    r"|(?<=The token's issuer ).*"
)


def in_general(sentence: str) -> str:
    """Return *sentence* with what differs from case to case made equal."""
    return re.sub(VARYING, "…", sentence)
