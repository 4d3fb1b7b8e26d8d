"""
Serve static files from memory, compressed once, with a 304 for clients that already have them.

Starlette's `StaticFiles` would read and compress the 1.7 MB of Swagger UI again for each request.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import attrs
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse

from taskd.routes import accepts_gzip, is_unmodified

__all__ = ["PATHS", "File"]

_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".json": "application/json", ".svg": "image/svg+xml"}

_FOLDER = Path(__file__).parent
_NAMES = {
    "static": ("icon.svg", "page.css", "page.js"),
    # .ci/update_swagger_ui.py replaces these files.
    "swagger_ui": ("swagger-ui-bundle.js", "swagger-ui.css"),
}
PATHS = {name: _FOLDER / folder / name for folder, names in _NAMES.items() for name in names}


@attrs.frozen
class File:
    """
    The content of a file, plain and compressed.

    Attributes:
        content: The content, uncompressed.
        compressed: The content, compressed with gzip.
        media_type: Its `Content-Type`.
        etag: Its entity tag, the same for both encodings.
    """

    content: bytes
    compressed: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, name: str, content: bytes) -> File:
        """Prepare the *content* of the file *name*.  This takes about 50 ms per megabyte."""
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        # Weak, because it is the same for both encodings (RFC 9110, section 8.8.1).
        return cls(content, gzip.compress(content, mtime=0), _MEDIA_TYPES[Path(name).suffix], f'W/"{digest}"')

    def response(self, request: Request) -> Response:
        """Return the response to *request*: the file, or a 304 if the client already has it."""
        headers = {"ETag": self.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        content = self.content
        if accepts_gzip(request):
            content = self.compressed
            headers["Content-Encoding"] = "gzip"
        response = Response(content, headers=headers, media_type=self.media_type)
        return NotModifiedResponse(response.headers) if is_unmodified(request, self.etag) else response
