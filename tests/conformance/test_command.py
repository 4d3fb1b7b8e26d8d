"""`taskd conformance`, run against servers as people run it in CI."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import httpx
import pytest
import respx
from click.testing import Result

from taskd.cli.conformance import conformance as command
from taskd.conformance.section import Section
from taskd.testing import RunningServer, running_server
from tests.conformance.users import ME, OTHER, bearer, token
from tests.conftest import ORIGIN, PATIENT, SECRET
from tests.support.commands import invoke
from tests.support.documentation import ROOT, blocks, table
from tests.support.postgres import free_port
from tests.support.processes import child_environ, make_distribution

TOKENS = {"TASKD_TOKEN": token(ME), "TASKD_OTHER_TOKEN": token(OTHER)}
NOWHERE = "http://tasks.example.com"


@pytest.fixture
def server(environ: dict[str, str]) -> Iterator[RunningServer]:
    """A server in its own process, over each database."""
    with running_server(child_environ(environ)) as running:
        yield running


@pytest.fixture
def sqlite_server(embedded_child: dict[str, str]) -> Iterator[RunningServer]:
    """A server in its own process, for tests that do not depend on the store."""
    with running_server(embedded_child) as running:
        yield running


def check(*arguments: str, settings: Mapping[str, str]) -> Result:
    """Run the command with *arguments*, however slow the machine is."""
    return invoke("conformance", *arguments, "--timeout", "300", settings=settings)


def rows(result: Result) -> dict[str, list[int]]:
    """Return how many checks passed, failed and were skipped, by section."""
    table = result.output.split("\n\n")[0].splitlines()[1:]
    cells = [re.split(" {2,}", line) for line in table]
    return {name: [int(count) for count in counts] for name, *counts in cells}


def tasks_of(url: str, user: str) -> list[str]:
    """Return the titles of a user's tasks."""
    response = httpx.get(f"{url}/api/{user}/tasks", headers={"Authorization": bearer(user)})
    return [task["title"] for task in response.json()]


def test_taskd_keeps_the_whole_contract(server: RunningServer) -> None:
    """Nothing fails and nothing is skipped, and the users have the same tasks as before."""
    before = {user: tasks_of(server.url, user) for user in (ME, OTHER)}

    result = check(server.url, "--origin", ORIGIN, settings=TOKENS)

    assert 0 == result.exit_code, result.output
    assert [section.value for section in Section] == list(rows(result))
    assert all(passed > 0 and failed == skipped == 0 for passed, failed, skipped in rows(result).values())
    assert before == {user: tasks_of(server.url, user) for user in (ME, OTHER)}


def test_a_user_keeps_their_own_tasks(sqlite_server: RunningServer) -> None:
    """Tasks that were there before are neither changed nor deleted."""
    headers = {"Authorization": bearer(ME)}
    path = f"{sqlite_server.url}/api/{ME}/tasks"
    for body in ({"title": "mine"}, {"title": "taskd conformance is nice", "tags": ["conformance"], "completed": True}):
        httpx.post(path, json=body, headers=headers)
    before = httpx.get(path, headers=headers).json()

    result = check(sqlite_server.url, "--section", "lists", settings=TOKENS)

    assert 0 == result.exit_code, result.output
    assert before == httpx.get(path, headers=headers).json()


def test_what_cannot_be_checked_is_skipped(sqlite_server: RunningServer) -> None:
    """The output says what is missing; nothing fails."""
    sections = [argument for name in ("task", "who-may", "headers") for argument in ("--section", name)]
    result = check(sqlite_server.url, *sections, settings={"TASKD_TOKEN": token(ME)})

    assert 0 == result.exit_code, result.output
    assert {"Who may": 4, "Headers": 3} == {name: counts[2] for name, counts in rows(result).items() if counts[2]}
    assert "\nWho may: 4 skipped: needs the token of another user\n" in result.output
    assert "\nHeaders: 3 skipped: needs an origin that the server allows\n" in result.output


