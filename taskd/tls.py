"""Configure TLS for the connections that plugins make."""

from __future__ import annotations

import ssl

__all__ = ["tls_context"]


def tls_context(root_file: str | None = None) -> ssl.SSLContext:
    """
    Return a context that verifies servers by the same rules on every version of Python.

    Args:
        root_file: A file with the certificates of trusted authorities; None means the system's, or those in
            `SSL_CERT_FILE`.

    Raises:
        OSError: The file cannot be read, or contains no certificates (`ssl.SSLError`).
    """
    made = ssl.create_default_context(cafile=root_file)
    # The rules of CPython 3.12.  Later versions refuse certificates that other programs accept, such as handmade ones
    # without key identifiers, and accept chains that do not end in a root.
    made.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST
    return made
