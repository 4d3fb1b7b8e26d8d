"""Compress long responses with gzip, in slices, so that the event loop can run in between."""

from __future__ import annotations

import struct
import zlib

import attrs

from taskd.routes.slices import in_slices

__all__ = ["MIN_COMPRESSED_BYTES", "Gzip", "gzipped"]

# Shorter responses fit into a few packets anyway.
MIN_COMPRESSED_BYTES = 8 * 1024
# Compressing this much takes about a quarter of a millisecond, and never more than one.
PIECE_BYTES = 16 * 1024
PIECES_AT_ONCE = 2
# This level makes lists of tasks 4.5 times smaller.  Level 6 makes them 5.5 times smaller, but takes twice as long.
LEVEL = 1
# RFC 1952, section 2.3: no name, no time, the fastest algorithm, an unknown system.
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
# An empty block that is marked as the last one (RFC 1951, section 3.2.3).
_LAST_BLOCK = b"\x03\x00"


@attrs.define
class Gzip:
    """
    Compresses a response, some parts at a time.

    In between, it keeps only a checksum: a compressor needs a quarter of a megabyte, too much for each client that does
    not read.
    """

    _checksum: int = attrs.field(init=False, default=0)
    _length: int = attrs.field(init=False, default=0)

    async def compressed(self, parts: list[bytes]) -> list[bytes]:
        """
        Return the next *parts*, compressed, so that the client can read them to their end.

        The list is emptied, and each part is freed once it has been compressed.
        """
        header = b"" if self._length else _HEADER
        compressor = zlib.compressobj(LEVEL, wbits=-zlib.MAX_WBITS)

        def compress(pieces: list[memoryview]) -> bytes:
            for piece in pieces:
                self._checksum = zlib.crc32(piece, self._checksum)
                self._length += len(piece)
            return b"".join(map(compressor.compress, pieces))

        done = await in_slices(compress, _pieces(parts), PIECES_AT_ONCE)
        return [header, *filter(None, done), compressor.flush(zlib.Z_SYNC_FLUSH)]

    def end(self) -> bytes:
        """Return what follows the last part."""
        return _LAST_BLOCK + struct.pack("<LL", self._checksum, self._length % 2**32)


async def gzipped(parts: list[bytes]) -> list[bytes]:
    """
    Return the *parts* of a response, compressed as a whole.

    The list is emptied, and each part is freed once it has been compressed.
    """
    gzip = Gzip()
    return [*await gzip.compressed(parts), gzip.end()]


def _pieces(parts: list[bytes]) -> list[memoryview]:
    """Cut *parts* into pieces without copying them, and empty the list."""
    pieces = []
    for part in parts:
        view = memoryview(part)
        pieces += [view[start : start + PIECE_BYTES] for start in range(0, len(part), PIECE_BYTES)]
    parts.clear()
    return pieces
