"""Read settings from the environment and a `.env` file; each part declares its own settings with environ-config."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs
import environ as environ_config
from dotenv import parser as dotenv_parser

from taskd.environment import Declaration, Environ, Place
from taskd.logs import LogFormat, Logging
from taskd.setting_files import FILE, SettingsError
from taskd.urls import HTTPAddress

__all__ = [
    "ALLOW_PLAINTEXT",
    "Secret",
    "Settings",
    "SettingsError",
    "load_settings",
    "one_of",
    "plaintext_setting",
    "read_environ",
    "seconds",
    "source_of",
]

T = TypeVar("T")

ALLOW_PLAINTEXT = "TASKD_ALLOW_PLAINTEXT"
"""A setting that several plugins share: see `plaintext_setting`."""
# The origin of an app in a web view has a scheme of its own and a host (capacitor://localhost, app://-), which the web
# view sends as they were registered.
_APP_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>[a-z0-9_.-]+(:\d{1,5})?)/?", re.IGNORECASE | re.ASCII
)
# Schemes that no page's origin has, and misspellings of http.
_NO_APP = re.compile(r"file|ftp|wss?|[htps]+", re.IGNORECASE)
# Allows names that a shell would not: the `.env` file may be shared with other programs.
_NAME = re.compile(r"[a-z_][\w.-]*", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


@attrs.frozen
class Secret:
    """A string, *value*, that `repr` and `str` hide."""

    value: str = attrs.field(repr=False)


def read_environ(directory: Path | None = None) -> Environ:
    """
    Return the environment layered over the `.env` file in *directory*, by default the working directory.

    Values in the file are taken literally: a `$` in a password is a `$`.  A variable with an empty value counts as
    not set.  Any value may be in a file of its own: `NAME_FILE` names the file, which is read when `NAME` is.

    Raises:
        SettingsError: The file cannot be read, or has a line that is not of the form NAME=VALUE.
    """
    file = (directory or Path()) / ".env"
    found, given = _in_file(file), dict(os.environ)
    return Environ.of(found | given, file.absolute() if found else None, found.keys() - given.keys())


def source_of(variable: str, environ: Mapping[str, str]) -> str:
    """Return where *environ* has *variable* from, in words: a file, or the environment."""
    origin = Environ.of(environ).origin(variable)
    if origin is None or origin.place is Place.ENVIRONMENT:
        return "the environment"
    return ".env" if origin.place is Place.DOTENV else origin.path or f"the file in {variable}{FILE}"


def _in_file(path: Path) -> dict[str, str]:
    """Return the variables in the `.env` file at *path*; none if there is no such file."""
    if path.exists() and not path.is_file():
        # Reading from a pipe, for example, might never end.
        raise SettingsError(".env", "is a folder, not a file" if path.is_dir() else "is not a regular file")
    try:
        # Some editors begin the file with a byte order mark.
        with path.open(encoding="utf-8-sig") as file:
            bindings = list(dotenv_parser.parse_stream(file))
    except FileNotFoundError:
        if path.is_symlink():
            raise SettingsError(".env", "is a link to a file that is not there") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SettingsError(".env", f"cannot be read: {reason}") from None
    for binding in bindings:
        has_no_value = binding.key is not None and (binding.value is None or not _NAME.fullmatch(binding.key))
        if binding.error or has_no_value:
            # The line is not quoted: it may contain a password.
            raise SettingsError(".env", f"line {_line(binding.original)} is not of the form NAME=VALUE")
    return {binding.key: binding.value for binding in bindings if binding.key and binding.value is not None}


def _line(original: dotenv_parser.Original) -> int:
    """Return the number of the first line of *original* that is not blank."""
    blank = original.string[: -len(original.string.lstrip())]
    return original.line + blank.count("\n")


def load_settings(cls: type[T], environ: Mapping[str, str]) -> T:
    """
    Create an instance of the environ-config class *cls* from *environ*.

    Raises:
        SettingsError: A variable is missing, or one of the class's converters raised this error.
    """
    environ = Environ.of(environ)
    # If this fails, it is not known which of them are secrets, so none may be shown.
    declared = _declarations(cls)
    environ.declared.update(declared)
    try:
        # `to_config` works with any mapping, but its parameter is annotated as a dict.
        loaded = environ_config.to_config(cls, cast("dict[str, str]", environ))
    except environ_config.MissingEnvValueError as error:
        raise SettingsError(", ".join(sorted(error.args)), "is not set") from None
    secrets = set(_secrets_in(loaded)) - {""}
    for name, declaration in declared.items():
        text = environ.get(name, "")
        is_shown = not any(secret in text for secret in secrets)
        environ.declared[name] = attrs.evolve(declaration, is_shown=is_shown)
    return loaded


def _declarations(cls: type) -> dict[str, Declaration]:
    """Return what the environ-config class *cls* declares, by the names of settings."""
    described: list[dict[str, Any]] = []
    environ_config.generate_help(cls, formatter=described.extend)
    return {each["var_name"]: Declaration(each.get("default")) for each in described}


def _secrets_in(value: Any) -> Iterator[str]:
    """Yield the secrets in *value*, an instance of a settings class or what it consists of."""
    if isinstance(value, Secret):
        yield value.value
    elif isinstance(value, Mapping):
        yield from _secrets_in([*value, *value.values()])
    elif isinstance(value, Collection) and not isinstance(value, str | bytes):
        for each in value:
            yield from _secrets_in(each)
    elif attrs.has(type(value)):
        yield from _secrets_in(attrs.asdict(value, recurse=False))


def one_of(variable: str, choices: Mapping[str, T]) -> Callable[[str], T]:
    """
    Return a converter for *variable* that looks its value up in *choices*.

    The converter raises `SettingsError` for any other value.
    """

    def convert(text: str) -> T:
        if text not in choices:
            raise SettingsError(variable, f"must be {' or '.join(choices)}")
        return choices[text]

    return convert


def seconds(variable: str, least: float = 0.1, most: float = 600) -> Callable[[str], float]:
    """
    Return a converter for *variable*, which must be a number of seconds from *least* to *most*.

    The converter raises `SettingsError` for any other value.
    """

    def convert(text: str) -> float:
        if not (_NUMBER.fullmatch(text) and least <= float(text) <= most):
            raise SettingsError(variable, f"must be a number of seconds from {least:g} to {most:g}")
        return float(text)

    return convert


def plaintext_setting() -> bool:
    """Declare, in a settings class, the setting that allows a plugin to reach other machines without TLS."""
    choices = {"0": False, "1": True}
    declared: bool = environ_config.var(
        "0",
        name=ALLOW_PLAINTEXT,
        converter=one_of(ALLOW_PLAINTEXT, choices),
        help="`1` allows connections without TLS to other machines, which others on the network can read and change.",
    )
    return declared


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _switch(variable: str) -> Callable[[str | None], bool | None]:
    """Return a converter for *variable*, which is 0, 1 or not set."""
    convert = one_of(variable, {"0": False, "1": True})
    return lambda text: None if text is None else convert(text)


def _in_order(text: str) -> tuple[str, ...]:
    """Return the names in *text* in their order, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _plugin_names(text: str | None) -> frozenset[str] | None:
    return None if text is None else _names(text)


