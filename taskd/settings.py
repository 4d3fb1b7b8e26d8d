"""Settings come from the environment, on top of a `.env` file; each part declares its own with environ-config."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import attrs
import dotenv
import environ as environ_config

from taskd.addresses import HTTPAddress

__all__ = ["Secret", "Settings", "SettingsError", "load_settings", "one_of", "read_environ"]

T = TypeVar("T")


class SettingsError(Exception):
    """
    A setting is missing or wrong, and the server does not start.

    Args:
        variable: The environment variable.
        message: What it should be.  It must not quote a secret.
    """

    def __init__(self, variable: str, message: str) -> None:
        super().__init__(f"{variable}: {message}")


@attrs.frozen
class Secret:
    """A text that must not be shown: its `repr` and `str` do not."""

    value: str = attrs.field(repr=False)


def read_environ(directory: Path | None = None) -> dict[str, str]:
    """
    Return the environment on top of the `.env` file in *directory* (the working directory unless told).

    Values in the file are taken as they stand: a `$` in a password is a `$`.

    Raises:
        SettingsError: The file cannot be read.
    """
    path = (directory or Path()) / ".env"
    if path.is_dir():
        raise SettingsError(".env", "is a folder, not a file")
    try:
        in_file = dotenv.dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(".env", f"cannot be read: {type(error).__name__}") from None
    return {name: value for name, value in in_file.items() if value is not None} | dict(os.environ)


def load_settings(cls: type[T], environ: Mapping[str, str]) -> T:
    """
    Fill the environ-config class *cls* from *environ*.

    Raises:
        SettingsError: A variable is missing, or one of the class's converters raised it.
    """
    try:
        return environ_config.to_config(cls, dict(environ))
    except environ_config.MissingEnvValueError as error:
        raise SettingsError(", ".join(sorted(error.args)), "is not set") from None


def one_of(variable: str, choices: Mapping[str, T]) -> Callable[[str], T]:
    """Return a converter for *variable*, whose text is one of *choices*; it raises `SettingsError`."""

    def convert(text: str) -> T:
        if text not in choices:
            raise SettingsError(variable, f"must be {' or '.join(choices)}")
        return choices[text]

    return convert


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _plugin_names(text: str | None) -> frozenset[str] | None:
    return None if text is None else _names(text)


def _origins(text: str) -> tuple[str, ...]:
    return tuple(sorted(_origin(url) for url in _names(text)))


def _origin(url: str) -> str:
    address = HTTPAddress.parse(url)
    if address is None or address.path not in ("", "/"):
        # It is not quoted: who mixes up two variables has a password here.
        message = "must be origins such as https://app.example.com, without a path, with commas between them"
        raise SettingsError("FRONTEND_URL", message)
    return address.origin


@environ_config.config(prefix="TASKD", frozen=True)
class Settings:
    """
    The settings of the core.

    Attributes:
        auth: The name of the plugin that tells who a request is from.
        storage: The name of the plugin that keeps the tasks.
        plugins: The only plugins that may be imported; None allows all that are installed.
        disabled_plugins: Plugins that are not imported even so.
        frontend_origins: Origins whose pages may read answers.
    """

    auth: str = environ_config.var("jwt")
    storage: str = environ_config.var("sql")
    plugins: frozenset[str] | None = environ_config.var(None, converter=_plugin_names)
    disabled_plugins: frozenset[str] = environ_config.var("", converter=_names)
    frontend_origins: tuple[str, ...] = environ_config.var("", name="FRONTEND_URL", converter=_origins)
