"""`taskd doctor` prints one line for each check, what to do if it fails, and no secret."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import json
import os
import ssl
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import respx
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskd.checks import Check, Outcome
from taskd.cli.examination import examine
from taskd.environment import Environ
from taskd.time_limit import Timeouts
from tests.support.commands import invoke, run_python
from tests.support.databases import SQLitePlace
from tests.support.doctor import PASSWORD, STRONG_SECRET, Report, examined
from tests.support.issuer import JWKS_URL, URL, Issuer, published
from tests.support.passwords import AWKWARD_PASSWORDS, PASSWORDS, SENTINEL
from tests.support.postgres import free_port
from tests.support.processes import make_distribution
from tests.support.proxy import Handler, listening
from tests.support.third_parties import SLEEPS, SWALLOWS, slow_store

pytestmark = pytest.mark.usefixtures("_once")

# Of no user.
NO_GROUP = 64_321

ACME = Path(__file__).parents[2] / "examples" / "acme"
BREAKING_STORE_PLUGIN = f"""
import taskd
from acme_taskd.memory import MemoryStore

class Breaking(MemoryStore):
    async def ping(self):
        raise RuntimeError("{PASSWORD}")

@taskd.hookimpl
def taskd_storage():
    return Breaking()
"""
ROUTES_PLUGIN = """
import taskd
from starlette.routing import Route

@taskd.hookimpl
def taskd_routes():
    return [Route("/livez", lambda request: None)]
"""
SILENT_STORE_PLUGIN = """
import taskd
from acme_taskd.memory import MemoryStore

class Silent(MemoryStore):
    async def ping(self):
        raise taskd.storage.StoreUnavailable("it sleeps")

@taskd.hookimpl
def taskd_storage():
    return Silent()
"""


def responding(content: bytes) -> Handler:
    """Return the handler of a server that responds to each request with *content*."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(content)

    return respond


class TestSettings:
    @pytest.mark.parametrize(
        ("given", "failed"),
        [
            ({"BETTER_AUTH_SECRET": PASSWORD}, ["auth", "settings"]),
            ({"FRONTEND_URL": f"https://u:{PASSWORD}@h"}, ["settings"]),
            ({"TASKD_STORAGE": "nobody"}, ["storage", "settings"]),
            ({"TASKD_AUTH": "nobody"}, ["auth", "settings"]),
            ({"TASKD_PLUGINS": "nobody"}, ["settings"]),
            ({"TASKD_SQL_POOL_SIZE": "many"}, ["storage", "settings"]),
            ({"TASKD_MIGRATE_URL": f"mysql://u:{PASSWORD}@h/d"}, ["storage", "settings"]),
        ],
        ids=lambda value: next(iter(value)),
    )
    def test_a_wrong_setting_is_named(self, served: SQLitePlace, given: Mapping[str, str], failed: list[str]) -> None:
        """The table names the variable, and everything that does not depend on it is checked anyway."""
        report = examined(served.url, **given)

        assert failed == report.failed()
        assert [next(iter(given))] * len(failed) == [report.findings[name].split(":")[0] for name in failed]

    def test_a_broken_env_file_is_one_line(self) -> None:
        """Without settings, there is no table."""
        Path(".env").mkdir()
        result = invoke("doctor", settings={})

        assert (1, "taskd: .env: is a folder, not a file\n") == (result.exit_code, result.output)

    def test_it_is_a_command(self, served: SQLitePlace) -> None:
        """Run as a process, it prints nothing but the table, and its exit status shows whether a check failed."""
        ended = run_python("-m", "taskd", "doctor", settings={"DATABASE_URL": served.url})

        assert (1, "") == (ended.returncode, ended.stderr)
        assert "BETTER_AUTH_SECRET: is not set" in ended.stdout


