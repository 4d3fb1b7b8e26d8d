"""The `taskd` command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import click
import uvicorn

from taskd import plugins as plugin_registry
from taskd.app import api_document, build_app, paths
from taskd.auth import IDENTITY, TokenIssuer, is_identity
from taskd.diagnosis import Check, Outcome
from taskd.doctor import examine
from taskd.plugins import LoadedPlugin, Plugin, PluginError, Plugins
from taskd.server import AnnouncingServer, options
from taskd.settings import Settings, SettingsError, load_settings, read_environ
from taskd.storage import Migratable, StoreError

__all__ = ["main"]

DEV_USER = "dev"
DEV_TOKEN_LIFETIME_S = 24 * 60 * 60


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """End the command with one line, and status 1, when it cannot start."""
    try:
        yield
    except (PluginError, SettingsError, StoreError) as error:
        sys.exit(f"taskd: {error}")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="taskd")
def main() -> None:
    """A self-hosted task-management server whose parts are plugins."""


_port = click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: one that is free."
)


@main.command()
@_port
def dev(port: int) -> None:
    """
    Serve on this machine, for trying things out.

    Tasks are kept in taskd.db, tokens are signed with a secret in taskd.db.secret; both are made at the first start.
    DATABASE_URL and BETTER_AUTH_SECRET, where they are set, are used instead.
    """
    with _one_line_errors():
        environ = _dev_environ()
        app = build_app(environ)
        token = _issue_token(environ, DEV_USER, DEV_TOKEN_LIFETIME_S)
        # Whichever plugin brings it, if any does.
        has_docs = "/docs" in paths(app)
    config = uvicorn.Config(app, **options("127.0.0.1", port))
    with contextlib.suppress(KeyboardInterrupt):
        AnnouncingServer(config, lambda bound_port: _announce(bound_port, token, has_docs=has_docs)).run()


def _announce(port: int, token: str, *, has_docs: bool) -> None:
    url = f"http://127.0.0.1:{port}"
    docs = f"\n  docs   {url}/docs" if has_docs else ""
    click.echo(
        f"""