def test_a_failure_shows_the_promise_the_request_and_the_response(sqlite_server: RunningServer) -> None:
    """A promise is broken here, because the server was never told of this origin."""
    arguments = ("--section", "headers", "--origin", "https://unknown.example.com")
    result = check(sqlite_server.url, *arguments, settings=TOKENS)

    assert 1 == result.exit_code
    assert [4, 2, 0] == rows(result)["Headers"]
    assert "\nHeaders: A preflight of the frontend allows each method" in result.output
    assert "\n  expected Access-Control-Allow-Origin: 'https://unknown.example.com', not nothing\n" in result.output
    assert f"\n  request   GET /api/{ME}/tasks" in result.output or "\n  request   GET /livez\n" in result.output
    assert "\n            origin: https://unknown.example.com\n" in result.output
    assert "\n  response  200\n" in result.output
    assert not any(part in result.output for part in token(ME).split("."))


def test_sections_can_be_selected(sqlite_server: RunningServer) -> None:
    """Only the checks of these sections are run."""
    arguments = ("--section", "errors", "--section", "task")
    result = check(sqlite_server.url, *arguments, settings=TOKENS)

    assert 0 == result.exit_code, result.output
    assert {"The task", "Errors"} == set(rows(result))


def test_programs_can_read_the_results(sqlite_server: RunningServer) -> None:
    """The output is JSON with a result for each check."""
    result = check(sqlite_server.url, "--json", "--section", "who-may", settings={"TASKD_TOKEN": token(ME)})
    read = json.loads(result.output)

    [section] = read["sections"]
    assert ("Who may", 0, 4) == (section["section"], section["failed"], section["skipped"])
    assert section["passed"] + section["skipped"] == len(read["checks"])
    assert {"section", "promise", "outcome", "reason", "request", "response"} == set(read["checks"][0])
    assert 0 == read["leftovers"]


def test_tokens_can_be_in_files(sqlite_server: RunningServer) -> None:
    """Then neither the command line nor the environment has them."""
    for user in (ME, OTHER):
        Path(user).write_text(f"{token(user)}\n")
    files = ("--token-file", ME, "--other-token-file", OTHER)
    result = check(sqlite_server.url, *files, "--section", "who-may", settings={})

    assert 0 == result.exit_code, result.output
    assert 0 == rows(result)["Who may"][2]


def test_other_credentials_can_be_sent(tmp_path: Path) -> None:
    """A server with API keys and a store of its own passes; the checks that are about tokens are skipped."""
    keys = {user: f"{user}-{'k' * 32}" for user in (ME, OTHER)}
    settings = {
        "TASKD_AUTH": "apikey",
        "TASKD_STORAGE": "memory",
        "ACME_KEYS": ",".join(f"{user}:{key}" for user, key in keys.items()),
        **PATIENT,
    }
    for name in ("apikey", "memory"):
        source = (ROOT / "examples" / "acme" / "acme_taskd" / f"{name}.py").read_text()
        settings |= make_distribution(tmp_path / "site", name, source)
    with running_server(child_environ(settings)) as running:
        arguments = ("--header", "X-API-Key", "--user", ME, "--other-user", OTHER)
        given = {"TASKD_TOKEN": keys[ME], "TASKD_OTHER_TOKEN": keys[OTHER]}
        result = check(running.url, *arguments, settings=given)

    assert 0 == result.exit_code, result.output
    assert "\nWho may: 9 skipped: applies only to Authorization: Bearer\n" in result.output


def refusal(*arguments: str, **settings: str) -> str:
    """Return the last line of the command's output, which must say why it cannot check a server."""
    result = check(*arguments, settings=settings)
    assert 2 == result.exit_code, result.output
    assert token(ME) not in result.output
    return result.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "settings", "expected"),
    [
        (["http://127.0.0.1:8000"], {}, "A token is needed: set TASKD_TOKEN, or use --token-file."),
        (["127.0.0.1:8000"], TOKENS, "must be the address of a server, such as http://127.0.0.1:8000"),
        (["http://alice:x@127.0.0.1"], TOKENS, "must be the address of a server, such as http://127.0.0.1:8000"),
        ([NOWHERE], {"TASKD_TOKEN": "opaque"}, "does not say whose it is: use --user."),
        ([NOWHERE], {**TOKENS, "TASKD_OTHER_TOKEN": "opaque"}, "does not say whose it is: use --other-user."),
        ([NOWHERE], {"TASKD_TOKEN": "two words"}, "without spaces: use --header to send another scheme."),
        (
            ["--header", "X-API-Key", NOWHERE],
            {"TASKD_TOKEN": "two\nlines"},
            "visible ASCII characters and single spaces.",
        ),
        ([NOWHERE], {**TOKENS, "TASKD_OTHER_TOKEN": token(ME)}, "The other token must be that of another user."),
        ([NOWHERE, "--user", "\udcff"], TOKENS, "A user's id must be text in UTF-8."),
    ],
    ids=["no token", "no scheme", "password", "opaque", "other opaque", "spaces", "lines", "same user", "no UTF-8"],
)
def test_wrong_usage_is_refused(arguments: list[str], settings: dict[str, str], expected: str) -> None:
    """The last line says what is missing or wrong, without a token."""
    assert expected in refusal(*arguments, **settings)


