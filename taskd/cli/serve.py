"""`taskd serve`."""

from __future__ import annotations

import click

from taskd.cli.commands import closing
from taskd.server.garbage import not_collecting
from taskd.server.running import StopTimes
from taskd.server.running import serve as run_server
from taskd.server.signals import ignore_hangup
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
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="How many processes serve requests."
)
@click.option(
    "--grace", type=click.IntRange(0), default=10, show_default=True, metavar="SECONDS",
    help="How long requests in flight may take after SIGTERM.",
)  # fmt: skip
@click.option(
    "--drain", type=click.IntRange(0), default=0, show_default=True, metavar="SECONDS",
    help="How long to keep serving after SIGTERM, while /readyz responds with 503.",
)  # fmt: skip
def serve(host: str, port: int, workers: int, grace: int, drain: int) -> None:
    """
    Serve in production, with the settings in the environment.

    The server does not start if a setting is missing or wrong, and by default it listens on this machine only.
    """
    ignore_hangup()
    # This import fails if a setting is wrong, before any worker starts.  A single worker serves this very application.
    with not_collecting():
        from taskd.asgi import app  # noqa: PLC0415

    with starting(), closing(app.plugins):
        times = StopTimes(drain, grace)
        run_server("taskd.asgi:app", host, port, workers=workers, times=times, logs=app.plugins.logs)
