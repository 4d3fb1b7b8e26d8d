"""`taskd dev`."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import click

from taskd.application import Application
from taskd.cli.commands import loaded_plugins
from taskd.cli.serve import port_option
from taskd.openapi.credentials import header_with
from taskd.plugins import Plugins
from taskd.server.cors import LoopbackOrigins
from taskd.server.running import serve_here
from taskd.settings import SettingsError, source_of
from taskd.storage import Location

__all__ = ["dev"]

USER = "dev"
TOKEN_LIFETIME_S = 24 * 60 * 60
FRONTEND = "FRONTEND_URL"


@click.command()
@port_option
@click.option("--allow-remote", is_flag=True, help="Serve tasks that are kept on another machine, too.")
def dev(port: int, *, allow_remote: bool) -> None:
    """
    Serve on this machine, for trying things out.

    The selected plugins supply settings that are missing, such as a file for the tasks and a secret for tokens, and the
    command prints what it uses.  Unless FRONTEND_URL is set, all pages that are served on this machine may call the
    API.  Without --allow-remote, the command refuses tasks that are kept on another machine, because they may be
    production tasks.
    """
    with loaded_plugins() as plugins:
        trial = Trial.prepare(plugins, allow_remote=allow_remote)
        serve_here(trial.app, port, lambda url: _announce(trial.announcement(url)), plugins.logs)


def _announce(text: str) -> None:
    click.echo(text)
    sys.stdout.flush()


@attrs.frozen
class Trial:
    """
    An application to try out, and a token for it.

    Attributes:
        app: The application.
        tasks: Where the tasks are, for display.
        pages: The pages that may call the API, for display.
        token: A token for `USER`.
        token_note: How the token was made, for display; empty if the auth plugin does not say.
    """

    app: Application
    tasks: str
    pages: str
    token: str = attrs.field(repr=False)
    token_note: str

    @classmethod
    def prepare(cls, plugins: Plugins, *, allow_remote: bool) -> Trial:
        """
        Assemble the application with the settings that the auth plugin adds for a trial.

        Unless the origins are set, those of all pages on this machine are allowed: each has a token only if its user
        gives it one.

        Raises:
            SettingsError: A setting is missing or wrong, or the tasks are on another machine and that is not allowed.
            PluginError: A plugin is broken or ambiguous.
        """
        location = plugins.location()
        if location is not None and not (location.is_local or allow_remote):
            raise _remote(location, plugins)
        file = location.file if location is not None else None
        token_note = plugins.complete_for_trial(file or Path("taskd"))
        token = plugins.issue_token(USER, TOKEN_LIFETIME_S)
        origins = None if _is_set(FRONTEND, plugins) else LoopbackOrigins()
        app = Application.of(plugins, origins=origins, logs_access=plugins.settings.access_log is not False)
        return cls(app, _tasks(location, plugins), _pages(plugins), token, token_note)

    def announcement(self, url: str) -> str:
        """Return the message to show once the server is running at *url*."""
        note = f", {self.token_note}" if self.token_note else ""
        # The page may be served by any plugin, or by none.
        docs = f"\n  docs   {url}/docs" if "/docs" in {route.path for route in self.app.routes} else ""
        return f"""
taskd is serving on {url}

  tasks  {self.tasks}
  user   {USER}
  token  {self.token}
         (valid for {TOKEN_LIFETIME_S // 3600} hours{note}){docs}
  pages  {self.pages}

Make a first task:

  {self._curl(url)}

Ctrl+C stops it.
"""

    def _curl(self, url: str) -> str:
        name, value = header_with(self.token, self.app.plugins.security_schemes)
        headers = f"-H '{name}: {value}' -H 'Content-Type: application/json'"
        return f"""curl {url}/api/{USER}/tasks {headers} -d '{{"title": "Try taskd"}}'"""


def _is_set(setting: str, plugins: Plugins) -> bool:
    return bool(setting) and setting in plugins.environ


def _tasks(location: Location | None, plugins: Plugins) -> str:
    """Describe where the tasks are, and which setting says so."""
    if location is None:
        return f"plugin {plugins.settings.storage}"
    if _is_set(location.setting, plugins):
        return f"{location.description} ({location.setting} in {source_of(location.setting, plugins.environ)})"
    return location.description


def _pages(plugins: Plugins) -> str:
    """Describe which pages may call the API, and which setting says so."""
    if not _is_set(FRONTEND, plugins):
        return f"on this machine may call the API, at any port ({FRONTEND} is not set)"
    origins = ", ".join(plugins.settings.frontend_origins) or "no other origin"
    return f"of {origins} may call the API ({FRONTEND} in {source_of(FRONTEND, plugins.environ)})"


def _remote(location: Location, plugins: Plugins) -> SettingsError:
    """Return the error for tasks that are on another machine."""
    end = "which may hold production tasks: remove it, or run taskd dev --allow-remote"
    setting, description = location.setting, location.description
    if _is_set(setting, plugins):
        return SettingsError(
            setting, f"in {source_of(setting, plugins.environ)}, points to another machine ({description}), {end}"
        )
    name = plugins.settings.storage
    return SettingsError("TASKD_STORAGE", f"{name} keeps tasks on another machine ({description}), {end}")
