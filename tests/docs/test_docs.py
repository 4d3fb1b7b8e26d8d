"""The documentation is correct: its snippets run, and its tables are complete."""

from __future__ import annotations

import configparser
import json
import re
import secrets
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

import taskd
from taskd.application import Application
from taskd.cli import main as cli
from taskd.server.limits import Limits
from taskd.settings import load_settings, read_environ
from taskd.storage import TaskStore
from taskd.testing import StoreContract
from taskd_sql.settings import SQLSettings
from taskd_sql.url import PostgresURL
from tests.conftest import SECRET
from tests.support.applications import build_verifying, response_to
from tests.support.attacks import ATTACKS, EAGER, ISSUER
from tests.support.documentation import ROOT, blocks, table
from tests.support.issuer import URL, published
from tests.support.settings_reference import PAGE, PARTS, declared, written

EXAMPLE = ROOT / "examples" / "acme"
DOCS = ROOT / "docs"


@pytest.fixture
def _example(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the example package importable."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield
    for name in [name for name in sys.modules if name.startswith("acme_taskd")]:
        del sys.modules[name]


def commands(block: str) -> list[str]:
    """Return the taskd commands in a *block* of shell commands, without redirections and pipes."""
    parts = [part.removeprefix(".venv/bin/") for line in block.splitlines() for part in line.split(" && ")]
    return [re.split(" [>|] ", part)[0] for part in parts if part.startswith("taskd ")]


# The tutorials have their own tests, and so has the guide whose commands need a running server.
PAGES = [
    "README.md",
    *(
        str(path.relative_to(ROOT))
        for path in sorted([*DOCS.glob("guides/*.md"), *DOCS.glob("reference/*.md")])
        if path.name != "conformance.md"
    ),
]
ALL_PAGES = [
    *(path.name for path in sorted(ROOT.glob("*.md"))),
    *(str(path.relative_to(ROOT)) for path in sorted(DOCS.rglob("*.md"))),
]
VARIABLES = {setting["var_name"] for part in PARTS.values() for setting in declared(part)}
COMMANDS = [shown for page in PAGES for block in blocks(page, "sh") if (shown := commands(block))]


@pytest.mark.parametrize("block", COMMANDS, ids="; ".join)
def test_the_commands_in_the_documentation_run(block: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All options exist, and each command succeeds after those that come before it."""
    served = []
    monkeypatch.setenv("BETTER_AUTH_SECRET", secrets.token_hex(32))
    monkeypatch.setattr("taskd.cli.serve.run_server", lambda app, *_, **__: served.append(app))
    monkeypatch.setattr("taskd.cli.dev.serve_here", lambda app, *_: served.append(app))

    for command in block:
        result = CliRunner().invoke(cli.main, shlex.split(command)[1:])

        assert 0 == result.exit_code, result.output
        assert bool(served) == (command.split()[1] in ("dev", "serve"))


def test_the_documentation_contains_commands() -> None:
    """Otherwise, there would be nothing to run."""
    shown = {command.split()[1] for block in COMMANDS for command in block}
    assert {"config", "dev", "serve", "token", "plugins", "migrate", "doctor", "new", "openapi"} == shown


@pytest.mark.parametrize("page", ["README.md", "docs/guides/neon.md"])
def test_a_deployment_is_prepared_before_it_serves(page: str) -> None:
    """If the commands are typed in order, the tables exist and have been checked when taskd starts."""
    assert ["taskd migrate", "taskd doctor", "taskd serve"] in [
        [" ".join(command.split()[:2]) for command in commands(block)] for block in blocks(page, "sh")
    ]


def test_the_readme_uses_the_installed_command() -> None:
    """No command in the README needs an environment that it does not activate."""
    lines = [line for block in blocks("README.md", "sh") for line in block.splitlines()]

    assert [] == [line for line in lines if re.search(r"(^|&& )(taskd|pip|pytest)\b", line)]


def test_the_stored_api_document_is_up_to_date() -> None:
    """Every change to the API shows up in docs/reference/openapi.json."""
    kept = (ROOT / "docs" / "reference" / "openapi.json").read_bytes()

    application = Application.assemble({"TASKD_PLUGINS": "docs,jwt,sql,tasks"}, verifies_credentials=False)
    assert kept == application.document, "run: taskd openapi > docs/reference/openapi.json"


def test_the_endpoints_are_those_of_the_api_document() -> None:
    """docs/reference/http.md has the method, path, summary and statuses of each operation on tasks."""
    document = json.loads((DOCS / "reference" / "openapi.json").read_bytes())
    operations = [
        (f"`{method.upper()} {path}`", operation["summary"], ", ".join(own_statuses(operation)))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "tasks" in operation.get("tags", ())
    ]

    page = "docs/reference/http.md"
    assert operations == list(zip(*[table(page, "## Endpoints", column) for column in range(3)], strict=True))
    assert 6 == len(operations)


def own_statuses(operation: Any) -> list[str]:
    """Return the statuses of *operation* that are not errors."""
    return [status for status in operation["responses"] if status < "400"]


def test_neon_s_settings_are_valid() -> None:
    """taskd starts with the `.env` file from docs/guides/neon.md, once a secret has been filled in."""
    [shown] = blocks("docs/guides/neon.md", "env")
    Path(".env").write_text(shown.replace("BETTER_AUTH_SECRET=", f"BETTER_AUTH_SECRET={secrets.token_hex(32)}"))
    environ = read_environ()

    taskd.build_app(environ)

    address = load_settings(SQLSettings, environ).url()
    assert isinstance(address, PostgresURL)
    assert address.is_neon_pooler


def test_better_auth_s_settings_are_valid() -> None:
    """taskd starts with each `.env` file from docs/guides/better-auth.md, once a secret has been filled in."""
    settings = []
    for shown in blocks("docs/guides/better-auth.md", "env"):
        filled_in = shown.replace("BETTER_AUTH_SECRET=\n", f"BETTER_AUTH_SECRET={secrets.token_hex(32)}\n")
        Path(".env").write_text(filled_in)
        environ = read_environ()
        taskd.build_app(environ)
        settings.append({name for name in ("BETTER_AUTH_URL", "BETTER_AUTH_SECRET") if environ.get(name)})

    assert [{"BETTER_AUTH_URL"}, {"BETTER_AUTH_SECRET"}] == settings


def test_the_command_for_the_figures_is_a_tox_environment() -> None:
    """The command in docs/explanation/reliability.md exists, and its table has a row for each fault."""
    command = blocks("docs/explanation/reliability.md", "sh")[0]

    assert command.split()[-1] in tox_environments()
    assert 14 == len(table("docs/explanation/reliability.md", "## Figures"))


@pytest.mark.parametrize("page", [path for path in ALL_PAGES if "tox -e " in (ROOT / path).read_text()])
def test_each_tox_environment_in_the_documentation_exists(page: str) -> None:
    """Every `tox -e NAME` in the documentation works."""
    named = set(re.findall(r"\btox -e ([\w-]+)", (ROOT / page).read_text()))

    assert set() == named - tox_environments()


def tox_environments() -> set[str]:
    """Return the names of the environments in tox.ini: those with a section, and one for each Python."""
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    [versions] = re.findall(r"py\{([\d,]+)\}", tox["tox"]["env_list"])
    sections = {name.removeprefix("testenv:") for name in tox.sections() if name.startswith("testenv:")}
    return sections | {f"py{version}" for version in versions.split(",")}


def test_the_limits_on_connections_are_documented() -> None:
    """docs/explanation/reliability.md lists each limit with its value, and names a benchmark that exists."""
    limits = Limits()
    kib, mib = 1024, 1024 * 1024
    expected = [
        f"{limits.head_bytes // kib} KiB",
        f"{limits.headers}",
        f"{limits.head_bytes // kib} KiB",
        f"{limits.held_bytes // kib} KiB",
        f"{limits.head_timeout_s:.0f} s",
        f"{limits.body_timeout_s:.0f} s",
        f"{limits.body_rate} B/s",
        f"{limits.send_timeout_s:.0f} s",
        f"{limits.send_rate} B/s",
        f"{limits.linger_timeout_s:.0f} s",
        f"{limits.linger_total_s:.0f} s",
        f"{limits.unsent_bytes // mib} MiB",
        f"{limits.stall_s:.0f} s",
    ]
    heading = "## Slow and hostile clients"
    [command] = blocks("docs/explanation/reliability.md", "sh")[1:]

    assert expected == table("docs/explanation/reliability.md", heading, 1)[: len(expected)]
    assert len(expected) == len(attrs.fields(Limits)) + 1, "trailers share the limit of heads; all others have one row"
    assert (ROOT / f"{command.split()[2].replace('.', '/')}.py").is_file()


def test_the_tables_of_settings_are_up_to_date() -> None:
    """docs/reference/settings.md has each variable with its help text and its default."""
    page = PAGE.read_text()

    assert page == written(page), "run: python .ci/update_reference.py"
    assert VARIABLES == set(re.findall(r"(?m)^\| `([A-Z_]+)`", page))


def test_an_idle_connection_is_closed_before_neon_cuts_it() -> None:
    """Neon suspends a compute after 300 s without queries; idle connections are closed long before that."""
    assert load_settings(SQLSettings, {}).idle_timeout_s < 120


def test_the_readme_s_variables_exist() -> None:
    """So do those in the example of a .env file."""
    short = {name for cell in table("README.md", "## Serve in production") for name in re.findall("[A-Z_]+", cell)}
    example = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert short | example <= VARIABLES


def test_the_readme_s_blocks_are_those_that_ci_runs() -> None:
    """CI runs the README's blocks in a fresh clone: serve, send requests, test, and prepare for production."""
    serve, request, test, deploy = blocks("README.md", "sh")

    assert serve.rstrip().endswith("taskd dev")
    assert request.startswith("curl ")
    assert "TOKEN" in request
    assert test.rstrip().endswith("pytest -n auto")
    assert "taskd serve" in deploy


# Each block that begins with the name of a file, on each page that may show an example.
NAMED = [
    pytest.param(page, *found.groups(), id=f"{page}: {found[1]}")
    for page in [*PAGES, *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("examples/*/README.md")))]
    for language in ("python", "toml", "lua", "typescript", "tsx")
    for block in blocks(page, language)
    if (found := re.match(r"(?:#|--|//) ([\w./-]+\.\w+)\n(.*)", block, re.DOTALL))
]


