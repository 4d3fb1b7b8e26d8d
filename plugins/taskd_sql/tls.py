"""
TLS to PostgreSQL, in the words of libpq's `sslmode` and `sslrootcert` (PostgreSQL manual, section 34.19).

Its fallbacks to plain text are left out: a server that refuses TLS never gets to see the password.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
import struct

import attrs

__all__ = ["ENCRYPTING_MODES", "MODES", "Handshake", "context", "shake_hands"]

# These encrypt, and ask for no proof of who the server is.  For libpq the first two may end in plain text; here not.
ENCRYPTING_MODES = ("allow", "prefer", "require")
MODES = ("disable", *ENCRYPTING_MODES, "verify-ca", "verify-full")


class _Leaving(ssl.SSLObject):
    """TLS that is ended by one side alone, which RFC 8446 allows (section 6.1)."""

    def unwrap(self) -> None:
        """
        Say that nothing more is sent, and do not wait for the server to say so.

        asyncio would keep the connection until then, for up to half a minute.  asyncpg ends a login in this way that
        failed or took too long, and nobody waits for the end: not the pool, which counts it no more, nor the loop.
        """
        with contextlib.suppress(ssl.SSLWantReadError):
            super().unwrap()


def context(mode: str, root_file: str | None = None) -> ssl.SSLContext:
    """
    Return what a connection in *mode*, any but `disable`, is made with.

    Args:
        mode: One of `MODES`.
        root_file: The certificates to trust, in PEM; None trusts the system's.  With it, as with libpq, `require`
            verifies like `verify-ca`.

    Raises:
        OSError: The file cannot be read (`ssl.SSLError` is one: it holds no certificates).
    """
    made = ssl.create_default_context(cafile=root_file)
    made.sslobject_class = _Leaving
    made.check_hostname = mode == "verify-full"
    if mode in ENCRYPTING_MODES and root_file is None:
        made.verify_mode = ssl.CERT_NONE
    return made


@attrs.frozen
class Handshake:
    """
    What a server's side of TLS is.

    Attributes:
        protocol: As `TLSv1.3`.
        expires: When its certificate does; None if that was not verified.
    """

    protocol: str
    expires: dt.datetime | None


# PostgreSQL manual, section 55.7, "SSLRequest": the length of the message, and a number that is no protocol's version.
_SSL_REQUEST = struct.pack("!II", 8, 80877103)


async def shake_hands(host: str, port: int, with_context: ssl.SSLContext) -> Handshake:
    """
    Begin a connection, as far as TLS, and end it.

    Raises:
        OSError: The server cannot be reached, refuses TLS, or has a certificate that *with_context* does not trust.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_SSL_REQUEST)
        if await reader.read(1) != b"S":
            raise ConnectionError("the server refuses TLS")
        await writer.start_tls(with_context, server_hostname=host)
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate, protocol = connection.getpeercert(), connection.version() or "TLS"
    finally:
        writer.transport.abort()
    if not certificate:
        return Handshake(protocol, None)
    expires_s = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    return Handshake(protocol, dt.datetime.fromtimestamp(expires_s, dt.timezone.utc))
