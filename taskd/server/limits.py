"""The limits for clients."""

from __future__ import annotations

import attrs

__all__ = ["Limits"]


@attrs.frozen
class Limits:
    """
    How much memory a connection may use, and how long the server waits for its client.

    Attributes:
        head_bytes: The request line and the headers, with the empty line; also the lines between chunks, and trailers.
        headers: How many headers a request has.
        held_bytes: How much is read ahead, of a body or of further requests, before reading stops.  One read may exceed
            it.
        head_timeout_s: From the first byte of a head, or from the start of a connection, to the end of the head.
        body_timeout_s: In each such period some of the body must arrive, ...
        body_rate: ... at this rate at least, in bytes per second.
        send_timeout_s: In each such period some of a response must be read, ...
        send_rate: ... at this rate at least.
        linger_timeout_s: After the last response, the client may continue to send (RFC 9112, section 9.6), but not be
            silent for this long, ...
        linger_total_s: ... and not for longer than this.
        unsent_bytes: Of all unread responses of the process.  Beyond that, the clients with the most unread data are
            cut off, ...
        stall_s: ... first among those that have read nothing for this long.
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
