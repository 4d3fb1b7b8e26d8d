"""Check, for `taskd doctor`, where a server would listen."""

from __future__ import annotations

import http.client
import json

from taskd.checks import Check, Outcome
from taskd.cli.healthcheck import OF_ALL
from taskd.server.sockets import Listener, ListenError
from taskd.urls import is_loopback

__all__ = ["check_address"]

NAME = "listening"
TIMEOUT_S = 2


def check_address(host: str, port: int) -> Check:
    """Check whether a server can listen at *port* on *host*, or is already there, and who can reach it."""
    try:
        listener = Listener.open(host, port)
    except ListenError as error:
        if not _is_taskd(OF_ALL.get(host, host), port):
            reason, _, remedy = str(error).rpartition(": ")
            return Check(NAME, Outcome.FAILED, reason, f"{remedy[:1].upper()}{remedy[1:]}.")
        state = "a taskd is serving there"
    else:
        listener.close()
        state = "the port is free"
    if is_loopback(host):
        return Check(NAME, Outcome.OK, f"{host}, port {port}, on this machine only: {state}")
    finding = f"{host}, port {port}, can be reached from other machines without TLS: {state}"
    remedy = "Put a proxy with TLS in front, and let only that reach the port: --host 127.0.0.1, or a firewall."
    return Check(NAME, Outcome.NOTE, finding, remedy)


def _is_taskd(host: str, port: int) -> bool:
    """Tell whether what listens there responds as taskd does."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/livez")
        response = connection.getresponse()
        return "X-Request-ID" in response.headers and json.loads(response.read(1000)) == {"status": "ok"}
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