def _origins(text: str) -> tuple[str, ...]:
    return tuple(sorted(_origin(url) for url in _names(text)))


def _origin(url: str) -> str:
    address = HTTPAddress.parse(url)
    if address is not None and address.path in ("", "/"):
        return address.origin
    # The value is not quoted: if two variables were mixed up, it may contain a password.
    example = "https://app.example.com or capacitor://localhost"
    message = f"must be origins such as {example}, without a path, with commas between them"
    match = _APP_ORIGIN.fullmatch(url)
    if match is None or _NO_APP.fullmatch(match["scheme"]):
        raise SettingsError("FRONTEND_URL", message)
    return f"{match['scheme'].lower()}://{match['rest']}"


@environ_config.config(prefix="TASKD", frozen=True)
class Settings:
    """
    The settings of the core.

    Attributes:
        auth: The name of the plugin that identifies users.
        storage: The name of the plugin that stores the tasks.
        store_wrappers: The names of the plugins that wrap the store, the outermost first.
        middleware: The names of the plugins whose middleware requests pass through, in this order.
        plugins: The only plugins that may be imported; None allows all that are installed.
        disabled_plugins: Plugins that are never imported.
        frontend_origins: Origins whose pages may read responses.
        access_log: Whether each request is logged; None leaves it to the command.
        log_format: For whom log lines are written.
        log_level: The lowest level that is logged.
        queue_timeout_s: How long a request waits under overload before it is refused.
        send_timeout_s: How long a client may leave a response unread before it is cut off.
    """

    auth: str = environ_config.var("jwt", help="The name of the plugin that authenticates requests.")
    storage: str = environ_config.var("sql", help="The name of the plugin that stores the tasks.")
    store_wrappers: tuple[str, ...] = environ_config.var(
        "",
        converter=_in_order,
        help="The plugins that wrap the store, comma-separated. A call passes through them in this order.",
    )
    middleware: tuple[str, ...] = environ_config.var(
        "",
        converter=_in_order,
        help="The plugins whose middleware requests pass through, in this order, comma-separated.",
    )
    plugins: frozenset[str] | None = environ_config.var(
        None,
        converter=_plugin_names,
        help="The only plugins that may be imported, comma-separated. If it is not set, all that are installed may be.",
    )
    disabled_plugins: frozenset[str] = environ_config.var(
        "", converter=_names, help="Plugins that are never imported, comma-separated."
    )
    frontend_origins: tuple[str, ...] = environ_config.var(
        "",
        name="FRONTEND_URL",
        converter=_origins,
        help="The origins whose pages may call the API, comma-separated: `https://app.example.com`, and those of apps"
        " in web views, such as `capacitor://localhost`, `tauri://localhost` and `app://-`. They may send any header."
        " If it is not set, `taskd dev` allows all pages that are served on the same machine.",
    )
    access_log: bool | None = environ_config.var(
        None,
        converter=_switch("TASKD_ACCESS_LOG"),
        help="`1` logs each request on one line, and `0` does not. If it is not set, only `taskd dev` logs them.",
    )
    log_format: LogFormat = environ_config.var(
        "plain",
        converter=one_of("TASKD_LOG_FORMAT", {each.value: each for each in LogFormat}),
        help="`plain` writes log lines for people, and `json` writes each as a JSON object.",
    )
    log_level: str = environ_config.var(
        "info",
        converter=one_of("TASKD_LOG_LEVEL", {name: name.upper() for name in ("debug", "info", "warning", "error")}),
        help="The lowest level that is logged: `debug`, `info`, `warning` or `error`.",
    )
    queue_timeout_s: float = environ_config.var(
        "1.5",
        name="TASKD_QUEUE_TIMEOUT",
        converter=seconds("TASKD_QUEUE_TIMEOUT"),
        help="How many seconds a request waits for its turn under overload before it gets a 503.",
    )
    send_timeout_s: float = environ_config.var(
        "20",
        name="TASKD_SEND_TIMEOUT",
        converter=seconds("TASKD_SEND_TIMEOUT"),
        help="After how many seconds a client that does not read its response is cut off.",
    )

    @property
    def logs(self) -> Logging:
        """How the server logs."""
        return Logging(self.log_format, self.log_level)

    @property
    def selected(self) -> frozenset[str]:
        """The names of the plugins that a setting selects for a purpose, or allows by name."""
        return frozenset((self.auth, self.storage, *self.store_wrappers, *self.middleware, *(self.plugins or ())))
