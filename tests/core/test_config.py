"""`taskd config`: which settings are in force, where they are from, and that no secret is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taskd.cli.config import shown
from taskd.environment import Declaration
from tests.conftest import SECRET
from tests.support.commands import invoke
from tests.support.third_parties import Site

PASSWORD = "hunter2"
URL = f"postgresql://alice:{PASSWORD}@db.example.com:5433/tasks?sslmode=require"
# Reads one setting that it declares as a secret, one that it declares as none, one whose name gives it away, and one
# that it does not declare.
PLUGIN = """
import environ as environ_config
from taskd.settings import Secret, load_settings

@environ_config.config(prefix="ACME", frozen=True)
class AcmeSettings:
    users = environ_config.var(None, converter=lambda text: {"alice": [Secret(text)]} if text else {})
    region = environ_config.var("eu")
    api_key = environ_config.var(None)

@hookimpl
def taskd_routes(environ):
    load_settings(AcmeSettings, environ)
    environ.get("ACME_OTHER")
    return []
"""


def settings_of(result: Any) -> dict[str, dict[str, tuple[str | None, str, str | None]]]:
    """Return the values of all settings, with their sources and paths, by part and name."""
    return {
        part: {each["name"]: (each["value"], each["source"], each["path"]) for each in settings}
        for part, settings in json.loads(result.stdout).items()
    }


def test_each_value_is_shown_with_its_source(tmp_path: Path) -> None:
    """It is from the environment, from `.env`, from a file of its own, or a default."""
    Path(".env").write_text(f"DATABASE_URL={URL}\nTASKD_AUTH=jwt\n")
    (tmp_path / "secret").write_text(SECRET)
    result = invoke(
        "config", "--json", settings={"BETTER_AUTH_SECRET_FILE": f"{tmp_path}/secret", "TASKD_STORAGE": "sql"}
    )
    found, dotenv = settings_of(result), str(Path(".env").absolute())

    assert 0 == result.exit_code
    assert {
        "TASKD_AUTH": ("jwt", ".env", dotenv),
        "TASKD_STORAGE": ("sql", "environment", None),
        "TASKD_LOG_LEVEL": ("info", "default", None),
        "FRONTEND_URL": (None, None, None),
    }.items() <= found["server"].items()
    assert (URL.replace(PASSWORD, "***"), ".env", dotenv) == found["sql"]["DATABASE_URL"]
    assert ("(hidden)", "file", f"{tmp_path}/secret") == found["jwt"]["BETTER_AUTH_SECRET"]
    assert not [secret for secret in (SECRET, PASSWORD) if secret in result.output]


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_a_secret_in_place_of_the_name_of_a_file_is_hidden(options: tuple[str, ...]) -> None:
    """The name of a file is shown, but not a value that is none: it may be the secret itself."""
    result = invoke("config", *options, settings={"BETTER_AUTH_SECRET_FILE": SECRET})

    assert 1 == result.exit_code
    assert "BETTER_AUTH_SECRET_FILE" in result.output
    assert SECRET not in result.output


def test_people_get_a_table() -> None:
    """There is a group for the server, and one for each plugin that has settings."""
    result = invoke("config", settings={"BETTER_AUTH_SECRET": SECRET, "TASKD_QUEUE_TIMEOUT": "2"})
    lines = [line.split() for line in result.output.splitlines()]

    assert ["TASKD_QUEUE_TIMEOUT", "2", "environment"] in lines
    assert ["DATABASE_URL", "sqlite:///taskd.db", "default"] in lines
    assert ["BETTER_AUTH_SECRET", "(hidden)", "environment"] in lines
    assert ["TASKD_JWKS_URL", "-", "not", "set"] in lines
    assert [["server"], ["jwt"], ["sql"]] == [line for line in lines if len(line) == 1]


def test_the_settings_of_third_parties_are_listed(site: Site) -> None:
    """A value is only shown if its plugin has declared it, and not as a secret."""
    site.install("acme", PLUGIN)
    names = ("ACME_USERS", "ACME_REGION", "ACME_API_KEY", "ACME_OTHER")
    result = invoke(
        "config", "--json", settings={"BETTER_AUTH_SECRET": SECRET, **{name: f"{name}-x" for name in names}}
    )

    assert {
        "ACME_USERS": "(hidden)",
        "ACME_REGION": "ACME_REGION-x",
        "ACME_API_KEY": "(hidden)",
        "ACME_OTHER": "(hidden)",
    } == {name: value for name, (value, *_) in settings_of(result)["acme"].items()}


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"BETTER_AUTH_SECRET": "short"}, "BETTER_AUTH_SECRET: must have at least 32 bytes"),
        ({}, "BETTER_AUTH_SECRET: is not set"),
        ({"TASKD_LOG_LEVEL": "loud"}, "TASKD_LOG_LEVEL: must be debug or"),
        ({"BETTER_AUTH_SECRET_FILE": "/nowhere"}, "BETTER_AUTH_SECRET_FILE: /nowhere cannot be read"),
    ],
)
def test_a_wrong_setting_does_not_hide_the_others(environ: dict[str, str], message: str) -> None:
    """The last line says what is wrong; nothing is shown of a part whose settings could not be read."""
    result = invoke("config", settings={"DATABASE_URL": "sqlite:///other.db", "TASKD_SQL_POOLER": "no", **environ})

    assert 1 == result.exit_code
    assert result.output.splitlines()[-1].startswith(f"taskd: {message}")
    assert "short" not in result.output
    if "TASKD_LOG_LEVEL" not in environ:
        assert "sqlite:///other.db" in result.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"postgresql://alice:{PASSWORD}@h/d?sslmode=disable", "postgresql://alice:***@h/d?sslmode=disable"),
        (f"postgresql://alice@h/d?password={PASSWORD}&a=b", "postgresql://alice@h/d?password=***&a=b"),
        (f"redis://:{PASSWORD}@h:6379/0", "redis://:***@h:6379/0"),
        ("postgresql://alice@/d?host=/run/postgresql", "postgresql://alice@/d?host=/run/postgresql"),
        ("sqlite:////srv/tasks.db", "sqlite:////srv/tasks.db"),
        (f"postgresql://alice:{PASSWORD}@{PASSWORD}@h/d", "(hidden)"),
        (f"postgresql://alice:{PASSWORD}/x@h/d", "(hidden)"),
        (f"postgresql:alice:{PASSWORD}@h", "(hidden)"),
        (f"postgresql://alice%3A{PASSWORD}@h/d", "(hidden)"),
        (f"https://hooks.example.com/{PASSWORD}", "(hidden)"),
        (f"https://alice:{PASSWORD}@h/", "(hidden)"),
        (f"chat://{PASSWORD}/{PASSWORD}", "(hidden)"),
        (PASSWORD, "(hidden)"),
    ],
)
def test_the_passwords_of_urls_are_hidden(text: str, expected: str) -> None:
    """The rest of a database's URL is shown; what may be anything is hidden as a whole."""
    assert expected == shown("ACME_URL", text, Declaration(None, is_shown=False))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://app.example.com/hook", "https://app.example.com/hook"),
        (f"https://app.example.com/?access_token={PASSWORD}&a=b", "https://app.example.com/?access_token=***&a=b"),
        (f"https://alice:{PASSWORD}@app.example.com/", "(hidden)"),
        (f"redis://alice:{PASSWORD}@h", "redis://alice:***@h"),
    ],
)
def test_urls_that_are_no_secrets_are_shown(text: str, expected: str) -> None:
    """Passwords and secret parameters in them are not."""
    assert expected == shown("ACME_URL", text, Declaration(None, is_shown=True))
