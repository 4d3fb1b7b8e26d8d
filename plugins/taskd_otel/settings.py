"""The settings of the OpenTelemetry plugin."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping

import environ as environ_config

from taskd.settings import SettingsError, one_of

__all__ = ["Exporter", "OTelSettings", "Users", "check_variables"]

EXPORTER = "OTEL_TRACES_EXPORTER"
USERS = "TASKD_OTEL_USERS"


class Exporter(enum.Enum):
    """Where spans are sent."""

    OTLP = "otlp"
    CONSOLE = "console"
    NONE = "none"


class Users(enum.Enum):
    """What spans say about users."""

    NONE = "none"
    HASH = "hash"
    ID = "id"


@environ_config.config(prefix="TASKD_OTEL", frozen=True)
class OTelSettings:
    """
    What is traced, and where the traces are sent.

    Attributes:
        exporter: Where spans are sent.
        users: What spans say about users.
    """

    exporter: Exporter = environ_config.var(
        "otlp",
        name=EXPORTER,
        converter=one_of(EXPORTER, {each.value: each for each in Exporter}),
        help="Where spans are sent: `otlp`, over HTTP to `OTEL_EXPORTER_OTLP_ENDPOINT`; `console`, to stdout; or"
        " `none`.",
    )
    users: Users = environ_config.var(
        "none",
        converter=one_of(USERS, {each.value: each for each in Users}),
        help="What spans say about the user of a request: `none`, `hash` for a hash of the user's id, or `id`.",
    )


def check_variables(environ: Mapping[str, str]) -> None:
    """
    Raise `SettingsError` if a variable for OpenTelemetry is set where OpenTelemetry does not look.

    Its SDK reads the environment of the process itself, and no `.env` file.
    """
    for name in environ:
        if name.startswith("OTEL_") and name != EXPORTER and not os.environ.get(name):
            raise SettingsError(name, "is in .env, which OpenTelemetry does not read: set it in the environment")