class TestOptions:
    def test_the_checks_can_be_printed_as_json(self, served: SQLitePlace) -> None:
        """Each has a name, an outcome and a finding, and a remedy unless there is nothing to do."""
        given = {"BETTER_AUTH_SECRET": PASSWORD, "DATABASE_URL": served.url}
        result = invoke("doctor", "--json", settings=given)
        checks = {check["name"]: check for check in json.loads(result.output)["checks"]}

        assert 1 == result.exit_code
        assert ("ok", None) == (checks["tasks"]["outcome"], checks["tasks"]["remedy"])
        assert "failed" == checks["auth"]["outcome"]
        assert "BETTER_AUTH_SECRET" in checks["auth"]["finding"]
        assert "docs/reference/settings.md" in checks["auth"]["remedy"]

    def test_notes_can_count_as_failures(self, served: SQLitePlace) -> None:
        """With --strict, a note ends the command with status 1."""
        given = {"BETTER_AUTH_SECRET": STRONG_SECRET, "DATABASE_URL": served.url}

        assert [0, 1] == [invoke("doctor", *option, settings=given).exit_code for option in ([], ["--strict"])]

    def test_an_address_that_others_can_reach_is_noted(self, served: SQLitePlace) -> None:
        """taskd has no TLS of its own."""
        report = examined(served.url, "--host", "0.0.0.0", "--port", str(free_port()))  # noqa: S104

        assert (0, "note") == (report.exit_code, report.outcomes["listening"])
        assert "without TLS: the port is free" in report.findings["listening"]
        assert "--host 127.0.0.1" in report.remedies["listening"]

    def test_a_free_port_of_this_machine_passes(self, served: SQLitePlace) -> None:
        """Nobody else can reach it."""
        report = examined(served.url, "--host", "127.0.0.1", "--port", str(free_port()))

        assert "ok" == report.outcomes["listening"]

    @pytest.mark.anyio
    async def test_a_port_that_another_program_uses_fails(self, served: SQLitePlace) -> None:
        """The remedy names the option."""
        async with listening(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as port:
            report = await asyncio.to_thread(examined, served.url, "--host", "127.0.0.1", "--port", str(port))

        assert ["listening"] == report.failed()
        assert "choose another port with --port" in report.remedies["listening"]

    @pytest.mark.anyio
    async def test_a_port_that_taskd_uses_passes(self, served: SQLitePlace) -> None:
        """The server that is checked may be running."""
        head = b"HTTP/1.1 200 OK\r\nX-Request-ID: 1\r\nContent-Length: 15\r\n\r\n"
        async with listening(responding(head + b'{"status":"ok"}')) as port:
            report = await asyncio.to_thread(examined, served.url, "--host", "127.0.0.1", "--port", str(port))

        assert "ok" == report.outcomes["listening"]
        assert "a taskd is serving there" in report.findings["listening"]

    def test_a_host_of_another_machine_fails(self, served: SQLitePlace) -> None:
        """The server could not listen there."""
        report = examined(served.url, "--host", "taskd.invalid")

        assert ["listening"] == report.failed()
        assert "Set --host to one of this machine's addresses" in report.remedies["listening"]


class TestSurroundings:
    def test_a_frontend_without_tls_is_noted(self, served: SQLitePlace) -> None:
        """Its users' tokens can be read on the way; pages on this machine have no way to go."""
        report = examined(served.url, FRONTEND_URL="http://app.example.com,http://localhost:3000")

        assert ("note", 0) == (report.outcomes["frontend"], report.exit_code)
        assert "http://app.example.com can be read" in report.findings["frontend"]
        assert "correct FRONTEND_URL" in report.remedies["frontend"]

    def test_a_file_of_secrets_that_anyone_can_read_is_noted(self, served: SQLitePlace) -> None:
        """The command that narrows its mode is in the remedy."""
        file = Path(".env").absolute()
        file.write_text("TASKD_LOG_LEVEL=info")
        file.chmod(0o644)
        noted = examined(served.url)
        file.chmod(0o640)

        assert ("note", f"It may have secrets: chmod o-rwx {file}") == (noted.outcomes[".env"], noted.remedies[".env"])
        assert ".env" not in examined(served.url).outcomes

    def test_the_remedy_for_a_file_of_somebody_else_lets_the_server_read_it(
        self, served: SQLitePlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The group of the server's user is given the file before others lose it."""
        file = Path(".env").absolute()
        file.write_text("TASKD_LOG_LEVEL=info")
        file.chmod(0o644)
        monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
        monkeypatch.setattr(os, "getegid", lambda: NO_GROUP)
        monkeypatch.setattr(os, "getgroups", list)
        remedy = examined(served.url).remedies[".env"]

        assert f"It may have secrets: chgrp {NO_GROUP} {file} && chmod o-rwx {file}" == remedy

    @pytest.mark.parametrize("variable", ["TASKD_QUEUE_TIMEOUT", "TASKD_SEND_TIMEOUT"])
    def test_milliseconds_are_noted(self, served: SQLitePlace, variable: str) -> None:
        """No client waits for that many seconds."""
        report = examined(served.url, **{variable: "500"})

        assert ("note", f"{variable} is 500 seconds") == (report.outcomes["time-outs"], report.findings["time-outs"])


class TestTokens:
    def test_a_missing_secret_is_named(self, served: SQLitePlace) -> None:
        """Without a secret nothing can be signed, but the storage is checked anyway."""
        report = Report.read(invoke("doctor", settings={"DATABASE_URL": served.url}))

        assert (1, ["auth", "settings"]) == (report.exit_code, report.failed())
        assert ("ok", "note") == (report.outcomes["schema"], report.outcomes["frontend"])
        assert report.findings["auth"].startswith(
            "BETTER_AUTH_SECRET: is not set, and neither is BETTER_AUTH_URL: set one of them"
            " (plugin 'jwt' of taskd-server "
        )

    @pytest.mark.parametrize(
        "secret",
        [
            *("x" * 64, "abab" * 16, STRONG_SECRET[:24] * 2, "abcdefghijklmnopqrstuvwxyz0123456789"),
            *("change me, change me, change me, change me", "better-auth-secret-1234567890-abcdef"),
        ],
    )
    def test_a_weak_secret_fails(self, served: SQLitePlace, secret: str) -> None:
        """A secret that is long enough but easy to guess fails, with the command that creates a better one."""
        report = examined(served.url, BETTER_AUTH_SECRET=secret)

        assert ["secret"] == report.failed()
        assert "openssl rand -hex 32" in report.remedies["secret"]
        assert secret not in report.text

    @pytest.mark.parametrize("around", ['"{}"', "{} "])
    def test_a_secret_with_quotes_is_noted(self, served: SQLitePlace, around: str) -> None:
        """The frontend may have read the same line without them."""
        report = examined(served.url, BETTER_AUTH_SECRET=around.format(STRONG_SECRET))

        assert ("note", "it has spaces or quotes around it") == (report.outcomes["secret"], report.findings["secret"])
        assert "BETTER_AUTH_SECRET" in report.remedies["secret"]

    @pytest.mark.parametrize("inside", ["\n", "\u200b", "\xa0"], ids=ascii)
    def test_a_secret_with_invisible_characters_is_noted(self, served: SQLitePlace, inside: str) -> None:
        """Two secrets in one file, for example, are one that the frontend does not have."""
        report = examined(served.url, BETTER_AUTH_SECRET=f"{STRONG_SECRET}{inside}{STRONG_SECRET[::-1]}")

        assert ("note", "it has line breaks or invisible characters in it") == (
            report.outcomes["secret"],
            report.findings["secret"],
        )
        assert "BETTER_AUTH_SECRET" in report.remedies["secret"]

    @pytest.mark.parametrize("variable", ["TASKD_JWT_AUDIENCE", "TASKD_JWT_ISSUER"])
    def test_a_claim_that_no_token_has_is_noted(self, served: SQLitePlace, variable: str) -> None:
        """Better Auth writes an origin without a slash."""
        report = examined(served.url, **{variable: f"{URL}/"})

        assert "note" == report.outcomes["claims"]
        assert f"set {variable}={URL}, or remove it" in report.remedies["claims"]

    @pytest.mark.parametrize("keeps_secret", [True, False])
    def test_the_key_set_is_checked(self, served: SQLitePlace, keeps_secret: bool) -> None:
        """The finding says how many keys there are and for which algorithms, with or without a secret."""
        secret = STRONG_SECRET if keeps_secret else ""
        with published(Issuer(("EdDSA", "ES256", "ES512"))):
            report = examined(served.url, BETTER_AUTH_URL=URL, BETTER_AUTH_SECRET=secret)

        assert [] == report.failed()
        assert ("ok", "3 for ES256, ES512, EdDSA") == (report.outcomes["key set"], report.findings["key set"])
        assert keeps_secret == ("secret" in report.outcomes)

    def test_unusable_keys_are_noted(self, served: SQLitePlace) -> None:
        """Each is listed with the reason."""
        document = Issuer(("EdDSA",)).document()
        document["keys"] += [{"kty": "oct", "k": "AAAA", "kid": "weak"}, {"kty": "EC"}]
        with respx.mock() as router:
            router.get(JWKS_URL).respond(json=document)
            report = examined(served.url, BETTER_AUTH_URL=URL)

        assert ([], "note", "1 for EdDSA") == (
            report.failed(),
            report.outcomes["key set"],
            report.findings["key set"],
        )
        assert (
            "weak: it is a secret, which must not be published; a key without a valid kid: no"
            in report.remedies["key set"]
        )

    @pytest.mark.parametrize(
        ("keys", "remedy"), [([], "Let Better Auth create a key."), ([{"kty": "oct"}], "no token can name it")]
    )
    def test_a_key_set_without_usable_keys_fails(self, served: SQLitePlace, keys: list[object], remedy: str) -> None:
        """The problem is found before the first token arrives."""
        with respx.mock() as router:
            router.get(JWKS_URL).respond(json={"keys": keys})
            report = examined(served.url, BETTER_AUTH_URL=URL)

        assert (["key set"], "it has no usable key") == (report.failed(), report.findings["key set"])
        assert remedy in report.remedies["key set"]

    @pytest.mark.parametrize(
        ("response", "finding"),
        [
            ({"status_code": 404}, "the response is 404"),
            (
                {
                    "status_code": 308,
                    "headers": {"Location": "https://user:hunter2@www.example.com/keys?hunter2#hunter2"},
                },
                "the response is 308, a redirect to https://www.example.com/keys",
            ),
            ({"html": "<h1>Welcome</h1>"}, "the response is not a JSON Web Key Set"),
        ],
    )
    def test_a_key_set_that_cannot_be_fetched_fails(
        self, served: SQLitePlace, response: dict[str, Any], finding: str
    ) -> None:
        """The finding says what was returned instead, and the remedy where to look."""
        with respx.mock() as router:
            router.get(JWKS_URL).respond(**response)
            report = examined(served.url, BETTER_AUTH_URL=URL)

        assert (["key set"], finding) == (report.failed(), report.findings["key set"])
        assert JWKS_URL in report.remedies["key set"]
        assert "TASKD_JWKS_URL" in report.remedies["key set"]

    @pytest.mark.parametrize(
        ("ahead_s", "outcome", "word"), [(-40, "FAILED", "behind"), (50, "FAILED", "ahead"), (9, "ok", "")]
    )
    def test_the_clock_of_the_issuer_is_checked(
        self, served: SQLitePlace, ahead_s: int, outcome: str, word: str
    ) -> None:
        """Tokens from the future are refused, and so are those that have expired."""
        date = email.utils.formatdate(time.time() + ahead_s, usegmt=True)
        with respx.mock() as router:
            router.get(JWKS_URL).respond(json=Issuer(("EdDSA",)).document(), headers={"Date": date})
            report = examined(served.url, BETTER_AUTH_URL=URL)

        assert outcome == report.outcomes["issuer's clock"]
        assert word in report.findings["issuer's clock"]
        assert (outcome == "FAILED") == ("NTP" in report.remedies.get("issuer's clock", ""))

    def test_taskd_is_not_its_own_issuer(self, served: SQLitePlace) -> None:
        """The remedy says whose URL belongs there."""
        with respx.mock() as router:
            headers = {"X-Request-ID": "1"}
            router.get(JWKS_URL).respond(404, json={"detail": "No.", "code": "not_found"}, headers=headers)
            report = examined(served.url, BETTER_AUTH_URL=URL)

        assert (["key set"], f"a taskd responds at {JWKS_URL}, which has no keys") == (
            report.failed(),
            report.findings["key set"],
        )
        assert "Set BETTER_AUTH_URL to the URL of the frontend" in report.remedies["key set"]

    @pytest.mark.anyio
    @pytest.mark.parametrize(("days", "outcome"), [(3, "note"), (30, "ok")])
    async def test_the_certificate_of_the_issuer_is_checked(
        self, served: SQLitePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, outcome: str
    ) -> None:
        """It is noted shortly before it expires."""
        authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        expires = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=days, hours=1)
        authority.issue_cert("127.0.0.1", not_after=expires).configure_cert(tls)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        content = json.dumps(Issuer(("EdDSA",)).document()).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        async with listening(responding(head + content), tls) as port:
            report = await asyncio.to_thread(examined, served.url, BETTER_AUTH_URL=f"https://127.0.0.1:{port}")

        assert (outcome, f"valid for {days} days") == (
            report.outcomes["issuer's tls"],
            report.findings["issuer's tls"][-len(f"valid for {days} days") :],
        )
        assert (outcome == "note") == ("TASKD_JWKS_URL" in report.remedies.get("issuer's tls", ""))

    def test_an_issuer_that_is_down_fails(self, served: SQLitePlace, closed_port: int) -> None:
        """Everything else is checked anyway."""
        report = examined(served.url, BETTER_AUTH_URL=f"http://127.0.0.1:{closed_port}")

        assert ["key set"] == report.failed()
        assert f"http://127.0.0.1:{closed_port}/api/auth/jwks" in report.remedies["key set"]
        assert "ok" == report.outcomes["schema"]


@pytest.fixture
def site(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for installed distributions, which also contains the example package."""
    monkeypatch.syspath_prepend(ACME)
    return installed


async def checks_of(storage: str, timeouts: Timeouts) -> dict[str, Check]:
    """Return the checks of a deployment with the plugin *storage*, within *timeouts*."""
    environ = Environ.of({"BETTER_AUTH_SECRET": STRONG_SECRET, "TASKD_STORAGE": storage})
    # Several checks can have the same name, but only the last of them can fail.
    return {check.name: check async for check in examine(environ, timeouts)}


def failures(checks: Mapping[str, Check]) -> dict[str, str]:
    """Return the findings of the failed checks by name."""
    return {name: check.finding for name, check in checks.items() if check.outcome is Outcome.FAILED}


REHEARSING_STORE_PLUGIN = """
import asyncio

import taskd
from acme_taskd.memory import MemoryStore
from taskd.storage import StoreError, TaskNotFound

class Broken(MemoryStore):
{broken}

class Rehearsing(MemoryStore):
    async def rehearse(self, act):
        await act(Broken())

@taskd.hookimpl
def taskd_storage():
    return Rehearsing()
"""
# What a store does wrong, and what must be said about it.
BROKEN_METHODS = {
    "refuses": ("async def create(self, *args, **more): raise StoreError('full')", "creating a task: full"),
    "quotes": (
        f"async def create(self, *args, **more): raise ValueError('{PASSWORD}')",
        "creating a task: ValueError",
    ),
    "forgets keys": (
        "async def create(self, owner, new, task_id=None, key=None): return await super().create(owner, new)",
        "creating a task again with the same Idempotency-Key: the result is not what was written",
    ),
    "loses": ("async def get(self, owner, task_id): raise TaskNotFound", "reading the task: TaskNotFound"),
    "hides": (
        "async def list(self, owner, query=None): return taskd.queries.TaskPage([], 1, total=0)",
        "listing the tasks: the result is not what was written",
    ),
    "shows all": (
        "async def list(self, owner, query): return await super().list(next(iter(self.tasks))[0], query)",
        "listing the tasks of another user: the result is not what was written",
    ),
    "changes nothing": (
        "async def update(self, owner, task_id, changes, version=None): return await self.get(owner, task_id)",
        "changing the task: the result is not what was written",
    ),
    "toggles nothing": (
        "async def toggle(self, *which): return (await self.get(*which)).at_version(9)",
        "toggling the task: the result is not what was written",
    ),
    "keeps": (
        "async def delete(self, owner, task_id, version=None): pass",
        "reading the task that was deleted: the result is not what was written",
    ),
    "never ends": (f"async def seq(self, owner): {SLEEPS}", "reading the counter of changes: it did not end in time"),
}
ANNOUNCING_WRAPPER = """
import taskd

class Announcing(taskd.storage.StoreWrapper):
    async def create(self, *args, **more):
        raise SystemExit("announced")

@taskd.hookimpl
def taskd_wrap_store(store):
    return Announcing(store)
"""


class TestRehearsals:
    @pytest.mark.parametrize(("method", "finding"), BROKEN_METHODS.values(), ids=BROKEN_METHODS)
    def test_what_users_do_is_tried_out(self, site: Path, method: str, finding: str) -> None:
        """A store that refuses, hides or loses tasks fails, even if everything else about it is all right."""
        name = f"broken_{uuid.uuid4().hex}"
        make_distribution(site, name, REHEARSING_STORE_PLUGIN.format(broken=f"    {method}"))
        timeouts = Timeouts(check_s=0.2) if "in time" in finding else Timeouts()

        assert {"tasks": finding} == failures(asyncio.run(checks_of(name, timeouts)))

    def test_a_store_that_works_passes(self, site: Path) -> None:
        """Any store can be tried out that undoes what is written."""
        make_distribution(site, "working", REHEARSING_STORE_PLUGIN.format(broken="    pass"))

        assert "ok" == examined("sqlite:///never.db", TASKD_STORAGE="working").outcomes["tasks"]

    def test_a_store_that_cannot_be_tried_out_says_so(self, site: Path) -> None:
        """Nothing is written to a store that cannot undo it."""
        make_distribution(site, "memory", "from acme_taskd.memory import taskd_storage")
        report = examined("sqlite:///never.db", TASKD_STORAGE="memory")

        assert ("-", 0) == (report.outcomes["tasks"], report.exit_code)
        assert "cannot try out what users do" in report.findings["tasks"]

    def test_wrappers_announce_nothing(self, site: Path, served: SQLitePlace) -> None:
        """What has not happened appears in no audit log and in no webhook."""
        make_distribution(site, "announcing", ANNOUNCING_WRAPPER)
        report = examined(served.url, TASKD_STORE_WRAPPERS="announcing")

        assert {"ok"} == set(report.outcomes.values())


class TestPlugins:
    def test_a_broken_plugin_is_named(self, site: Path, served: SQLitePlace) -> None:
        """A plugin that cannot be imported keeps the server from starting, and is named in the table."""
        make_distribution(site, "broken", "import no_such_module")
        report = examined(served.url)

        assert ["settings"] == report.failed()
        assert report.findings["settings"].startswith("plugin 'broken' of broken 1.0 cannot be loaded")

    def test_two_plugins_that_do_not_fit_together_are_named(self, site: Path, served: SQLitePlace) -> None:
        """A problem that only shows when the parts are put together is a failure, too."""
        make_distribution(site, "rival", ROUTES_PLUGIN)
        report = examined(served.url)

        assert ["settings"] == report.failed()
        assert "rival" in report.findings["settings"]

    def test_a_store_without_checks_is_pinged(self, site: Path) -> None:
        """It passes if it responds to a ping."""
        source = "from acme_taskd.memory import taskd_storage"
        make_distribution(site, "memory", source)
        report = examined("sqlite:///never.db", TASKD_STORAGE="memory")

        assert ("ok", "it can serve requests", 0) == (
            report.outcomes["ping"],
            report.findings["ping"],
            report.exit_code,
        )

    def test_a_store_that_does_not_respond_fails(self, site: Path) -> None:
        """A store without checks of its own fails if it does not respond."""
        make_distribution(site, "silent", SILENT_STORE_PLUGIN)
        report = examined("sqlite:///never.db", TASKD_STORAGE="silent")

        assert (["ping"], "it sleeps") == (report.failed(), report.findings["ping"])

    def test_a_store_that_raises_an_exception_fails(self, site: Path) -> None:
        """Other checks still run, and the message of the exception is not shown, because it may contain a secret."""
        make_distribution(site, "breaking", BREAKING_STORE_PLUGIN)
        report = examined("sqlite:///never.db", TASKD_STORAGE="breaking")

        assert ["storage"] == report.failed()
        assert "RuntimeError during the checks" == report.findings["storage"]
        assert "ok" == report.outcomes["settings"]

    @pytest.mark.parametrize(
        ("method", "statement", "failed", "finding"),
        [
            ("ping", SLEEPS, "ping", "did not respond to ping in 0 s"),
            ("ping", SWALLOWS, "ping", "did not respond to ping in 0 s"),
            ("ping", "sys.exit()", "ping", "tried to exit in ping"),
            ("close", SLEEPS, "storage", "did not close in 0 s, and will not do so when the server stops, either"),
            ("close", f"raise RuntimeError('{PASSWORD}')", "storage", "failed to close: RuntimeError"),
        ],
    )
    def test_a_store_that_hangs_is_named(
        self, site: Path, method: str, statement: str, failed: str, finding: str
    ) -> None:
        """The other checks run, and the command ends."""
        # Only a call that never ends may reach it.
        timeouts = Timeouts(call_s=0.05, close_s=0.05 if "did not close" in finding else 60)
        name = f"slow_{uuid.uuid4().hex}"
        make_distribution(site, name, slow_store(method, statement=statement))
        checks = asyncio.run(checks_of(name, timeouts))

        assert {failed: f"plugin '{name}' of {name} 1.0 {finding}"} == failures(checks)
        assert Outcome.OK is checks["settings"].outcome

    @pytest.mark.parametrize(
        ("checks", "finding"),
        [
            (SLEEPS, "the checks did not end within 0.05 s"),
            ("raise SystemExit", "SystemExit during the checks"),
            ("raise RuntimeError", "RuntimeError during the checks"),
        ],
    )
    def test_checks_that_do_not_end_are_abandoned(self, site: Path, checks: str, finding: str) -> None:
        """The checks of other plugins still run."""
        source = slow_store().replace(
            "    async def close",
            f"    async def diagnose(self):\n        {checks}\n        yield\n\n    async def close",
        )
        name = f"slow_{uuid.uuid4().hex}"
        make_distribution(site, name, source)
        made = asyncio.run(checks_of(name, Timeouts(check_s=0.05)))

        assert {"storage": finding} == failures(made)
        assert Outcome.OK is made["settings"].outcome

    def test_a_broken_plugin_comes_with_advice(self, site: Path) -> None:
        """The advice is not about the settings, which are correct."""
        make_distribution(site, "broken", "raise RuntimeError('out of order')")
        report = examined("sqlite:///never.db")

        assert "out of order" in report.findings["settings"]
        assert "TASKD_DISABLED_PLUGINS" in report.remedies["settings"]


class TestSecrets:
    @given(
        password=PASSWORDS | AWKWARD_PASSWORDS,
        secret=PASSWORDS,
        parameters=st.sampled_from(["", "?sslmode=verify-full"]),
        is_encoded=st.booleans(),
    )
    @settings(
        deadline=None, database=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    def test_no_secret_is_shown(
        self, closed_port: int, password: str, secret: str, parameters: str, *, is_encoded: bool
    ) -> None:
        """Whatever is wrong, the output contains neither the secret nor the password."""
        written = quote(password, safe="") if is_encoded else password
        url = f"postgresql://u:{written}@127.0.0.1:{closed_port}/d{parameters}"
        # Environment variables cannot contain NUL.
        given = {"BETTER_AUTH_SECRET": (secret * 5).replace("\0", ""), "DATABASE_URL": url.replace("\0", "")}
        report = Report.read(invoke("doctor", settings=given))

        assert 1 == report.exit_code
        assert SENTINEL not in report.text


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    return free_port()