taskd is serving on {url}

  user   {DEV_USER}
  token  {token}
         (good for {DEV_TOKEN_LIFETIME_S // 3600} hours){docs}

Make a first task:

  {_curl(url, token)}

Ctrl+C stops it.
"""
    )
    sys.stdout.flush()


def _curl(url: str, token: str) -> str:
    headers = f"-H 'Authorization: Bearer {token}' -H 'Content-Type: application/json'"
    return f"""curl {url}/api/{DEV_USER}/tasks {headers} -d '{{"title": "Try taskd"}}'"""


def _dev_environ() -> dict[str, str]:
    """Return the environment, completed with what a first try needs."""
    given = {name: value for name, value in read_environ().items() if value}
    environ = {"DATABASE_URL": "sqlite:///taskd.db", **given}
    if "BETTER_AUTH_SECRET" not in environ:
        is_file = environ["DATABASE_URL"].startswith("sqlite:///")
        database = environ["DATABASE_URL"].removeprefix("sqlite:///") if is_file else "taskd"
        environ["BETTER_AUTH_SECRET"] = _kept_secret(Path(f"{database}.secret"))
    return environ


def _kept_secret(file: Path) -> str:
    """Return the secret in *file*, which is made, readable by nobody else, if it is not there."""
    try:
        if not file.exists():
            # A link appears at once and whole, or not at all: two that start together agree on one secret.
            with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f"{file.name}.") as temporary:
                temporary.write(secrets.token_hex(32))
                temporary.flush()
                with contextlib.suppress(FileExistsError):
                    os.link(temporary.name, file)
        file.chmod(0o600)
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError("BETTER_AUTH_SECRET", f"cannot be kept in {file}: {reason}") from None


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@_port
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="How many processes serve.")
@click.option(
    "--grace", type=click.IntRange(0), default=10, show_default=True, metavar="SECONDS",
    help="How long requests in flight may go on after SIGTERM.",
)  # fmt: skip
def serve(host: str, port: int, workers: int, grace: int) -> None:
    """
    Serve in production, as the environment says.

    It refuses to start without BETTER_AUTH_URL or BETTER_AUTH_SECRET, and listens on this machine only unless told.
    """
    import taskd.asgi  # noqa: F401, PLC0415  wrong settings end it here, before any worker starts

    uvicorn.run("taskd.asgi:app", workers=workers, **options(host, port, grace))


@main.command()
@click.argument("user")
@click.option(
    "--lifetime", type=click.IntRange(1, 10**9), default=3600, show_default=True, metavar="SECONDS",
    help="How long the token is good.",
)  # fmt: skip
def token(user: str, lifetime: int) -> None:
    """Print a token for USER, signed with the configured secret, for trying things out."""
    if not is_identity(user):
        raise click.BadParameter(f"must be {IDENTITY}", param_hint="USER")
    with _one_line_errors():
        click.echo(_issue_token(read_environ(), user, lifetime))


def _issue_token(environ: Mapping[str, str], user: str, lifetime_s: int) -> str:
    plugins = Plugins.load(environ)
    backend = plugins.auth()
    if not isinstance(backend, TokenIssuer):
        raise SettingsError(
            "TASKD_AUTH", f"the plugin {plugins.settings.auth!r} makes no tokens; get one where it gets them"
        )
    return backend.issue_token(user, lifetime_s)


@main.command()
@click.option("--sql", "only_show", is_flag=True, help="Print what would be run, as SQL, and change nothing.")
def migrate(*, only_show: bool) -> None:
    """
    Bring the schema of the database up to date.

    A database that is up to date stays as it is.  Two that start at once do not disturb each other.  On Neon it goes
    past the pooler; TASKD_MIGRATE_URL names another way, or another user.
    """
    with _one_line_errors():
        plugins = Plugins.load(read_environ())
        store = plugins.storage()
        if not isinstance(store, Migratable):
            raise SettingsError("TASKD_STORAGE", f"the plugin {plugins.settings.storage!r} has no schema to migrate")
        if only_show:
            click.echo(asyncio.run(store.migration_script()), nl=False)
            return
        steps = asyncio.run(store.migrate())
    for step in steps or ["The schema is up to date."]:
        click.echo(step)


@main.command()
def doctor() -> None:
    """
    Check this deployment from end to end: settings, secret, database, schema, clocks.

    It prints a line for each check, and what to do where one fails; then the exit status is 1.  It changes nothing.
    """
    with _one_line_errors():
        checks = asyncio.run(_examined())
    _print_table((check.outcome.value, check.name, check.finding) for check in checks)
    for check in checks:
        if check.remedy:
            click.echo(f"\n{check.name}: {check.remedy}")
    if any(check.outcome is Outcome.FAILED for check in checks):
        sys.exit(1)


async def _examined() -> list[Check]:
    return [check async for check in examine(read_environ())]


@main.command("openapi")
def api_description() -> None:
    """
    Print the API document, as the server has it at /openapi.json.

    The same plugins give the same document, whatever else is set.  No database and no secret is needed.
    """
    with _one_line_errors():
        click.echo(api_document(read_environ()), nl=False)


@main.command()
def plugins() -> None:
    """List the plugins that are installed, selected and disabled.  The exit status is 1 if one is broken."""
    with _one_line_errors():
        settings = load_settings(Settings, read_environ())
        found = plugin_registry.find(settings)
    rows = [(plugin.name, *_status(plugin, settings), plugin.distribution) for plugin in found]
    _print_table(rows)
    if any(status == "broken" for _, _, status, _ in rows):
        sys.exit(1)


def _status(plugin: Plugin, settings: Settings) -> tuple[str, str]:
    """Return what *plugin* provides, and whether it serves."""
    if not plugin.enabled:
        return "?", "disabled"
    try:
        provided = LoadedPlugin(plugin).hooks
    except PluginError as error:
        click.echo(f"taskd: {error}", err=True)
        return "?", "broken"
    selected = {
        "taskd_auth": settings.auth,
        "taskd_security_scheme": settings.auth,
        "taskd_storage": settings.storage,
    }
    serves = any(selected.get(hook, plugin.name) == plugin.name for hook in provided)
    return ", ".join(hook.removeprefix("taskd_") for hook in provided), "selected" if serves else "installed"


def _print_table(rows: Iterable[Sequence[str]]) -> None:
    """Print *rows* with their columns below each other."""
    rows = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