@pytest.mark.parametrize(("page", "name", "shown"), NAMED)
def test_the_examples_in_the_documentation_are_the_files_that_run(page: str, name: str, shown: str) -> None:
    """A block that begins with the name of a file is that file, or a part of it, unchanged, in one of the examples."""
    files = [path.read_text() for pattern in (f"examples/{name}", f"examples/*/{name}") for path in ROOT.glob(pattern)]

    assert any(shown in file for file in files), f"{page} shows a {name} that no example has"


def test_the_documentation_shows_examples() -> None:
    """Otherwise, there would be nothing to compare."""
    shown = {each.values[1] for each in NAMED}

    assert {"acme_taskd/memory.py", "acme_taskd/apikey.py", "acme_taskd/summary.py", "tests/test_store.py"} <= shown
    assert "docs/guides/plugin-examples.md" in {each.values[0] for each in NAMED}


@pytest.mark.parametrize("page", PAGES)
def test_the_entry_points_in_the_documentation_are_those_of_the_examples(page: str) -> None:
    """A block with entry points is part of the `pyproject.toml` of an example."""
    projects = [path.read_text() for path in ROOT.glob("examples/*/pyproject.toml")]
    shown = [block for block in blocks(page, "toml") if "entry-points" in block]

    assert [] == [block for block in shown if not any(block in project for project in projects)]


