"""Limits on what clients may use."""

from __future__ import annotations

import attrs

__all__ = ["SEND_TIMEOUT", "Limits"]

# The key of the setting for `send_timeout_s` in the lifespan's state.
SEND_TIMEOUT = "taskd.send_timeout"


@attrs.frozen
class Limits:
    """
    How much memory a connection may use, and how long the server waits for its client.

    Attributes:
        head_bytes: How many bytes the request line and the headers may have, including the empty line; also the lines
            between chunks, and trailers.
        headers: How many headers a request may have.
        held_bytes: How many bytes of a body or of further requests are read ahead before reading stops.  A single read
            may exceed this.
        head_timeout_s: How long a head may take from its first byte to its end; also how long a new connection may take
            to send that first byte.
        body_timeout_s: While the server is waiting for a body, some of it must arrive in each period of this length.
        body_rate: The lowest rate at which the body may arrive in each of these periods, in bytes per second.
        send_timeout_s: While a response is unread, some of it must be read in each period of this length.  The setting
            of the application takes precedence.
        send_rate: The lowest rate at which the response may be read in each of these periods, in bytes per second.
        linger_timeout_s: How long the client may be silent after the last response, while it may still continue to send
            (RFC 9112, section 9.6).
        linger_total_s: How long the client may continue to send after the last response.
        unsent_bytes: How many bytes of responses may be unread in the whole process.  Beyond that, the clients with the
            most unread data are cut off.
        stall_s: Clients that have read nothing for this long are cut off before others.
    """

    head_bytes: int = 64 * 1024
    headers: int = 100
    held_bytes: int = 64 * 1024
    head_timeout_s: float = 20.0
    body_timeout_s: float = 20.0
    body_rate: int = 500
    send_timeout_s: float = 20.0
    send_rate: int = 500
    linger_timeout_s: float = 5.0
    linger_total_s: float = 30.0
    unsent_bytes: int = 64 * 1024 * 1024
    stall_s: float = 1.0
