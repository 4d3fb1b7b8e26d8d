"""Compress long responses with gzip, in slices, so that the event loop can run in between."""

from __future__ import annotations

import zlib

from taskd.routes.slices import in_slices

__all__ = ["MIN_COMPRESSED_BYTES", "gzipped"]

# Shorter responses fit into a few packets anyway.
MIN_COMPRESSED_BYTES = 8 * 1024
# Compressing this much takes about a quarter of a millisecond, and never more than one.
PIECE_BYTES = 16 * 1024
PIECES_AT_ONCE = 2
# This level makes lists of tasks 4.5 times smaller.  Level 6 makes them 5.5 times smaller, but takes twice as long.
LEVEL = 1
# The largest window, with gzip's header and trailer.
_WBITS = 16 + zlib.MAX_WBITS


async def gzipped(parts: list[bytes]) -> list[bytes]:
    """
    Return the *parts* of a response, compressed as a whole.

    The list is emptied, and each part is freed once it has been compressed.
    """
    compressor = zlib.compressobj(LEVEL, wbits=_WBITS)

    def compress(pieces: list[memoryview]) -> bytes:
        return b"".join(map(compressor.compress, pieces))

    compressed = await in_slices(compress, _pieces(parts), PIECES_AT_ONCE)
    return [*filter(None, compressed), compressor.flush()]


def _pieces(parts: list[bytes]) -> list[memoryview]:
    """Cut *parts* into pieces without copying them, and empty the list."""
    pieces = []
    for part in parts:
        view = memoryview(part)
        pieces += [view[start : start + PIECE_BYTES] for start in range(0, len(part), PIECE_BYTES)]
    parts.clear()
    return pieces