@pytest.mark.parametrize("project", sorted(ROOT.glob("examples/*/pyproject.toml")), ids=lambda path: path.parent.name)
def test_each_example_has_a_page(project: Path) -> None:
    """The documentation says what each distribution in examples/ is for."""
    folder = f"examples/{project.parent.name}"

    assert any(folder in path.read_text() for path in DOCS.rglob("*.md"))


@pytest.mark.usefixtures("_example")
class TestExampleStore(StoreContract):
    """The example store passes the contract."""

    @pytest.fixture
    def store(self) -> TaskStore:
        from acme_taskd.memory import MemoryStore  # noqa: PLC0415  importable only here

        return MemoryStore()


@pytest.mark.anyio
async def test_every_reason_for_a_401_is_documented() -> None:
    """docs/guides/better-auth.md has each message for an invalid token, and no other."""
    documented = {in_general(cell) for cell in table("docs/guides/better-auth.md", "## What a 401 says")}
    said = set()
    with published(ISSUER):
        for more in ({}, {"BETTER_AUTH_URL": URL}):
            app = build_verifying({"BETTER_AUTH_SECRET": SECRET, **more}, EAGER)
            said |= {in_general((await response_to(app, token)).json()["detail"]) for token, _ in ATTACKS.values()}

    # The others concern the header and the path.
    assert said <= documented
    assert 5 == len(documented - said), documented - said


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
    """Return *sentence* with placeholders for the parts that vary."""
    return re.sub(VARYING, "…", sentence)
