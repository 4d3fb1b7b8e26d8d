"""Running the application with uvicorn, as `taskd dev` and `taskd serve` do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from taskd.protocol import HTTPProtocol

__all__ = ["AnnouncingServer", "options"]


def _log_config() -> dict[str, Any]:
    """Return uvicorn's own, with taskd's log lines beside its own."""
    logging = copy.deepcopy(LOGGING_CONFIG)
    logging["loggers"]["taskd"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return logging


def options(host: str, port: int, grace_s: int = 10) -> dict[str, Any]:
    """
    Return what `uvicorn.run` and `uvicorn.Config` are to be told.

    Args:
        host: The address to bind to.
        port: The port to bind to; 0 takes one that is free.
        grace_s: For how many seconds after SIGTERM requests in flight may go on.
    """
    return {
        "host": host,
        "port": port,
        "http": HTTPProtocol,
        # taskd speaks no WebSocket; with a library for it installed, uvicorn would answer for taskd.
        "ws": "none",
        "timeout_graceful_shutdown": grace_s,
        "server_header": False,
        # It would write the query of every request, and people put tokens there.
        "access_log": False,
        "log_config": _log_config(),
    }


class AnnouncingServer(uvicorn.Server):
    """A server that calls *announce* with its port as soon as it listens."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[int], None]) -> None:
        """Prepare to serve as *config* says."""
        super().__init__(config)
        self.announce = announce

    async def startup(self, sockets: Any = None) -> None:
        """Start to listen, and say so."""
        await super().startup(sockets)
        self.announce(self.servers[0].sockets[0].getsockname()[1])
