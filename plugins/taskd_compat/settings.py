"""The settings of the compatibility plugin."""

from __future__ import annotations

import enum

import environ as environ_config

from taskd.settings import SettingsError

__all__ = ["CompatSettings", "Dialect"]

VARIABLE = "TASKD_COMPAT"


class Dialect(enum.Enum):
    """A way in which frontends differ from the API."""

    DELETE_BODY = "delete_body"
    DUE_DATE = "due_date"
    ENUMS = "enums"
    ENVELOPES = "envelopes"
    PARAMETERS = "parameters"
    PATCH = "patch"
    TOGGLE = "toggle"


_NAMES = {dialect.value: dialect for dialect in Dialect}


def _dialects(text: str) -> frozenset[Dialect]:
    names = {name.strip() for name in text.split(",")} - {""}
    if not names or not names <= _NAMES.keys():
        raise SettingsError(VARIABLE, f"must be one or more of {', '.join(_NAMES)}, with commas between them")
    return frozenset(_NAMES[name] for name in names)


@environ_config.config(prefix="TASKD", frozen=True)
class CompatSettings:
    """
    Which dialects are supported.

    Attributes:
        dialects: The dialects.
    """

    dialects: frozenset[Dialect] = environ_config.var(
        "",
        name=VARIABLE,
        converter=_dialects,
        help="The dialects to speak below `/compat`, comma-separated: `delete_body`, `due_date`, `enums`, `envelopes`,"
        " `parameters`, `patch` and `toggle`.",
    )
