"""`taskd config`."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import click

from taskd.application import Application
from taskd.cli.commands import closing, print_json
from taskd.environment import Declaration, Environ, Origin, Place
from taskd.plugins import PluginError, Plugins
from taskd.settings import Settings, SettingsError, load_settings
from taskd.start import print_warnings, starting

__all__ = ["config", "shown"]

SERVER = "server"
HIDDEN = "(hidden)"
# Names of settings, and of parameters of URLs, that are secrets, even if whoever declares them does not say so.
_SECRET_NAME = re.compile(
    r"(^|[_-])(secret|passw(or)?d|passphrase|token|key|credential)s?([_-]|$)|password$", re.IGNORECASE
)
# The URL of a database, for example; a URL of HTTP may have a secret anywhere.  If the colon in front of a password was
# percent-encoded by mistake, the user seems to contain the password.
_DSN = re.compile(
    r"(?P<scheme>(?!https?:|wss?:)[a-z][a-z0-9+.-]*://)"
    r"((?P<user>(?:(?!%3a)[^:@/?#\s])*)(?P<password>:[^@/?#\s]*)?@)?(?P<host>[^@/?#\s]*)(?P<path>/[^@?#\s]*)?(?P<query>\?[^@#\s]*)?",
    re.IGNORECASE,
)


@attrs.frozen
class _Setting:
    """
    A setting, and its value.

    Attributes:
        name: Its name.
        value: Its value, without secrets; None if it has none.
        origin: Where the value is from; None if it is not set.
    """

    name: str
    value: str | None
    origin: Origin | None

    @property
    def source(self) -> str:
        """Where the value is from, in words."""
        if self.origin is None:
            return "not set" if self.value is None else "default"
        if self.origin.place is Place.FILE:
            return f"{self.name}_FILE: {self.origin.path or HIDDEN}"
        return self.origin.path or self.origin.place.value

    def as_json(self) -> dict[str, Any]:
        """Return everything, for a program."""
        default = None if self.value is None else "default"
        place, path = (default, None) if self.origin is None else (self.origin.place.value, self.origin.path)
        return {"name": self.name, "value": self.value, "source": place, "path": path}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def config(*, as_json: bool) -> None:
    """
    Print the settings of the server and its plugins, and where each value is from.

    Secrets are not shown, and neither are the values of settings of which taskd does not know whether they are secret.
    The exit status is 1 if a setting is wrong or a plugin is broken.
    """
    with contextlib.redirect_stdout(sys.stderr), starting() as environ:
        parts, failure = _parts(environ)
        print_warnings([*environ.mistakes(), *(environ.unknown() if failure is None else ())])
    settings = {part: [_setting(name, environ) for name in sorted(names)] for part, names in parts.items() if names}
    if as_json:
        print_json({part: [each.as_json() for each in each_of] for part, each_of in settings.items()})
    else:
        _print_text(settings)
    if failure is not None:
        sys.exit(f"taskd: {failure}")


def _parts(environ: Environ) -> tuple[Mapping[str, Iterable[str]], Exception | None]:
    """Return which settings the server and each plugin have, and the first error that would stop the start."""
    failures: list[Exception] = []
    found: dict[str, Iterable[str]] = {}
    with _noting(failures):
        load_settings(Settings, environ)
    found[SERVER] = [*environ.declared]
    with _noting(failures), closing(Plugins.load(environ)) as plugins:
        makers: Sequence[Callable[[], object]] = (
            lambda: plugins.backend,
            lambda: plugins.store,
            lambda: Application.of(plugins),
        )
        # If one fails, the others still tell what they read.
        for make in makers:
            with _noting(failures):
                make()
        found |= {each.plugin.name: each.settings for each in plugins.loaded}
    return found, next(iter(failures), None)


@contextlib.contextmanager
def _noting(failures: list[Exception]) -> Iterator[None]:
    """Add an error in the block that a user can correct to *failures*."""
    try:
        yield
    except (SettingsError, PluginError) as error:
        failures.append(error)


def _setting(name: str, environ: Environ) -> _Setting:
    declaration, origin = environ.declared.get(name), environ.origin(name)
    if origin is None:
        return _Setting(name, (declaration and declaration.default) or None, None)
    try:
        text = environ[name]
    except SettingsError:  # the file cannot be read
        return _Setting(name, None, origin)
    return _Setting(name, HIDDEN if declaration is None else shown(name, text, declaration), origin)


def shown(name: str, text: str, declaration: Declaration) -> str:
    """Return *text*, the value of a setting, with all that may be secret hidden."""
    is_secret = not declaration.is_shown or _SECRET_NAME.search(name) is not None
    match = _DSN.fullmatch(text)
    # Without a user and a password, the secret may be where a host usually is.
    if match is not None and not (is_secret and match["user"] is None and match["host"]):
        return _without_password(match)
    return HIDDEN if is_secret or "@" in text else _without_parameters(text)


def _without_password(match: re.Match[str]) -> str:
    user = "" if match["user"] is None else f"{match['user']}{':***' if match['password'] else ''}@"
    return f"{match['scheme']}{user}{match['host']}{match['path'] or ''}{_without_parameters(match['query'] or '')}"


def _without_parameters(text: str) -> str:
    """Return *text* without the values of secret parameters."""

    def hidden(match: re.Match[str]) -> str:
        return f"{match['name']}=***" if _SECRET_NAME.search(match["name"].lstrip("?&")) else match[0]

    return re.sub(r"(?P<name>[?&][^=&]+)=[^&#\s]*", hidden, text)


def _print_text(settings: Mapping[str, Sequence[_Setting]]) -> None:
    rows = [[each.name, each.value or "", each.source] for group in settings.values() for each in group]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, (part, group) in enumerate(settings.items()):
        click.echo(f"{chr(10) if number else ''}{part}")
        for each in group:
            cells = (each.name.ljust(widths[0]), (each.value or "-").ljust(widths[1]), each.source)
            click.echo(f"  {'  '.join(cells)}".rstrip())
