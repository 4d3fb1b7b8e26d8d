"""
TLS connections to PostgreSQL, with libpq's `sslmode` and `sslrootcert` (PostgreSQL manual, section 34.19).

Unlike libpq, this module never falls back to plain text: a server that refuses TLS does not see the password.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
import struct

import attrs

from taskd.tls import tls_context

__all__ = ["ENCRYPTING_MODES", "MODES", "Handshake", "context", "named", "shake_hands"]

# These encrypt without verifying the server.  With libpq, the first two may fall back to plain text; here, they do not.
ENCRYPTING_MODES = ("allow", "prefer", "require")
MODES = ("disable", *ENCRYPTING_MODES, "verify-ca", "verify-full")


class _OneSidedClose(ssl.SSLObject):
    """TLS that closes without waiting for the other side, as RFC 8446 allows (section 6.1)."""

    def unwrap(self) -> None:
        """
        Send the close notification without waiting for the server's.

        asyncio would keep the connection open until the server's arrives, for up to half a minute.  asyncpg closes a
        connection this way when a login has failed or taken too long; the pool no longer counts that connection, and
        nothing waits for it.
        """
        with contextlib.suppress(ssl.SSLWantReadError):
            super().unwrap()


def context(mode: str, root_file: str | None = None) -> ssl.SSLContext:
    """
    Return the context for connections in *mode*.

    Args:
        mode: One of `MODES`, except `disable`.
        root_file: A file with the certificates to trust, in PEM; None trusts the system's.  With a file, `require`
            verifies like `verify-ca`, as in libpq.

    Raises:
        OSError: The file cannot be read, or (`ssl.SSLError`) has no certificates.
    """
    made = tls_context(root_file)
    made.sslobject_class = _OneSidedClose
    made.check_hostname = mode == "verify-full"
    if mode in ENCRYPTING_MODES and root_file is None:
        made.verify_mode = ssl.CERT_NONE
    return made


class _NamedContext(ssl.SSLContext):
    """Verifies every connection against one server name, whatever its address."""

    original: ssl.SSLContext
    name: str

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,  # noqa: ARG002  drivers only know the address
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Start TLS with the name instead of *server_hostname*."""
        return self.original.wrap_bio(incoming, outgoing, server_side, self.name, session)


def named(original: ssl.SSLContext, name: str) -> ssl.SSLContext:
    """Return a context like *original* for the server called *name*, for drivers that are given only an address."""
    made = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    made.original, made.name = original, name
    return made


@attrs.frozen
class Handshake:
    """
    The outcome of a TLS handshake.

    Attributes:
        protocol: The version of TLS, for example `TLSv1.3`.
        expires: When the server's certificate expires; None if it was not verified.
    """

    protocol: str
    expires: dt.datetime | None


# PostgreSQL manual, section 55.7, "SSLRequest": the length of the message, and its code.
_SSL_REQUEST = struct.pack("!II", 8, 80877103)


async def shake_hands(address: tuple[str, int], name: str, with_context: ssl.SSLContext) -> Handshake:
    """
    Connect to the server called *name* at *address*, perform the TLS handshake, and disconnect.

    Raises:
        OSError: The server cannot be reached, refuses TLS, or has a certificate that *with_context* does not trust.
    """
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(_SSL_REQUEST)
        if await reader.read(1) != b"S":
            raise ConnectionError("the server refuses TLS")
        await writer.start_tls(with_context, server_hostname=name)
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate, protocol = connection.getpeercert(), connection.version() or "TLS"
    finally:
        writer.transport.abort()
    if not certificate:
        return Handshake(protocol, None)
    expires_s = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    return Handshake(protocol, dt.datetime.fromtimestamp(expires_s, dt.timezone.utc))
