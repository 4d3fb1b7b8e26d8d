"""The container file and the compose file in examples/deploy are valid, and fit taskd and each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from tests.support.documentation import ROOT
from tests.support.recipes import DEPLOY, assert_parses, stop_time_s
from tests.support.requirements import required

CONTAINER = DEPLOY / "container"
COMPOSE: Any = yaml.safe_load((CONTAINER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the container file, with their arguments."""
    lines = [line for line in (CONTAINER / "Containerfile").read_text().splitlines() if not re.match(r"\s*#|$", line)]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in whole.splitlines()]


def last(name: str) -> str:
    return [argument for instruction, argument in instructions() if instruction == name][-1]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def test_the_compose_file_is_valid() -> None:
    """It has the fields of the Compose specification, and no others."""
    checked = run("check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(CONTAINER / "compose.yaml"))

    assert 0 == checked.returncode, checked.stdout


def test_the_container_file_is_valid() -> None:
    """It follows the recommendations that hadolint checks, except that Debian's packages are the newest."""
    hadolint = required("hadolint", f"{sysconfig.get_path('scripts')}:{os.environ.get('PATH', os.defpath)}")
    checked = subprocess.run(
        [hadolint, "--ignore=DL3008", str(CONTAINER / "Containerfile")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert (0, "") == (checked.returncode, checked.stdout)


def test_the_image_has_what_it_copies() -> None:
    """Each file and folder exists, and none is ignored."""
    ignored = (CONTAINER / "Containerfile.dockerignore").read_text().splitlines()
    copied = [argument.split()[:-1] for name, argument in instructions() if name == "COPY" and "--from" not in argument]
    sources = [source for each in copied for source in each]

    assert {"pyproject.toml", "README.md", "taskd", "plugins"} == set(sources)
    assert all((ROOT / source).exists() for source in sources)
    assert {f"!{source}" for source in sources} == {line for line in ignored if line.startswith("!")}


def test_the_image_is_pinned_and_unprivileged() -> None:
    """Its base has a tag, and it runs as a user whose number is known to be not root's."""
    bases = [argument.split()[0] for name, argument in instructions() if name == "FROM"]

    assert ["debian:trixie-slim"] * 2 == bases
    assert re.fullmatch(r"[1-9]\d{4}:[1-9]\d{4}", last("USER"))


def test_the_image_runs_commands_of_taskd() -> None:
    """So does its health check."""
    entry, command = yaml.safe_load(last("ENTRYPOINT")), yaml.safe_load(last("CMD"))
    check = yaml.safe_load(last("HEALTHCHECK").partition(" CMD ")[2])

    assert ["taskd"] == entry
    assert_parses(command)
    assert "taskd" == check[0]
    assert_parses(check[1:])
    assert last("EXPOSE") == str(assert_parses(command)["port"])


def test_taskd_is_not_killed_before_it_has_stopped() -> None:
    """Compose waits for longer than taskd may take."""
    options = assert_parses(yaml.safe_load(last("CMD")))

    assert stop_time_s(options) < float(SERVICES["taskd"]["stop_grace_period"].removesuffix("s"))


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_are_files(name: str) -> None:
    """Each setting that names a file names one of the service's own secrets, and no setting has a secret itself."""
    environment = SERVICES[name]["environment"]
    named = {PurePosixPath(value) for setting, value in environment.items() if setting.endswith("_FILE")}

    assert named == {PurePosixPath("/run/secrets", each) for each in SERVICES[name]["secrets"]}
    assert set(SERVICES[name]["secrets"]) <= set(COMPOSE["secrets"])
    assert not {"DATABASE_URL", "BETTER_AUTH_SECRET", "POSTGRES_PASSWORD"} & set(environment)


@pytest.mark.parametrize("name", ["migrate", "taskd"])
def test_taskd_s_services_are_confined(name: str) -> None:
    """Their files are read-only, they have no capabilities, and cannot get any."""
    service = SERVICES[name]

    assert service["read_only"] is True
    assert ["ALL"] == service["cap_drop"]
    assert ["no-new-privileges:true"] == service["security_opt"]


def test_the_database_is_reached_by_its_socket_alone() -> None:
    """PostgreSQL has no network, and its socket is in a volume that taskd's services share."""
    assert "none" == SERVICES["db"]["network_mode"]
    assert "socket:/var/run/postgresql" in SERVICES["db"]["volumes"]
    assert all(["socket:/run/postgresql"] == SERVICES[name]["volumes"] for name in ("migrate", "taskd"))


def test_the_tables_exist_before_taskd_serves() -> None:
    """Migration waits for the database, and taskd for the migration."""
    assert "service_healthy" == SERVICES["migrate"]["depends_on"]["db"]["condition"]
    assert "service_completed_successfully" == SERVICES["taskd"]["depends_on"]["migrate"]["condition"]
    assert_parses(SERVICES["migrate"]["command"])
    assert "restart" not in SERVICES["migrate"]
