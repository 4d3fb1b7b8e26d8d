"""`taskd serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from taskd.cli.commands import closing
from taskd.cli.listening import Place, check_prefix, file_mode, prefix, proxies
from taskd.server.forwarded import THIS_MACHINE
from taskd.server.garbage import not_collecting
from taskd.server.running import StopTimes
from taskd.server.running import serve as run_server
from taskd.server.signals import ignore_hangup
from taskd.server.uvicorn import HTTPOptions
from taskd.start import starting

__all__ = ["port_option", "serve"]

port_option = click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="The port to listen on; 0 selects a free one.",
)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@port_option
@click.option(
    "--uds", type=click.Path(path_type=Path), metavar="PATH", help="A Unix socket to listen on, instead of a port."
)
@click.option(
    "--uds-mode", default="660", show_default=True, metavar="MODE", callback=file_mode,
    help="The permissions of that socket.",
)  # fmt: skip
@click.option(
    "--fd", "descriptors", type=click.IntRange(3), multiple=True, metavar="NUMBER",
    help="The descriptor of a socket that already listens; may be repeated. Those that systemd passes are used anyway.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="How many processes serve requests."
)
@click.option(
    "--grace", type=click.IntRange(0), default=10, show_default=True, metavar="SECONDS",
    help="How long requests in flight may take after SIGTERM.",
)  # fmt: skip
@click.option(
    "--drain", "drain_s", type=click.IntRange(0), default=0, show_default=True, metavar="SECONDS",
    help="How long to keep serving after SIGTERM, while /readyz responds with 503.",
)  # fmt: skip
@click.option(
    "--keep-alive", "keep_alive_s", type=click.IntRange(1, 3600), default=5, show_default=True, metavar="SECONDS",
    help="How long an idle connection stays open.",
)  # fmt: skip
@click.option(
    "--root-path", default="", metavar="PREFIX", callback=prefix,
    help="The path that leads to this server at a proxy, whether or not the proxy removes it.",
)  # fmt: skip
@click.option(
    "--forwarded-allow-ips", "trusted_proxies", default=THIS_MACHINE, show_default=True, envvar="FORWARDED_ALLOW_IPS",
    metavar="ADDRESSES", callback=proxies,
    help="The proxies that are trusted to say who the client is: addresses, networks, unix, or * for all.",
)  # fmt: skip
def serve(
    workers: int, grace: int, drain_s: int, keep_alive_s: int, root_path: str, trusted_proxies: str, **place: Any
) -> None:
    """
    Serve in production, with the settings in the environment.

    The server does not start if a setting is missing or wrong, and by default it listens on this machine only.
    """
    listen = Place(**place).chosen()
    ignore_hangup()
    # This import fails if a setting is wrong, before any worker starts.  A single worker serves this very application.
    with not_collecting():
        from taskd.asgi import app  # noqa: PLC0415

    http = HTTPOptions(root_path, keep_alive_s, trusted_proxies)
    with starting(), closing(app.plugins):
        check_prefix(root_path, app.routes)
        times = StopTimes(drain_s, grace)
        run_server("taskd.asgi:app", listen, workers=workers, times=times, logs=app.plugins.logs, http=http)