def test_a_header_may_have_another_scheme(respx_mock: respx.MockRouter) -> None:
    """With `--header`, the value is sent as it is."""
    route = respx_mock.get(url__startswith=NOWHERE).mock(return_value=httpx.Response(502))

    refusal("--header", "Authorization", "--user", ME, NOWHERE, TASKD_TOKEN="Basic YWxpY2U6c2VjcmV0")

    sent = {call.request.headers.get("Authorization") for call in route.calls}
    assert "Basic YWxpY2U6c2VjcmV0" in sent


@pytest.mark.parametrize("host", ["127.0.0.1", "xn--a.example", "a..b"])
def test_a_server_that_cannot_be_reached_is_named(host: str) -> None:
    """One line says which address was tried."""
    url = f"http://{host}:{free_port()}"

    assert refusal(url, **TOKENS).startswith(f"taskd: cannot reach {url}: ")


def test_a_wrong_path_is_reported(sqlite_server: RunningServer) -> None:
    """One line says where the tasks were looked for."""
    expected = f"taskd: there is nothing at /api/alice/tasks and /livez: is {sqlite_server.url}/api a server that keeps"

    assert refusal(f"{sqlite_server.url}/api", **TOKENS).startswith(expected)


def test_a_refused_token_is_reported(sqlite_server: RunningServer) -> None:
    """One line has the server's reason."""
    wrong = token(ME)[:-8] + "AAAAAAAA"
    said = refusal(sqlite_server.url, TASKD_TOKEN=wrong)

    assert said.startswith("taskd: the server refuses the credentials of 'alice': ")
    assert "signature" in said
    assert wrong not in said


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (
            httpx.Response(404, html="<h1>Not found</h1>"),
            "nothing at /api/alice/tasks and /livez: is http://tasks.example.com a server that keeps the contract?",
        ),
        (
            httpx.Response(301, headers={"Location": "https://x.example"}),
            "redirects GET /api/alice/tasks to https://x.exam",
        ),
        (httpx.Response(502, text="Bad \x1b[2Jgateway"), "GET /api/alice/tasks with 502: Bad \\x1b[2Jgateway"),
    ],
    ids=["404", "301", "502"],
)
def test_another_server_is_recognized(response: httpx.Response, expected: str, respx_mock: respx.MockRouter) -> None:
    """One line says what is at the address."""
    respx_mock.get(url__startswith=NOWHERE).mock(return_value=response)

    said = refusal(NOWHERE, **TOKENS)

    assert said.startswith("taskd: ")
    assert expected in said


def test_the_guide_works(sqlite_server: RunningServer) -> None:
    """The commands of docs/guides/conformance.md pass in a terminal beside a server."""
    [shown, *_] = blocks("docs/guides/conformance.md", "sh")
    script = shown.replace("http://127.0.0.1:8000", sqlite_server.url).replace("https://app.example.com", ORIGIN)
    environ = child_environ({"BETTER_AUTH_SECRET": SECRET})
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    ran = subprocess.run(["bash", "-ec", script], env=environ, capture_output=True, text=True, check=False)

    assert 0 == ran.returncode, ran.stdout + ran.stderr
    assert ran.stdout.startswith("section ")


def test_the_options_are_documented() -> None:
    """docs/reference/command-line.md lists them all, and every section by its name."""
    page, heading = "docs/reference/command-line.md", "## taskd conformance"
    documented = [cell.strip("`") for cell in table(page, heading) if cell.startswith("`--")]
    [sections] = [cell for cell in table(page, heading, 1) if cell.startswith("check only")]

    assert [parameter.opts[0] for parameter in command.params if isinstance(parameter, click.Option)] == documented
    assert [section.option for section in Section] == re.findall("`([a-z-]+)`", sections)
